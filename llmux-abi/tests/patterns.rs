//! Patterns in pieces: for every split of a text, the released text is that of `regex` in the whole text, and no more is held
//! than can still become a match.
//!
//! The reference of what is held is a DFA of `regex-automata` that begins at each byte. Deliberately absent: times, which
//! `benches/patterns.rs` measures.

#![cfg(feature = "patterns")]

use std::sync::LazyLock;

use llmux_abi::{
    Error,
    patterns::{Edited, Match, Matching, Patterns, Pieces, Replacement},
};
use proptest::prelude::*;
use regex::Regex;
use regex_automata::{
    Input,
    dfa::{Automaton, StartKind, dense},
};

const EMAIL: &str = r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]*[A-Za-z0-9]{2}\b";
const PHONE: &str = r"\+[0-9](?:[ .()-]{0,2}[0-9]){7,14}\b";
const CARD: &str = r"\b[3-6](?:[ .-]{0,2}[0-9]){12,18}\b";
const KEY: &str = r"sk-[A-Za-z0-9]{20,}";

/// Sets of patterns, each with texts that come near to its matches.
const CORPUS: &[(&[&str], &[&str])] = &[
    (
        &[EMAIL, PHONE, CARD, KEY],
        &[
            "mail ann.lee@example.com, or ann@example and bob@example.co.uk.",
            "+49 30 1234567 or +1 (555) 010-9999; not +1 2 3",
            "card 4111 1111 1111 1111, 4111-1111-1111-111, and 34567",
            "sk-abcdefghij0123456789, sk-short, ssk-sk-abcdefghij0123456789ABC é",
            "a@b.ccc@d.ee 5500005555555559 x5500005555555559 +5500005555555559",
        ],
    ),
    (&["a", "ab", "abc"], &["abcabab", "aabbcc"]),
    (&["abc", "ab", "a"], &["abcabab", "aabbcc"]),
    (&["ab|abcd|a", "bc"], &["abcd abc ab bcd", "aababcbcd"]),
    (&["a+?", "b+"], &["aaabbbab", "bba"]),
    (&["a.*?b", "c.*d"], &["a--b c--dd a", "acbdcdab\nab cc\nd"]),
    (&["a(?:[^z]*z)?"], &["aaaaz aa", "aaxaax", "azaza"]),
    (&[r"\bcat\b", r"\Bdog"], &["cat cats concat cat.", "dog hotdog 犬dog édog", "cat", "écat caté cat—cat"]),
    (&[r"(?-u:\bcat\b)"], &["cat cats concat cat.", "écat caté cat"]),
    (
        &[r"\b{start}in", r"ing\b{end}", r"\b{start-half}é", r"—\b{end-half}"],
        &["in ing indoing éin é é— —é — "],
    ),
    (&["^ab", "ab$", "b$"], &["ababab", "ab", "xab\nab", "b"]),
    (&["(?m)^ab", "(?m)ab$"], &["abab\nabab\r\nab", "ab\n", "\nab"]),
    (&["(?Rm)^ab", "(?Rm)ab$"], &["abab\nabab\r\nab", "ab\r", "ab\r\r\nab", "\rab"]),
    (&[r"(?m)^\s*x$", r"\Ax", r"x\z"], &["x\n x\n\nx x", "x"]),
    (&["(?i)straße", "(?i)k"], &["STRASSE Straße STRAẞE \u{212a}k", "straß"]),
    (&[r"\p{Greek}+", r"[\p{Han}&&[^世]]"], &["αβγ abc δ 世界和平", "ωx世"]),
    (&[r"\w+é", r"[^a]é"], &["caféé éé aé", "日本語é é"]),
    (&[".{3}", "."], &["日本語x日本\n—", "ab"]),
    (&[r"\d{4}-\d{2}", r"\d+"], &["2024-01 2024-1 20-24-11", "12345-67"]),
    (&["foo|foobar", "bar"], &["foobar foo bar fofoobar"]),
    (&["(?:foo|foobar)$", "oob"], &["foobar", "foo", "foobarx"]),
];

fn patterns(set: &[&str]) -> Patterns {
    Patterns::new(set.iter().enumerate().map(|(at, pattern)| (at.to_string(), pattern))).expect("patterns")
}

fn mark(pattern: &str, text: &str) -> String {
    format!("<{pattern}:{}>", text.chars().rev().collect::<String>())
}

