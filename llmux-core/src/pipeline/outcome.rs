//! The outcome of an attempt, as post hooks see it: a response or an error.

use super::{
    body::{Body, EditRefused},
    traffic::Traffic,
};
use crate::{
    document::Document,
    error::{Error, ErrorKind, Origin},
};

/// A response or an error, on its way through the post hooks.
pub(crate) struct Outcome {
    state: State,
    saved: Option<Box<State>>,
    /// The request as it was sent.
    pub(crate) request: Body,
    limit: usize,
    /// True if the response only describes bytes. Hooks can replace it by an error alone.
    is_binary: bool,
    /// True if the current call has replaced the outcome.
    replaced: bool,
    /// Bytes of the current call in bodies that were replaced, and in replacements.
    traffic: Traffic,
}

#[derive(Clone)]
struct State {
    /// The error's origin, or `None` for a response.
    error: Option<Origin>,
    body: Body,
}

impl State {
    fn of(result: Result<Document, Error>, limit: usize) -> Self {
        match result {
            Ok(response) => Self { error: None, body: Body::new(response, limit) },
            Err(error) => {
                let (origin, document) = error.split();
                let body = match origin.kind {
                    // No hook changes a plugin's failure (rule E3).
                    ErrorKind::PluginFailure => Body::read_only(document),
                    _ => Body::new(document, limit),
                };
                Self { error: Some(origin), body }
            }
        }
    }
}

impl Outcome {
    pub(crate) fn new(result: Result<Document, Error>, request: Document, limit: usize) -> Self {
        let state = State::of(result, limit);
        let (request, traffic) = (Body::read_only(request), Traffic::default());
        Self { state, saved: None, request, limit, is_binary: false, replaced: false, traffic }
    }

    /// Makes the outcome of parts: a response, or the document of an error. `limit` is the size up to which the document of a
    /// replacement may be edited.
    pub(crate) fn of_parts(error: Option<Origin>, body: Body, request: Body, limit: usize) -> Self {
        let (state, traffic) = (State { error, body }, Traffic::default());
        Self { state, saved: None, request, limit, is_binary: false, replaced: false, traffic }
    }

    /// Makes the response one that only describes bytes.
    pub(crate) fn of_binary(mut self) -> Self {
        if self.state.error.is_none()
            && let Some(document) = self.state.body.document().cloned()
        {
            self.state.body = Body::read_only(document);
        }
        self.is_binary = true;
        self
    }

    pub(crate) fn is_error(&self) -> bool {
        self.state.error.is_some()
    }

    /// Returns true for the failure of a plugin, which no hook changes (rule E3).
    pub(crate) fn is_plugin_failure(&self) -> bool {
        self.state.error.as_ref().is_some_and(|origin| origin.kind == ErrorKind::PluginFailure)
    }

    /// Returns true if the response only describes bytes.
    pub(crate) fn is_binary(&self) -> bool {
        self.is_binary
    }

    /// Returns the size up to which the document may be edited; `None` if it may only be read.
    pub(crate) fn body_limit(&self) -> Option<usize> {
        self.state.body.limit()
    }

    /// Returns the size up to which the document of a replacement may be edited.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns true if the current call has put another outcome into the place of this one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.saved.is_some()
    }

    /// Returns the response, or the error document.
    pub(crate) fn body(&mut self) -> &mut Body {
        &mut self.state.body
    }

    /// Replaces the outcome; `roll_back` brings the former one back.
    pub(crate) fn replace(&mut self, result: Result<Document, Error>) -> Result<(), EditRefused> {
        if self.is_plugin_failure() {
            return Err(EditRefused::ReadOnly);
        }
        if self.is_binary && result.is_ok() {
            return Err(EditRefused::ReadOnly);
        }
        let state = State::of(result, self.limit);
        self.traffic += self.state.body.take_traffic();
        let before = std::mem::replace(&mut self.state, state);
        self.saved.get_or_insert_with(|| Box::new(before));
        self.replaced = true;
        Ok(())
    }

    /// Returns true once if a call has replaced the outcome.
    pub(crate) fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Adds to the bytes that the current call has written.
    pub(crate) fn count_written(&mut self, bytes: usize) {
        self.traffic.written += bytes as u64;
    }

    /// Returns the bytes of the current call, and starts counting again.
    pub(crate) fn take_traffic(&mut self) -> Traffic {
        let mut traffic = std::mem::take(&mut self.traffic);
        traffic += self.state.body.take_traffic();
        traffic += self.request.take_traffic();
        traffic
    }

    /// Keeps the changes of the current call.
    pub(crate) fn commit(&mut self) {
        self.saved = None;
        self.state.body.commit();
    }

    /// Undoes the changes of the current call.
    pub(crate) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.state = *saved;
        }
        self.replaced = false;
        self.state.body.roll_back();
    }

    /// Sets the error in the place of the outcome: the failure of a plugin, which no later hook can change (rule E3), or the
    /// error with which a text hook ended the request.
    pub(crate) fn fail(&mut self, error: Error) {
        self.state = State::of(Err(error), self.limit);
    }

    /// Returns true if the current call has edited or replaced the outcome.
    pub(crate) fn is_changed(&self) -> bool {
        self.saved.is_some() || self.state.body.is_changed()
    }

    /// Checks that the caller can receive what a hook left; the error is a sentence for the log.
    pub(crate) fn check(&self) -> Result<(), String> {
        let document = self.state.body.document().ok_or("the outcome is not JSON")?;
        match &self.state.error {
            None if document.is_object() => Ok(()),
            None => Err("a response is a JSON object".into()),
            Some(_) => Error::check(document),
        }
    }

    pub(crate) fn into_result(self) -> Result<Document, Error> {
        let document = self.state.body.into_document();
        match (self.state.error, document) {
            (None, Some(response)) => Ok(response),
            // The document came from an error, and every edit of it has passed `check`.
            (Some(origin), Some(document)) => Err(Error::join(origin, document)),
            (_, None) => Err(Error::new(ErrorKind::BadGateway, "the response is not JSON")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_errors_source_survives_the_post_hooks() {
        let cause = std::io::Error::other("refused");
        let error = Error::new(ErrorKind::Connect, "no connection").with_code("x").with_source(cause);
        let mut outcome = Outcome::new(Err(error), Document::from_value("request"), 1 << 20);
        outcome.commit();
        let error = outcome.into_result().expect_err("still an error");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("refused"));
        assert_eq!((error.kind(), error.code()), (ErrorKind::Connect, Some("x")));
    }
}
