//! A text in pieces, and its held part.
//!
//! Plugins use it where no host keeps the held text. Deliberately absent: the search.

use std::borrow::Cow;

use super::{
    matching::Matching,
    replacement::{Match, Replacement},
    set::Patterns,
};
use crate::Result;

/// Bytes of returned text that [`Pieces`] keeps before the held text. To remove them at each piece would copy the held text
/// each time.
const MAX_RETURNED: usize = 4 << 10;

/// A text that arrives in pieces, with the part of it that is held.
///
/// ```
/// # use llmux_abi::patterns::{Patterns, Pieces};
/// let patterns = Patterns::new([("key", r"sk-[A-Za-z0-9]{4}")])?;
/// let mut pieces = Pieces::default();
/// let mut push = |piece: &str, is_end| pieces.push(&patterns, piece, is_end, |_| "[key]").map(String::from);
/// assert_eq!(push("the key s", false)?, "the key ");
/// assert_eq!(push("k-12", false)?, "");
/// assert_eq!(push("34, and a task", false)?, "[key], and a ta");
/// assert_eq!(push(" for us", true)?, "sk for us");
/// # Ok::<_, llmux_abi::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Pieces {
    matching: Matching,
    /// Text that was returned, up to `held_from`, and text that is held.
    text: String,
    held_from: usize,
}

impl Pieces {
    /// Adds a piece. Returns the text that is released, with its matches replaced. `is_end` says that the text ends here; then
    /// everything is released. `replace` is called once for each match, in order.
    ///
    /// # Errors
    ///
    /// The errors of [`Matching::edit`].
    pub fn push<'a, R: Into<Replacement>>(
        &'a mut self,
        patterns: &Patterns,
        piece: &'a str,
        is_end: bool,
        replace: impl FnMut(&Match<'_>) -> R,
    ) -> Result<Cow<'a, str>> {
        if self.matching.holds_nothing() {
            self.text.clear();
            self.held_from = 0;
            let edited = self.matching.edit(patterns, piece, is_end, replace)?;
            self.text.push_str(&piece[edited.held_from..]);
            return Ok(edited.text);
        }
        if self.held_from > MAX_RETURNED {
            self.text.drain(..self.held_from);
            self.held_from = 0;
        }
        self.text.push_str(piece);
        let held = &self.text[self.held_from..];
        let edited = self.matching.edit(patterns, held, is_end, replace)?;
        self.held_from += edited.held_from;
        Ok(edited.text)
    }
}
