//! Plain English in every documentation comment, error message and document, as far as a program can tell. CONTRIBUTING.md
//! gives the rules with examples.
//!
//! `texts` finds the texts, `rules` judges them, `table` shows each rule broken.

mod rules;
mod table;
mod texts;

use std::fs;

use llmux_testing::{blocks::root, files::files};

use self::texts::{Text, of_markdown, of_rust};

/// The broken rules of a file.
fn broken(file: &str, texts: &[Text]) -> Vec<String> {
    let broken = texts.iter().flat_map(|text| {
        let excerpt: String = text.text.chars().take(60).collect();
        rules::broken(text).into_iter().map(move |rule| format!("{file}:{}: {rule}: {excerpt}", text.line))
    });
    broken.collect()
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_comment_and_message_is_plain_english() {
    let mut all = 0;
    let mut found = Vec::new();
    for file in files("rs") {
        let texts = of_rust(&text(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        all += texts.len();
        found.extend(broken(&file, &texts));
    }
    assert!(all > 3_000, "only {all} texts were found");
    assert!(found.is_empty(), "{} broken rules:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_document_is_plain_english() {
    let mut all = 0;
    let mut found = Vec::new();
    for file in files("md") {
        let texts = of_markdown(&text(&file));
        all += texts.len();
        found.extend(broken(&file, &texts));
    }
    assert!(all > 1_000, "only {all} texts were found");
    assert!(found.is_empty(), "{} broken rules:\n{}", found.len(), found.join("\n"));
}
