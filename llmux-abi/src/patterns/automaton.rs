//! The automaton of a set of patterns: one step of all attempts at a match that are alive, over one byte of a text.
//!
//! `table` keeps the steps that were taken before. A search that only knows the state of a DFA does not know where the
//! attempts began. Therefore a state here keeps its attempts apart: each thread of the simulation belongs to a group, and all
//! threads of a group began at the same place. The threads are sorted by priority, so that an earlier beginning comes first.
//! A look-around (`\b`, `$`) stays a thread until the character after it is known.
//! Deliberately absent: the places themselves, which `matching` keeps.

use regex_automata::{
    nfa::thompson::{NFA, State},
    util::{look::Look, primitives::StateID},
};

/// Kinds of characters that look-arounds distinguish, each with one character of its kind. The first is no character: the
/// beginning or the end of the text.
pub(super) const KINDS: [&str; 7] = ["", "\n", "\r", "a", " ", "é", "—"];

/// A kind: an index of [`KINDS`].
pub(super) type Kind = u8;

const NONE: Kind = 0;
const WORD: Kind = 5;
const NO_WORD: Kind = 6;

/// A thread: its state of the NFA, and its group.
type Thread = (u32, u16);

/// State of the search between two bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Kind of the character before this place.
    before: Kind,
    /// False once a match is found: attempts that begin later are then of no use.
    is_searching: bool,
    threads: Vec<Thread>,
}

impl Key {
    /// State without an attempt.
    pub(super) fn idle(before: Kind) -> Self {
        Self { before, is_searching: true, threads: Vec::new() }
    }

    /// State in which a match is found that no attempt can replace. A dead state has no successor, so that its kind is of no
    /// use.
    pub(super) fn dead() -> Self {
        Self { before: NONE, is_searching: false, threads: Vec::new() }
    }

    /// Number of groups. The last one began last.
    pub(super) fn groups(&self) -> u16 {
        self.threads.last().map_or(0, |&(_, group)| group + 1)
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(self.threads.as_slice())
    }
}

/// A match that a step finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) pattern: usize,
    /// Group of the state before the step. One more than its last group is the group that begins at the step's byte.
    pub(super) group: u16,
}

/// Result of a step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) next: Key,
    /// Match that ends before the byte, after a look-around.
    pub(super) before: Option<Found>,
    /// Match that ends after the byte. It replaces any other.
    pub(super) after: Option<Found>,
    /// Group of the state before the step, for each group of the next state.
    pub(super) groups: Box<[u16]>,
}

/// Memory that steps reuse.
#[derive(Debug)]
pub(super) struct Scratch {
    /// States of the NFA that were visited in pass number `pass`.
    visited: Vec<u32>,
    pass: u32,
    stack: Vec<StateID>,
    threads: Vec<Thread>,
    next: Vec<Thread>,
}

/// The automaton of a set of patterns.
#[derive(Debug)]
pub(super) struct Automaton {
    nfa: NFA,
    /// First kind that the look-arounds of these patterns do not distinguish from this kind.
    kinds: [Kind; KINDS.len()],
    /// Symbol of each byte, except a byte of a word's character that is not ASCII.
    pub(super) classes: [u8; 256],
    /// Number of classes.
    class_count: usize,
    /// Symbol of the end of the text.
    pub(super) end: usize,
    /// True if a look-around distinguishes characters of words that are not ASCII.
    pub(super) has_unicode_words: bool,
}

impl Automaton {
    pub(super) fn new(nfa: NFA) -> Self {
        let looks: Vec<Look> = nfa.look_set_any().iter().collect();
        let see = |before: usize| -> Vec<bool> {
            let pairs = looks.iter().flat_map(|&look| (0..KINDS.len()).map(move |after| (look, after)));
            pairs.map(|(look, after)| holds(&nfa, look, before as Kind, after as Kind)).collect()
        };
        let all: [_; KINDS.len()] = std::array::from_fn(see);
        let first = |kind: usize| all.iter().position(|other| *other == all[kind]).unwrap_or(kind) as Kind;
        // One class of the alphabet is the end of the text.
        let class_count = nfa.byte_classes().alphabet_len() - 1;
        let has_unicode_words = nfa.look_set_any().contains_word_unicode();
        Self {
            kinds: std::array::from_fn(first),
            classes: std::array::from_fn(|byte| nfa.byte_classes().get(byte as u8)),
            class_count,
            end: if has_unicode_words { 2 * class_count } else { class_count },
            has_unicode_words,
            nfa,
        }
    }

    /// Number of symbols: the classes of bytes, the classes again for characters of words that are not ASCII, and the end of
    /// the text.
    pub(super) fn symbols(&self) -> usize {
        self.end + 1
    }

    /// Difference between the symbol of a byte in a character of a word and the symbol of the byte elsewhere.
    pub(super) fn word_offset(&self, character: char) -> usize {
        if self.kind(character) == WORD { self.class_count } else { 0 }
    }

