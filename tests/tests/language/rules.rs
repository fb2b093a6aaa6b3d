//! The rules for texts: plain beginnings, no questions, American spelling, and the form of error messages.
//!
//! `main` and `table` call it. CONTRIBUTING.md gives the rules with examples; a program can check only these.

use crate::texts::{Kind, Text};

/// Words that begin no summary, no heading and no paragraph.
const BEGINNINGS: [&str; 9] =
    ["What", "Who", "Whoever", "How", "Where", "Why", "Those", "Somebody", "Nobody"];

/// British spellings and their American forms. A word that begins with the first is refused.
const BRITISH: [(&str, &str); 32] = [
    ("analys", "analyz"),
    ("artefact", "artifact"),
    ("authoris", "authoriz"),
    ("behaviour", "behavior"),
    ("cancellable", "cancelable"),
    ("centre", "center"),
    ("colour", "color"),
    ("customis", "customiz"),
    ("defence", "defense"),
    ("favour", "favor"),
    ("finalis", "finaliz"),
    ("fulfil ", "fulfill"),
    ("grey", "gray"),
    ("honour", "honor"),
    ("initialis", "initializ"),
    ("judgement", "judgment"),
    ("labelled", "labeled"),
    ("labelling", "labeling"),
    ("learnt", "learned"),
    ("licence", "license"),
    ("maximis", "maximiz"),
    ("minimis", "minimiz"),
    ("modelled", "modeled"),
    ("neighbour", "neighbor"),
    ("normalis", "normaliz"),
    ("optimis", "optimiz"),
    ("organis", "organiz"),
    ("recognis", "recogniz"),
    ("serialis", "serializ"),
    ("signalled", "signaled"),
    ("summaris", "summariz"),
    ("whilst", "while"),
];

/// Words that begin like a British spelling and are none.
const NOT_BRITISH: [&str; 6] =
    ["analysis", "optimism", "optimist", "optimistic", "optimistically", "organism"];

/// The rules that a text breaks.
pub(crate) fn broken(text: &Text) -> Vec<String> {
    let mut found = Vec::new();
    match text.kind {
        Kind::Message => found.extend(message(&text.text)),
        // A cell may be a word of any kind.
        Kind::Cell => {}
        _ => {
            let mut words = BEGINNINGS.iter().chain([&"The same"]);
            if text.kind != Kind::Item
                && let Some(word) = words.find(|word| begins(&text.text, word))
            {
                found.push(format!("begins with `{word}`"));
            }
            if is_question(&text.text) {
                found.push("has a question".to_owned());
            }
        }
    }
    found.extend(british(&text.text));
    found
}

fn begins(text: &str, word: &str) -> bool {
    let rest = text.trim_start_matches(['*', '_']).strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// True if a sentence ends with a question mark outside of code and quotes.
fn is_question(text: &str) -> bool {
    let text = without_code(text);
    let mut is_quoted = false;
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' | '“' | '”' => is_quoted = !is_quoted,
            '？' => return true,
            '?' if !is_quoted && before.is_alphanumeric() | matches!(before, ')' | '`' | '*') => {
                let next = characters.peek();
                if next.is_none_or(|next| next.is_whitespace() || matches!(next, '*' | ')')) {
                    return true;
                }
            }
            _ => {}
        }
        before = character;
    }
    false
}

/// The text with each span of code as one backtick.
fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn british(text: &str) -> Vec<String> {
    let text = without_code(text).to_lowercase();
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !NOT_BRITISH.contains(word));
    let wrong = words.filter_map(|word| {
        let (_, american) = BRITISH.iter().find(|(british, _)| match british.strip_suffix(' ') {
            Some(whole) => word == whole,
            None => word.starts_with(british),
        })?;
        Some(format!("spells `{word}`, in American English `{american}…`"))
    });
    wrong.collect()
}

/// The rules that an error message breaks.
fn message(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let first = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let mut letters = first.chars();
    let is_name = first.chars().skip(1).any(|c| c.is_uppercase() || c.is_numeric());
    if letters.next().is_some_and(char::is_uppercase) && !is_name {
        found.push(format!("is a message that starts with the capital of `{first}`"));
    }
    if text.ends_with('.') {
        found.push("is a message that ends with a period".to_owned());
    }
    found
}
