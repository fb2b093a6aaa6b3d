//! What a document refuses: text that is no JSON, with its position, and edits of places that do not exist.
//! The pipeline makes client errors of the first kind, a plugin is told both.

use serde_json::Value;
use thiserror::Error;

use super::scan::Refused;

/// A text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid JSON at line {line}, column {column}: {message}")]
pub struct InvalidJson {
    /// What is wrong there, as `serde_json` says it.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 1; 0 is before the first.
    pub column: usize,
}

/// Why a document could not be edited. It is unchanged then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditError {
    /// The pointer is none, or nothing is where it points.
    #[error("no such place in the document")]
    NoSuchPlace,
    /// The new value is not JSON, or nests too deep for its place.
    #[error(transparent)]
    InvalidJson(#[from] InvalidJson),
}

impl InvalidJson {
    /// Of a text that the door refused. Parsed again, slowly, for the words that people know from `serde_json`.
    pub(super) fn of_text(text: &[u8], refused: Option<&Refused>) -> Self {
        if let Err(error) = serde_json::from_slice::<Value>(text) {
            let mut message = error.to_string();
            if let Some(end) = message.rfind(" at line ") {
                message.truncate(end);
            }
            return Self { message, line: error.line(), column: error.column() };
        }
        // Valid as such, but not where it was to go.
        let (at, message) = refused.map_or((0, "invalid text"), |refused| (refused.at, refused.reason));
        let before = &text[..at.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        Self {
            message: message.into(),
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            column: at + 1 - line_start,
        }
    }
}