fn marked(found: &Match<'_>) -> Replacement {
    assert_eq!(found.name(), found.pattern().to_string());
    match found.text() {
        "bcd" | "aaa" | "界" => Replacement::Keep,
        text => mark(found.name(), text).into(),
    }
}

/// The patterns as one alternation, with a group for each.
fn alternation(set: &[&str]) -> Regex {
    let groups: Vec<_> = set.iter().map(|pattern| format!("({pattern})")).collect();
    Regex::new(&groups.join("|")).expect("a pattern")
}

/// The replacement in the whole text, by the crate `regex`.
fn reference(regex: &Regex, text: &str) -> String {
    let replace = |found: &regex::Captures<'_>| {
        let at = (1..found.len()).find(|&at| found.get(at).is_some()).expect("a pattern") - 1;
        match &found[0] {
            text @ ("bcd" | "aaa" | "界") => text.to_owned(),
            text => mark(&at.to_string(), text),
        }
    };
    regex.replace_all(text, replace).into_owned()
}

/// The released text of a text in pieces, which end at these bytes. Everything is searched twice: in pieces, and by the
/// caller that keeps the held text.
fn in_pieces(
    patterns: &Patterns,
    text: &str,
    ends: impl IntoIterator<Item = usize>,
    is_end_alone: bool,
) -> String {
    let (mut pieces, mut matching) = (Pieces::default(), Matching::default());
    let (mut released, mut from, mut held) = (String::new(), 0, 0);
    let mut push = |end: usize, is_end| {
        let piece = pieces.push(patterns, &text[from..end], is_end, marked).expect("a text").into_owned();
        let edited = matching.edit(patterns, &text[held..end], is_end, marked).expect("a text");
        assert_eq!(edited.text, piece, "{text:?} up to {end}");
        released += &piece;
        (from, held) = (end, held + edited.held_from);
    };
    ends.into_iter().for_each(|end| push(end, false));
    push(text.len(), !is_end_alone);
    if is_end_alone {
        push(text.len(), true);
    }
    released
}

fn boundaries(text: &str) -> Vec<usize> {
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect()
}

#[test]
fn t4_every_split_gives_the_text_that_regex_makes_of_the_whole() {
    for (set, texts) in CORPUS {
        let (patterns, regex) = (patterns(set), alternation(set));
        for text in *texts {
            let expected = reference(&regex, text);
            assert_eq!(patterns.replace(text, marked).expect("a text"), expected, "{set:?} in {text:?}");
            let ends = boundaries(text);
            for (at, &first) in ends.iter().enumerate() {
                for &second in &ends[at..] {
                    let released = in_pieces(&patterns, text, [first, second], at.is_multiple_of(2));
                    assert_eq!(released, expected, "{set:?} in {text:?}, split at {first} and {second}");
                }
            }
            assert_eq!(
                in_pieces(&patterns, text, ends, true),
                expected,
                "{set:?} in {text:?}, by characters"
            );
        }
    }
}

static COMPILED: LazyLock<Vec<(Patterns, Regex)>> =
    LazyLock::new(|| CORPUS.iter().map(|(set, _)| (patterns(set), alternation(set))).collect());

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t4_random_splits_of_random_texts_give_the_text_that_regex_makes(
        at in 0..CORPUS.len(),
        parts in proptest::collection::vec((any::<prop::sample::Index>(), 1..9usize, any::<prop::sample::Index>()), 1..12),
        splits in proptest::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let (set, texts) = CORPUS[at];
        let text: String = parts.iter().map(|(text, length, from)| {
            let text = *text.get(texts);
            let from = from.index(text.chars().count());
            text.chars().skip(from).take(*length).collect::<String>()
        }).collect();
        let ends = boundaries(&text);
        let mut splits: Vec<usize> = splits.iter().map(|split| *split.get(&ends)).collect();
        splits.sort_unstable();
        let (patterns, regex) = &COMPILED[at];
        let released = in_pieces(patterns, &text, splits.iter().copied(), text.len().is_multiple_of(2));
        prop_assert_eq!(released, reference(regex, &text), "{:?} in {:?}, split at {:?}", set, text, splits);
    }
}

