//! The tool calls in the chunks of a stream with choices.
//!
//! A call is held until its choice has a reason why it ended, because the deltas of several calls may alternate. Each call then
//! goes on in one chunk of its own. The chunks whose deltas were held go on without them.

use std::sync::LazyLock;

use llmux_abi::convert::Assembler;
use memchr::memmem::Finder;

use super::{body, places};
use crate::{
    document::Document,
    pipeline::{
        body::{Body, Chunk},
        choices::{finished, index_at},
        kind::HookKind,
        turn::{Stop, Turn},
    },
};

/// The most choices of one stream. A provider chooses their number.
const MAX_CHOICES: usize = 4096;

/// The tool calls of a stream at one instance.
#[derive(Default)]
pub(super) struct Deltas {
    choices: Vec<Choice>,
    /// The last chunk with a delta of a call, as the pattern of a new chunk.
    last: Option<Document>,
    /// True if the instance held too much: calls then pass without it.
    is_passed_by: bool,
}

/// The tool calls of one choice.
struct Choice {
    index: u32,
    deltas: Assembler,
    /// The size of the deltas.
    bytes: usize,
    /// The number of calls that went on, which is the index of the next one.
    sent: usize,
}

/// A member of a chunk with deltas of calls.
struct Part {
    pointer: String,
    choice: u32,
    /// A chunk with this member alone.
    chunk: String,
}

impl Deltas {
    /// Returns true if a chunk passes as it is: no call has begun, and it has none. A cheap test before parsing.
    pub(super) fn skips(&self, data: &[u8]) -> bool {
        self.choices.is_empty() && !may_have_calls(data)
    }

    /// Passes a chunk. Returns the chunks in its place, as [`ToolCalls`](super::ToolCalls::pass).
    pub(super) async fn pass(
        &mut self,
        turn: &mut Turn<'_>,
        chunk: &mut Chunk,
        document: &Document,
    ) -> Result<Option<Vec<Chunk>>, Stop> {
        if self.is_passed_by {
            return Ok(None);
        }
        let parts = parts(document);
        if !parts.is_empty() {
            self.last = Some(document.clone());
            let size = parts.iter().map(|part| part.chunk.len()).sum();
            if !turn.hold(HookKind::ToolCall, size)? {
                self.is_passed_by = true;
                let mut released: Vec<Chunk> =
                    self.choices.iter_mut().flat_map(|choice| choice.rest(turn, document)).collect();
                released.push(chunk.clone());
                return Ok(Some(released));
            }
        }
        for Part { pointer, choice, chunk: part } in parts {
            self.choice(choice)?.hold(&part);
            let removed = chunk.body.edit(0, |document| document.remove(&pointer));
            debug_assert!(removed.is_ok(), "a member that was read can be removed");
            chunk.body.commit();
        }
        let mut released = Vec::new();
        for (at, index) in finished(document) {
            let Some(choice) = self.choices.iter_mut().find(|it| it.index == index && it.bytes > 0) else {
                continue;
            };
            let pointer = format!("/choices/{at}/finish_reason");
            let reason = document.get_str(&pointer).unwrap_or_default();
            let (chunks, new_reason) = choice.release(turn, reason, document).await?;
            released.extend(chunks);
            if new_reason != reason {
                let json = serde_json::Value::from(new_reason).to_string();
                let set = chunk.body.edit(0, |document| document.set(&pointer, &json));
                debug_assert!(set.is_ok(), "a member that was read can be set");
                chunk.body.commit();
            }
        }
        if released.is_empty() {
            return Ok(None);
        }
        released.push(chunk.clone());
        Ok(Some(released))
    }

    /// Calls the hook for the calls that are held when the stream has ended.
    pub(super) async fn finish(&mut self, turn: &mut Turn<'_>) -> Result<Vec<Chunk>, Stop> {
        let mut released = Vec::new();
        let Some(last) = &self.last else { return Ok(released) };
        for choice in self.choices.iter_mut().filter(|choice| choice.bytes > 0) {
            released.extend(choice.release(turn, "", last).await?.0);
        }
        Ok(released)
    }

    fn choice(&mut self, index: u32) -> Result<&mut Choice, Stop> {
        let place = match self.choices.iter().position(|choice| choice.index == index) {
            Some(place) => place,
            None if self.choices.len() == MAX_CHOICES => {
                return Err(Stop::too_much("more than 4096 choices"));
            }
            None => {
                self.choices.push(Choice { index, deltas: Assembler::new(), bytes: 0, sent: 0 });
                self.choices.len() - 1
            }
        };
        Ok(&mut self.choices[place])
    }
}

