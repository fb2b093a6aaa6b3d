//! What came back through a harness: one type for plain answers and for streams, and what a test asserts of it.

use serde_json::{Map, Value};

use llmux_core::{
    client::{Reply, StreamReply},
    error::Error,
    pipeline,
};

/// What came of one request.
pub struct HarnessReply {
    pub(super) answer: Answer,
    pub(super) body: Value,
    pub(super) chunks: Vec<Value>,
    pub(super) error: Option<Error>,
    /// The hooks that failed meanwhile: mostly why an assertion does not hold.
    pub(super) failures: Vec<String>,
}

/// The client's reply, for its headers and values.
pub(super) enum Answer {
    Whole(Reply),
    Stream(StreamReply),
}

impl HarnessReply {
    /// The HTTP status: 200, or the error's. A stream that had begun when it failed is 200 for its client, and the
    /// error's here.
    pub fn status(&self) -> u16 {
        self.error.as_ref().map_or(200, Error::status)
    }

    /// The response; of a stream, the response that its chunks say together; `null` where there is neither.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// The text of the first choice; of a stream, the text of its chunks joined, whether or not it ended well.
    pub fn text(&self) -> String {
        if !self.chunks.is_empty() {
            return self.chunks.iter().filter_map(delta).collect();
        }
        let places = ["/choices/0/message/content", "/choices/0/text", "/output/0/content/0/text"];
        let text = places.iter().find_map(|place| self.body.pointer(place)?.as_str());
        text.unwrap_or_default().to_owned()
    }

    /// The chunks of a stream, as the client got them; data that is not JSON is a string here.
    pub fn chunks(&self) -> &[Value] {
        &self.chunks
    }

    /// The error that the request, or its stream, ended with.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// A response header that a plugin set, by its name in any case. Of a stream: set before its first chunk.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers();
        headers.find(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every response header that plugins set and that is text. Of a stream: set before its first chunk.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let headers = match &self.answer {
            Answer::Whole(reply) => reply.headers(),
            Answer::Stream(reply) => reply.headers(),
        };
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// A value that plugins left in the context, as JSON. Of a stream: before its first chunk.
    pub fn value(&self, key: &str) -> Option<Value> {
        let value = match &self.answer {
            Answer::Whole(reply) => reply.value(key),
            Answer::Stream(reply) => reply.value(key),
        };
        value.map(json_of)
    }

    /// Every value that plugins left in the context, as JSON, by its key. Of a stream: before its first chunk.
    pub fn values(&self) -> Map<String, Value> {
        let pair = |(key, value): (&str, pipeline::Value)| (key.to_owned(), json_of(value));
        match &self.answer {
            Answer::Whole(reply) => reply.values().map(pair).collect(),
            Answer::Stream(reply) => reply.values().map(pair).collect(),
        }
    }

    /// How many attempts it took: one, and one for each fallback.
    pub fn attempts(&self) -> u32 {
        match &self.answer {
            Answer::Whole(reply) => reply.attempts(),
            Answer::Stream(reply) => reply.attempts(),
        }
    }

    /// The hooks that failed during the request, a sentence each: by default a failure only shows here, in the log
    /// and in the metrics.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Asserts that the request succeeded and its answer says exactly this.
    #[track_caller]
    pub fn assert_text(&self, expected: &str) -> &Self {
        self.assert_ok();
        let text = self.text();
        assert!(text == expected, "the answer says {text:?}, not {expected:?}{}", self.why());
        self
    }

    /// Asserts that the request succeeded, and that no hook failed on the way.
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

/// The text that a chunk adds.
fn delta(chunk: &Value) -> Option<&str> {
    if chunk["type"] == "response.output_text.delta" {
        return chunk["delta"].as_str();
    }
    let places = ["/choices/0/delta/content", "/choices/0/text"];
    places.iter().find_map(|place| chunk.pointer(place)?.as_str())
}
