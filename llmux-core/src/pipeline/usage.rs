//! The tokens of one attempt: as its provider reported them, or estimated from the texts.
//!
//! `run` and `stream` measure what a provider sent, before any hook sees it. So a plugin that replaces an answer changes
//! nothing here. Deliberately absent: the answers of plugins, which use no tokens of a provider.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use llmux_abi::{Usage, convert::Repeat};
use memchr::{memchr, memchr2, memmem::Finder};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{
    Endpoint,
    document::Document,
    provider::{Choices, Events},
};

/// Time limit and bound in bytes for reading the usage of a stream that its reader left at the end.
const LATE_USAGE: Duration = Duration::from_secs(2);
const MAX_LATE_BYTES: usize = 256 * 1024;

/// Bytes of text for each token of an estimate.
const BYTES_PER_TOKEN: usize = 4;

/// The members whose strings are the texts of a request, a response or a chunk, for an estimate.
const TEXTS: [&[u8]; 11] = [
    b"arguments",
    b"content",
    b"delta",
    b"input",
    b"instructions",
    b"output",
    b"prompt",
    b"reasoning",
    b"reasoning_content",
    b"refusal",
    b"text",
];

/// The measure of one answer of a provider.
#[derive(Default)]
pub(super) struct Meter {
    reported: Option<Usage>,
    /// Bytes of the answer's texts so far; `None` while nothing of an answer has arrived.
    text: Option<usize>,
    /// The choices of a stream of chunks.
    choices: Choices,
    /// The first chunk of the frame: bytes of its texts, and the place where they begin. `None` if it adds no text.
    first: Option<(usize, usize)>,
}

impl Meter {
    /// Measures a whole response.
    pub(super) fn of_response(response: &Document) -> Self {
        let reported = usage_of(response);
        let text = if reported.is_some() { 0 } else { text_bytes(&response.to_bytes()) };
        Self { reported, text: Some(text), ..Self::default() }
    }

    /// Measures a chunk. `repeat` is set if it repeats the frame of the chunk before.
    pub(super) fn read(&mut self, endpoint: Endpoint, data: &Bytes, repeat: Option<Repeat>) {
        let bytes = repeat.zip(self.first).and_then(|(repeat, (bytes, start))| {
            bytes.checked_add_signed(repeat.growth).filter(|_| start <= repeat.start)
        });
        let bytes = bytes.unwrap_or_else(|| {
            let start = texts_start(endpoint, data);
            let bytes = start.map_or(0, |start| text_bytes(&data[start..]));
            if repeat.is_none() {
                self.choices.read(data);
                self.reported = stated_usage(data).or(self.reported);
                self.first = start.map(|start| (bytes, start));
            }
            bytes
        });
        self.text = Some(self.text.unwrap_or(0).saturating_add(bytes));
    }

    /// Returns true if the stream is at its end, and may still state its usage.
    pub(super) fn awaits_usage(&self) -> bool {
        self.choices.have_ended() && self.reported.is_none()
    }

    /// Returns true if every choice of the stream had a `finish_reason` (rule S9).
    pub(super) fn has_finished(&self) -> bool {
        self.choices.have_ended()
    }

    /// Returns the usage that the provider reported, or an estimate if something of its answer has arrived.
    pub(super) fn usage(&self, request: &Document) -> Option<Usage> {
        self.reported.or_else(|| {
            let tokens = |bytes: usize| bytes.div_ceil(BYTES_PER_TOKEN) as u64;
            let mut usage = Usage::new(tokens(text_bytes(&request.to_bytes())), tokens(self.text?));
            usage.is_estimated = true;
            Some(usage)
        })
    }
}

/// Reads on in a stream that its reader left at the end, for a bounded time, until a chunk states the usage.
pub(super) async fn late_usage(mut events: Events) -> Option<Usage> {
    let read = async {
        let mut left = MAX_LATE_BYTES;
        loop {
            let event = events.next().await?.ok()?;
            if let Some(usage) = stated_usage(&event.data) {
                return Some(usage);
            }
            left = left.checked_sub(event.data.len())?;
        }
    };
    timeout(LATE_USAGE, read).await.ok().flatten()
}

