//! A text that is searched while it arrives.
//!
//! Plugins use it, and `pieces`. `Patterns` has the tables of steps, [`Matching`] the position in one text. Deliberately absent:
//! the text, which the caller keeps.

use std::{borrow::Cow, sync::Arc};

use super::{
    automaton::{Found, Key},
    replacement::{Match, Replacement},
    set::Patterns,
    table::{Change, Entry, StateAt, Table},
};
use crate::{Error, Result};

/// State of one text that arrives in parts: the position of the search, without the text.
///
/// It is small and `Send`. A plugin keeps one for each text in the state of its request, and calls [`edit`](Self::edit) with
/// the held text and the new text in one piece. [`Pieces`](super::Pieces) also keeps the held text.
#[derive(Debug, Default)]
pub struct Matching {
    /// Number of the patterns; 0 at the beginning of a text.
    patterns: u64,
    /// Shared table of the state.
    table: Option<Arc<Table>>,
    /// State without a shared table.
    key: Key,
    /// Position of the search. Between two parts, the held text begins at 0.
    position: Position,
}

/// Position of a search in a part of a text.
#[derive(Debug, Default)]
struct Position {
    state: StateAt,
    /// Byte index of the next step.
    at: usize,
    /// Beginning of the first group of attempts, in a state that has one.
    oldest: usize,
    /// Beginnings of the groups. The first one may be out of date: `oldest` has it.
    starts: Vec<usize>,
    found: Option<Candidate>,
}

/// A match that an attempt of higher priority may still replace.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    pattern: usize,
    start: usize,
    end: usize,
}

/// Result of [`Matching::edit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited<'t> {
    /// The text before `held_from`, with its matches replaced.
    pub text: Cow<'t, str>,
    /// Byte index, on a character boundary, from which the text is held: this part may still become a match. It is the
    /// length of the text if nothing is held.
    pub held_from: usize,
}

impl Matching {
    /// Replaces the matches in the next part of a text. `text` begins with the text that the last call held, unchanged, and
    /// continues with the new text. `is_end` says that the text ends here; then nothing is held, and the next call begins
    /// another text. `replace` is called once for each match, in order.
    ///
    /// The held text is not scanned again, except behind a match that is shorter than an attempt which failed.
    ///
    /// # Errors
    ///
    /// The error with which `replace` refuses a match. Also an error if more than [`Patterns::with_max_held`] bytes would be
    /// held, if `text` is shorter than the held text, or if the last call had other patterns. After an error, the next call
    /// begins another text.
    pub fn edit<'t, R: Into<Replacement>>(
        &mut self,
        patterns: &Patterns,
        text: &'t str,
        is_end: bool,
        mut replace: impl FnMut(&Match<'_>) -> R,
    ) -> Result<Edited<'t>> {
        self.search(patterns, text, is_end, &mut |found| replace(found).into())
    }

    fn search<'t>(
        &mut self,
        patterns: &Patterns,
        text: &'t str,
        is_end: bool,
        replace: &mut dyn FnMut(&Match<'_>) -> Replacement,
    ) -> Result<Edited<'t>> {
        let table = self.begin(patterns, text)?;
        let mut scan = Scan { patterns, text, table, position: &mut self.position };
        let mut output = Output { text, edited: String::new(), done: 0 };
        while let Some(found) = scan.next(is_end) {
            let part = &text[found.start..found.end];
            let name = &patterns.names[found.pattern];
            match replace(&Match { name, pattern: found.pattern, text: part }) {
                Replacement::Keep => {}
                Replacement::Text(text) => output.replace(found.start, found.end, &text),
                Replacement::Refuse(error) => return Err(error),
            }
            // An attempt that failed has passed the end of the match.
            if scan.position.at - found.end > patterns.max_held {
                return Err(patterns.too_long());
            }
            scan.restart(found.end);
        }
        let held_from = if is_end { text.len() } else { scan.held_from() };
        if text.len() - held_from > patterns.max_held {
            return Err(patterns.too_long());
        }
        if !is_end {
            let table = scan.table;
            self.position.move_back(held_from);
            self.patterns = patterns.number;
            if table.is_shared() {
                self.table = Some(table);
            } else if let Some(key) = table.key(self.position.state) {
                self.key = key.clone();
            }
        }
        Ok(Edited { text: output.finish(held_from), held_from })
    }

    /// Returns the table of the position. If the part fails, the next part begins another text.
    fn begin(&mut self, patterns: &Patterns, text: &str) -> Result<Arc<Table>> {
        let (tables, automaton) = (&patterns.tables, &patterns.automaton);
        let (number, table) = (std::mem::take(&mut self.patterns), self.table.take());
        if number == 0 {
            let table = tables.newest();
            let state = table.idle(automaton.kind_before(""));
            self.position = Position { state, ..Position::default() };
            return Ok(table);
        }
        if number != patterns.number {
            return Err(Error::new("a text must be searched with the same patterns from its beginning"));
        }
        let held = self.position.at;
        if !text.is_char_boundary(held) {
            let bytes = text.len();
            return Err(Error::new(format!(
                "the text has {bytes} bytes, but it must begin with the {held} bytes that were held"
            )));
        }
        let state = &mut self.position.state;
        let old = match table {
            Some(table) if tables.is_newest(&table) => return Ok(table),
            old => old,
        };
        let key = old.as_ref().and_then(|old| old.key(*state)).unwrap_or(&self.key);
        let table;
        (table, *state) = tables.with(automaton, key, None);
        Ok(table)
    }

    /// Returns true if the next part begins with new text.
    pub(super) fn holds_nothing(&self) -> bool {
        self.patterns == 0 || self.position.at == 0
    }
}

