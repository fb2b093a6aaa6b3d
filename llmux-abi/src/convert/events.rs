//! A response of the responses endpoint as the events of a stream.
//!
//! The order is that of OpenAI: each item and each part of it is announced without its texts, its texts follow, and then it
//! is sent as a whole. A client that joins the deltas has the response before the last event states it.

use super::tree::{Tree, object};

/// Events of a tool that the provider runs, between its announcement and its end.
const STEPS: [(&str, &[&str]); 4] = [
    ("web_search_call", &["in_progress", "searching", "completed"]),
    ("file_search_call", &["in_progress", "searching", "completed"]),
    ("image_generation_call", &["in_progress", "generating", "completed"]),
    ("code_interpreter_call", &["in_progress", "interpreting", "completed"]),
];

/// The kinds of items whose text is one member: the item, the events' name, and that member.
const ITEM_TEXTS: [(&str, &str, &str); 4] = [
    ("function_call", "function_call_arguments", "arguments"),
    ("custom_tool_call", "custom_tool_call_input", "input"),
    ("mcp_call", "mcp_call_arguments", "arguments"),
    ("code_interpreter_call", "code_interpreter_call_code", "code"),
];

/// Returns the events of a response, each with its number.
pub(super) fn events(response: &Tree) -> Vec<Tree> {
    let mut events = Events(Vec::new());
    let mut started = response.clone().with("status", "in_progress").with("output", Vec::new());
    for unknown in ["usage", "incomplete_details", "completed_at"] {
        started.reset(unknown, Tree::Null);
    }
    if let Some(members) = started.as_object_mut() {
        members.remove("output_text");
    }
    events.push("created", object([("response", started.clone())]));
    events.push("in_progress", object([("response", started)]));
    for (at, item) in response["output"].elements().iter().enumerate() {
        events.item(at, item);
    }
    let last = match response["status"].as_str() {
        Some("incomplete") => "incomplete",
        Some("failed") => "failed",
        _ => "completed",
    };
    events.push(last, object([("response", response.clone())]));
    events.0
}

/// The events so far.
struct Events(Vec<Tree>);

impl Events {
    fn push(&mut self, kind: &str, event: Tree) {
        let number = self.0.len();
        self.0.push(event.with("type", &*format!("response.{kind}")).with("sequence_number", number));
    }

    fn item(&mut self, at: usize, item: &Tree) {
        let kind = item["type"].as_str().unwrap_or_default();
        // An item need not have an id, but its events must.
        let id = ["id", "call_id"].into_iter().map(|name| &item[name]).find(|id| !id.is_blank());
        let id = id.cloned().unwrap_or_else(|| (*format!("item_{at}")).into());
        let place = object([("item_id", id), ("output_index", at.into())]);
        let whole = |item: Tree| object([("output_index", at.into()), ("item", item)]);

        self.push("output_item.added", whole(announced(item)));
        let steps = STEPS.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, steps)| steps);
        let (before, after) = steps.split_at(steps.len().min(1));
        before.iter().for_each(|step| self.push(&format!("{kind}.{step}"), place.clone()));
        if kind == "mcp_call" {
            self.push("mcp_call.in_progress", place.clone());
        }
        for (_, name, member) in ITEM_TEXTS.iter().filter(|(of, ..)| *of == kind) {
            if let Some(text) = item[member].as_str() {
                let named = if item["name"].is_null() || kind != "function_call" {
                    place.clone()
                } else {
                    place.clone().with("name", &item["name"])
                };
                self.text(name, member, text, &place, named);
            }
        }
        if kind == "mcp_call" {
            let end = if item["error"].is_null() { "completed" } else { "failed" };
            self.push(&format!("mcp_call.{end}"), place.clone());
        }
        after.iter().for_each(|step| self.push(&format!("{kind}.{step}"), place.clone()));
        for (part, summary) in item["summary"].elements().iter().enumerate() {
            self.summary(&place.clone().with("summary_index", part), summary);
        }
        for (part, content) in item["content"].elements().iter().enumerate() {
            self.part(&place.clone().with("content_index", part), content);
        }
        self.push("output_item.done", whole(item.clone()));
    }

    /// A text: its delta, unless it is empty, and then its whole.
    fn text(&mut self, name: &str, member: &str, text: &str, place: &Tree, done: Tree) {
        if !text.is_empty() {
            let mut delta = place.clone().with("delta", text);
            if name == "output_text" {
                delta["logprobs"] = done["logprobs"].clone();
            }
            self.push(&format!("{name}.delta"), delta);
        }
        self.push(&format!("{name}.done"), done.with(member, text));
    }

    fn summary(&mut self, place: &Tree, summary: &Tree) {
        let mut empty = summary.clone();
        empty.reset("text", "");
        self.push("reasoning_summary_part.added", place.clone().with("part", empty));
        if let Some(text) = summary["text"].as_str() {
            self.text("reasoning_summary_text", "text", text, place, place.clone());
        }
        self.push("reasoning_summary_part.done", place.clone().with("part", summary));
    }

    /// A part of a message's or a reasoning's content.
    fn part(&mut self, place: &Tree, content: &Tree) {
        let mut empty = content.clone();
        for member in ["text", "refusal"] {
            empty.reset(member, "");
        }
        for member in ["annotations", "logprobs"] {
            empty.reset(member, Vec::new());
        }
        self.push("content_part.added", place.clone().with("part", empty));
        match content["type"].as_str() {
            Some("output_text") => {
                let logprobs = content["logprobs"].elements().to_vec();
                let done = place.clone().with("logprobs", logprobs);
                self.text("output_text", "text", content["text"].as_str().unwrap_or_default(), place, done);
                for (at, annotation) in content["annotations"].elements().iter().enumerate() {
                    let event = place.clone().with("annotation_index", at).with("annotation", annotation);
                    self.push("output_text.annotation.added", event);
                }
            }
            Some("refusal") => {
                let text = content["refusal"].as_str().unwrap_or_default();
                self.text("refusal", "refusal", text, place, place.clone());
            }
            Some("reasoning_text") => {
                let text = content["text"].as_str().unwrap_or_default();
                self.text("reasoning_text", "text", text, place, place.clone());
            }
            _ => {}
        }
        self.push("content_part.done", place.clone().with("part", content));
    }
}

/// Returns an item as it is announced: in progress, without the texts and results that follow.
fn announced(item: &Tree) -> Tree {
    let mut item = item.clone();
    let kind = item["type"].as_str().unwrap_or_default().to_owned();
    item.reset("status", "in_progress");
    for member in ["content", "summary"] {
        if !item[member].elements().is_empty() {
            item[member] = Vec::new().into();
        }
    }
    if let Some((_, _, member)) = ITEM_TEXTS.iter().find(|(of, ..)| *of == kind) {
        item.reset(member, "");
    }
    let results: &[&str] = match kind.as_str() {
        "code_interpreter_call" => &["outputs"],
        "file_search_call" => &["results"],
        "image_generation_call" => &["result"],
        "mcp_call" => &["output", "error"],
        _ => &[],
    };
    results.iter().for_each(|member| item.reset(member, Tree::Null));
    item
}
