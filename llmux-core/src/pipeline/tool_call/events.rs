//! The tool calls in the events of a streamed response object.
//!
//! All events wait from the first one of a call up to the `response.output_item.done` of it, so that they keep their order. Later
//! events repeat the call: the repetitions get what was sent. The events of a removed call are left out, and later items move up.

use super::{
    body,
    places::{self, Members},
    verdict::{self, Verdict},
};
use crate::{
    document::Document,
    pipeline::{
        body::Chunk,
        kind::HookKind,
        turn::{Stop, Turn},
    },
};

/// The most bytes of calls that are kept for their repetition.
const MAX_REPEATED: usize = 64 << 20;

/// The kinds of items that are calls, by the start of the types of their own events.
const KINDS: [(&str, &str); 2] =
    [("response.function_call_arguments.", "/arguments"), ("response.custom_tool_call_input.", "/input")];

/// The tool calls of a stream at one instance.
#[derive(Default)]
pub(super) struct Events {
    /// The events that wait, while a call is not whole.
    waiting: Vec<Chunk>,
    /// The size of those events.
    bytes: usize,
    /// The output items that are calls and not whole.
    open: Vec<u32>,
    /// The calls that had their turn, by their output item; `None` for a removed one.
    decided: Vec<(u32, Option<Sent>)>,
    /// The size of those calls.
    repeated: usize,
    /// True if the instance held too much: calls then pass without it.
    is_passed_by: bool,
}

/// A call as it goes on.
struct Sent {
    name: String,
    arguments: String,
    /// True if the deltas that came form the arguments.
    keeps_deltas: bool,
    /// True if a delta with the arguments has gone on.
    has_delta: bool,
}

impl Events {
    /// Passes an event. Returns the events in its place, as [`ToolCalls`](super::ToolCalls::pass).
    pub(super) async fn pass(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
    ) -> Result<Option<Vec<Chunk>>, Stop> {
        let kind = document.get_str("/type").unwrap_or_default();
        let call = call_of(document, kind).filter(|_| !self.is_passed_by);
        if let Some(item) = call.filter(|item| !self.open.contains(item) && !self.is_decided(*item)) {
            self.open.push(item);
        }
        if self.open.is_empty() {
            return Ok(match self.forward(turn, chunk).await? {
                true => None,
                false => Some(Vec::new()),
            });
        }
        if !turn.hold(HookKind::ToolCall, document.size())? {
            self.is_passed_by = true;
            self.open.clear();
        } else {
            self.bytes += document.size();
        }
        self.waiting.push(chunk.clone());
        match call {
            Some(item) if kind == "response.output_item.done" => self.decide(turn, item).await?,
            // The response is whole, and so are its calls.
            None if document.len("/response/output").is_some_and(|len| len > 0) => {
                self.decide_all(turn).await?
            }
            _ => {}
        }
        self.release(turn).await.map(Some)
    }

    /// Calls the hook for the calls that are held when the stream has ended.
    pub(super) async fn finish(&mut self, turn: &mut Turn<'_>) -> Result<Vec<Chunk>, Stop> {
        self.decide_all(turn).await?;
        self.release(turn).await
    }

    /// Returns the events that wait, unless a call is not whole.
    async fn release(&mut self, turn: &mut Turn<'_>) -> Result<Vec<Chunk>, Stop> {
        let mut released = Vec::new();
        if self.open.is_empty() {
            *turn.held -= std::mem::take(&mut self.bytes);
            for mut chunk in std::mem::take(&mut self.waiting) {
                if self.forward(turn, &mut chunk).await? {
                    released.push(chunk);
                }
            }
        }
        Ok(released)
    }

    async fn decide_all(&mut self, turn: &mut Turn<'_>) -> Result<(), Stop> {
        while let Some(item) = self.open.first().copied() {
            self.decide(turn, item).await?;
        }
        Ok(())
    }

    /// Calls the hook for a call, as far as it has come.
    async fn decide(&mut self, turn: &mut Turn<'_>, item: u32) -> Result<(), Stop> {
        let mut came = Came::default();
        self.waiting.iter().filter_map(Chunk::document).for_each(|event| came.add(event, item));
        let Came { id, name, arguments, deltas, members } = came;
        let mut call = members.call(&id, &name, &arguments, item);
        let (name, arguments) = match verdict::call(turn, &mut call).await? {
            Verdict::Remove => return self.decided(item, None),
            Verdict::Edit(name, arguments) => (name, arguments),
            Verdict::Leave => (call.name.into_owned(), call.arguments.into_owned()),
        };
        let keeps_deltas = deltas == arguments;
        self.decided(item, Some(Sent { name, arguments, keeps_deltas, has_delta: false }))
    }

    fn decided(&mut self, item: u32, sent: Option<Sent>) -> Result<(), Stop> {
        self.open.retain(|open| *open != item);
        // An entry costs something besides its texts.
        self.repeated += 64 + sent.as_ref().map_or(0, |sent| sent.name.len() + sent.arguments.len());
        if self.repeated > MAX_REPEATED {
            return Err(Stop::too_much("tool calls of more than 64 MiB"));
        }
        self.decided.push((item, sent));
        Ok(())
    }

    fn is_decided(&self, item: u32) -> bool {
        self.decided.iter().any(|(decided, _)| *decided == item)
    }

