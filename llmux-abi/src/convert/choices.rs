//! A response with choices as the chunks of a stream: `chat/completions` and `completions`.
//!
//! The order within a choice is that of OpenAI: the parts of the message (reasoning before content, content before tool
//! calls), the first of them with the role, then the reason of its end. A text of the message is one delta; a tool call is
//! announced before its arguments are sent.

use super::tree::{Members, Tree, object};

/// Members of a tool call, each with the member of it that a stream sends apart, as text.
pub(super) const CALL_TEXTS: [(&str, &str); 2] = [("function", "arguments"), ("custom", "input")];

/// Members of a message that are in the first delta.
const FIRST: [&str; 2] = ["role", "name"];
/// Members of a message that are sent last, in this order. All others are sent before them.
const LAST: [&str; 5] = ["content", "refusal", "audio", "function_call", "annotations"];

/// Returns true if the choices have texts instead of messages.
fn is_text_completion(response: &Tree) -> bool {
    match response["object"].as_str() {
        Some("text_completion") => true,
        Some("chat.completion") => false,
        _ => {
            let has =
                |name: &str| response["choices"].elements().iter().any(|choice| !choice[name].is_null());
            has("text") && !has("message")
        }
    }
}

/// Returns the chunks of a response.
pub(super) fn chunks(response: &Tree) -> Vec<Tree> {
    let is_text = is_text_completion(response);
    let kind = if is_text { "text_completion" } else { "chat.completion.chunk" };
    let mut head = object([("object", kind.into()), ("choices", Vec::new().into())]);
    let mut once = Members::new();
    for (name, value) in response.members() {
        match (name, value) {
            ("object" | "choices" | "usage", _) => {}
            // Labels are in every chunk, such as the id. All else is sent once.
            (_, Tree::List(_) | Tree::Object(_)) => {
                once.insert(name.to_owned(), value.clone());
            }
            _ => head[name] = value.clone(),
        }
    }
    let mut chunks = Vec::new();
    for (at, choice) in response["choices"].elements().iter().enumerate() {
        let index = choice["index"].as_index().and_then(|index| index.try_into().ok()).unwrap_or(at);
        let parts = if is_text { vec![choice.clone()] } else { chat_parts(choice) };
        let parts =
            parts.into_iter().map(|part| head.clone().with("choices", vec![part.with("index", index)]));
        chunks.extend(parts);
    }
    if !response["usage"].is_null() {
        chunks.push(head.clone().with("usage", &response["usage"]));
    }
    if chunks.is_empty() {
        chunks.push(head);
    }
    for (name, value) in once {
        chunks[0][&name] = value;
    }
    chunks
}

/// Returns the choice of each chunk for one choice of a chat, without its index.
fn chat_parts(choice: &Tree) -> Vec<Tree> {
    let mut parts: Vec<Tree> = deltas(&choice["message"])
        .into_iter()
        .map(|delta| object([("delta", delta), ("finish_reason", Tree::Null)]))
        .collect();
    if !choice["logprobs"].is_null() {
        // Beside the text that they are about.
        let said = ["content", "refusal"];
        let of_text = |part: &&mut Tree| said.iter().any(|name| !part["delta"][name].is_blank());
        let at = parts.iter_mut().find(of_text);
        match at {
            Some(part) => part["logprobs"] = choice["logprobs"].clone(),
            None => parts[0]["logprobs"] = choice["logprobs"].clone(),
        }
    }
    let mut last = object([("delta", Tree::Object(Members::new())), ("finish_reason", Tree::Null)]);
    for (name, value) in choice.members() {
        if !matches!(name, "index" | "message" | "logprobs") {
            last[name] = value.clone();
        }
    }
    parts.push(last);
    parts
}

/// Returns the deltas of a message, at least one.
fn deltas(message: &Tree) -> Vec<Tree> {
    let mut first = object([("role", "assistant".into())]);
    let mut rest: Vec<(&str, &Tree)> = Vec::new();
    for (name, value) in message.members() {
        match name {
            // A provider states at the beginning which of the two the message does not have.
            "content" | "refusal" if value.is_null() => first[name] = Tree::Null,
            "content" if value.is_blank() => first[name] = value.clone(),
            _ if value.is_null() => {}
            _ if FIRST.contains(&name) => first[name] = value.clone(),
            "tool_calls" if value.elements().is_empty() => first[name] = value.clone(),
            "tool_calls" => {}
            _ => rest.push((name, value)),
        }
    }
    // Stable: members that are not listed keep their order, before all others.
    rest.sort_by_key(|(name, _)| LAST.iter().position(|last| last == name).map_or(0, |at| at + 1));
    let mut deltas = vec![first];
    deltas.extend(rest.into_iter().map(|(name, value)| object([(name, value.clone())])));
    for (at, call) in message["tool_calls"].elements().iter().enumerate() {
        deltas.extend(call_deltas(at, call).map(|call| object([("tool_calls", vec![call].into())])));
    }
    // The role comes with the first part of the message.
    if deltas.len() > 1
        && let Tree::Object(second) = deltas.remove(1)
    {
        second.into_iter().for_each(|(name, value)| deltas[0][&name] = value);
    }
    deltas
}

/// Returns a tool call without its arguments, and its arguments if it has some.
fn call_deltas(at: usize, call: &Tree) -> impl Iterator<Item = Tree> + use<> {
    let mut announced = call.clone();
    let mut arguments = None;
    if announced.as_object().is_some() {
        announced["index"] = at.into();
        for (kind, member) in CALL_TEXTS {
            if call[kind][member].as_str().is_some_and(|text| !text.is_empty()) {
                announced[kind][member] = "".into();
                let text = object([(member, call[kind][member].clone())]);
                arguments = Some(object([("index", at.into()), (kind, text)]));
            }
        }
    }
    [Some(announced), arguments].into_iter().flatten()
}
