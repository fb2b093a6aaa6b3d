//! A set of regular expressions, compiled once for all texts.
//!
//! Plugins make it; `matching` searches with it. Deliberately absent: the search.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use regex_automata::{
    nfa::thompson::{Compiler, Config, WhichCaptures},
    util::syntax,
};

use super::{automaton::Automaton, table::Tables};
use crate::{Error, Result};

/// Bytes that a text may hold if the plugin does not say otherwise.
const MAX_HELD: usize = 16 << 10;

/// Largest size of the compiled patterns, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// A set of regular expressions, each with a name.
///
/// A plugin makes it once, in `new` or in a `LazyLock`. All threads may use it at the same time.
pub struct Patterns {
    /// Number of these patterns in the process.
    pub(super) number: u64,
    pub(super) names: Box<[Box<str>]>,
    pub(super) automaton: Automaton,
    pub(super) tables: Tables,
    pub(super) max_held: usize,
}

impl Patterns {
    /// Compiles patterns, given as names and regular expressions in the order of their priority.
    ///
    /// # Errors
    ///
    /// If a pattern is no regular expression, matches the empty text, or can match in the middle of a character, or if the
    /// patterns together are too large. The error names the pattern.
    pub fn new<N: AsRef<str>, P: AsRef<str>>(patterns: impl IntoIterator<Item = (N, P)>) -> Result<Self> {
        let (mut names, mut parsed) = (Vec::new(), Vec::new());
        for (name, pattern) in patterns {
            let (name, pattern) = (name.as_ref(), pattern.as_ref());
            let refused =
                |why: &dyn fmt::Display| Error::new(format!("pattern `{name}` (`{pattern}`): {why}"));
            let hir = syntax::parse(pattern).map_err(|error| refused(&error))?;
            if hir.properties().minimum_len() == Some(0) {
                return Err(refused(
                    &"it matches the empty text; write it so that each match has a character",
                ));
            }
            names.push(name.into());
            parsed.push(hir);
        }
        let config = Config::new().which_captures(WhichCaptures::None).nfa_size_limit(Some(MAX_COMPILED));
        let nfa = Compiler::new().configure(config).build_many_from_hir(&parsed).map_err(|error| {
            Error::new(format!("the patterns {} cannot be compiled: {error}", names.join(", ")))
        })?;
        let automaton = Automaton::new(nfa);
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            names: names.into(),
            tables: Tables::new(&automaton),
            automaton,
            max_held: MAX_HELD,
        })
    }

    /// Sets the number of bytes that a text may hold, 16 KiB by default. It bounds the length of matches whose pattern has no
    /// bound, such as `<think>(?s:.*?)</think>`. A text that would hold more is an error.
    pub fn with_max_held(mut self, bytes: usize) -> Self {
        self.max_held = bytes;
        self
    }

    pub(super) fn too_long(&self) -> Error {
        let (names, max) = (self.names.join(", "), self.max_held);
        Error::new(format!(
            "more than {max} bytes of a text may still become a match of the patterns {names}; give the patterns a bound, or \
             raise it with `with_max_held`"
        ))
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("names", &self.names).finish_non_exhaustive()
    }
}