/// The beginning of the text that an attempt at a match can still use, by one DFA that begins at each byte behind `from`.
fn viable_from(dfa: &dense::DFA<Vec<u32>>, text: &str, from: usize) -> usize {
    let is_alive = |start: usize| {
        let input = Input::new(text).range(start..).anchored(regex_automata::Anchored::Yes);
        let first = dfa.start_state_forward(&input).expect("a start");
        let state = text.as_bytes()[start..].iter().fold(first, |state, &byte| dfa.next_state(state, byte));
        // A match is seen one byte late. It is decided if it comes with every byte, and nothing after it.
        let all =
            |state| (0..=255).map(move |byte| dfa.next_state(state, byte)).chain([dfa.next_eoi_state(state)]);
        let ends = |state| all(state).all(|next| dfa.is_dead_state(next));
        let found = |state| dfa.is_match_state(state).then(|| dfa.match_pattern(state, 0));
        let decided = found(dfa.next_eoi_state(state));
        let is_decided = decided.is_some() && all(state).all(|next| found(next) == decided && ends(next));
        !(ends(state) || is_decided)
    };
    (from..text.len()).filter(|&at| text.is_char_boundary(at)).find(|&at| is_alive(at)).unwrap_or(text.len())
}

#[test]
fn t4_only_text_that_can_still_become_a_match_is_held() {
    // A DFA has no word boundaries of Unicode.
    let is_ascii =
        |set: &[&str]| set.iter().all(|pattern| !pattern.contains(r"\b") || pattern.contains("-u"));
    let mut held_texts = 0;
    for (set, texts) in
        CORPUS.iter().filter(|(set, _)| is_ascii(set)).chain(&[(&[EMAIL, CARD, KEY][..], CORPUS[0].1)])
    {
        let patterns = patterns(set);
        let ascii: Vec<_> = set.iter().map(|pattern| pattern.replace(r"\b", r"(?-u:\b)")).collect();
        let config = dense::Config::new().start_kind(StartKind::Anchored);
        let dfa = dense::Builder::new().configure(config).build_many(&ascii).expect("a DFA");
        for text in texts.iter().filter(|text| set[0] != EMAIL || text.is_ascii()) {
            let (mut matching, mut held, mut decided) = (Matching::default(), 0, 0);
            for end in boundaries(text) {
                let mut last = None;
                let edited = matching.edit(&patterns, &text[held..end], false, |found: &Match<'_>| {
                    last = Some(found.text().as_ptr() as usize + found.text().len() - text.as_ptr() as usize);
                    Replacement::Keep
                });
                held += edited.expect("a text").held_from;
                decided = last.unwrap_or(decided);
                let viable = viable_from(&dfa, &text[..end], decided);
                assert_eq!(held, viable, "{set:?} in {:?}", &text[..end]);
                held_texts += usize::from(held < end);
            }
        }
    }
    assert!(held_texts > 100, "{held_texts}");
}

#[test]
fn held_text_is_not_scanned_again() {
    let patterns = patterns(&["abcd"]);
    let mut matching = Matching::default();
    assert_eq!(matching.edit(&patterns, "xab", false, marked).expect("a text").held_from, 1);
    // A caller must present the held text. Another text of its length shows that these bytes are not read.
    assert_eq!(matching.edit(&patterns, "..c", false, marked).expect("a text").held_from, 0);
    let edited = matching.edit(&patterns, "...d", true, marked).expect("a text");
    assert_eq!(edited, Edited { text: mark("0", "...d").into(), held_from: 4 });
}

#[test]
fn a_pattern_that_matches_the_empty_text_is_refused_by_its_name() {
    for pattern in ["", "a*", r"\b", "^", "a|b?", "(?:a{0})"] {
        let error = Patterns::new([("word", "x"), ("bad", pattern)]).expect_err(pattern).to_string();
        assert!(error.contains("`bad`") && error.contains("empty text"), "{error}");
    }
    for pattern in ["a(", r"(?-u:\xff)", r"(?-u:.)", r"\1"] {
        let error = Patterns::new([("bad", pattern)]).expect_err(pattern).to_string();
        assert!(error.contains("`bad`"), "{error}");
    }
    let error = Patterns::new([("large", r"\w{20000}")]).expect_err("a size").to_string();
    assert!(error.contains("large"), "{error}");
}

