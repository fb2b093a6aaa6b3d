//! The places of the texts in the bodies of each endpoint.
//!
//! The guide has the same list for authors ("Texts"). Deliberately absent: every other string. An identifier, an address or an
//! image is no text.

use super::subject::Channel;
use crate::{
    Endpoint,
    document::Document,
    pipeline::choices::{index, index_at},
};

/// A place with a text.
pub(super) struct Place<'d> {
    /// The JSON Pointer of the text.
    pub(super) pointer: String,
    pub(super) text: &'d str,
    pub(super) key: Key,
    pub(super) channel: Channel,
    pub(super) role: &'d str,
    pub(super) tool: &'d str,
    /// The place of the log probabilities that belong to the text, and the JSON that stands for none.
    pub(super) probabilities: Option<(String, &'static str)>,
}

/// Distinguishes the texts of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// The index of the choice, or of the output item.
    pub(super) choice: u32,
    /// The index of the content part, of the part of a summary, or of the tool call.
    pub(super) part: u32,
    /// The member, by its place in a table.
    pub(super) member: usize,
}

/// A member with a text, below a message or a delta.
pub(super) struct Member {
    pub(super) path: &'static str,
    pub(super) channel: Channel,
}

/// The members of a message and of a delta.
pub(super) const MEMBERS: [Member; 6] = [
    Member { path: "content", channel: Channel::Content },
    Member { path: "reasoning_content", channel: Channel::Reasoning },
    Member { path: "reasoning", channel: Channel::Reasoning },
    Member { path: "refusal", channel: Channel::Refusal },
    Member { path: "audio/transcript", channel: Channel::Transcript },
    Member { path: "function_call/arguments", channel: Channel::Arguments },
];

/// Keys of texts that are not in [`MEMBERS`].
pub(super) const PARTS: usize = MEMBERS.len();
pub(super) const TOOL_ARGUMENTS: usize = MEMBERS.len() + 1;
pub(super) const TOOL_INPUT: usize = MEMBERS.len() + 2;
pub(super) const COMPLETION: usize = MEMBERS.len() + 3;

/// The texts of a tool call, by the kind of the tool.
pub(super) const TOOLS: [(&str, &str, usize); 2] =
    [("function/arguments", "function/name", TOOL_ARGUMENTS), ("custom/input", "custom/name", TOOL_INPUT)];

/// Returns the texts of a request.
pub(super) fn of_request(document: &Document, endpoint: Endpoint) -> Vec<Place<'_>> {
    let mut places = Places { document, found: Vec::new() };
    match endpoint {
        Endpoint::ChatCompletions => {
            for at in 0..places.len("/messages") {
                let message = format!("/messages/{at}");
                let role = document.get_str(&format!("{message}/role")).unwrap_or_default();
                places.message(&message, role, 0, None);
            }
            places.text_or_parts("/prediction/content", "", Channel::Content, Key::default());
        }
        Endpoint::Completions => {
            places.text_or_list("/prompt");
            places.text("/suffix".to_owned(), "", Channel::Content, Key::default());
        }
        Endpoint::Embeddings | Endpoint::Moderations => {
            places.text_or_list("/input");
            places.parts("/input", "", Key::default());
        }
        Endpoint::Responses => {
            places.text("/instructions".to_owned(), "system", Channel::Content, Key::default());
            places.text("/input".to_owned(), "user", Channel::Content, Key::default());
            for at in 0..places.len("/input") {
                places.item(&format!("/input/{at}"), 0);
            }
        }
        Endpoint::ImageGenerations => {
            places.text("/prompt".to_owned(), "", Channel::Content, Key::default());
        }
        Endpoint::Speech => {
            places.text("/input".to_owned(), "", Channel::Content, Key::default());
            places.text("/instructions".to_owned(), "", Channel::Content, Key::default());
        }
        Endpoint::Rerank => {
            places.text("/query".to_owned(), "", Channel::Content, Key::default());
            places.text_or_list("/documents");
            places.parts("/documents", "", Key::default());
        }
        Endpoint::ResponseRetrieval | Endpoint::ResponseDeletion | Endpoint::ResponseCancellation => {}
    }
    places.found
}

