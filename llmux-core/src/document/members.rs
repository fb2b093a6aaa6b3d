//! The members of an object: in order, and found by their keys.
//!
//! A few members are compared one after the other. Many have an index, which the first look-up makes: a client chooses the
//! number of members, and a plugin looks up one for each part of a body, so that together they would cost the square.
//! Edits keep the index.

use std::{collections::HashMap, hash::BuildHasher, mem, sync::LazyLock};

use once_cell::sync::OnceCell;

use super::{
    duplicates,
    node::{Key, Member, Node},
};

/// Maximum number of members that are compared one after the other.
const FEW: usize = 64;

/// The members of an object. No two have the same key.
#[derive(Clone, Debug)]
pub(super) struct Members {
    /// A removed member leaves a hole, until there are more holes than members. A hole is a member without a key, so that a
    /// look-up compares it like any other.
    slots: Vec<Member>,
    count: usize,
    /// Boxed, so that an object of a few members is small.
    index: OnceCell<Box<Index>>,
}

/// The slot of each key, by the hash of its content; `None` if two keys have the same hash.
type Index = Option<HashMap<u64, u32>>;

/// The hasher of all indices has random keys, so that a client cannot choose keys of one hash.
static HASHER: LazyLock<std::hash::RandomState> = LazyLock::new(std::hash::RandomState::new);

impl Members {
    /// Takes the members as they were read. `hidden` are the positions of those that a later one hides; they are dropped.
    pub(super) fn new(mut slots: Vec<Member>, hidden: &[usize]) -> Self {
        hidden.iter().for_each(|&at| slots[at] = Member::removed());
        Self { count: slots.len() - hidden.len(), slots, index: OnceCell::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().filter(|member| !member.is_removed())
    }

    /// Returns the member with a key. `raw` is the object's raw text.
    #[inline]
    pub(super) fn get(&self, key: &str, raw: &[u8]) -> Option<&Member> {
        if self.slots.len() <= FEW {
            return self.slots.iter().find(|member| member.key.is(key, raw));
        }
        self.slots.get(self.slot(key, raw)?)
    }

    /// Returns the member with a key, to be changed.
    pub(super) fn get_mut(&mut self, key: &str, raw: &[u8]) -> Option<&mut Member> {
        let slot = self.slot(key, raw)?;
        self.slots.get_mut(slot)
    }

    /// Adds a member whose key no other member has.
    pub(super) fn push(&mut self, member: Member, raw: &[u8]) {
        if let Some(index) = self.index.get_mut() {
            let slot = self.slots.len() as u32;
            let is_free =
                |index: &mut HashMap<u64, u32>| index.insert(hash(&member.key.content(raw)), slot).is_none();
            index.take_if(|index| !is_free(index));
        }
        self.slots.push(member);
        self.count += 1;
    }

    /// Removes the member with a key.
    pub(super) fn remove(&mut self, key: &str, raw: &[u8]) -> Option<Member> {
        let slot = self.slot(key, raw)?;
        let member = mem::replace(&mut self.slots[slot], Member::removed());
        self.count -= 1;
        if let Some(Some(index)) = self.index.get_mut().map(Box::as_mut) {
            index.remove(&hash(key.as_bytes()));
        }
        if self.slots.len() > FEW + 2 * self.count {
            self.slots.retain(|member| !member.is_removed());
            self.index = OnceCell::new();
        }
        Some(member)
    }

    fn slot(&self, key: &str, raw: &[u8]) -> Option<usize> {
        let is = |member: &Member| member.key.is(key, raw);
        if self.slots.len() > FEW
            && let Some(index) = &**self.index.get_or_init(|| Box::new(self.index(raw)))
        {
            let slot = *index.get(&hash(key.as_bytes()))? as usize;
            // Another key may have the hash of one that is not there.
            return self.slots.get(slot).is_some_and(is).then_some(slot);
        }
        self.slots.iter().position(is)
    }

    fn index(&self, raw: &[u8]) -> Index {
        let mut index = HashMap::with_capacity(self.slots.len());
        for (slot, member) in self.slots.iter().enumerate() {
            if !member.is_removed() && index.insert(hash(&member.key.content(raw)), slot as u32).is_some() {
                return None;
            }
        }
        Some(index)
    }
}

fn hash(content: &[u8]) -> u64 {
    HASHER.hash_one(content)
}

impl Member {
    /// The hole that a removed member leaves.
    fn removed() -> Self {
        Self { key: Key::Removed, value: Node::of(0, 0) }
    }

    fn is_removed(&self) -> bool {
        matches!(self.key, Key::Removed)
    }
}

impl Key {
    /// Returns true if this is the key with the content `name`; `raw` is the object's raw text.
    #[inline]
    fn is(&self, name: &str, raw: &[u8]) -> bool {
        match *self {
            // The quotes are two bytes.
            Key::Raw { start, end, escaped: false } => {
                let (start, end) = (start as usize + 1, end as usize - 1);
                end - start == name.len() && raw[start..end] == *name.as_bytes()
            }
            Key::Removed => false,
            _ => *self.content(raw) == *name.as_bytes(),
        }
    }

    /// Returns the key without quotes and escapes; `raw` is the object's raw text.
    fn content<'a>(&'a self, raw: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        let escaped = matches!(self, Key::Raw { escaped: true, .. } | Key::Own { escaped: true, .. });
        duplicates::unescape(self.json(raw), escaped)
    }
}

#[cfg(test)]
mod tests {
    use crate::document::Document;

    /// Looks up, edits, adds and removes members of an object that is large enough for an index.
    #[test]
    fn an_object_of_many_members_is_read_and_edited_like_a_small_one() {
        for count in [10, 64, 65, 1000] {
            let members: Vec<String> = (0..count).map(|at| format!(r#""k\u0065y{at}":{at}"#)).collect();
            let mut document = Document::parse(format!("{{{}}}", members.join(","))).expect("JSON");
            for at in 0..count {
                assert_eq!(document.get(&format!("/key{at}")), Some(&*at.to_string()), "{count}");
            }
            assert_eq!(document.get("/key"), None);
            document.set("/added", "true").expect("added");
            assert_eq!(document.get("/added"), Some("true"));
            // All but the last, so that the holes are closed several times.
            for at in 0..count - 1 {
                document.remove(&format!("/key{at}")).expect("removed");
                assert_eq!(document.get(&format!("/key{at}")), None);
                assert_eq!(document.get(&format!("/key{}", count - 1)), Some(&*(count - 1).to_string()));
                document.set(&format!("/key{}", count - 1), &(count - 1).to_string()).expect("set");
            }
            assert_eq!(document.len(""), Some(2));
            document.set("/key0", "\"again\"").expect("set");
            assert_eq!(document.len(""), Some(3));
            assert_eq!(document.get_str("/key0"), Some("again"));
            let text = String::from_utf8(document.to_bytes().to_vec()).expect("text");
            assert_eq!(
                text,
                format!(r#"{{"k\u0065y{}":{},"added":true,"key0":"again"}}"#, count - 1, count - 1)
            );
        }
    }
}
