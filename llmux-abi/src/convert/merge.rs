//! Rules of joining the deltas of a stream.
//!
//! Texts are joined. Labels are set, because many providers repeat them in each chunk, or send them empty. Lists are joined,
//! and elements with an `index` are matched by it. Tool calls have a rule of their own, because not every provider numbers
//! them.

use super::{
    choices::CALL_TEXTS,
    tree::{Members, Tree},
};

/// Members that name something. All other texts of a delta are parts of a longer text.
const LABELS: [&str; 16] = [
    "call_id",
    "channel",
    "finish_reason",
    "format",
    "id",
    "index",
    "item_id",
    "mime_type",
    "model",
    "name",
    "object",
    "recipient",
    "role",
    "status",
    "tool_call_id",
    "type",
];

/// Sets a label. A blank value replaces nothing.
pub(super) fn set(place: &mut Tree, value: &Tree) {
    if place.is_null() || !value.is_blank() {
        *place = value.clone();
    }
}

/// Sets each member of an object in its place. Texts are replaced; objects are merged.
pub(super) fn set_members(place: &mut Tree, value: &Tree) {
    match value {
        Tree::Object(members) if place.as_object().is_some() => {
            for (name, value) in members {
                set_members(&mut place[name], value);
            }
        }
        _ => set(place, value),
    }
}

/// Joins a delta to the value before it.
pub(super) fn join(place: &mut Tree, delta: &Tree) {
    match (&mut *place, delta) {
        (_, Tree::Null) => {}
        (Tree::Text(text), Tree::Text(more)) => text.push_str(more),
        (Tree::List(elements), Tree::List(more)) => {
            more.iter().for_each(|value| join_element(elements, value))
        }
        (Tree::Null, Tree::List(more)) => {
            let mut elements = Vec::new();
            more.iter().for_each(|value| join_element(&mut elements, value));
            *place = elements.into();
        }
        (Tree::Object(_), Tree::Object(more)) => join_members(place, more),
        (Tree::Null, Tree::Object(more)) => {
            *place = Tree::Object(Members::new());
            join_members(place, more);
        }
        _ => *place = delta.clone(),
    }
}

/// Joins the members of a delta to those of an object.
pub(super) fn join_members(place: &mut Tree, delta: &Members) {
    for (name, value) in delta {
        let there = &mut place[name];
        match name.as_str() {
            "tool_calls" if !value.elements().is_empty() => {
                if !matches!(there, Tree::List(_)) {
                    *there = Vec::new().into();
                }
                if let Tree::List(calls) = there {
                    value.elements().iter().for_each(|call| join_call(calls, call));
                }
            }
            label if LABELS.contains(&label) => set(there, value),
            _ => join(there, value),
        }
    }
}

fn join_element(elements: &mut Vec<Tree>, value: &Tree) {
    let index = value["index"].as_index();
    let there =
        elements.iter_mut().rev().find(|element| index.is_some() && element["index"].as_index() == index);
    match there {
        Some(there) => join(there, value),
        None => elements.push(value.clone()),
    }
}

/// Joins a part of a tool call to the call that it continues, or adds a call.
fn join_call(calls: &mut Vec<Tree>, part: &Tree) {
    let (index, id) = (part["index"].as_index(), &part["id"]);
    let there = match index {
        Some(_) => calls.iter_mut().rev().find(|call| call["index"].as_index() == index),
        None if !id.is_blank() => calls.iter_mut().rev().find(|call| call["id"] == *id),
        None => calls.last_mut(),
    };
    match there.filter(|call| continues(call, part)) {
        Some(call) => join(call, part),
        None => calls.push(part.clone()),
    }
}

/// Returns true if a part belongs to this call. Some providers give one index to several calls, and some give none.
fn continues(call: &Tree, part: &Tree) -> bool {
    if !part["id"].is_blank() && !call["id"].is_blank() {
        return part["id"] == call["id"];
    }
    // A part with a name begins a call, unless the arguments of the one before are unfinished.
    let begins = CALL_TEXTS.iter().any(|(kind, _)| !part[kind]["name"].is_blank());
    // Most parts have no name, and the text that has come may be long.
    let is_whole = || {
        CALL_TEXTS.iter().any(|(kind, member)| {
            let text = call[kind][member].as_str().unwrap_or_default();
            !call[kind][member].is_blank() && Tree::parse(text).is_ok()
        })
    };
    !(begins && is_whole())
}
