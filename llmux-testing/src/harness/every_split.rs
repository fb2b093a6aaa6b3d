//! An answer at every split: the client must read the same, however the provider cuts its texts.
//!
//! Plugin authors use it in tests, and `llmux plugin try --split every` runs it on a library. `splits` makes the chunks.

use std::{collections::BTreeMap, fmt};

use llmux_core::{Endpoint, Request};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Harness, HarnessReply, value_of};
use crate::{
    splits::{Cut, Splits, index, texts_of},
    turn::Turn,
};

/// First split of an answer at which the client reads something else than for the whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitDifference {
    /// Name of the text that is split, for example `choice 0, content`. `None` if each character of each text is a chunk.
    pub text: Option<String>,
    /// The two pieces of the text. Empty if each character of each text is a chunk.
    pub pieces: Vec<String>,
    /// Texts that the client reads at this split and not for the whole answer, by their places. Empty where it reads
    /// nothing.
    pub read: BTreeMap<String, String>,
    /// Texts that the client reads for the whole answer, at the same places.
    pub expected: BTreeMap<String, String>,
    /// Hooks that failed, one sentence each.
    pub failures: Vec<String>,
}

impl fmt::Display for SplitDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.text, &*self.pieces) {
            (Some(text), [first, second]) => {
                write!(f, "{text} comes as {:?} and {:?}", end_of(first), begin_of(second))?;
            }
            _ => f.write_str("each character comes in a chunk of its own")?,
        }
        for (place, expected) in &self.expected {
            let read = self.read.get(place).map(String::as_str).unwrap_or_default();
            let common = read.chars().zip(expected.chars()).take_while(|(read, expected)| read == expected);
            let from = common.count().saturating_sub(SHOWN / 2);
            let [read, expected] = [read, expected].map(|text| part_of(text, from));
            write!(f, "\n  {place}: the client reads {read:?}, expected {expected:?}")?;
        }
        self.failures.iter().try_for_each(|failure| write!(f, "\n  failed: {failure}"))
    }
}

impl std::error::Error for SplitDifference {}

/// Longest part of a text in a message, in characters.
const SHOWN: usize = 60;

/// Returns the part of a text from a character on, with `…` for what is left out.
fn part_of(text: &str, from: usize) -> String {
    let before = if from > 0 { "…" } else { "" };
    let after = if text.chars().count() > from + SHOWN { "…" } else { "" };
    let part: String = text.chars().skip(from).take(SHOWN).collect();
    format!("{before}{part}{after}")
}

fn begin_of(text: &str) -> String {
    part_of(text, 0)
}

fn end_of(text: &str) -> String {
    part_of(text, text.chars().count().saturating_sub(SHOWN))
}

impl Harness {
    /// Sends a streaming request again and again, each time with another split of the provider's answer, and asserts that
    /// the client always reads the same: texts, tool calls, reasons of the end, and the error.
    ///
    /// The answer is a text, the JSON of a response, or an array of chunks. A text becomes a response of the request's
    /// endpoint. Each text of the answer is cut into two chunks at every character, and once into its characters. If the
    /// request ends with an error, a client may have read a beginning of the text, which differs from split to split.
    ///
    /// Returns the reply to the stream of single characters. The clients of all other splits read the same, or before an
    /// error a beginning of it.
    ///
    /// # Panics
    ///
    /// If a client reads something else, if a hook fails, or if the answer has no text or more than
    /// [`Splits::MAX_BYTES`].
    pub async fn every_split(&self, request: Request, answer: impl Serialize) -> HarnessReply {
        let splits = match value_of("an answer", answer) {
            Value::Array(chunks) => Splits::of_chunks(&chunks),
            Value::String(text) => Splits::of_response(&said(request.endpoint(), &text)),
            response => Splits::of_response(&response),
        };
        let splits = splits.unwrap_or_else(|error| panic!("{error}"));
        self.try_every_split(&request, &splits, |_| {})
            .await
            .unwrap_or_else(|difference| panic!("{difference}"))
    }

    /// Does as [`every_split`](Self::every_split) does, and calls `progress` with the number of splits before each of them.
    ///
    /// # Errors
    ///
    /// First difference between the clients.
    pub async fn try_every_split(
        &self,
        request: &Request,
        splits: &Splits,
        mut progress: impl FnMut(usize),
    ) -> Result<HarnessReply, SplitDifference> {
        let (_, whole) = self.at_split(request, splits, Cut::Whole).await;
        let (reply, longest) = self.at_split(request, splits, Cut::Characters).await;
        for (number, cut) in splits.cuts().enumerate() {
            progress(number);
            let (_, reading) = self.at_split(request, splits, cut).await;
            reading.compare(&whole, &longest).map_err(|difference| difference.at(splits.pieces(cut)))?;
        }
        longest.compare(&whole, &longest)?;
        whole.compare(&whole, &longest)?;
        Ok(reply)
    }

