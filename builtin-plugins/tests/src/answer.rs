//! What came of a request.

use llmux_core::Error;
use serde_json::Value;

/// What came of a request.
#[derive(Debug)]
pub struct Answer {
    /// The response, or the chunks.
    pub bodies: Vec<String>,
    /// The error, if there was one.
    pub error: Option<Error>,
    /// Was it answered from the cache?
    pub hit: bool,
    /// Was it refused by the limit?
    pub limited: bool,
    /// What only the caller within the process sees.
    pub inside: Option<Inside>,
    pub(crate) headers: Vec<(String, String)>,
}

/// What a client over HTTP does not see.
#[derive(Debug, PartialEq)]
pub struct Inside {
    /// Whose limit refused it.
    pub limit_key: Option<String>,
    /// The key of the stored answer.
    pub cache_key: Option<String>,
    /// How many attempts it took.
    pub attempts: u32,
}

impl Answer {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// What only the caller within the process sees.
    ///
    /// # Panics
    ///
    /// For an answer of a process.
    pub fn inside(&self) -> &Inside {
        self.inside.as_ref().expect("an answer within this process")
    }

    /// Did it end well?
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }

    /// What the model said in it.
    pub fn text(&self) -> String {
        let said = |body: &String| {
            let body: Value = serde_json::from_str(body).ok()?;
            let choice = body.pointer("/choices/0")?;
            let said = choice.pointer("/delta/content").or_else(|| choice.pointer("/message/content"))?;
            said.as_str().map(str::to_owned)
        };
        self.bodies.iter().filter_map(said).collect()
    }

    /// The error.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn refusal(&self) -> &Error {
        self.error.as_ref().unwrap_or_else(|| panic!("not refused: {:?}", self.bodies))
    }
}
