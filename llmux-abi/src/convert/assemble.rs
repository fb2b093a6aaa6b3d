//! The chunks of a stream as one response.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    merge,
    tree::{Members, Tree},
};

/// Assembles the chunks of a stream into the equal response.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    /// Members that the chunks of the stream repeat, and the usage.
    response: Members,
    choices: BTreeMap<u64, Tree>,
    /// True if a choice has a delta, as in a chat.
    is_chat: bool,
    /// Finished items of the responses endpoint, by their index.
    items: BTreeMap<u64, Tree>,
    /// The response in the last event of the responses endpoint.
    last: Option<Tree>,
}

impl Assembler {
    /// Returns an assembler without chunks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next chunk: the event's data. Numbers keep the precision that they have there.
    pub fn push(&mut self, chunk: &Value) {
        self.push_tree(&chunk.into());
    }

    /// Adds the next chunk as text: the event's data. Every number keeps its digits.
    ///
    /// # Errors
    ///
    /// If the text is not JSON.
    pub fn push_text(&mut self, chunk: &str) -> serde_json::Result<()> {
        self.push_tree(&Tree::parse(chunk)?);
        Ok(())
    }

    fn push_tree(&mut self, chunk: &Tree) {
        if let Some(kind) = chunk["type"].as_str().filter(|kind| kind.starts_with("response.")) {
            return self.push_event(kind, chunk);
        }
        for (name, value) in chunk.members() {
            match name {
                "choices" => {
                    for (at, choice) in value.elements().iter().enumerate() {
                        self.push_choice(at as u64, choice);
                    }
                }
                "usage" if value.is_null() => {}
                _ => merge::set(self.response.entry(name.to_owned()).or_default(), value),
            }
        }
    }

    /// Adds an event of the responses endpoint. The last one has the whole response.
    fn push_event(&mut self, kind: &str, event: &Tree) {
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.last = Some(event["response"].clone());
            }
            "response.output_item.done" => {
                let at = event["output_index"].as_index().unwrap_or(self.items.len() as u64);
                self.items.insert(at, event["item"].clone());
            }
            _ => {}
        }
    }

    fn push_choice(&mut self, at: u64, part: &Tree) {
        let choice = self.choices.entry(part["index"].as_index().unwrap_or(at)).or_default();
        for (name, value) in part.members() {
            match (name, value) {
                ("index", _) => {}
                ("delta", delta) => {
                    self.is_chat = true;
                    if let Tree::Object(delta) = delta {
                        merge::join_members(&mut choice["message"], delta);
                    }
                }
                // Some servers put a whole message into a chunk.
                ("message", Tree::Object(message)) => {
                    self.is_chat = true;
                    merge::join_members(&mut choice["message"], message);
                }
                ("text" | "logprobs", value) => merge::join(&mut choice[name], value),
                (_, value) => merge::set_members(&mut choice[name], value),
            }
        }
    }

    /// Returns the response. `None` if the stream has not stated its end: a `finish_reason` of every choice, or the last
    /// event.
    pub fn finish(self) -> Option<Value> {
        self.into_tree().map(|response| response.to_value())
    }

    /// Returns the response as [`finish`](Self::finish) does, as JSON text. Every number of a chunk that came as text keeps
    /// its digits.
    pub fn finish_text(self) -> Option<String> {
        self.into_tree().map(|response| response.to_text())
    }

    fn into_tree(mut self) -> Option<Tree> {
        if let Some(mut response) = self.last {
            // Some servers leave out what the events before have said.
            if response["output"].elements().is_empty() && !self.items.is_empty() {
                response["output"] = self.items.into_values().collect::<Vec<_>>().into();
            }
            return Some(response);
        }
        let is_finished =
            |choice: &Tree| choice["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty());
        if self.choices.is_empty() || !self.choices.values().all(is_finished) {
            return None;
        }
        let kind = if self.is_chat { "chat.completion" } else { "text_completion" };
        self.response.insert("object".to_owned(), kind.into());
        let is_chat = self.is_chat;
        let choices = self.choices.into_iter().map(|(index, mut choice)| {
            choice["index"] = Tree::Number(index.to_string());
            if is_chat {
                finish_message(&mut choice["message"]);
            }
            choice
        });
        self.response.insert("choices".to_owned(), choices.collect::<Vec<_>>().into());
        Some(Tree::Object(self.response))
    }
}

/// Makes a whole message of the joined deltas.
fn finish_message(message: &mut Tree) {
    if message["role"].is_blank() {
        message["role"] = "assistant".into();
    }
    // A message has a content, also if it is `null`.
    let _ = &mut message["content"];
    let calls = message.as_object_mut().and_then(|members| members.get_mut("tool_calls"));
    let Some(Tree::List(calls)) = calls else { return };
    if calls.iter().all(|call| call["index"].as_index().is_some()) {
        calls.sort_by_key(|call| call["index"].as_index());
    }
    for call in calls {
        if call["type"].is_blank() && call["function"].as_object().is_some() {
            call["type"] = "function".into();
        }
        if let Some(members) = call.as_object_mut() {
            members.remove("index");
        }
    }
}