/// Returns false if a chunk certainly has no delta of a call. The names of its members may have escapes.
fn may_have_calls(data: &[u8]) -> bool {
    static MARKS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["_call", "\\u"].map(Finder::new));
    MARKS.iter().any(|mark| mark.find(data).is_some())
}

impl Choice {
    fn hold(&mut self, part: &str) {
        let pushed = self.deltas.push_text(part);
        debug_assert!(pushed.is_ok(), "a part is JSON");
        self.bytes += part.len();
    }

    /// Takes the calls that are held, as an answer with one choice that ended for this reason.
    fn take(&mut self, turn: &mut Turn<'_>, reason: &str) -> Option<Document> {
        *turn.held -= std::mem::take(&mut self.bytes);
        let mut deltas = std::mem::take(&mut self.deltas);
        let reason = if reason.is_empty() { "stop" } else { reason };
        deltas.push(&serde_json::json!({
            "choices": [{"index": self.index, "delta": {}, "finish_reason": reason}],
        }));
        Document::parse(deltas.finish_text()?).ok()
    }

    /// Calls the hook for each call. Returns a chunk for each call that goes on, and the reason of the choice's end.
    async fn release(
        &mut self,
        turn: &mut Turn<'_>,
        reason: &str,
        pattern: &Document,
    ) -> Result<(Vec<Chunk>, String), Stop> {
        let Some(document) = self.take(turn, reason) else { return Ok((Vec::new(), reason.to_owned())) };
        let mut body = Body::new(document.clone(), usize::MAX);
        body::pass(turn, &document, &places::of_choices(&document), &mut body).await?;
        let Some(document) = body.into_document() else { return Ok((Vec::new(), reason.to_owned())) };
        let reason = document.get_str("/choices/0/finish_reason").unwrap_or_default().to_owned();
        Ok((self.chunks(&document, pattern), reason))
    }

    /// Returns the calls that are held, as far as they have come, without a call of the hook.
    fn rest(&mut self, turn: &mut Turn<'_>, pattern: &Document) -> Vec<Chunk> {
        let document = Some(self.bytes).filter(|bytes| *bytes > 0).and_then(|_| self.take(turn, ""));
        document.map(|document| self.chunks(&document, pattern)).unwrap_or_default()
    }

    /// Returns a chunk for each call of a message.
    fn chunks(&mut self, document: &Document, pattern: &Document) -> Vec<Chunk> {
        let message = "/choices/0/message";
        let calls = 0..document.len(&format!("{message}/tool_calls")).unwrap_or_default();
        let call = |at: usize| {
            let members = document.get(&format!("{message}/tool_calls/{at}"))?.strip_prefix('{')?;
            let (index, comma) = (self.sent + at, if members == "}" { "" } else { "," });
            Some(format!(r#""tool_calls":[{{"index":{index}{comma}{members}]"#))
        };
        let legacy = document.get(&format!("{message}/function_call"));
        let legacy = legacy.map(|call| format!(r#""function_call":{call}"#));
        let index = self.index;
        let chunk = |delta: String| {
            let choices = format!(r#"[{{"index":{index},"delta":{{{delta}}},"finish_reason":null}}]"#);
            Chunk::like(pattern, &choices)
        };
        let chunks = calls.clone().filter_map(call).chain(legacy).map(chunk).collect();
        self.sent += calls.len();
        chunks
    }
}

/// Returns the members with deltas of calls. Some servers put a whole message into a chunk.
fn parts(document: &Document) -> Vec<Part> {
    let mut parts = Vec::new();
    for at in 0..document.len("/choices").unwrap_or_default() {
        for outer in ["delta", "message"] {
            for (member, first) in [("tool_calls", '['), ("function_call", '{')] {
                let pointer = format!("/choices/{at}/{outer}/{member}");
                let Some(json) = document.get(&pointer).filter(|json| json.starts_with(first)) else {
                    continue;
                };
                if document.len(&pointer) == Some(0) {
                    continue;
                }
                let choice = index_at(document, at);
                let chunk = format!(r#"{{"choices":[{{"index":{choice},"delta":{{"{member}":{json}}}}}]}}"#);
                parts.push(Part { pointer, choice, chunk });
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t5_a_chunk_without_a_call_is_not_parsed() {
        for (chunk, may) in [
            (r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#, false),
            (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
            (r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#, true),
            (r#"{"choices":[{"delta":{"tool\u005fcalls":[{"index":0}]}}]}"#, true),
        ] {
            assert_eq!(may_have_calls(chunk.as_bytes()), may, "{chunk}");
            assert_eq!(Deltas::default().skips(chunk.as_bytes()), !may, "{chunk}");
        }
    }
}