impl Patterns {
    /// Replaces the matches in a whole text. `replace` is called once for each match, in order. A text without a replacement
    /// is returned as it is.
    ///
    /// # Errors
    ///
    /// The error with which `replace` refuses a match. Also an error if an attempt at a match fails more than
    /// [`with_max_held`](Self::with_max_held) bytes behind a shorter match, because such patterns take time that grows with
    /// the square of the text.
    pub fn replace<'t, R: Into<Replacement>>(
        &self,
        text: &'t str,
        replace: impl FnMut(&Match<'_>) -> R,
    ) -> Result<Cow<'t, str>> {
        Ok(Matching::default().edit(self, text, true, replace)?.text)
    }
}

/// The edited text before the search.
struct Output<'t> {
    text: &'t str,
    edited: String,
    /// Bytes of the text that stand in `edited`, with their matches replaced.
    done: usize,
}

impl<'t> Output<'t> {
    fn replace(&mut self, start: usize, end: usize, by: &str) {
        self.edited.push_str(&self.text[self.done..start]);
        self.edited.push_str(by);
        self.done = end;
    }

    fn finish(mut self, end: usize) -> Cow<'t, str> {
        if self.done == 0 {
            return Cow::Borrowed(&self.text[..end]);
        }
        self.edited.push_str(&self.text[self.done..end]);
        Cow::Owned(self.edited)
    }
}

/// A search in a text.
struct Scan<'t> {
    patterns: &'t Patterns,
    text: &'t str,
    table: Arc<Table>,
    position: &'t mut Position,
}

impl Scan<'_> {
    /// Searches the next match that nothing can replace; `None` if there is none in this text so far.
    fn next(&mut self, is_end: bool) -> Option<Candidate> {
        let automaton = &self.patterns.automaton;
        let bytes = self.text.as_bytes();
        while self.position.state != self.table.dead {
            let Some(&byte) = bytes.get(self.position.at) else {
                if is_end {
                    self.step(automaton.end);
                }
                return self.position.found.take_if(|_| is_end);
            };
            if byte.is_ascii() || !automaton.has_unicode_words {
                self.run();
                continue;
            }
            let character = self.text[self.position.at..].chars().next().unwrap_or_default();
            let offset = automaton.word_offset(character);
            for &byte in &bytes[self.position.at..][..character.len_utf8()] {
                if self.position.state != self.table.dead {
                    self.step(usize::from(automaton.classes[usize::from(byte)]) + offset);
                }
            }
        }
        self.position.found.take()
    }

    /// Takes steps up to the first one that is not known or changes more than the state.
    fn run(&mut self) {
        let (table, automaton, bytes) = (&*self.table, &self.patterns.automaton, self.text.as_bytes());
        let (mut state, mut oldest, mut at) = (self.position.state, self.position.oldest, self.position.at);
        let mut last = None;
        while let Some(&byte) = bytes.get(at).filter(|byte| byte.is_ascii() || !automaton.has_unicode_words) {
            let symbol = usize::from(automaton.classes[usize::from(byte)]);
            if state < table.dead {
                oldest = at;
            }
            let Some(next) = table.known(state, symbol) else {
                last = Some(symbol);
                break;
            };
            state = next;
            at += 1;
        }
        (self.position.state, self.position.oldest, self.position.at) = (state, oldest, at);
        if let Some(symbol) = last {
            self.step(symbol);
        }
    }

    /// Takes one step over the next byte, or over the end.
    fn step(&mut self, symbol: usize) {
        let position = &mut *self.position;
        if position.state < self.table.dead {
            position.oldest = position.at;
        }
        loop {
            match self.table.step(&self.patterns.automaton, position.state, symbol) {
                Some(Entry::State(next)) => position.state = next,
                Some(Entry::Change(change)) => position.change(change),
                None => {
                    // Every state of a table has a key.
                    let (tables, automaton) = (&self.patterns.tables, &self.patterns.automaton);
                    let Some(key) = self.table.key(position.state) else { return };
                    (self.table, position.state) = tables.with(automaton, key, Some(&self.table));
                    continue;
                }
            }
            break;
        }
        position.at += 1;
    }

    /// Begins a search behind a match.
    fn restart(&mut self, at: usize) {
        let kind = self.patterns.automaton.kind_before(&self.text[..at]);
        (self.position.state, self.position.at) = (self.table.idle(kind), at);
    }

    /// Beginning of the first attempt that is alive.
    fn held_from(&self) -> usize {
        if self.position.state < self.table.dead { self.text.len() } else { self.position.oldest }
    }
}

impl Position {
    /// Makes a byte index the beginning of the next part.
    fn move_back(&mut self, by: usize) {
        self.at -= by;
        self.oldest = 0;
        for start in &mut self.starts {
            *start = start.saturating_sub(by);
        }
        if let Some(found) = &mut self.found {
            found.start -= by;
            found.end -= by;
        }
    }

    fn change(&mut self, change: &Change) {
        let (at, starts) = (self.at, &mut self.starts);
        starts.resize(change.groups_before.into(), 0);
        if let Some(first) = starts.first_mut() {
            *first = self.oldest;
        }
        starts.push(at);
        let candidate = |found: Found, end| Candidate {
            pattern: found.pattern,
            start: starts[found.group as usize],
            end,
        };
        let before = change.before.map(|found| candidate(found, at));
        self.found = change.after.map(|found| candidate(found, at + 1)).or(before).or(self.found);
        // The groups are sorted, and no group stands before its old place.
        for (place, &group) in change.groups.iter().enumerate() {
            starts[place] = starts[usize::from(group)];
        }
        starts.truncate(change.groups.len());
        self.oldest = starts.first().copied().unwrap_or(at);
        self.state = change.next;
    }
}
