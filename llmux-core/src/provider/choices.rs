//! The choices of a stream of chunks: which have begun, and which have ended (rule S9).
//!
//! `end_of_stream.rs` judges a provider's stream by it, and the pipeline reports it. Most streams have one choice, whose
//! chunks are not parsed.

use std::{collections::BTreeMap, sync::LazyLock};

use memchr::memmem::Finder;
use serde::Deserialize;

use crate::document::Document;

/// The choices of one stream. A choice has ended once a chunk gave it a `finish_reason` that is not empty.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    /// Choice 0: `None` if it has not begun, otherwise whether it has ended.
    first: Option<bool>,
    /// The other choices, each with whether it has ended.
    others: BTreeMap<u64, bool>,
}

/// A choice in a chunk.
#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    finish_reason: Option<String>,
}

impl Choices {
    /// Takes the choices of a chunk; one that differs from the chunk before in texts alone needs no call. Quotes inside a JSON
    /// string are escaped, so a match is a member's name.
    pub(crate) fn read(&mut self, chunk: &[u8]) {
        static INDEX: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"index\""));
        let mut indices = values(&INDEX, chunk).peekable();
        let begins = indices.peek().is_some();
        // A tool call has an index, too.
        if indices.any(|value| !is_zero(value)) && self.read_each(chunk).is_some() {
            return;
        }
        let ends = has_finish_reason(chunk);
        if begins || ends {
            self.first = Some(ends || self.first == Some(true));
        }
    }

    /// Takes the choices of a chunk that may have several.
    fn read_each(&mut self, chunk: &[u8]) -> Option<()> {
        let document = Document::parse_lenient(chunk.to_vec()).ok()?;
        let choices: Vec<Choice> = serde_json::from_str(document.get("/choices")?).ok()?;
        for Choice { index, finish_reason } in choices {
            let ends = finish_reason.is_some_and(|reason| !reason.is_empty());
            match index {
                0 => self.first = Some(ends || self.first == Some(true)),
                other => *self.others.entry(other).or_default() |= ends,
            }
        }
        Some(())
    }

    /// Returns true if a choice has begun, and every choice that has begun has ended.
    pub(crate) fn have_ended(&self) -> bool {
        let mut choices = self.first.iter().chain(self.others.values()).peekable();
        choices.peek().is_some() && choices.all(|&ended| ended)
    }
}

/// Returns true if a chunk has a `finish_reason` that is a string and not empty.
fn has_finish_reason(chunk: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
    values(&NAME, chunk).any(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
}

/// Returns the text after each member of a name.
fn values<'c>(name: &'c Finder<'static>, chunk: &'c [u8]) -> impl Iterator<Item = &'c [u8]> {
    name.find_iter(chunk).filter_map(move |at| {
        let rest = chunk[at + name.needle().len()..].trim_ascii_start();
        Some(rest.strip_prefix(b":")?.trim_ascii_start())
    })
}

/// Returns true if a text begins with the number 0.
fn is_zero(text: &[u8]) -> bool {
    text.first() == Some(&b'0') && !text.get(1).is_some_and(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the chunks of a stream, each given as its choices, and returns whether they have ended.
    fn have_ended(chunks: &[&str]) -> bool {
        let mut choices = Choices::default();
        for chunk in chunks {
            choices.read(format!(r#"{{"id":"x","choices":[{chunk}]}}"#).as_bytes());
        }
        choices.have_ended()
    }

    #[test]
    fn s9_every_choice_that_began_has_a_reason_that_is_not_empty() {
        let cases: &[(&[&str], bool)] = &[
            (&[], false),
            (&[""], false),
            (&[r#"{"index":0,"delta":{"content":"a"}}"#], false),
            (&[r#"{"index":0,"delta":{},"finish_reason":"stop"}"#], true),
            (&[r#"{"delta":{},"finish_reason" : "stop"}"#], true),
            (&[r#"{"index":0,"finish_reason":""}"#], false),
            (&[r#"{"index":0,"finish_reason":null}"#], false),
            (&[r#"{"index":0,"finish_reason":"stop"}"#, r#"{"index":0,"finish_reason":null}"#, ""], true),
            (&[r#"{"index":0,"delta":{"content":"\"finish_reason\":\"stop\""}}"#], false),
            (&[r#"{"index":0}"#, r#"{"index":1}"#, r#"{"index":0,"finish_reason":"stop"}"#], false),
            (&[r#"{"index":0,"finish_reason":"stop"}"#, r#"{"index":1,"finish_reason":"length"}"#], true),
            (&[r#"{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":""}"#], false),
            (&[r#"{"index":0,"finish_reason":"stop"},{"index":10,"finish_reason":"stop"}"#], true),
            (&[r#"{"index":1,"finish_reason":"stop"}"#], true),
            // The index of a tool call is not that of a choice.
            (
                &[
                    r#"{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c"}]}}"#,
                    r#"{"index":0,"finish_reason":"tool_calls"}"#,
                ],
                true,
            ),
            (
                &[
                    r#"{"index":0,"delta":{"content":"a"},"finish_reason":null}"#,
                    r#"{"index":0,"delta":{"content":"b"},"finish_reason":null}"#,
                    r#"{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}"#,
                ],
                true,
            ),
            (&[r#"{"index":1,"logprob":-Infinity}"#, r#"{"index":0,"finish_reason":"stop"}"#], false),
        ];
        for (chunks, expected) in cases {
            assert_eq!(have_ended(chunks), *expected, "{chunks:?}");
        }
    }
}