    /// Puts what was sent into an event. `false` if the event is left out.
    async fn forward(&mut self, turn: &mut Turn<'_>, chunk: &mut Chunk) -> Result<bool, Stop> {
        let Some(document) = chunk.document().cloned() else { return Ok(true) };
        let kind = document.get_str("/type").unwrap_or_default();
        if document.len("/response/output").is_some_and(|len| len > 0) {
            self.repeat(turn, chunk, &document).await?;
        }
        let Some(item) = output_index(&document) else { return Ok(true) };
        let decided = self.decided.iter_mut().find(|(decided, _)| *decided == item);
        let is_sent = match decided.map(|(_, sent)| sent) {
            None => true,
            Some(None) => false,
            Some(Some(sent)) => sent.put(turn, chunk, &document, kind)?,
        };
        if !is_sent {
            return Ok(false);
        }
        let before = self.decided.iter().filter(|(decided, sent)| sent.is_none() && *decided < item).count();
        if before > 0 {
            let index = (item - before as u32).to_string();
            let set = chunk.body.edit(0, |document| document.set("/output_index", &index));
            debug_assert!(set.is_ok(), "a member that was read can be set");
            chunk.body.commit();
        }
        Ok(true)
    }

    /// Puts the calls into an event that repeats the whole response. Calls that no event before had have their turn here.
    async fn repeat(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
    ) -> Result<(), Stop> {
        let places = places::of_output(document, "/response");
        let mut verdicts = Vec::new();
        for place in &places {
            let decided = self.decided.iter().find(|(item, _)| *item == place.choice);
            verdicts.push(match decided.map(|(_, sent)| sent) {
                Some(Some(sent)) => Verdict::Edit(sent.name.clone(), sent.arguments.clone()),
                Some(None) => Verdict::Remove,
                None if self.is_passed_by => Verdict::Leave,
                None => verdict::call(turn, &mut place.read(document)).await?,
            });
        }
        body::apply(turn, &mut chunk.body, places.iter().zip(verdicts))
    }
}

impl Sent {
    /// Puts the call into one of its events. `false` if the event is left out.
    fn put(
        &mut self,
        turn: &Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
        kind: &str,
    ) -> Result<bool, Stop> {
        let Self { name, arguments, keeps_deltas, has_delta } = self;
        let mut texts = Vec::new();
        if let Some((prefix, member)) = KINDS.iter().find(|(prefix, _)| kind.starts_with(prefix)) {
            match &kind[prefix.len()..] {
                "delta" if *keeps_deltas => {}
                "delta" if std::mem::replace(has_delta, true) => return Ok(false),
                "delta" => texts.push(("/delta".to_owned(), &**arguments)),
                _ => {
                    texts.push(((*member).to_owned(), arguments));
                    texts.extend(document.get("/name").map(|_| ("/name".to_owned(), &**name)));
                }
            }
        } else if let Some(members) = places::of_item(document, "/item") {
            let [there, place] = [members.name, members.arguments].map(|member| format!("/item{member}"));
            texts.push((there, name));
            if kind == "response.output_item.done" {
                // No delta follows.
                (*keeps_deltas, *has_delta) = (false, true);
            }
            // The item is announced without its arguments.
            if kind.ends_with(".done") || !places::text(document, &place).is_empty() {
                texts.push((place, arguments));
            }
        }
        verdict::set(turn, &mut chunk.body, &texts)?;
        Ok(true)
    }
}

/// The parts of a call that have come.
struct Came {
    id: String,
    name: String,
    arguments: String,
    /// The arguments, as the deltas form them.
    deltas: String,
    members: &'static Members,
}

impl Default for Came {
    fn default() -> Self {
        let [id, name, arguments, deltas] = [const { String::new() }; 4];
        Self { id, name, arguments, deltas, members: &places::FUNCTION_ITEM }
    }
}

impl Came {
    /// Adds an event of the output item. A whole text takes the place of the deltas before it.
    fn add(&mut self, event: &Document, item: u32) {
        if output_index(event) != Some(item) {
            return;
        }
        let put = |there: &mut String, pointer: &str| {
            let text = places::text(event, pointer);
            if !text.is_empty() {
                text.clone_into(there);
            }
        };
        let kind = event.get_str("/type").unwrap_or_default();
        if let Some((prefix, member)) = KINDS.iter().find(|(prefix, _)| kind.starts_with(prefix)) {
            if prefix.ends_with("input.") {
                self.members = &places::CUSTOM_ITEM;
            }
            let delta = event.get_str("/delta").unwrap_or_default();
            self.arguments.push_str(delta);
            self.deltas.push_str(delta);
            put(&mut self.arguments, member);
            put(&mut self.name, "/name");
        } else if let Some(members) = places::of_item(event, "/item") {
            self.members = members;
            put(&mut self.id, &format!("/item{}", members.id));
            put(&mut self.name, &format!("/item{}", members.name));
            put(&mut self.arguments, &format!("/item{}", members.arguments));
        }
    }
}

/// Returns the output item of an event, if the event says that the item is a call.
fn call_of(document: &Document, kind: &str) -> Option<u32> {
    let is_own = KINDS.iter().any(|(prefix, _)| kind.starts_with(prefix));
    let is_item = || places::of_item(document, "/item").is_some();
    output_index(document).filter(|_| is_own || is_item())
}

fn output_index(document: &Document) -> Option<u32> {
    document.get("/output_index")?.parse().ok()
}
