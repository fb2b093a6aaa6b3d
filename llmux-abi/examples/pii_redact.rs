//! Masks emails, phone numbers and card numbers in requests, and restores them in the responses.
//!
//! The provider receives `[EMAIL_1]` instead of an address; the client receives the address. A chunk of a stream may
//! end in the middle of a placeholder. The plugin then withholds only text that may become a placeholder of this
//! request. Fails closed: if masking fails, nothing is sent.
//!
//! Needs no configuration but `[[plugin]] name = "pii-redact"`. `PERSONAL` defines the texts to mask, `WORDS` the
//! members to search.
use std::{collections::HashMap, iter::successors, sync::LazyLock};

use llmux_abi::prelude::*;
use regex::Regex;
use serde_json::json;

/// Names of the members whose strings are searched. Images and identifiers are not.
const WORDS: &str = "content text arguments reasoning_content refusal input output prompt instructions delta";

/// Largest sum of the lengths of all pointers that one edit of a body needs, in bytes.
const MAX_POINTERS: usize = 4 << 20;

/// Pattern of the texts to mask, with one group for each kind. `TEXT` matches text of the client that looks like a
/// placeholder.
static PERSONAL: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = r"(?x-u)
        (?<EMAIL> [A-Za-z0-9._%+-]+ @ (?: [A-Za-z0-9-]+ \. )+ [A-Za-z0-9-]* [A-Za-z0-9]{2} \b )
      | (?<PHONE> \+ [0-9] (?: [\ .()-]{0,2} [0-9] ){7,14} \b
                | (?: \b 1 [\ .-]? )? (?: \( [0-9]{3} \) | \b [0-9]{3} ) [\ .-]{1,2} [0-9]{3} [\ .-] [0-9]{4} \b )
      | (?<CARD>  \b [3-6] (?: [\ .-]{0,2} [0-9] ){12,18} \b )
      | (?<TEXT>  \[ [A-Z]+ _ [0-9]+ \] )";
    Regex::new(kinds).expect("a pattern")
});

/// The plugin, which has no state of its own.
pub struct PiiRedact;

/// State of one request: the placeholder of each masked text, and the withheld ends of a stream's texts. The key of a
/// withheld end is the indices of its choice and tool call, and its member.
#[derive(Default)]
struct Masks {
    known: HashMap<String, String>,
    held: HashMap<(Vec<u64>, String), String>,
}

impl Plugin for PiiRedact {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        let masks = ctx.state::<Masks>();
        edit(request, |_, _, text| masks.mask(text))?;
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, ctx: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        let masks = ctx.state::<Masks>();
        outcome.response().map_or(Ok(()), |mut answer| edit(&mut answer, |_, _, text| masks.restore(text)))
    }

    async fn on_stream_chunk(&self, ctx: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        let masks = ctx.state::<Masks>();
        if masks.known.is_empty() {
            return Ok(ChunkFlow::Forward);
        }
        // The responses endpoint repeats the text of all deltas at the end.
        let is_whole = chunk.get_str("/type").is_some_and(|kind| !kind.ends_with(".delta"));
        if is_whole {
            masks.held.clear();
        }
        edit(chunk, |chunk, pointer, text| {
            let index = |(at, _)| chunk.get(&format!("{}/index", &pointer[..at]));
            let indices = pointer.match_indices('/').filter_map(index).collect();
            let member = pointer.rsplit('/').next().unwrap_or_default().to_owned();
            if is_whole { masks.restore(text) } else { masks.restore_piece((indices, member), text) }
        })?;
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, ctx: &mut Context<'_>, end: &mut StreamEnd<'_>) -> Result<()> {
        // The response ended in the middle of a possible placeholder.
        for ((indices, member), text) in ctx.state::<Masks>().held.drain() {
            if let [at] = indices[..] {
                let choice = json!({"index": at, "delta": {member: text}, "finish_reason": null});
                end.emit(json!({"choices": [choice]}))?;
            }
        }
        Ok(())
    }
}

impl Masks {
    fn mask(&mut self, text: &str) -> String {
        let (mut masked, mut done, mut from) = (String::new(), 0, 0);
        while let Some(found) = PERSONAL.captures_at(text, from) {
            let kind = ["EMAIL", "PHONE", "CARD"].into_iter().find(|kind| found.name(kind).is_some());
            let (kind, found) = (kind.unwrap_or("TEXT"), found.get_match());
            let personal = if kind == "CARD" { card(found.as_str()) } else { Some(found.as_str()) };
            from = found.start() + personal.map_or(1, str::len);
            if let Some(personal) = personal {
                masked += &text[done..found.start()];
                done = from;
                // Equal texts have one placeholder, so that the model can distinguish persons.
                let mask = format!("[{kind}_{}]", self.known.len() + 1);
                masked += self.known.entry(personal.to_owned()).or_insert(mask);
            }
        }
        masked + &text[done..]
    }

    fn restore(&self, text: &str) -> String {
        let known = |part: &str| self.known.iter().find(|(_, mask)| part.ends_with(*mask));
        let restored = |part| known(part).map_or(part.into(), |(text, mask)| part.replace(mask, text));
        text.split_inclusive(']').map(restored).collect()
    }

    /// Restores the next piece of a text and withholds an end that may continue as a placeholder.
    fn restore_piece(&mut self, place: (Vec<u64>, String), piece: &str) -> String {
        let mut text = self.held.remove(&place).unwrap_or_default() + piece;
        let may_go_on = |end: &str| self.known.values().any(|mask| mask != end && mask.starts_with(end));
        if let Some(at) = text.rfind('[').filter(|&at| may_go_on(&text[at..])) {
            self.held.insert(place, text.split_off(at));
        }
        self.restore(&text)
    }
}

/// Returns the longest card number at the start of these digits: 13 digits or more, the last a check digit
/// (ISO/IEC 7812-1).
fn card(text: &str) -> Option<&str> {
    let is_card = |text: &&str| {
        let digits = text.chars().rev().filter_map(|digit| digit.to_digit(10));
        let doubled = digits.clone().skip(1).step_by(2).map(|digit| digit / 5 + digit * 2 % 10);
        let sum: u32 = digits.clone().step_by(2).chain(doubled).sum();
        digits.count() >= 13 && sum.is_multiple_of(10)
    };
    successors(Some(text), |text| text.rfind([' ', '.', '-', '(', ')']).map(|at| &text[..at])).find(is_card)
}

/// Edits the strings in the members of `WORDS`. `edit` receives the body, the string's pointer and the string.
///
/// # Errors
///
/// If the pointers of the edited strings are longer than `MAX_POINTERS` together.
fn edit(body: &mut Document<'_>, mut edit: impl FnMut(&Document<'_>, &str, &str) -> String) -> Result<()> {
    let (mut edits, mut size) = (Vec::new(), 0);
    body.for_each_string(|pointer, text| {
        // An element of a list belongs to the member that holds the list.
        let member = pointer.rsplit('/').find(|name| name.parse::<usize>().is_err());
        if size <= MAX_POINTERS && member.is_some_and(|member| WORDS.split(' ').any(|word| word == member)) {
            let edited = edit(body, pointer, text);
            if edited != text {
                size += pointer.len();
                edits.push((pointer.to_owned(), edited));
            }
        }
    })?;
    if size > MAX_POINTERS {
        return Err(Error::new("the names around the personal texts are too long"));
    }
    edits.into_iter().try_for_each(|(pointer, text)| body.set(&pointer, text))
}

export_plugin!(PiiRedact, name: "pii-redact", priority: 20, on_error: Some(OnError::Fail));
