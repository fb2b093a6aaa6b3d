//! What came of a request: the response or the error that post hooks see, and the report at the end.

use std::time::Duration;

use serde_json::Value;

use super::body::{Body, EditRefused};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
};

/// A response or an error, on its way through the post hooks.
pub(crate) struct Outcome {
    state: State,
    saved: Option<Box<State>>,
    /// The request as it was sent.
    pub(crate) request: Body,
    limit: usize,
}

#[derive(Clone)]
struct State {
    /// The error's kind, or `None` for a response.
    error: Option<ErrorKind>,
    body: Body,
}

impl State {
    fn of(result: Result<Document, Error>, limit: usize) -> Self {
        match result {
            Ok(response) => Self { error: None, body: Body::new(response, limit) },
            // A plugin's failure stands (rule E3).
            Err(error) if error.kind() == ErrorKind::PluginFailure => {
                Self { error: Some(error.kind()), body: Body::read_only(error.into_document()) }
            }
            Err(error) => Self { error: Some(error.kind()), body: Body::new(error.into_document(), limit) },
        }
    }
}

impl Outcome {
    pub(crate) fn new(result: Result<Document, Error>, request: Document, limit: usize) -> Self {
        let state = State::of(result, limit);
        Self { state, saved: None, request: Body::read_only(request), limit }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.state.error.is_some()
    }

    /// The response, or the error document.
    pub(crate) fn body(&mut self) -> &mut Body {
        &mut self.state.body
    }

    /// Puts another outcome in this one's place, keeping what it was.
    pub(crate) fn replace(&mut self, result: Result<Document, Error>) -> Result<(), EditRefused> {
        if self.state.error == Some(ErrorKind::PluginFailure) {
            return Err(EditRefused::ReadOnly);
        }
        let state = State::of(result, self.limit);
        let before = std::mem::replace(&mut self.state, state);
        self.saved.get_or_insert_with(|| Box::new(before));
        Ok(())
    }

    pub(crate) fn commit(&mut self) {
        self.saved = None;
        self.state.body.commit();
    }

    pub(crate) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.state = *saved;
        }
        self.state.body.roll_back();
    }

    /// The failed hook of an instance whose failures fail the request: from here on the outcome stands.
    pub(crate) fn fail(&mut self, error: Error) {
        self.state = State::of(Err(error), self.limit);
    }

    /// Is what a hook left an outcome that can be given to the caller? Says what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.saved.is_none() && !self.state.body.is_changed() {
            return Ok(());
        }
        let document = self.state.body.document().ok_or("the outcome is no JSON")?;
        match self.state.error {
            None if document.is_object() => Ok(()),
            None => Err("a response is a JSON object".into()),
            Some(_) => Error::check(document),
        }
    }

    pub(crate) fn into_result(self) -> Result<Document, Error> {
        let document = self.state.body.into_document();
        match (self.state.error, document) {
            (None, Some(response)) => Ok(response),
            // It came from an error, and what a hook left of it has passed `check`.
            (Some(kind), Some(document)) => Err(Error::of_checked(kind, document)),
            (_, None) => Err(Error::new(ErrorKind::BadGateway, "the response is no JSON")),
        }
    }
}

/// How a request or a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a response, or the end of the stream.
    Completed,
    /// With an error.
    Failed,
    /// The client went away.
    Cancelled,
}

/// Tokens used, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// All tokens.
    pub total_tokens: u64,
}

impl Usage {
    /// The usage that a response or chunk states, by either of the API's names.
    pub(crate) fn of(document: &Document) -> Option<Self> {
        let text = document.get("/usage").or_else(|| document.get("/response/usage"))?;
        let usage: Value = serde_json::from_str(text).ok()?;
        let tokens = |names: [&str; 2]| names.iter().find_map(|name| usage[name].as_u64());
        let prompt_tokens = tokens(["prompt_tokens", "input_tokens"]);
        let completion_tokens = tokens(["completion_tokens", "output_tokens"]);
        prompt_tokens.or(completion_tokens)?;
        let (prompt_tokens, completion_tokens) = (prompt_tokens.unwrap_or(0), completion_tokens.unwrap_or(0));
        let total_tokens =
            usage["total_tokens"].as_u64().unwrap_or(prompt_tokens.saturating_add(completion_tokens));
        Some(Self { prompt_tokens, completion_tokens, total_tokens })
    }
}

/// What the hooks at the end of a stream or a request are told.
pub(crate) struct Report {
    pub(crate) ending: Ending,
    pub(crate) status: u16,
    pub(crate) latency: Duration,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) chunks: Option<u64>,
    pub(crate) usage: Option<Usage>,
    pub(crate) request: Body,
    pub(crate) response: Option<Body>,
    pub(crate) error: Option<Body>,
}

impl Report {
    /// The report of an outcome, without the numbers of a stream.
    pub(crate) fn of(
        result: Result<Option<&Document>, &Error>,
        request: Document,
        latency: Duration,
    ) -> Self {
        let (ending, status) = match &result {
            Ok(_) => (Ending::Completed, 200),
            Err(error) if error.kind() == ErrorKind::Cancelled => (Ending::Cancelled, error.status()),
            Err(error) => (Ending::Failed, error.status()),
        };
        Self {
            ending,
            status,
            latency,
            first_chunk: None,
            chunks: None,
            usage: result.ok().flatten().and_then(Usage::of),
            request: Body::read_only(request),
            response: result.ok().flatten().map(|response| Body::read_only(response.clone())),
            error: result.err().map(|error| Body::read_only(error.document().clone())),
        }
    }
}
