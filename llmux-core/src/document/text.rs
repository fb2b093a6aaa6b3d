//! The text of a value: a range of received bytes, and whether it is known to be clean.
//!
//! `node` keeps one for each value that has been read. Deliberately absent: the check itself, which is in `repeats`, and
//! the removal, which is in `clean`.

use std::ops::{Deref, Range};

use bytes::Bytes;

/// The text of a value that was validated.
#[derive(Clone, Debug)]
pub(super) struct Text {
    bytes: Bytes,
    /// True if no object of the text has a key twice, and if it has no irregular places, at any depth. False if this is
    /// not known.
    pub(super) is_clean: bool,
}

impl Text {
    pub(super) const fn new(bytes: Bytes, is_clean: bool) -> Self {
        Self { bytes, is_clean }
    }

    /// A part of the text, which is clean if the whole is.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        Self { bytes: self.bytes.slice(range), is_clean: self.is_clean }
    }
}

impl Deref for Text {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}
