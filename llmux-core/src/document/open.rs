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
    scan::MAX_DEPTH,
    text::Text,
    token::{Quoted, Result, Scanner, Visitor},
};

/// Validates a whole text and splits its top level. `None` for a scalar.
pub(super) fn open(raw: &Text, visitor: &mut impl Visitor) -> Result<Option<Opened>> {
    let mut scanner = Scanner::new(raw, visitor);
    let start = scanner.space(0);
    let (parts, end) = match raw.get(start) {
        Some(b'{') => {
            let (parts, end) = members(raw, &mut scanner, start + 1)?;
            (Some(parts), end)
        }
        Some(b'[') => {
            let (parts, end) = elements(&mut scanner, 0, start + 1, MAX_DEPTH - 1)?;
            (Some(parts), end)
        }
        _ => (None, scanner.value(start, MAX_DEPTH)?),
    };
    scanner.end_of_text(end)?;
    Ok(parts)
}

/// The members of an object, without hidden ones, and the end of the object. `at` is the position after the brace.
fn members(raw: &Text, scanner: &mut Scanner<'_, impl Visitor>, at: usize) -> Result<(Opened, usize)> {
    let mut members = Vec::with_capacity(8);
    let mut at = scanner.space(at);
    let mut more = scanner.byte(at) != Some(b'}');
    if !more {
        at += 1;
    }
    scanner.visitor.object_starts();
    while more {
        let (Quoted { start, end, escaped }, from) = scanner.member(at)?;
        let key = Key::Raw { start: position(start), end: position(end), escaped };
        if is_opened_too(scanner, from) {
            let (opened, end) = elements(scanner, from, from + 1, MAX_DEPTH - 2)?;
            let is_clean = raw.is_clean || scanner.visitor.is_clean();
            let subtree =
                Subtree::with_parts(Text::new(Bytes::clone(raw).slice(from..end), is_clean), opened);
            members.push(Member { key, value: Node::own(subtree) });
            at = end;
        } else {
            at = scanner.value(from, MAX_DEPTH - 1)?;
            members.push(Member { key, value: Node::of(position(from), position(at)) });
        }
        (more, at) = scanner.next_part(at, b'}')?;
    }
    scanner.visitor.object_ends();
    let hidden = match raw.is_clean || scanner.visitor.is_clean() {
        true => Vec::new(),
        false => hidden(&members, raw),
    };
    let changed = !hidden.is_empty();
    Ok((Opened { parts: Parts::Members(Members::new(members, &hidden)), changed }, at))
}

/// Minimum length of a text whose arrays of containers are opened together with their object, in bytes.
const LONG: usize = 4096;

/// Returns true if the value at `at` is an array that is opened together with its object.
///
/// Messages are most of a long body, and most edits are in them: recording the start of each costs this scan little and
/// saves another. Opening an array removes nothing, so readers see no difference.
fn is_opened_too(scanner: &Scanner<'_, impl Visitor>, at: usize) -> bool {
    scanner.text.len() >= LONG
        && scanner.byte(at) == Some(b'[')
        && matches!(scanner.byte(scanner.space(at + 1)), Some(b'{' | b'['))
}

/// The elements of an array, each of which may nest `room` containers, and the end of the array. `at` is the position after
/// the bracket. The ranges of the elements count from `base`.
fn elements(
    scanner: &mut Scanner<'_, impl Visitor>,
    base: usize,
    at: usize,
    room: usize,
) -> Result<(Opened, usize)> {
    let mut elements = Vec::new();
    let mut at = scanner.space(at);
    let mut more = scanner.byte(at) != Some(b']');
    if !more {
        at += 1;
    }
    while more {
        let end = scanner.value(at, room)?;
        elements.push(Node::of(position(at - base), position(end - base)));
        (more, at) = scanner.next_part(end, b']')?;
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
