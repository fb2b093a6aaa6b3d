//! The places of the tool calls in the answers of each endpoint.

use super::subject::{ToolCall, is_json};
use crate::{Endpoint, document::Document, pipeline::choices::index_at};

/// A place with a tool call.
pub(super) struct Place {
    /// The JSON Pointer of the call.
    pub(super) base: String,
    /// The place of its choice or of its output item in the list.
    pub(super) at: usize,
    /// The index of the choice, or of the output item.
    pub(super) choice: u32,
    pub(super) members: &'static Members,
}

/// The members of a kind of call, as pointers below it.
pub(super) struct Members {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) arguments: &'static str,
    /// True if the arguments are text, whatever they look like.
    is_text: bool,
}

const FUNCTION: Members = members("/id", "/function/name", "/function/arguments", false);
const CUSTOM: Members = members("/id", "/custom/name", "/custom/input", true);
const LEGACY: Members = members("/id", "/name", "/arguments", false);
pub(super) const FUNCTION_ITEM: Members = members("/call_id", "/name", "/arguments", false);
pub(super) const CUSTOM_ITEM: Members = members("/call_id", "/name", "/input", true);

const fn members(id: &'static str, name: &'static str, arguments: &'static str, is_text: bool) -> Members {
    Members { id, name, arguments, is_text }
}

impl Members {
    /// Returns the call with these members.
    pub(super) fn call<'c>(
        &self,
        id: &'c str,
        name: &'c str,
        arguments: &'c str,
        choice: u32,
    ) -> ToolCall<'c> {
        let is_json = !self.is_text && is_json(arguments);
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), choice, is_json }
    }
}

impl Place {
    /// Returns the pointer of a member.
    pub(super) fn member(&self, member: &str) -> String {
        format!("{}{member}", self.base)
    }

    /// Reads the call.
    pub(super) fn read<'d>(&self, document: &'d Document) -> ToolCall<'d> {
        let Members { id, name, arguments, .. } = self.members;
        let [id, name, arguments] = [id, name, arguments].map(|member| text(document, &self.member(member)));
        self.members.call(id, name, arguments, self.choice)
    }
}

/// Returns a string, or the JSON of another value: some servers send the arguments as an object. Empty for none.
pub(super) fn text<'d>(document: &'d Document, pointer: &str) -> &'d str {
    let other = || document.get(pointer).filter(|json| *json != "null");
    document.get_str(pointer).or_else(other).unwrap_or_default()
}

/// Returns the calls of an answer.
pub(super) fn of_answer(document: &Document, endpoint: Endpoint) -> Vec<Place> {
    match endpoint {
        Endpoint::ChatCompletions => of_choices(document),
        Endpoint::Responses | Endpoint::ResponseRetrieval | Endpoint::ResponseCancellation => {
            of_output(document, "")
        }
        _ => Vec::new(),
    }
}

/// Returns the calls of a chat answer.
pub(super) fn of_choices(document: &Document) -> Vec<Place> {
    let mut places = Vec::new();
    for at in 0..document.len("/choices").unwrap_or_default() {
        let (message, choice) = (format!("/choices/{at}/message"), index_at(document, at));
        let calls = format!("{message}/tool_calls");
        if document.get(&calls).is_some_and(|json| json.starts_with('[')) {
            for call in 0..document.len(&calls).unwrap_or_default() {
                let base = format!("{calls}/{call}");
                let is_custom = document.len(&format!("{base}/custom")).is_some();
                let members = if is_custom { &CUSTOM } else { &FUNCTION };
                places.push(Place { base, at, choice, members });
            }
        }
        let base = message + "/function_call";
        if document.len(&base).is_some() {
            places.push(Place { base, at, choice, members: &LEGACY });
        }
    }
    places
}

/// Returns the calls of the output of a response object at a place.
pub(super) fn of_output(document: &Document, response: &str) -> Vec<Place> {
    let items = 0..document.len(&format!("{response}/output")).unwrap_or_default();
    let place = |at: usize| {
        let base = format!("{response}/output/{at}");
        let members = of_item(document, &base)?;
        Some(Place { base, at, choice: at as u32, members })
    };
    items.filter_map(place).collect()
}

/// Returns the members of an output item that is a call.
pub(super) fn of_item(document: &Document, base: &str) -> Option<&'static Members> {
    match document.get_str(&format!("{base}/type"))? {
        "function_call" => Some(&FUNCTION_ITEM),
        "custom_tool_call" => Some(&CUSTOM_ITEM),
        _ => None,
    }
}
