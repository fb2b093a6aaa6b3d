//! The cost of patterns in a text that arrives in pieces, beside `regex` in the whole text.
//! `cargo bench -p llmux-abi --features patterns --bench patterns` prints the times and the ratios.
//!
//! The promises: 4 KB in parts of 16 bytes (`Matching`) take at most twice the time of `regex` in the whole text, and four
//! times the text takes at most 4.4 times as long. All search without a replacement. `regex` has the patterns as one
//! alternation. `Pieces` also copies the held text. Patterns that begin with rare literals have no promise: `regex` skips to
//! the literals, and parts of 16 bytes are too short to skip.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use llmux_abi::patterns::{Match, Matching, Patterns, Pieces, Replacement};
use regex::Regex;

const PROSE: &str = "The harbor wakes before the town does; nets are mended, and somebody always whistles. Pier 4 opens at \
                     6:30, the ferry leaves 45 minutes later. ";
const PERSONAL: &str =
    "Write to ann.lee@example.com or call +49 30 1234567; the card 4111 1111 1111 1111 is known. ";

const GUARD: [(&str, &str); 4] = [
    ("email", r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z0-9-]*[A-Za-z0-9]{2}\b"),
    ("phone", r"\+[0-9](?:[ .()-]{0,2}[0-9]){7,14}\b"),
    ("card", r"\b[3-6](?:[ .-]{0,2}[0-9]){12,18}\b"),
    ("key", r"\bsk-[A-Za-z0-9]{20,}"),
];
const WORDS: [(&str, &str); 2] =
    [("word", r"(?i)\b(?:secret|internal|harbor plan)\b"), ("name", r"\bProject [A-Z]\w+")];
const KEYS: [(&str, &str); 2] = [("openai", r"sk-[A-Za-z0-9]{20,}"), ("github", r"ghp_[A-Za-z0-9]{36}")];

const PIECE: usize = 16;
/// Number of measured rounds, of which the table has the medians.
const ROUNDS: usize = 51;
/// Bytes that each measurement of a round searches.
const BYTES: usize = 1 << 20;

fn main() {
    println!("                                   4 KB, µs               ratio to regex       16 KB / 4 KB");
    println!("patterns, text          regex   whole  parts pieces   whole   parts  pieces       parts");
    println!("promise                                                     at most 2          at most 4.4");
    let personal = format!("{PROSE}{PROSE}{PERSONAL}{PROSE}{PROSE}{PROSE}");
    row("guard, prose", &GUARD, PROSE);
    row("guard, personal", &GUARD, &personal);
    println!("without a promise: regex skips to the literals of these patterns");
    row("words, prose", &WORDS, PROSE);
    row("keys, prose", &KEYS, PROSE);
}

fn row(title: &str, set: &[(&str, &str)], text: &str) {
    let patterns = Patterns::new(set.iter().copied()).expect("patterns");
    let all: Vec<_> = set.iter().map(|(_, pattern)| format!("(?:{pattern})")).collect();
    let regex = Regex::new(&all.join("|")).expect("a pattern");
    let text: String = text.chars().cycle().take(16 << 10).collect();
    let (short, long) = (&text[..4 << 10], &*text);
    let mut times: [Vec<Duration>; 5] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(time(short, |text| regex.find_iter(text).count()));
        times[1].push(time(short, |text| whole(&patterns, text)));
        times[2].push(time(short, |text| parts(&patterns, text)));
        times[3].push(time(short, |text| pieces(&patterns, text)));
        times[4].push(time(long, |text| parts(&patterns, text)));
    }
    let [regex, whole, parts, pieces, long] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    });
    println!(
        "{title:22} {regex:6.2}  {whole:6.2} {parts:6.2} {pieces:6.2}  {:6.2}  {:6.2}  {:6.2}      {:6.2}",
        whole / regex,
        parts / regex,
        pieces / regex,
        long / parts
    );
}

/// Time of one search.
fn time(text: &str, search: impl Fn(&str) -> usize) -> Duration {
    let runs = BYTES / text.len();
    let start = Instant::now();
    for _ in 0..runs {
        black_box(search(black_box(text)));
    }
    start.elapsed() / runs as u32
}

fn keep(_: &Match<'_>) -> Replacement {
    Replacement::Keep
}

fn whole(patterns: &Patterns, text: &str) -> usize {
    patterns.replace(text, keep).expect("a text").len()
}

fn pieces(patterns: &Patterns, text: &str) -> usize {
    let mut pieces = Pieces::default();
    let (mut released, mut from) = (0, 0);
    while from < text.len() {
        let end = text.len().min(from + PIECE);
        released += pieces.push(patterns, &text[from..end], end == text.len(), keep).expect("a text").len();
        from = end;
    }
    released
}

/// Presents the held text again with the text that follows, as a host does.
fn parts(patterns: &Patterns, text: &str) -> usize {
    let mut matching = Matching::default();
    let (mut from, mut end) = (0, 0);
    while end < text.len() {
        end = text.len().min(end + PIECE);
        from += matching.edit(patterns, &text[from..end], end == text.len(), keep).expect("a text").held_from;
    }
    from
}
