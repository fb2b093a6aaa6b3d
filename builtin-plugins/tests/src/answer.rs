//! Result of a request.

use llmux_core::Error;
use serde_json::Value;

/// Result of a request.
#[derive(Debug)]
pub struct Answer {
    /// The response, or the chunks.
    pub bodies: Vec<String>,
    /// The error, if there was one.
    pub error: Option<Error>,
    /// True if the answer came from the cache.
    pub hit: bool,
    /// True if the rate limit refused the request.
    pub limited: bool,
    /// Facts that only a caller in the same process sees; `None` for an `llmux` in a process of its own.
    pub inside: Option<Inside>,
    pub(crate) headers: Vec<(String, String)>,
}

/// Facts that a client over HTTP does not see.
#[derive(Debug, PartialEq)]
pub struct Inside {
    /// Key of the rate limit that refused the request.
    pub limit_key: Option<String>,
    /// Key of the stored answer.
    pub cache_key: Option<String>,
    /// Number of attempts.
    pub attempts: u32,
}

impl Answer {
    /// Returns a header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// Facts that only a caller in the same process sees; `None` for an `llmux` in a process of its own.
    ///
    /// # Panics
    ///
    /// If the answer comes from an `llmux` in a process of its own.
    pub fn inside(&self) -> &Inside {
        self.inside.as_ref().expect("an answer within this process")
    }

    /// Returns true if the request ended without an error.
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }

    /// Returns the model's text in the answer.
    pub fn text(&self) -> String {
        let said = |body: &String| {
            let body: Value = serde_json::from_str(body).ok()?;
            let choice = body.pointer("/choices/0")?;
            let said = choice.pointer("/delta/content").or_else(|| choice.pointer("/message/content"))?;
            said.as_str().map(str::to_owned)
        };
        self.bodies.iter().filter_map(said).collect()
    }

    /// Returns the error.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn refusal(&self) -> &Error {
        self.error.as_ref().unwrap_or_else(|| panic!("not refused: {:?}", self.bodies))
    }
}
