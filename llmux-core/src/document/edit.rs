//! Edits: sets, inserts or removes one value below a place. `Document` calls it with validated text.
//!
//! If another clone of the document shares the path to the place, the path is copied. Everything beside the path stays
//! shared. Deliberately absent: replacing the whole document, which `Document` does.

use super::{
    members::Members,
    node::{Key, Member, Node, Parts, Subtree},
    pointer::{self, Pointer},
};

/// An edit of the value at a place.
pub(super) enum Edit {
    /// Adds or replaces a member, replaces an element, or appends an element (`-`).
    Set(Node),
    /// Inserts an element before the one at the place. For members as `Set`.
    Insert(Node),
    /// Removes the member or element.
    Remove,
}

/// Applies an edit at a pointer below a value. Returns `None` if there is no such place; the document's content is
/// unchanged then.
pub(super) fn apply(subtree: &mut Subtree, pointer: Pointer<'_>, edit: Edit) -> Option<()> {
    let (token, rest) = pointer.split()?;
    let (opened, raw, size) = subtree.opened_mut()?;
    // The size is kept up to date: each edit adds the size of the new value and subtracts that of the old one.
    let (before, after) = if rest.is_empty() {
        match &mut opened.parts {
            Parts::Members(members) => edit_members(members, &token, raw, edit)?,
            Parts::Elements(elements) => edit_elements(elements, &token, edit)?,
            Parts::Content(_) => return None,
        }
    } else {
        let child = match &mut opened.parts {
            Parts::Members(members) => &mut members.get_mut(&token, raw)?.value,
            Parts::Elements(elements) => elements.get_mut(pointer::index(&token)?)?,
            Parts::Content(_) => return None,
        };
        let before = child.size();
        apply(child.subtree_mut(raw)?, rest, edit)?;
        (before, child.size())
    };
    opened.changed = true;
    *size = (*size + after).saturating_sub(before);
    Some(())
}

/// Edits an object. Returns the size of the old and of the new text.
fn edit_members(members: &mut Members, token: &str, raw: &[u8], edit: Edit) -> Option<(usize, usize)> {
    match edit {
        Edit::Set(value) | Edit::Insert(value) => {
            if let Some(member) = members.get_mut(token, raw) {
                let sizes = (member.value.size(), value.size());
                member.value = value;
                return Some(sizes);
            }
            let json = serde_json::Value::from(token).to_string().into_boxed_str();
            let added = json.len() + 1 + value.size() + comma(members.len());
            members.push(Member { key: Key::Own { escaped: json.contains('\\'), json }, value }, raw);
            Some((0, added))
        }
        Edit::Remove => {
            let Member { key, value } = members.remove(token, raw)?;
            Some((key.json(raw).len() + 1 + value.size() + comma(members.len()), 0))
        }
    }
}

/// Edits an array. Returns the size of the old and of the new text.
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
            let added = value.size() + comma(length);
            elements.push(value);
            Some((0, added))
        }
        Edit::Insert(value) if at <= length => {
            let added = value.size() + comma(length);
            elements.insert(at, value);
            Some((0, added))
        }
        Edit::Remove if at < length => {
            let value = elements.remove(at);
            Some((value.size() + comma(elements.len()), 0))
        }
        _ => None,
    }
}

/// The size of the comma that a part needs beside `others` other parts.
fn comma(others: usize) -> usize {
    usize::from(others > 0)
}