/// Returns the usage that a response or chunk states, by the names of either API.
fn usage_of(document: &Document) -> Option<Usage> {
    let text = document.get("/usage").or_else(|| document.get("/response/usage"))?;
    let stated: Stated<'_> = serde_json::from_str(text).ok()?;
    let number = |json: Option<&RawValue>| json?.get().parse().ok();
    let prompt_tokens: Option<u64> = number(stated.prompt_tokens).or_else(|| number(stated.input_tokens));
    let completion_tokens = number(stated.completion_tokens).or_else(|| number(stated.output_tokens));
    prompt_tokens.or(completion_tokens)?;
    let mut usage = Usage::new(prompt_tokens.unwrap_or(0), completion_tokens.unwrap_or(0));
    if let Some(total) = number(stated.total_tokens) {
        usage.total_tokens = total;
    }
    Some(usage)
}

/// The numbers of a `usage`, by the names of either API. A value that is not a whole number counts as absent.
#[derive(Deserialize)]
struct Stated<'t> {
    #[serde(borrow, default)]
    prompt_tokens: Option<&'t RawValue>,
    #[serde(borrow, default)]
    input_tokens: Option<&'t RawValue>,
    #[serde(borrow, default)]
    completion_tokens: Option<&'t RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'t RawValue>,
    #[serde(borrow, default)]
    total_tokens: Option<&'t RawValue>,
}

fn stated_usage(data: &Bytes) -> Option<Usage> {
    if !states_usage(data) {
        return None;
    }
    usage_of(&Document::parse_lenient(data.clone()).ok()?)
}

/// Returns true if the text may have a member `usage` that is an object: a cheap test before parsing.
pub(super) fn states_usage(data: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    let mut rest = data;
    // Not `find_iter`, which copies the finder.
    while let Some(at) = NAME.find(rest) {
        rest = &rest[at + NAME.needle().len()..];
        if rest.iter().find(|byte| !matches!(byte, b' ' | b':' | b'\t')) == Some(&b'{') {
            return true;
        }
    }
    false
}

/// Returns where the texts that a chunk adds begin. The events of `responses` that repeat a text have no `delta`.
fn texts_start(endpoint: Endpoint, data: &[u8]) -> Option<usize> {
    static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"delta\""));
    match endpoint {
        Endpoint::Completions => Some(0),
        _ => DELTA.find(data),
    }
}

/// Returns the bytes of the strings that [`TEXTS`] name, in a JSON text or in the rest of one. Elements of a list count
/// for the member that holds the list.
fn text_bytes(json: &[u8]) -> usize {
    let (mut bytes, mut counts, mut at) = (0, false, 0);
    while let Some(quote) = memchr(b'"', &json[at..]) {
        let start = at + quote + 1;
        let Some(length) = string_length(&json[start..]) else { break };
        let end = start + length;
        at = end + 1;
        if json[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':') {
            counts = TEXTS.contains(&&json[start..end]);
        } else if counts {
            bytes += length;
        }
    }
    bytes
}

