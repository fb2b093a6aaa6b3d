//! The code blocks of the documents, for the tests that check them.
//!
//! `llmux-gateway` includes this file in its own tests, because only its own tests can use the parser of its
//! configuration.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A fenced block of a document.
pub struct Block {
    /// Path of the document, from the repository's root.
    pub document: String,
    /// Line of the opening fence, from 1.
    pub line: usize,
    /// Text after the opening fence.
    pub language: String,
    /// Text between the fences.
    pub text: String,
}

/// Place of the block, for messages of failed tests.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.document, self.line)
    }
}

/// Returns the repository's root, for a package one level below it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns the documents that people read: those at the root, the ABI's policy, and everything in `docs`.
pub fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("llmux-abi/ABI.md")];
    for folder in ["", "docs", "docs/guide"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder of documents");
        found.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    found
}

/// Returns the blocks of every document in these languages.
///
/// # Panics
///
/// If a document cannot be read, or a fence is not closed.
pub fn blocks(languages: &[&str]) -> Vec<Block> {
    let mut found = Vec::new();
    for path in documents() {
        let document = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            let Some(language) = line.strip_prefix("```") else { continue };
            let mut text = String::new();
            loop {
                match lines.next() {
                    Some((_, "```")) => break,
                    Some((_, line)) => text.extend([line, "\n"]),
                    None => panic!("{document}:{}: the block is not closed", at + 1),
                }
            }
            found.push(Block {
                document: document.clone(),
                line: at + 1,
                language: language.to_owned(),
                text,
            });
        }
    }
    found.retain(|block| languages.contains(&&*block.language));
    found
}
