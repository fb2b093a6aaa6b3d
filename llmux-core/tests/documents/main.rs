//! Documents from outside: what they accept, read, change and send. Cases are data; properties compare with
//! `serde_json::Value`, whose door ours promises to be.
//!
//! Nothing here looks inside; the scanner's and the pointers' own tests are at the foot of their files.

mod door;
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

/// Space that makes a body a long one.
pub(crate) static LONG: LazyLock<String> = LazyLock::new(|| " ".repeat(5000));
