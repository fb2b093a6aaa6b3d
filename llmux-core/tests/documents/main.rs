//! Documents from outside: parsing, reading, editing and sending. Cases are data; properties compare with
//! `serde_json::Value`, which has to accept the same texts.
//!
//! Tests of the scanner and of pointers are at the end of their files.

mod lenient;
mod parsing;
mod properties;
mod tables;

use std::sync::LazyLock;

use llmux_core::document::Document;

pub(crate) fn parse(text: &str) -> Document {
    Document::parse(text.to_owned()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

pub(crate) fn sent(document: &Document) -> String {
    String::from_utf8(document.to_bytes().to_vec()).expect("documents are UTF-8")
}

/// Space that makes a body long enough to be opened further.
pub(crate) static LONG: LazyLock<String> = LazyLock::new(|| " ".repeat(5000));
