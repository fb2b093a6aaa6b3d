//! The checker on small inputs: each rule is seen broken, and its neighbor is seen to hold.

use crate::{
    broken,
    texts::{Kind, of_markdown, of_rust},
};

fn of_source(source: &str) -> Vec<String> {
    broken("f.rs", &of_rust(source).expect("Rust"))
}

#[test]
fn a_comment_begins_plainly() {
    let words = ["What", "Who", "Whoever", "How", "Where", "Why", "Those", "Somebody", "Nobody", "The same"];
    for word in words {
        for comment in [
            format!("/// {word} it does.\nfn f() {{}}"),
            format!("/// {word}, it does.\nfn f() {{}}"),
            format!("//! {word} it does.\n"),
            format!("/** {word} it does. */\nstruct S;"),
            format!("#[doc = \"{word} it does.\"]\nstruct S;"),
            format!("struct S {{\n    /// {word} it does.\n    field: u8,\n}}"),
            format!("enum E {{ /// {word} it does.\n V }}"),
            format!("mod m {{ //! {word} it does.\n }}"),
            format!("macro_rules! m {{ () => {{ /// {word} it does.\n fn f() {{}} }} }}"),
            format!("fn f() {{ /// {word} it does.\n struct S; }}"),
            format!("/// Fine.\n#[inline]\nfn a() {{}}\n/// {word} it does.\n#[inline]\nfn f() {{}}"),
            format!("/// Fine.\n///\n/// {word} it does.\nfn f() {{}}"),
            format!("/// Fine.\n///\n/// # {word} it does\nfn f() {{}}"),
            format!("/// *{word} it does.*\nfn f() {{}}"),
        ] {
            let found = of_source(&comment);
            assert_eq!(found.len(), 1, "{comment}: {found:?}");
            assert!(found[0].contains(&format!("begins with `{word}`")), "{comment}: {found:?}");
        }
    }
    for comment in [
        "/// Whether it does.\nfn f() {}",
        "/// However it does.\nfn f() {}",
        "/// Returns what it does, who, how and where.\nfn f() {}",
        "/// Returns\n/// What it does.\nfn f() {}",
        "/// The sameness.\nfn f() {}",
        "/// `How` is a name.\nfn f() {}",
        "// What it does.\nfn f() {}",
        "/// Fine.\n///\n/// ```\n/// // What?\n///\n/// How\n/// ```\nfn f() {}",
        "/// Fine.\n///\n/// - What it does.\nfn f() {}",
        "fn f() { let text = \"/// What\"; }",
    ] {
        assert_eq!(of_source(comment), [""; 0], "{comment}");
    }
}

#[test]
fn no_comment_asks() {
    for comment in [
        "/// Is it empty?\nfn f() {}",
        "/// Is it empty? Then it is.\nfn f() {}",
        "/// Is it\n/// empty?\nfn f() {}",
        "/// Is it `empty`?\nfn f() {}",
        "/// Is it (really)?\nfn f() {}",
        "/// Fine.\n///\n/// Is it empty?\nfn f() {}",
        "/// Fine.\n///\n/// - Is it empty?\nfn f() {}",
    ] {
        let found = of_source(comment);
        assert_eq!(found.len(), 1, "{comment}: {found:?}");
        assert!(found[0].contains("has a question"), "{comment}: {found:?}");
    }
    for comment in [
        "/// Parses `a?b` and https://host/?a=b.\nfn f() {}",
        "/// Ends with `?`.\nfn f() {}",
        "/// Fine.\n///\n/// | empty? | x |\nfn f() {}",
        "/// Answers \"which one?\" with a name.\nfn f() {}",
    ] {
        assert_eq!(of_source(comment), [""; 0], "{comment}");
    }
}

#[test]
fn spelling_is_american() {
    for (comment, word) in [
        ("/// Its behaviour.\nfn f() {}", "behaviour"),
        ("/// Behaviours.\nfn f() {}", "behaviours"),
        ("/// It initialises itself.\nfn f() {}", "initialises"),
        ("/// Fine.\n///\n/// - a grey one\nfn f() {}", "grey"),
        ("#[error(\"the colour is wrong\")]\nstruct E;", "colour"),
    ] {
        let found = of_source(comment);
        assert!(found.len() == 1 && found[0].contains(&format!("spells `{word}`")), "{comment}: {found:?}");
    }
    for comment in ["/// An analysis is cancelled.\nfn f() {}", "/// Returns the `colour`.\nfn f() {}"] {
        assert_eq!(of_source(comment), [""; 0], "{comment}");
    }
}

#[test]
fn an_error_message_is_no_sentence() {
    for (message, is_refused) in [
        ("the file is missing", false),
        ("`x` is missing", false),
        ("{name} is missing", false),
        ("JSON is missing", false),
        ("ABI {host} is not {plugin}", false),
        ("The file is missing", true),
        ("the file is missing.", true),
        ("Missing", true),
    ] {
        let source = format!(
            "#[derive(Debug, thiserror::Error)]\nenum E {{\n    #[error(\"{message}\")]\n    V {{ a: u8 }},\n}}"
        );
        let found = of_source(&source);
        assert_eq!(!found.is_empty(), is_refused, "{message}: {found:?}");
        assert!(found.iter().all(|line| line.starts_with("f.rs:3: ")), "{found:?}");
    }
}

#[test]
fn a_document_is_plain() {
    for (document, expected) in [
        ("# Title\n\nText.\n", &[][..]),
        ("# What it is\n", &["f.md:1: begins with `What`: What it is"]),
        ("Text.\n\n## Is it fast?\n", &["f.md:3: has a question: Is it fast?"]),
        ("Text.\n\nHow it works:\n", &["f.md:3: begins with `How`: How it works:"]),
        ("Text\nHow it works.\n", &[]),
        ("```sh\n# What\n```\n", &[]),
        ("- What it is\n1. How\n", &[]),
        ("| What | How |\n", &[]),
        ("## 快吗？\n", &["f.md:1: has a question: 快吗？"]),
    ] {
        assert_eq!(broken("f.md", &of_markdown(document)), expected, "{document}");
    }
}

#[test]
fn texts_are_split_into_their_kinds() {
    let source = "/// A summary\n/// goes on.\n///\n/// A paragraph.\n///\n/// # A heading\n///\n/// - an item\n///   goes on\nfn f() {}";
    let texts = of_rust(source).expect("Rust");
    let texts: Vec<_> = texts.iter().map(|text| (text.line, text.kind, &*text.text)).collect();
    assert_eq!(
        texts,
        [
            (1, Kind::Summary, "A summary goes on."),
            (4, Kind::Paragraph, "A paragraph."),
            (6, Kind::Heading, "A heading"),
            (8, Kind::Item, "an item goes on"),
        ]
    );
}
