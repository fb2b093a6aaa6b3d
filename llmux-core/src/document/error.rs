//! The errors of documents: text that is not JSON, with its position, and edits of places that do not exist.
//! The client turns the first into an error of the request; a plugin receives both.

use serde_json::Value;
use thiserror::Error;

use super::token::ScanError;

/// The error of a text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("invalid JSON at line {line}, column {column}: {message}")]
pub struct InvalidJson {
    /// The reason, in the words of `serde_json`.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 1; 0 if the error is before the line's first byte.
    pub column: usize,
}

/// The error of an edit. The document is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// The pointer is invalid, or the document has no value there.
    #[error("no such place in the document")]
    NoSuchPlace,
    /// The new value is not JSON, or nests too deeply for its place.
    #[error(transparent)]
    InvalidJson(#[from] InvalidJson),
}

impl InvalidJson {
    /// The error of a text that the scanner refused. The text is parsed again with `serde_json`, slowly, for its familiar
    /// message.
    pub(super) fn of_text(text: &[u8], error: Option<&ScanError>) -> Self {
        if let Err(error) = serde_json::from_slice::<Value>(text) {
            let mut message = error.to_string();
            if let Some(end) = message.rfind(" at line ") {
                message.truncate(end);
            }
            return Self { message, line: error.line(), column: error.column() };
        }
        // The text is valid by itself, but not at its place, where it would nest too deeply.
        let (at, message) = error.map_or((0, "invalid text"), |error| (error.at, error.reason));
        let before = &text[..at.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Self {
            message: message.into(),
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            column: at + 1 - line_start,
        }
    }
}
