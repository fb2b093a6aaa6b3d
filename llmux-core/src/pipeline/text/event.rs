//! The texts in the events of a streamed response object.
//!
//! The deltas of a text come first. Later events repeat the whole text: its own `done`, the part, the item, and the response. The
//! repetitions get the text that was sent (rule T2). The rest of a text is sent as a delta of its own, before the first
//! repetition. Such a delta has the sequence number `null` until [`Numbers`](crate::pipeline::numbers::Numbers) gives it one.

use serde_json::{Value, json};

use super::{
    places::{self, Key, Place, item},
    progress::{Held, Piece},
    put::{Released, clear_probabilities, set},
    subject::Channel,
};
use crate::{
    document::Document,
    pipeline::{
        body::Chunk,
        turn::{Stop, Turn},
    },
};

/// A kind of text with deltas.
struct Kind {
    /// The type of its events, without `.delta` and `.done`.
    name: &'static str,
    channel: Channel,
    /// The member of the `done` event that repeats the text.
    whole: &'static str,
    member: usize,
}

const KINDS: [Kind; 9] = [
    kind("response.output_text", Channel::Content, "/text", item::OUTPUT_TEXT),
    kind("response.refusal", Channel::Refusal, "/refusal", item::REFUSAL),
    kind("response.reasoning_text", Channel::Reasoning, "/text", item::REASONING),
    kind("response.reasoning_summary_text", Channel::Reasoning, "/text", item::SUMMARY),
    kind("response.function_call_arguments", Channel::Arguments, "/arguments", item::ARGUMENTS),
    kind("response.mcp_call_arguments", Channel::Arguments, "/arguments", item::ARGUMENTS),
    kind("response.custom_tool_call_input", Channel::Arguments, "/input", item::INPUT),
    kind("response.code_interpreter_call_code", Channel::Arguments, "/code", item::CODE),
    kind("response.audio.transcript", Channel::Transcript, "/transcript", item::TRANSCRIPT),
];

const fn kind(name: &'static str, channel: Channel, whole: &'static str, member: usize) -> Kind {
    Kind { name, channel, whole, member }
}

/// The most names of tools that are kept of one stream.
const MAX_NAMES: usize = 1024;

/// The events of one stream.
#[derive(Default)]
pub(super) struct Events {
    /// The names of the tools that output items call.
    names: Vec<(u32, String)>,
}

impl Events {
    /// Passes the texts of an event to the instance whose turn it is.
    pub(super) async fn pass(
        &mut self,
        held: &mut Held,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
    ) -> Result<Released, Stop> {
        let kind = document.get_str("/type").unwrap_or_default();
        if let Some(kind) = known(kind, ".delta") {
            let Some(text) = document.get_str("/delta") else { return Ok(Released::new()) };
            let (key, item) = (key(document, kind), document.get_str("/item_id").unwrap_or_default());
            let piece = Piece { item, ..self.piece(key, kind.channel, text) };
            let passed = held.pass(turn, piece).await?;
            if passed != text {
                set(turn, chunk, "/delta", &passed)?;
                clear_probabilities(chunk, "", "[]");
            }
            return Ok(Released::new());
        }
        let places = texts(document);
        if kind == "response.output_item.added"
            && let Some(name) = document.get_str("/item/name")
            && let item = number(document, "/output_index")
            && self.names.len() < MAX_NAMES
            && !self.names.iter().any(|(named, _)| *named == item)
        {
            self.names.push((item, name.to_owned()));
        }
        let mut released = Released::new();
        for place in places {
            released.extend(self.settle(held, turn, chunk, place, kind.ends_with(".added")).await?);
        }
        Ok(released)
    }

    /// Ends the texts of an instance when its stream has ended without their repetitions.
    pub(super) async fn finish(&self, held: &mut Held, turn: &mut Turn<'_>) -> Result<Released, Stop> {
        let mut released = Released::new();
        for open in held.open(turn.place.0, None) {
            let text = self.rest(held, turn, open.key, open.channel).await?;
            if !text.is_empty() {
                released.push(delta(open.key, &open.item, &text));
            }
        }
        Ok(released)
    }

