//! Compares `docs/behavior.md` with the repository: each rule that a comment, a document or a test's name cites exists
//! there, and each rule that is built has a test whose name begins with the rule's number.
//!
//! The tests of the rules themselves stand in `tests/tests/rules` and beside the code that they check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use llmux_testing::blocks::root;

/// Page that defines the rules.
const PAGE: &str = "docs/behavior.md";

/// Number of a rule, such as `O1`, if the word is one.
fn rule(word: &str) -> Option<String> {
    let (letter, digits) = word.split_at_checked(1)?;
    let is_rule = letter.chars().all(|c| c.is_ascii_uppercase())
        && (1..=2).contains(&digits.len())
        && digits.chars().all(|c| c.is_ascii_digit());
    is_rule.then(|| word.to_owned())
}

/// Rules of the page: true for those that are planned.
fn rules() -> BTreeMap<String, bool> {
    let page = fs::read_to_string(root().join(PAGE)).expect("text");
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let Some((word, text)) = line.strip_prefix("- **").and_then(|rest| rest.split_once("** ")) else {
            continue;
        };
        let number = rule(word).unwrap_or_else(|| panic!("{PAGE}: `{word}` is not the number of a rule"));
        let is_new = found.insert(number, text.starts_with("(planned) ")).is_none();
        assert!(is_new, "{PAGE} defines {word} twice");
    }
    assert!(found.len() > 80, "{PAGE} defines only {} rules", found.len());
    found
}

/// Rust files and documents of the repository.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if matches!(extension, Some("rs" | "md")) {
                found.push(path);
            }
        }
    }
    found
}

/// Rules that a text cites: "rule O2", "rules O1, O3 and O4", "Rules P1 to P6".
fn cited(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.starts_with("//")).collect();
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        if !matches!(word.trim_start_matches('(').to_lowercase().as_str(), "rule" | "rules") {
            continue;
        }
        for word in &words[at + 1..] {
            match rule(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())) {
                Some(number) => found.insert(number),
                None if matches!(*word, "and" | "to" | "or") => continue,
                None => break,
            };
        }
    }
    found
}

/// Rule that a function's name begins with, as `o1_…`.
fn rule_of(name: &str) -> Option<String> {
    rule(&name.split_once('_')?.0.to_uppercase()).filter(|_| name.starts_with(|c: char| c.is_lowercase()))
}

/// Rules that have a test in a file: functions with an attribute `test`, and those that macros make tests of.
fn tested(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let tests = lines.iter().enumerate().filter_map(|(at, line)| {
        if let Some((name, _)) = line.split_once(": |world|") {
            return rule_of(name);
        }
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let is_test = name.contains("(world: ") || attributes.into_iter().any(|line| line.contains("test"));
        rule_of(name).filter(|_| is_test)
    });
    tests.collect()
}

#[test]
fn every_rule_that_is_cited_is_on_the_page() {
    let rules = rules();
    let mut found = BTreeSet::new();
    // The last test of this file cites rules as examples.
    for path in files().into_iter().filter(|path| !path.ends_with("tests/tests/rules_documented.rs")) {
        let text = fs::read_to_string(&path).expect("text");
        for number in cited(&text).into_iter().chain(tested(&text)) {
            assert!(rules.contains_key(&number), "{} cites {number}, which {PAGE} lacks", path.display());
            found.insert(number);
        }
    }
    assert!(found.len() > 40, "only {} rules were found to be cited", found.len());
}

#[test]
fn every_rule_that_is_built_has_a_test_named_after_it() {
    let mut tested_rules = BTreeSet::new();
    for path in
        files().iter().filter(|path| is_code(path) && !path.ends_with("tests/tests/rules_documented.rs"))
    {
        tested_rules.extend(tested(&fs::read_to_string(path).expect("text")));
    }
    for (number, is_planned) in rules() {
        let has_test = tested_rules.contains(&number);
        assert!(is_planned || has_test, "no test's name begins with {}_", number.to_lowercase());
        assert!(!is_planned || !has_test, "{number} has a test, and {PAGE} says that it is planned");
    }
}

fn is_code(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn citations_are_read_in_every_form() {
    let cases = [
        ("(rule O2).", "O2"),
        ("in reverse (rules O1, O3, O4).", "O1 O3 O4"),
        ("//! Rules P1 to P6: what", "P1 P6"),
        ("/// A rule of E1", ""),
        ("(rule\n    /// S8)", "S8"),
        ("rules D3 and D4 and more", "D3 D4"),
    ];
    for (text, expected) in cases {
        let found: Vec<String> = cited(text).into_iter().collect();
        assert_eq!(found.join(" "), expected, "{text:?}");
    }
    let code = "#[test]\nfn o1_a() {}\nfn o2_b() {}\nasync fn o3_c(world: World) {\nd2_x: |world| w";
    assert_eq!(tested(code).into_iter().collect::<Vec<_>>().join(" "), "D2 O1 O3");
}
