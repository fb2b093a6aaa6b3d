//! How many bytes plugins read and write through their handles: for those who try a plugin out or measure it.

use std::ops::{AddAssign, Sub};

use crate::pipeline::stats::total;

/// The bytes of JSON that plugins were given and gave, all of this process together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that plugins got out of documents.
    pub read: u64,
    /// Bytes that plugins put into documents and answers.
    pub written: u64,
}

impl Traffic {
    /// Counts from here on, in the whole process, or no longer. At first it is off.
    pub fn count(_: bool) {}

    /// What has been counted so far.
    pub fn so_far() -> Self {
        let (read, written) = total::so_far();
        Self { read, written }
    }
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { read: self.read - earlier.read, written: self.written - earlier.written }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.read += more.read;
        self.written += more.written;
    }
}