/// Returns the texts of an answer that does not stream.
pub(super) fn of_answer(document: &Document, endpoint: Endpoint) -> Vec<Place<'_>> {
    let mut places = Places { document, found: Vec::new() };
    match endpoint {
        Endpoint::ChatCompletions | Endpoint::Completions => {
            for at in 0..places.len("/choices") {
                let base = format!("/choices/{at}");
                let choice = index_at(document, at);
                let probabilities = format!("{base}/logprobs");
                let has = document.get(&probabilities).is_some_and(|json| json != "null");
                let probabilities = has.then_some((probabilities, "null"));
                places.message(&format!("{base}/message"), "assistant", choice, probabilities.clone());
                places.completion(base, choice, probabilities);
            }
        }
        Endpoint::Responses | Endpoint::ResponseRetrieval | Endpoint::ResponseCancellation => {
            places.output("");
        }
        Endpoint::ImageGenerations => {
            for at in 0..places.len("/data") {
                let key = Key { choice: at as u32, ..Key::default() };
                places.text(format!("/data/{at}/revised_prompt"), "assistant", Channel::Content, key);
            }
        }
        Endpoint::Embeddings
        | Endpoint::Moderations
        | Endpoint::Rerank
        | Endpoint::Speech
        | Endpoint::ResponseDeletion => {}
    }
    places.found
}

/// Returns the texts of a chat or completion chunk.
pub(super) fn of_chunk(document: &Document) -> Vec<Place<'_>> {
    let mut places = Places { document, found: Vec::new() };
    for at in 0..places.len("/choices") {
        let base = format!("/choices/{at}");
        let choice = index_at(document, at);
        places.message(&format!("{base}/delta"), "assistant", choice, None);
        places.completion(base, choice, None);
    }
    places.found
}

/// Returns the texts of an output item at a place.
pub(super) fn of_item<'d>(document: &'d Document, base: &str, choice: u32) -> Vec<Place<'d>> {
    let mut places = Places { document, found: Vec::new() };
    places.item(base, choice);
    places.found
}

/// Returns the texts of a part of an output item at a place.
pub(super) fn of_part<'d>(document: &'d Document, base: &str, key: Key, is_summary: bool) -> Vec<Place<'d>> {
    let mut places = Places { document, found: Vec::new() };
    places.part(base, "assistant", key, is_summary);
    places.found
}

/// Returns the texts of the output of a response object at a place.
pub(super) fn of_output<'d>(document: &'d Document, base: &str) -> Vec<Place<'d>> {
    let mut places = Places { document, found: Vec::new() };
    places.output(base);
    places.found
}

/// The kinds of texts of an output item, in the order of `event::KINDS`.
pub(super) mod item {
    pub(in super::super) const OUTPUT_TEXT: usize = 0;
    pub(in super::super) const REFUSAL: usize = 1;
    pub(in super::super) const REASONING: usize = 2;
    pub(in super::super) const SUMMARY: usize = 3;
    pub(in super::super) const ARGUMENTS: usize = 4;
    pub(in super::super) const INPUT: usize = 5;
    pub(in super::super) const CODE: usize = 6;
    pub(in super::super) const OUTPUT: usize = 7;
    pub(in super::super) const TRANSCRIPT: usize = 8;
}

/// Collects places.
struct Places<'d> {
    document: &'d Document,
    found: Vec<Place<'d>>,
}

impl<'d> Places<'d> {
    fn len(&self, pointer: &str) -> usize {
        self.document.len(pointer).unwrap_or_default()
    }

    fn text(&mut self, pointer: String, role: &'d str, channel: Channel, key: Key) {
        if let Some(text) = self.document.get_str(&pointer) {
            let (tool, probabilities) = ("", None);
            self.found.push(Place { pointer, text, key, channel, role, tool, probabilities });
        }
    }

    /// A string, or the parts of a list.
    fn text_or_parts(&mut self, pointer: &str, role: &'d str, channel: Channel, key: Key) {
        self.text(pointer.to_owned(), role, channel, key);
        self.parts(pointer, role, key);
    }

    /// A string, or a list of strings.
    fn text_or_list(&mut self, pointer: &str) {
        self.text(pointer.to_owned(), "", Channel::Content, Key::default());
        for at in 0..self.len(pointer) {
            self.text(format!("{pointer}/{at}"), "", Channel::Content, Key::default());
        }
    }

    /// The parts of a list. `key` is that of the whole list.
    fn parts(&mut self, pointer: &str, role: &'d str, key: Key) {
        if !self.document.get(pointer).is_some_and(|json| json.starts_with('[')) {
            return;
        }
        for at in 0..self.len(pointer) {
            let key = Key { part: at as u32, member: PARTS, ..key };
            self.part(&format!("{pointer}/{at}"), role, key, false);
        }
    }