    /// Kinds that states can have.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        (0..KINDS.len() as Kind).filter(|&kind| self.kinds[usize::from(kind)] == kind)
    }

    /// Kind of the last character of a text, or of the beginning.
    pub(super) fn kind_before(&self, text: &str) -> Kind {
        self.kinds[usize::from(text.chars().next_back().map_or(NONE, |last| self.kind(last)))]
    }

    fn kind(&self, character: char) -> Kind {
        match character {
            '\n' => 1,
            '\r' => 2,
            '_' => 3,
            _ if character.is_ascii_alphanumeric() => 3,
            _ if character.is_ascii() => 4,
            _ if self.has_unicode_words => {
                let text = character.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
                let is_word = self.nfa.look_matcher().is_word_start_unicode(&text, 0);
                if is_word.unwrap_or(false) { WORD } else { NO_WORD }
            }
            _ => NO_WORD,
        }
    }

    pub(super) fn scratch(&self) -> Scratch {
        let visited = vec![0; self.nfa.states().len()];
        Scratch { visited, pass: 0, stack: Vec::new(), threads: Vec::new(), next: Vec::new() }
    }

    /// Takes a step over one symbol.
    pub(super) fn step(&self, key: &Key, symbol: usize, scratch: &mut Scratch) -> Step {
        let byte = (symbol != self.end).then(|| self.representative(symbol % self.class_count));
        let after = match byte {
            None => NONE,
            Some(_) if symbol >= self.class_count => WORD,
            Some(byte) if byte.is_ascii() => self.kind(char::from(byte)),
            Some(_) => NO_WORD,
        };
        let fresh = key.groups();
        // Resolves the look-arounds, because the next character is known now.
        let mut threads = std::mem::take(&mut scratch.threads);
        threads.clear();
        scratch.next_pass();
        let mut find = |state: u32, group| {
            let start = StateID::must(state as usize);
            let found = self.follow(start, group, Some((key.before, after)), scratch, &mut threads);
            found.map(|pattern| Found { pattern, group })
        };
        let mut before = key.threads.iter().find_map(|&(state, group)| find(state, group));
        if key.is_searching && before.is_none() {
            before = find(self.nfa.start_anchored().as_u32(), fresh);
        }
        let mut next = std::mem::take(&mut scratch.next);
        next.clear();
        scratch.next_pass();
        let found = byte.and_then(|byte| {
            threads.iter().find_map(|&(state, group)| {
                let target = self.target(state, byte)?;
                let found = self.follow(target, group, None, scratch, &mut next);
                found.map(|pattern| Found { pattern, group })
            })
        });
        let is_searching = key.is_searching && before.is_none() && found.is_none();
        let mut groups: Vec<u16> = next.iter().map(|&(_, group)| group).collect();
        groups.dedup();
        let mut at = 0;
        for (_, group) in &mut next {
            at += u16::from(groups[usize::from(at)] != *group);
            *group = at;
        }
        let is_dead = !is_searching && next.is_empty();
        let before_next = if is_dead { NONE } else { self.kinds[usize::from(after)] };
        let result = Step {
            next: Key { before: before_next, is_searching, threads: next.clone() },
            before,
            after: found,
            groups: groups.into(),
        };
        (scratch.threads, scratch.next) = (threads, next);
        result
    }

    /// A byte of a class.
    fn representative(&self, class: usize) -> u8 {
        self.classes.iter().position(|&other| usize::from(other) == class).unwrap_or_default() as u8
    }

    /// State after a byte; `None` if the thread ends.
    fn target(&self, state: u32, byte: u8) -> Option<StateID> {
        match self.nfa.state(StateID::must(state as usize)) {
            State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
            State::Sparse(transitions) => transitions.matches_byte(byte),
            State::Dense(transitions) => transitions.matches_byte(byte),
            _ => None,
        }
    }

    /// Adds the threads that a state leads to without a byte, in order of their priority. Returns the pattern of a match,
    /// after which no thread is added. Without `around`, the kinds of the characters around this place, a look-around is a
    /// thread.
    fn follow(
        &self,
        start: StateID,
        group: u16,
        around: Option<(Kind, Kind)>,
        scratch: &mut Scratch,
        threads: &mut Vec<Thread>,
    ) -> Option<usize> {
        scratch.stack.clear();
        scratch.stack.push(start);
        while let Some(id) = scratch.stack.pop() {
            if std::mem::replace(&mut scratch.visited[id], scratch.pass) == scratch.pass {
                continue;
            }
            match self.nfa.state(id) {
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) => {
                    threads.push((id.as_u32(), group));
                }
                State::Look { look, next } => match around {
                    None => threads.push((id.as_u32(), group)),
                    Some((before, after)) if holds(&self.nfa, *look, before, after) => {
                        scratch.stack.push(*next)
                    }
                    Some(_) => {}
                },
                State::Union { alternates } => scratch.stack.extend(alternates.iter().rev()),
                State::BinaryUnion { alt1, alt2 } => scratch.stack.extend([*alt2, *alt1]),
                State::Capture { next, .. } => scratch.stack.push(*next),
                State::Fail => {}
                State::Match { pattern_id } => return Some(pattern_id.as_usize()),
            }
        }
        None
    }
}

impl Scratch {
    fn next_pass(&mut self) {
        self.pass = self.pass.wrapping_add(1);
        if self.pass == 0 {
            self.visited.fill(0);
            self.pass = 1;
        }
    }
}

/// Returns true if a look-around holds between two characters of these kinds.
fn holds(nfa: &NFA, look: Look, before: Kind, after: Kind) -> bool {
    let (before, after) = (KINDS[usize::from(before)], KINDS[usize::from(after)]);
    let mut text = [0; 8];
    let whole = &mut text[..before.len() + after.len()];
    whole[..before.len()].copy_from_slice(before.as_bytes());
    whole[before.len()..].copy_from_slice(after.as_bytes());
    nfa.look_matcher().matches(look, whole, before.len())
}