    async fn at_split(&self, request: &Request, splits: &Splits, cut: Cut) -> (HarnessReply, Reading) {
        self.provider.replace(Turn::chunks(&splits.chunks(cut), None));
        let reply = self.stream_request(request.clone()).await;
        let reading = Reading::of(&reply);
        (reply, reading)
    }
}

/// Everything that a client reads of a stream, without its cuts.
struct Reading {
    /// Texts, tool calls and reasons, each by its place.
    places: BTreeMap<String, String>,
    error: Option<String>,
    failures: Vec<String>,
}

/// Name of the error among the places.
const ERROR: &str = "error";

impl Reading {
    fn of(reply: &HarnessReply) -> Self {
        let mut places = BTreeMap::<String, String>::new();
        for chunk in reply.chunks() {
            for (place, text) in texts_of(chunk) {
                places.entry(place.name).or_default().push_str(text);
            }
            labels(chunk, &mut |name, label| drop(places.insert(name, label)));
        }
        places.retain(|_, text| !text.is_empty());
        let error =
            reply.error().map(|error| String::from_utf8_lossy(&error.document().to_bytes()).into_owned());
        Self { places, error, failures: reply.failures().to_vec() }
    }

    /// Compares with the reading of the whole answer. If that ends with an error, the texts before it are a beginning of
    /// the longest ones.
    fn compare(&self, whole: &Reading, longest: &Reading) -> Result<(), SplitDifference> {
        let expected = if whole.error.is_some() { longest } else { whole };
        let mut names: Vec<&String> = self.places.keys().chain(expected.places.keys()).collect();
        names.sort();
        names.dedup();
        let text = |reading: &Reading, name: &str| reading.places.get(name).cloned().unwrap_or_default();
        let mut differences: Vec<(String, String, String)> =
            names.into_iter().map(|name| (name.clone(), text(self, name), text(expected, name))).collect();
        differences.retain(|(_, read, expected)| match whole.error {
            Some(_) => !expected.starts_with(read.as_str()),
            None => read != expected,
        });
        if self.error != whole.error {
            let error = |reading: &Reading| reading.error.clone().unwrap_or_default();
            differences.push((ERROR.to_owned(), error(self), error(whole)));
        }
        if differences.is_empty() && self.failures.is_empty() {
            return Ok(());
        }
        let failures = self.failures.clone();
        let mut difference = SplitDifference {
            text: None,
            pieces: Vec::new(),
            read: BTreeMap::new(),
            expected: BTreeMap::new(),
            failures,
        };
        for (name, read, expected) in differences {
            difference.read.insert(name.clone(), read);
            difference.expected.insert(name, expected);
        }
        Err(difference)
    }
}

impl SplitDifference {
    fn at(mut self, pieces: Option<(&str, [&str; 2])>) -> Self {
        if let Some((text, pieces)) = pieces {
            self.text = Some(text.to_owned());
            self.pieces = pieces.map(str::to_owned).to_vec();
        }
        self
    }
}

/// Reports everything in a chunk that a client reads beside the texts, each with its place.
fn labels(chunk: &Value, report: &mut impl FnMut(String, String)) {
    match chunk["type"].as_str() {
        Some("response.output_item.done") => {
            report(format!("output item {}", chunk["output_index"]), chunk["item"].to_string());
        }
        Some(kind @ ("response.completed" | "response.incomplete" | "response.failed")) => {
            report(kind.to_owned(), chunk["response"]["output"].to_string());
        }
        _ => {}
    }
    for (at, choice) in chunk["choices"].as_array().into_iter().flatten().enumerate() {
        let name = format!("choice {}", index(choice, at));
        let mut label = |name: String, value: &Value| {
            let text = value.as_str().filter(|text| !text.is_empty());
            text.into_iter().for_each(|text| report(name.clone(), text.to_owned()));
        };
        label(format!("{name}, finish_reason"), &choice["finish_reason"]);
        label(format!("{name}, function_call, name"), &choice["delta"]["function_call"]["name"]);
        for (at, call) in choice["delta"]["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let name = format!("{name}, tool call {}", index(call, at));
            label(format!("{name}, id"), &call["id"]);
            label(format!("{name}, name"), &call["function"]["name"]);
            label(format!("{name}, name"), &call["custom"]["name"]);
        }
    }
}

/// Returns a response of an endpoint with this text.
fn said(endpoint: Endpoint, text: &str) -> Value {
    match endpoint {
        Endpoint::Responses => json!({
            "id": "resp_scripted", "object": "response", "created_at": 0, "status": "completed",
            "output": [{
                "id": "msg_scripted", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            }],
        }),
        Endpoint::Completions => json!({
            "id": "cmpl-scripted", "object": "text_completion", "created": 0,
            "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
        }),
        _ => json!({
            "id": "chatcmpl-scripted", "object": "chat.completion", "created": 0,
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop",
            }],
        }),
    }
}

#[cfg(test)]
mod tests;
