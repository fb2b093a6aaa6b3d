//! Masks emails, phone numbers and card numbers in requests, and puts them back into the answers.
//!
//! The provider reads `[EMAIL_1]` where the caller wrote an address; the caller reads the address again. In a
//! stream, where a chunk may end in the middle of a placeholder, no more is withheld than what may become one that
//! this request has. Fails closed: if it cannot mask, nothing is sent.
//!
//! Nothing to configure but `[[plugin]] name = "pii-redact"`: what is masked stands in `PERSONAL`, where in `WORDS`.
use std::{collections::HashMap, iter::successors, sync::LazyLock};

use llmux_abi::prelude::*;
use regex::Regex;
use serde_json::json;

/// The members whose strings are somebody's words; images and identifiers are none of our business.
const WORDS: &str = "content text arguments reasoning_content refusal input output prompt instructions delta";

/// What is masked, a group for each kind. `TEXT` is what reads like a placeholder and is the caller's own.
static PERSONAL: LazyLock<Regex> = LazyLock::new(|| {
    let kinds = r"(?x-u)
        (?<EMAIL> [A-Za-z0-9._%+-]+ @ (?: [A-Za-z0-9-]+ \. )+ [A-Za-z0-9-]* [A-Za-z0-9]{2} \b )
      | (?<PHONE> \+ [0-9] (?: [\ .()-]{0,2} [0-9] ){7,14} \b
                | (?: \b 1 [\ .-]? )? (?: \( [0-9]{3} \) | \b [0-9]{3} ) [\ .-]{1,2} [0-9]{3} [\ .-] [0-9]{4} \b )
      | (?<CARD>  \b [3-6] (?: [\ .-]{0,2} [0-9] ){12,18} \b )
      | (?<TEXT>  \[ [A-Z]+ _ [0-9]+ \] )";
    Regex::new(kinds).expect("a pattern")
});

/// Masks what is personal.
pub struct PiiRedact;

/// What one request hides: the placeholder of each text, and what is withheld of the texts of a stream, by the
/// indices of their choice and tool call and their member.
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
        // The responses endpoint says at the end all that its deltas said.
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
        // The answer was cut off there.
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
                // The same for the same text, so that the model can tell people apart.
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

    /// Restores the next piece of a text, without an end that may go on as a placeholder.
    fn restore_piece(&mut self, place: (Vec<u64>, String), piece: &str) -> String {
        let mut text = self.held.remove(&place).unwrap_or_default() + piece;
        let may_go_on = |end: &str| self.known.values().any(|mask| mask != end && mask.starts_with(end));
        if let Some(at) = text.rfind('[').filter(|&at| may_go_on(&text[at..])) {
            self.held.insert(place, text.split_off(at));
        }
        self.restore(&text)
    }
}

/// The longest card number that these digits begin with: 13 or more, the last of them a check (ISO/IEC 7812-1).
fn card(text: &str) -> Option<&str> {
    let is_card = |text: &&str| {
        let digits = text.chars().rev().filter_map(|digit| digit.to_digit(10));
        let doubled = digits.clone().skip(1).step_by(2).map(|digit| digit / 5 + digit * 2 % 10);
        let sum: u32 = digits.clone().step_by(2).chain(doubled).sum();
        digits.count() >= 13 && sum.is_multiple_of(10)
    };
    successors(Some(text), |text| text.rfind([' ', '.', '-', '(', ')']).map(|at| &text[..at])).find(is_card)
}

/// Edits a body's words: each with the body and where it stands there.
fn edit(body: &mut Document<'_>, mut edit: impl FnMut(&Document<'_>, &str, &str) -> String) -> Result<()> {
    for (pointer, text) in body.strings()? {
        // The elements of a list belong to its member.
        let member = pointer.rsplit('/').find(|name| name.parse::<usize>().is_err());
        if member.is_some_and(|member| WORDS.split(' ').any(|word| word == member)) {
            let edited = edit(body, &pointer, &text);
            if edited != text {
                body.set(&pointer, edited)?;
            }
        }
    }
    Ok(())
}

export_plugin!(PiiRedact, name: "pii-redact", priority: 20, on_error: Some(OnError::Fail));