/// Returns the length of a string's content, from its beginning to the quote that ends it.
fn string_length(content: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', content.get(at..)?)?;
        if content[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use llmux_abi::convert::Frames;

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.to_owned()).expect("JSON")
    }

    #[test]
    fn c1_texts_are_counted_and_nothing_else() {
        for (text, expected) in [
            (r#"{"model":"model","messages":[{"role":"user","content":"12345678"}]}"#, 8),
            (
                r#"{"messages":[{"content" : [{"type":"text","text":"1234"},{"image_url":{"url":"data:…"}}]}]}"#,
                4,
            ),
            (r#"{"input":["123","45"],"user":"ann"}"#, 5),
            (r#"{"content":"a \"quote\" \\","id":"x"}"#, 14),
            (r#"{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}"#, 2),
            (r#"{"content":null,"role":"assistant"}"#, 0),
            (r#"{"content":"without an end"#, 0),
            (r#"{"content":"\"#, 0),
            ("", 0),
        ] {
            assert_eq!(text_bytes(text.as_bytes()), expected, "{text}");
        }
    }

    /// Returns the bytes of text that a chunk adds.
    fn added(endpoint: Endpoint, chunk: &str) -> usize {
        let mut meter = Meter::default();
        meter.read(endpoint, &chunk.to_owned().into(), None);
        meter.text.unwrap_or(0)
    }

    #[test]
    fn c1_a_chunk_counts_its_new_text_once() {
        use Endpoint::{ChatCompletions, Completions, Responses};
        for (endpoint, chunk, expected) in [
            (
                ChatCompletions,
                r#"{"id":"x","choices":[{"delta":{"content":"1234"},"finish_reason":"stop"}]}"#,
                4,
            ),
            (Completions, r#"{"id":"x","choices":[{"text":"123","index":0}]}"#, 3),
            (Responses, r#"{"type":"response.output_text.delta","delta":"12"}"#, 2),
            (Responses, r#"{"type":"response.output_text.done","text":"1234"}"#, 0),
        ] {
            assert_eq!(added(endpoint, chunk), expected, "{chunk}");
        }
    }

    #[test]
    fn c1_chunks_of_one_frame_count_like_any_other() {
        let chat = |text: &str, more: &str| {
            format!(r#"{{"content":"abc","choices":[{{"index":0,"delta":{{"content":"{text}"{more}}}}}]}}"#)
        };
        let delta = |text: &str| format!(r#"{{"choices":[{{"delta":{{"content":"{text}","name":"n"}}}}]}}"#);
        let shared = r#","tool_calls":[{"function":{"arguments":"12345"}}],"obfuscation":"xyz""#;
        for stream in [
            vec![chat("a", ""), chat("bc", ""), chat("def", "")],
            vec![delta("a"), delta("bc"), delta(""), delta("d\\n"), delta("e"), delta("f")],
            vec![delta("a").replace("}]}", shared), delta("bcd").replace("}]}", shared)],
            vec![delta("a"), chat("b", ""), chat("cd", ""), chat("e", r#","text":"f""#), delta("g")],
        ] {
            let (mut meter, mut frames) = (Meter::default(), Frames::default());
            for chunk in &stream {
                let repeat = frames.read(chunk.as_bytes());
                meter.read(Endpoint::ChatCompletions, &chunk.clone().into(), repeat);
            }
            let each = stream.iter().map(|chunk| added(Endpoint::ChatCompletions, chunk));
            assert_eq!(meter.text, Some(each.sum()), "{stream:?}");
        }
    }

    #[test]
    fn c1_an_estimate_is_a_quarter_of_the_texts_and_only_of_an_answer_that_arrived() {
        let request = document(r#"{"model":"m","messages":[{"role":"user","content":"12345"}]}"#);
        assert_eq!(Meter::default().usage(&request), None);
        let answer = Meter::of_response(&document(r#"{"choices":[{"message":{"content":"123456789"}}]}"#));
        let usage = answer.usage(&request).expect("an estimate");
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (2, 3, 5));
        assert!(usage.is_estimated);
        let reported =
            Meter::of_response(&document(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#));
        assert_eq!(reported.usage(&request), Some(Usage::new(3, 4)));
    }

    #[test]
    fn c1_a_usage_is_read_by_the_names_of_either_api_and_only_its_whole_numbers_count() {
        for (usage, expected) in [
            (r#"{"input_tokens":3,"output_tokens":4,"total_tokens":9}"#, Some((3, 4, 9))),
            (r#"{"prompt_tokens":null,"input_tokens":3,"details":{"a":[1]}}"#, Some((3, 0, 3))),
            (r#"{"prompt_tokens":3.5,"completion_tokens":4}"#, Some((0, 4, 4))),
            (r#"{"prompt_tokens":"3","completion_tokens":-1}"#, None),
            ("[]", None),
            ("7", None),
        ] {
            let read = usage_of(&document(&format!(r#"{{"usage":{usage}}}"#)));
            let read = read.map(|usage| (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens));
            assert_eq!(read, expected, "{usage}");
        }
    }
}
