//! Edits: one value set, inserted or removed below a place. `Document` calls it, with text that is validated.
//!
//! The path to the place is copied if another clone of the document shares it; everything beside the path stays
//! shared. Replacing the whole document is not an edit but another document.

use super::{
    node::{Key, Member, Node, Parts, Seen, member_named},
    pointer::{self, Pointer},
};

/// What to do at a place.
pub(super) enum Edit {
    /// Add or replace a member, replace an element, or append one (`-`).
    Set(Node),
    /// The same for members; elements from the place on make room.
    Insert(Node),
    /// Take out what is there.
    Remove,
}

/// Applies an edit below a value, where a pointer says; `None` when there is no such place, and then the
/// document means what it meant.
pub(super) fn apply(seen: &mut Seen, pointer: Pointer<'_>, edit: Edit) -> Option<()> {
    let (token, rest) = pointer.split()?;
    let (opened, raw, size) = seen.opened_mut()?;
    // The size is kept, not counted: each edit adds what it brings and takes off what it replaces.
    let (before, after) = if rest.is_empty() {
        match &mut opened.parts {
            Parts::Members(members) => edit_members(members, &token, raw, edit)?,
            Parts::Elements(elements) => edit_elements(elements, &token, edit)?,
            Parts::Content(_) => return None,
        }
    } else {
        let child = match &mut opened.parts {
            Parts::Members(members) => {
                let at = member_named(members, &token, raw)?;
                &mut members[at].value
            }
            Parts::Elements(elements) => elements.get_mut(pointer::index(&token)?)?,
            Parts::Content(_) => return None,
        };
        let before = child.size();
        apply(child.seen_mut(raw)?, rest, edit)?;
        (before, child.size())
    };
    opened.changed = true;
    *size = (*size + after).saturating_sub(before);
    Some(())
}

/// Edits an object; gives the size of what went and of what came.
fn edit_members(members: &mut Vec<Member>, token: &str, raw: &[u8], edit: Edit) -> Option<(usize, usize)> {
    let found = member_named(members, token, raw);
    match (edit, found) {
        (Edit::Set(value) | Edit::Insert(value), Some(at)) => {
            let sizes = (members[at].value.size(), value.size());
            members[at].value = value;
            Some(sizes)
        }
        (Edit::Set(value) | Edit::Insert(value), None) => {
            let json = serde_json::Value::from(token).to_string().into_boxed_str();
            let came = json.len() + 1 + value.size() + comma(members.len());
            members.push(Member { key: Key::Own { escaped: json.contains('\\'), json }, value });
            Some((0, came))
        }
        (Edit::Remove, Some(at)) => {
            let Member { key, value } = members.remove(at);
            Some((key.json(raw).len() + 1 + value.size() + comma(members.len()), 0))
        }
        (Edit::Remove, None) => None,
    }
}

/// Edits an array; gives the size of what went and of what came.
fn edit_elements(elements: &mut Vec<Node>, token: &str, edit: Edit) -> Option<(usize, usize)> {
    let length = elements.len();
    let at = match (&edit, token) {
        (Edit::Remove, "-") => None,
        (_, "-") => Some(length),
        _ => pointer::index(token),
    }?;
    match edit {
        Edit::Set(value) if at < length => {
            let sizes = (elements[at].size(), value.size());
            elements[at] = value;
            Some(sizes)
        }
        Edit::Set(value) if token == "-" => {
            let came = value.size() + comma(length);
            elements.push(value);
            Some((0, came))
        }
        Edit::Insert(value) if at <= length => {
            let came = value.size() + comma(length);
            elements.insert(at, value);
            Some((0, came))
        }
        Edit::Remove if at < length => {
            let value = elements.remove(at);
            Some((value.size() + comma(elements.len()), 0))
        }
        _ => None,
    }
}

/// The size of the comma to a part beside `others`.
fn comma(others: usize) -> usize {
    usize::from(others > 0)
}
