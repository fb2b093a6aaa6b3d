//! Reply to a request through a harness: one type for plain answers and for streams, and assertions about it.

use serde_json::{Map, Value};

use llmux_core::{
    client::{Reply, StreamReply},
    error::Error,
    pipeline,
};

/// Reply to one request.
pub struct HarnessReply {
    pub(super) answer: Answer,
    pub(super) body: Value,
    pub(super) chunks: Vec<Value>,
    pub(super) error: Option<Error>,
    /// Hooks that failed during the request. Messages of failed assertions name them, because they are mostly the
    /// reason.
    pub(super) failures: Vec<String>,
}

/// The client's reply, with its headers and values.
pub(super) enum Answer {
    Whole(Reply),
    Stream(StreamReply),
}

impl HarnessReply {
    /// Returns the HTTP status: 200, or the status of the error. If a stream fails after its start, its client has
    /// received 200, and this method returns the status of the error.
    pub fn status(&self) -> u16 {
        self.error.as_ref().map_or(200, Error::status)
    }

    /// Returns the response. For a stream, this is the response that its chunks form together. `null` if there is
    /// neither.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// Returns the text of the first choice. For a stream, this is the joined text of its chunks, whether or not it
    /// ended with an error.
    pub fn text(&self) -> String {
        if !self.chunks.is_empty() {
            return self.chunks.iter().filter_map(delta).collect();
        }
        let places = ["/choices/0/message/content", "/choices/0/text", "/output/0/content/0/text"];
        let text = places.iter().find_map(|place| self.body.pointer(place)?.as_str());
        text.unwrap_or_default().to_owned()
    }

    /// Returns the chunks of a stream, as the client received them. Data that is not JSON is a string here.
    pub fn chunks(&self) -> &[Value] {
        &self.chunks
    }

    /// Returns the error with which the request, or its stream, ended.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Returns a response header that a plugin set, by its name in any case. For a stream, only headers that were set
    /// before its first chunk count.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers();
        headers.find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns every response header that plugins set and that is text. For a stream, only headers that were set
    /// before its first chunk count.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = match &self.answer {
            Answer::Whole(reply) => reply.headers(),
            Answer::Stream(reply) => reply.headers(),
        };
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// Returns a value that plugins left in the context, as JSON. For a stream, this is the value before its first
    /// chunk.
    pub fn value(&self, key: &str) -> Option<Value> {
        let value = match &self.answer {
            Answer::Whole(reply) => reply.value(key),
            Answer::Stream(reply) => reply.value(key),
        };
        value.map(json_of)
    }

    /// Returns every value that plugins left in the context, as JSON, by its key. For a stream, these are the values
    /// before its first chunk.
    pub fn values(&self) -> Map<String, Value> {
        let pair = |(key, value): (&str, pipeline::Value)| (key.to_owned(), json_of(value));
        match &self.answer {
            Answer::Whole(reply) => reply.values().map(pair).collect(),
            Answer::Stream(reply) => reply.values().map(pair).collect(),
        }
    }

    /// Returns the number of attempts: one, and one more for each fallback.
    pub fn attempts(&self) -> u32 {
        match &self.answer {
            Answer::Whole(reply) => reply.attempts(),
            Answer::Stream(reply) => reply.attempts(),
        }
    }

    /// Returns the hooks that failed during the request, one sentence each. By default, a failed hook shows only
    /// here, in the log and in the metrics.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Asserts that the request succeeded and that the text of its answer is exactly this text.
    #[track_caller]
    pub fn assert_text(&self, expected: &str) -> &Self {
        self.assert_ok();
        let text = self.text();
        assert!(text == expected, "the answer says {text:?}, not {expected:?}{}", self.why());
        self
    }

    /// Asserts that the request succeeded and that no hook failed.
    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        if let Some(error) = &self.error {
            panic!("the request failed: {error}{}", self.why());
        }
        assert!(self.failures.is_empty(), "the request succeeded, but not every hook did{}", self.why());
        self
    }

    /// Asserts that a plugin set this response header.
    #[track_caller]
    pub fn assert_header(&self, name: &str, expected: &str) -> &Self {
        match self.header(name) {
            Some(value) => assert!(
                value == expected,
                "the response header `{name}` is {value:?}, not {expected:?}{}",
                self.why()
            ),
            None => panic!("nobody set the response header `{name}`{}", self.why()),
        }
        self
    }

    /// Asserts that plugins left this value in the context.
    #[track_caller]
    pub fn assert_value(&self, key: &str, expected: impl Into<Value>) -> &Self {
        let (value, expected) = (self.value(key), expected.into());
        match value {
            Some(value) => {
                assert!(value == expected, "the value `{key}` is {value}, not {expected}{}", self.why());
            }
            None => panic!("nobody set the value `{key}`{}", self.why()),
        }
        self
    }

    /// Asserts that the request, or its stream, ended with an error of this status.
    #[track_caller]
    pub fn assert_rejected(&self, status: u16) -> &Self {
        match &self.error {
            Some(error) => {
                assert!(
                    error.status() == status,
                    "the error's status is not {status}: {error}{}",
                    self.why()
                );
            }
            None => panic!("the request was not rejected, it says {:?}{}", self.text(), self.why()),
        }
        self
    }

    fn why(&self) -> String {
        self.failures.iter().map(|failure| format!("\n  failed: {failure}")).collect()
    }
}

fn json_of(value: pipeline::Value) -> Value {
    match value {
        pipeline::Value::String(text) => Value::from(text),
        pipeline::Value::Integer(integer) => Value::from(integer),
        pipeline::Value::Float(float) => Value::from(float),
        pipeline::Value::Boolean(boolean) => Value::from(boolean),
        pipeline::Value::Json(json) => json,
        other => panic!("a value of an unknown kind: {other:?}"),
    }
}

/// Returns the text that a chunk adds.
fn delta(chunk: &Value) -> Option<&str> {
    if chunk["type"] == "response.output_text.delta" {
        return chunk["delta"].as_str();
    }
    let places = ["/choices/0/delta/content", "/choices/0/text"];
    places.iter().find_map(|place| chunk.pointer(place)?.as_str())
}