    /// Ends a text, and gives its repetition the text that was sent.
    async fn settle(
        &self,
        held: &mut Held,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        place: Place<'_>,
        is_announced: bool,
    ) -> Result<Option<Chunk>, Stop> {
        let (at, key) = (turn.place.0, place.key);
        let mut released = None;
        let passed = match held.state(at, key) {
            _ if is_announced && place.text.is_empty() => return Ok(None),
            Some(true) => held.sent(at, key).to_owned(),
            Some(false) if !is_announced => {
                let open = held.open(at, Some(key.choice)).into_iter().find(|open| open.key == key);
                let text = self.rest(held, turn, key, place.channel).await?;
                if let Some(open) = open.filter(|_| !text.is_empty()) {
                    released = Some(delta(key, &open.item, &text));
                }
                held.sent(at, key).to_owned()
            }
            // The text comes whole.
            _ => {
                let piece = Piece { tool: place.tool, ..self.piece(key, place.channel, place.text) };
                let piece = Piece { is_end: !is_announced, ..piece };
                held.pass(turn, piece).await?
            }
        };
        if passed != place.text {
            set(turn, chunk, &place.pointer, &passed)?;
            let base = place.pointer.rsplit_once('/').map_or("", |(base, _)| base);
            clear_probabilities(chunk, base, "[]");
        }
        Ok(released)
    }

    /// Passes the end of a text. Returns the rest of it.
    async fn rest(
        &self,
        held: &mut Held,
        turn: &mut Turn<'_>,
        key: Key,
        channel: Channel,
    ) -> Result<String, Stop> {
        let piece = Piece { is_end: true, ..self.piece(key, channel, "") };
        held.pass(turn, piece).await
    }

    fn piece<'p>(&'p self, key: Key, channel: Channel, text: &'p str) -> Piece<'p> {
        let name = self.names.iter().find(|(choice, _)| *choice == key.choice);
        let tool = name.filter(|_| channel == Channel::Arguments).map_or("", |(_, name)| name);
        Piece { key, channel, tool, item: "", text, is_end: false, is_repeated: true }
    }
}

/// Returns the kind of an event with this suffix.
fn known(event: &str, suffix: &str) -> Option<&'static Kind> {
    let name = event.strip_suffix(suffix)?;
    KINDS.iter().find(|kind| kind.name == name)
}

/// Returns the texts of an event.
pub(super) fn texts(document: &Document) -> Vec<Place<'_>> {
    let event = document.get_str("/type").unwrap_or_default();
    match (known(event, ".delta"), known(event, ".done")) {
        (Some(kind), _) => text(document, kind, "/delta"),
        (_, Some(kind)) => text(document, kind, kind.whole),
        _ => repeated(document, event),
    }
}

/// Returns the text of an event.
fn text<'d>(document: &'d Document, kind: &Kind, pointer: &str) -> Vec<Place<'d>> {
    let place = document.get_str(pointer).map(|text| Place {
        pointer: pointer.to_owned(),
        text,
        key: key(document, kind),
        channel: kind.channel,
        role: "assistant",
        tool: "",
        probabilities: None,
    });
    place.into_iter().collect()
}

/// Returns the texts of an event that repeats a part, an item or the response.
fn repeated<'d>(document: &'d Document, kind: &str) -> Vec<Place<'d>> {
    let choice = || number(document, "/output_index");
    match kind {
        "response.content_part.added" | "response.content_part.done" => {
            let key = Key { choice: choice(), part: number(document, "/content_index"), member: 0 };
            places::of_part(document, "/part", key, false)
        }
        "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done" => {
            let key = Key { choice: choice(), part: number(document, "/summary_index"), member: 0 };
            places::of_part(document, "/part", key, true)
        }
        "response.output_item.added" | "response.output_item.done" => {
            places::of_item(document, "/item", choice())
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            places::of_output(document, "/response")
        }
        _ => Vec::new(),
    }
}

fn key(document: &Document, kind: &Kind) -> Key {
    let part = match kind.member {
        item::SUMMARY => number(document, "/summary_index"),
        item::OUTPUT_TEXT | item::REFUSAL | item::REASONING => number(document, "/content_index"),
        _ => 0,
    };
    Key { choice: number(document, "/output_index"), part, member: kind.member }
}

fn number(document: &Document, pointer: &str) -> u32 {
    document.get(pointer).and_then(|json| json.parse().ok()).unwrap_or_default()
}

/// Makes a delta.
fn delta(key: Key, item: &str, text: &str) -> Chunk {
    let kind = KINDS.iter().find(|kind| kind.member == key.member).unwrap_or(&KINDS[0]);
    let name = format!("{}.delta", kind.name);
    let mut event = json!({"type": name, "item_id": item, "output_index": key.choice, "delta": text});
    match key.member {
        item::SUMMARY => event["summary_index"] = key.part.into(),
        item::OUTPUT_TEXT | item::REFUSAL | item::REASONING => event["content_index"] = key.part.into(),
        _ => {}
    }
    if key.member == item::OUTPUT_TEXT {
        event["logprobs"] = json!([]);
    }
    event["sequence_number"] = Value::Null;
    Chunk::of(Some(&name), &Document::from_value(&event))
}
