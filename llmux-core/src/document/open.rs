//! Opening: splits an array's or object's text into elements or members, one level deep. `node` calls it when a text is
//! parsed, where the same pass validates the text, and when a node is read.
//!
//! Hidden members are dropped at the level that is opened. The values below stay text. The visitor of the scan decides
//! whether irregular places are refused: they are when a text is parsed, and no longer when a node is read.

use bytes::Bytes;

use super::{
    duplicates,
    members::Members,
    node::{Key, Member, Node, Opened, Parts, Subtree},
    scan::{self, MAX_DEPTH, Quoted, ScanError, Visitor},
};

/// Validates a whole text and splits its top level. `None` for a scalar.
pub(super) fn open(raw: &Bytes, visitor: &mut impl Visitor) -> Result<Option<Opened>, ScanError> {
    let start = scan::space(raw, 0);
    let (opened, end) = match raw.get(start) {
        Some(b'{') => members(raw, start + 1, visitor).map(|(opened, end)| (Some(opened), end))?,
        Some(b'[') => {
            elements(raw, start + 1, MAX_DEPTH - 1, visitor).map(|(opened, end)| (Some(opened), end))?
        }
        _ => (None, scan::value(raw, start, MAX_DEPTH, visitor)?),
    };
    scan::end_of_text(raw, end)?;
    Ok(opened)
}

/// The members of an object, without hidden ones. `at` is the position after the brace.
fn members(raw: &Bytes, at: usize, visitor: &mut impl Visitor) -> Result<(Opened, usize), ScanError> {
    let mut members = Vec::with_capacity(8);
    let mut at = scan::space(raw, at);
    let mut more = raw.get(at) != Some(&b'}');
    if !more {
        at += 1;
    }
    while more {
        let (Quoted { start, end, escaped }, from) = scan::member(raw, at, visitor)?;
        let (value, end_of_value) = member_value(raw, from, visitor)?;
        let key = Key::Raw { start: position(start), end: position(end), escaped };
        members.push(Member { key, value });
        (more, at) = scan::next_part(raw, end_of_value, b'}')?;
    }
    let hidden = hidden(&members, raw);
    let changed = !hidden.is_empty();
    Ok((Opened { parts: Parts::Members(Members::new(members, &hidden)), changed }, at))
}

/// Minimum length of a text whose arrays of containers are opened together with their object, in bytes.
const LONG: usize = 4096;

/// The value of the member whose value starts at `at`, and its end.
///
/// Messages are most of a long body, and most edits are in them: recording the start of each costs this scan little and
/// saves another. Opening an array removes nothing, so readers see no difference.
fn member_value(raw: &Bytes, at: usize, visitor: &mut impl Visitor) -> Result<(Node, usize), ScanError> {
    let is_container = |at| matches!(raw.get(at), Some(b'{' | b'['));
    if raw.len() < LONG || raw.get(at) != Some(&b'[') || !is_container(scan::space(raw, at + 1)) {
        let end = scan::value(raw, at, MAX_DEPTH - 1, visitor)?;
        return Ok((Node::of(position(at), position(end)), end));
    }
    let (opened, length) = elements(&raw[at..], 1, MAX_DEPTH - 2, visitor)
        .map_err(|error| ScanError { at: at + error.at, ..error })?;
    let end = at + length;
    Ok((Node::own(Subtree::with_parts(raw.slice(at..end), opened)), end))
}

/// The elements of an array, each of which may nest `room` containers. `at` is the position after the bracket.
fn elements(
    raw: &[u8],
    at: usize,
    room: usize,
    visitor: &mut impl Visitor,
) -> Result<(Opened, usize), ScanError> {
    let mut elements = Vec::new();
    let mut at = scan::space(raw, at);
    let mut more = raw.get(at) != Some(&b']');
    if !more {
        at += 1;
    }
    while more {
        let end = scan::value(raw, at, room, visitor)?;
        elements.push(Node::of(position(at), position(end)));
        (more, at) = scan::next_part(raw, end, b']')?;
    }
    Ok((Opened { parts: Parts::Elements(elements), changed: false }, at))
}

/// The positions of the members that a later one hides, in no particular order.
fn hidden(members: &[Member], raw: &[u8]) -> Vec<usize> {
    let key = |at: usize| match members[at].key {
        Key::Raw { start, end, escaped } => Quoted { start: start as usize, end: end as usize, escaped },
        Key::Own { .. } | Key::Removed => unreachable!("a key that has just been opened is a range"),
    };
    let mut hidden = Vec::new();
    duplicates::hidden(raw, members.len(), key, |at| hidden.push(at));
    hidden
}

/// A position in a text. Parsing refuses text of 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
