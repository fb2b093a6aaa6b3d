//! Patterns in texts that arrive in pieces, for guards and masks (feature `patterns`).
//!
//! A mask that edits each chunk of a stream alone does not see a match that two chunks share. A mask that waits for the whole
//! text delays every stream. [`Patterns`] is a set of regular expressions that knows, at each place of a text, from which byte
//! on the text can still become a match. Only this part is held. The released text is, for every split into pieces, the text
//! that a replacement in the whole text would make.
//!
//! ```
//! # use llmux_abi::{Error, patterns::{Match, Matching, Patterns, Replacement}};
//! // Once for each plugin.
//! let patterns = Patterns::new([
//!     ("email", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
//!     ("key", r"\bsk-[A-Za-z0-9]{20,}\b"),
//!     ("word", r"(?i)\bproject harbor\b"),
//! ])?;
//! let replace = |found: &Match<'_>| match found.name() {
//!     "word" => Replacement::Refuse(Error::forbidden("the text names a secret project")),
//!     "email" if found.text().ends_with("@example.com") => Replacement::Keep,
//!     name => format!("[{name}]").into(),
//! };
//!
//! // A whole text.
//! assert_eq!(patterns.replace("write to ann@lee.org", replace)?, "write to [email]");
//!
//! // A text in parts, with one `Matching` in the state of the request. Each part begins with the held text.
//! let mut matching = Matching::default();
//! let edited = matching.edit(&patterns, "write to ann@lee.", false, replace)?;
//! assert_eq!((&*edited.text, edited.held_from), ("write to ", 9));
//! let edited = matching.edit(&patterns, "ann@lee.org, please", false, replace)?;
//! assert_eq!((&*edited.text, edited.held_from), ("[email], ", 13));
//! let edited = matching.edit(&patterns, "please", true, replace)?;
//! assert_eq!((&*edited.text, edited.held_from), ("please", 6));
//! # Ok::<_, Error>(())
//! ```
//!
//! A text hook calls [`Text::replace_matches`](crate::Text::replace_matches), which keeps a [`Matching`] for each text.
//!
//! The syntax and the choice of a match are those of the crate `regex`, for all patterns as one alternation: the match that
//! begins first wins, then the pattern that stands first. `\b`, `^` and `$` see the whole text, also the released part.
//!
//! A repetition without a bound, such as `[\w.+-]+` above, holds a long word until [`Patterns::with_max_held`] is reached, and
//! the text then fails. Give repetitions a bound, such as `\b[\w.+-]{1,64}@`, if a text may have longer words. A `\b` at the
//! beginning keeps the number of attempts small.
//!
//! All texts of a plugin share tables of steps, usually below 1 MiB and at most about 10 MiB. Deliberately absent: groups,
//! which a plugin can search in the text of a match.

mod automaton;
mod matching;
mod pieces;
mod replacement;
mod set;
mod table;
mod texts;

pub use self::{
    matching::{Edited, Matching},
    pieces::Pieces,
    replacement::{Match, Replacement},
    set::Patterns,
    texts::Matchings,
};