    /// The texts of one content part.
    fn part(&mut self, base: &str, role: &'d str, key: Key, is_summary: bool) {
        let kind = self.document.get_str(&format!("{base}/type")).unwrap_or_default();
        let (channel, member) = match kind {
            "refusal" => (Channel::Refusal, item::REFUSAL),
            "reasoning_text" | "thinking" => (Channel::Reasoning, item::REASONING),
            "summary_text" => (Channel::Reasoning, item::SUMMARY),
            "output_audio" => (Channel::Transcript, item::TRANSCRIPT),
            _ if is_summary => (Channel::Reasoning, item::SUMMARY),
            _ => (Channel::Content, item::OUTPUT_TEXT),
        };
        // A list of parts in a message has keys of its own.
        let key = Key { member: if key.member == PARTS { PARTS } else { member }, ..key };
        let from = self.found.len();
        self.text(format!("{base}/text"), role, channel, key);
        self.text(format!("{base}/refusal"), role, Channel::Refusal, key);
        self.text(format!("{base}/transcript"), role, Channel::Transcript, key);
        let probabilities = format!("{base}/logprobs");
        if self.document.get(&probabilities).is_some_and(|json| json != "[]") {
            for place in &mut self.found[from..] {
                place.probabilities = Some((probabilities.clone(), "[]"));
            }
        }
    }

    /// The texts of a message of the chat API, or of a delta.
    fn message(
        &mut self,
        base: &str,
        role: &'d str,
        choice: u32,
        probabilities: Option<(String, &'static str)>,
    ) {
        if self.document.len(base).is_none() {
            return;
        }
        let from = self.found.len();
        for (member, Member { path, channel }) in MEMBERS.iter().enumerate() {
            let key = Key { choice, part: 0, member };
            self.text(format!("{base}/{path}"), role, *channel, key);
            if member == 0 {
                self.parts(&format!("{base}/{path}"), role, Key { choice, ..Key::default() });
            }
        }
        let calls = format!("{base}/tool_calls");
        for at in 0..self.len(&calls) {
            let call = format!("{calls}/{at}");
            let part = index(self.document, &call).unwrap_or(at as u32);
            for (path, name, member) in TOOLS {
                let key = Key { choice, part, member };
                let tool = self.document.get_str(&format!("{call}/{name}")).unwrap_or_default();
                let text = self.found.len();
                self.text(format!("{call}/{path}"), role, Channel::Arguments, key);
                self.found[text..].iter_mut().for_each(|place| place.tool = tool);
            }
        }
        self.found[from..].iter_mut().for_each(|place| place.probabilities.clone_from(&probabilities));
    }

    /// The text of a choice of the completions API.
    fn completion(&mut self, base: String, choice: u32, probabilities: Option<(String, &'static str)>) {
        let from = self.found.len();
        let key = Key { choice, part: 0, member: COMPLETION };
        self.text(base + "/text", "assistant", Channel::Content, key);
        self.found[from..].iter_mut().for_each(|place| place.probabilities.clone_from(&probabilities));
    }

    /// The texts of the items of a response object.
    fn output(&mut self, base: &str) {
        for at in 0..self.len(&format!("{base}/output")) {
            self.item(&format!("{base}/output/{at}"), at as u32);
        }
    }

    /// The texts of an item of the responses API: of an input, or of the output.
    fn item(&mut self, base: &str, choice: u32) {
        let kind = self.document.get_str(&format!("{base}/type")).unwrap_or_default();
        let role = match kind {
            "" | "message" => self.document.get_str(&format!("{base}/role")).unwrap_or("assistant"),
            _ if kind.ends_with("_output") => "tool",
            _ => "assistant",
        };
        let channel = if kind == "reasoning" { Channel::Reasoning } else { Channel::Content };
        self.text(format!("{base}/content"), role, channel, Key { choice, ..Key::default() });
        for (list, is_summary) in [("content", false), ("summary", true), ("output", false)] {
            let list = format!("{base}/{list}");
            if !self.document.get(&list).is_some_and(|json| json.starts_with('[')) {
                continue;
            }
            for at in 0..self.len(&list) {
                let key = Key { choice, part: at as u32, member: 0 };
                self.part(&format!("{list}/{at}"), role, key, is_summary);
            }
        }
        let tool = self.document.get_str(&format!("{base}/name")).unwrap_or_default();
        let from = self.found.len();
        let members = [
            ("arguments", Channel::Arguments, item::ARGUMENTS),
            ("input", Channel::Arguments, item::INPUT),
            ("code", Channel::Arguments, item::CODE),
            ("output", Channel::Content, item::OUTPUT),
        ];
        for (name, channel, member) in members {
            self.text(format!("{base}/{name}"), role, channel, Key { choice, part: 0, member });
        }
        self.found[from..].iter_mut().for_each(|place| place.tool = tool);
    }
}