#[test]
fn a_text_that_holds_too_much_is_one_error_and_names_the_remedy() {
    let patterns =
        Patterns::new([("thought", "<think>(?s:.*?)</think>")]).expect("patterns").with_max_held(20);
    let mut pieces = Pieces::default();
    assert_eq!(pieces.push(&patterns, "so <think>0123456789", false, |_| "").expect("a text"), "so ");
    assert_eq!(pieces.push(&patterns, "abc", false, |_| "").expect("a text"), "");
    let error = pieces.push(&patterns, "d", false, |_| "").expect_err("too long").to_string();
    assert!(
        error.contains("20 bytes") && error.contains("thought") && error.contains("with_max_held"),
        "{error}"
    );
    assert_eq!(pieces.push(&patterns, "another", true, |_| "").expect("a text"), "another");
    // A whole text holds nothing.
    let whole = format!("so <think>{}</think>.", "x".repeat(100));
    assert_eq!(patterns.replace(&whole, |_| "").expect("a text"), "so .");
}

#[test]
fn attempts_that_fail_far_behind_a_short_match_are_an_error() {
    let patterns = Patterns::new([("square", "a(?:[^z]*z)?")]).expect("patterns").with_max_held(100);
    assert_eq!(patterns.replace(&"a".repeat(100), |_| "b").expect("a text"), "b".repeat(100));
    patterns.replace(&"a".repeat(200), |_| "b").expect_err("a square of the length");
}

#[test]
fn a_refused_match_is_the_error_of_the_text() {
    let patterns = patterns(&["bad"]);
    let refuse = |found: &Match<'_>| Error::forbidden(format!("{} word", found.text()));
    let error = patterns.replace("a bad text", refuse).expect_err("refused");
    assert_eq!((error.status(), error.to_string().contains("bad word")), (403, true));
    assert_eq!(patterns.replace("a good text", refuse).expect("a text"), "a good text");
    let result =
        |found: &Match<'_>| if found.text() == "bad" { Err(Error::new("no")) } else { Ok(Some("yes")) };
    patterns.replace("bad", result).expect_err("refused");
    assert_eq!(patterns.replace("bad", |_| None::<String>).expect("a text"), "bad");
}

#[test]
fn a_state_of_a_text_is_used_with_its_patterns_and_its_held_text_alone() {
    let (one, other) = (patterns(&["abc"]), patterns(&["abc"]));
    let mut matching = Matching::default();
    matching.edit(&one, "ab", false, marked).expect("a text");
    matching.edit(&other, "abc", false, marked).expect_err("other patterns");
    matching.edit(&one, "éab", false, marked).expect("another text");
    matching.edit(&one, "a", false, marked).expect_err("without the held text");
    matching.edit(&one, "xab", false, marked).expect("another text");
    matching.edit(&one, "éc", false, marked).expect("two bytes");
    matching.edit(&one, "ab", false, marked).expect("held again");
    matching.edit(&one, "aé", false, marked).expect_err("no boundary of a character");
}

#[test]
fn texts_go_on_when_the_table_of_steps_is_full() {
    // Each place of an `a` among the last 14 characters is an attempt, so that there are about 16,000 states.
    let set = &["a[ab]{14}c", "b[ab]{3}d"];
    let (patterns, regex) = (patterns(set), alternation(set));
    let mut random = 1_u64;
    let mut text = || -> String {
        let next = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b', 'a', 'b', 'c', 'd'][(random >> 33) as usize % 12]
        };
        (0..2_000).map(next).collect()
    };
    // Texts that wait keep tables alive. The first parts end in the middle of an attempt.
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let text = text();
        assert_eq!(patterns.replace(&text, marked).expect("a text"), reference(&regex, &text));
        let (first, rest) = text.split_at(text.len() / 2);
        let mut pieces = Pieces::default();
        let released = pieces.push(&patterns, first, false, marked).expect("a text").into_owned();
        waiting.push((pieces, rest.to_owned(), released, reference(&regex, &text)));
    }
    for (mut pieces, rest, released, expected) in waiting {
        let (middle, end) = rest.split_at(rest.len() / 2);
        let middle = pieces.push(&patterns, middle, false, marked).expect("a text").into_owned();
        let end = pieces.push(&patterns, end, true, marked).expect("a text").into_owned();
        assert_eq!(released + &middle + &end, expected);
    }
}

#[test]
fn threads_share_patterns() {
    let (set, texts) = CORPUS[0];
    let (patterns, regex) = (patterns(set), alternation(set));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (patterns, regex) = (&patterns, &regex);
            scope.spawn(move || {
                for text in texts.iter().cycle().skip(thread).take(8) {
                    let released = in_pieces(patterns, text, boundaries(text), false);
                    assert_eq!(released, reference(regex, text));
                }
            });
        }
    });
    fn is_send<T: Send + Sync>() {}
    is_send::<(Patterns, Matching, Pieces)>();
}
