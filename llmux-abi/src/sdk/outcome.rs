//! The result of a request, for the post hooks, and the report of its end, for `post_stream_hook` and `on_complete`.

use std::time::Duration;

use serde::Serialize;

use super::{
    error::{Error, Result},
    handle::{Document, OutcomeHandle, ReportHandle},
    request::Request,
    response::Response,
};
use crate::{raw::outcome as field, types::Usage};

/// The response or the error that a post hook receives, from the provider, the host or a plugin.
///
/// ```
/// # use llmux_abi::prelude::*;
/// # fn post_hook(outcome: &mut Outcome<'_>) -> Result<()> {
/// if outcome.error().is_some_and(|error| error.status() == 504) {
///     outcome.recover(Response::text("Please ask again in a minute."))?;
/// } else if let Some(mut response) = outcome.response() {
///     response.remove("/system_fingerprint")?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// A hook cannot change the `plugin_failure` of an instance whose `on_error` is `fail`.
pub struct Outcome<'a> {
    handle: OutcomeHandle<'a>,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(handle: OutcomeHandle<'a>) -> Self {
        Self { handle }
    }

    /// Returns true if the outcome is an error.
    pub fn is_error(&self) -> bool {
        self.handle.kind() != field::OUTCOME_COMPLETED
    }

    /// Returns the response, to read and to edit. `None` if the outcome is an error.
    pub fn response(&mut self) -> Option<Response<'_>> {
        (!self.is_error()).then(|| Response::new(self.handle.body()))
    }

    /// Returns the error. `None` if the outcome is a response.
    pub fn error(&mut self) -> Option<Error> {
        Some(Error::from_document(self.error_document()?.text("")?))
    }

    /// Returns the error document, to read and to edit: `/status`, `/error/message`, `/error/type`, `/error/code`,
    /// `/retry_after`. `None` if the outcome is a response.
    pub fn error_document(&mut self) -> Option<Document<'_>> {
        self.is_error().then(|| self.handle.body())
    }

    /// Returns the request as it was sent, read-only.
    pub fn request(&self) -> Request<'_> {
        Request::new(self.handle.request())
    }

    /// Replaces the outcome, a response or an error, by this response.
    ///
    /// # Errors
    ///
    /// If the response cannot be written as JSON or is not an object, or the outcome is a `plugin_failure`.
    pub fn recover(&mut self, response: impl Serialize) -> Result<()> {
        self.handle.recover(&serde_json::to_string(&response)?)
    }

    /// Replaces the outcome, a response or an error, by this error.
    ///
    /// # Errors
    ///
    /// If the error's status is not 400 to 599, or the outcome is a `plugin_failure`.
    pub fn fail(&mut self, error: Error) -> Result<()> {
        self.handle.fail(&error.to_document())
    }
}

/// Kind of end of a request or a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The request ended with a response, or the stream reached its end.
    Completed,
    /// The request or the stream ended with an error.
    Failed(Error),
    /// The client closed the connection before the end.
    Cancelled,
}

fn ending(report: &ReportHandle<'_>) -> Ending {
    match report.kind() {
        field::OUTCOME_COMPLETED => Ending::Completed,
        field::OUTCOME_CANCELLED => Ending::Cancelled,
        _ => {
            let document = report.document(field::REPORT_ERROR);
            let text = document.as_ref().and_then(|document| document.text("")).unwrap_or("{}");
            Ending::Failed(Error::from_document(text))
        }
    }
}

fn micros(report: &ReportHandle<'_>, which: u32) -> Option<Duration> {
    Some(Duration::from_micros(report.number(which)?.try_into().ok()?))
}

fn usage(report: &ReportHandle<'_>) -> Option<Usage> {
    let tokens = |which| report.number(which).and_then(|tokens| u64::try_from(tokens).ok());
    Some(Usage {
        prompt_tokens: tokens(field::REPORT_PROMPT_TOKENS)?,
        completion_tokens: tokens(field::REPORT_COMPLETION_TOKENS)?,
        total_tokens: tokens(field::REPORT_TOTAL_TOKENS)?,
    })
}

/// The report of a stream's end, for `post_stream_hook`.
pub struct StreamEnd<'a> {
    report: ReportHandle<'a>,
    pub(crate) emitted: Vec<(String, String)>,
}

impl<'a> StreamEnd<'a> {
    pub(crate) fn new(report: ReportHandle<'a>) -> Self {
        Self { report, emitted: Vec::new() }
    }

    /// Returns the kind of end: completed, failed or cancelled.
    pub fn ending(&self) -> Ending {
        ending(&self.report)
    }

    /// Returns true if the stream completed.
    pub fn completed(&self) -> bool {
        self.report.kind() == field::OUTCOME_COMPLETED
    }

    /// Returns the number of tokens used. `None` if the provider did not state it.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.report)
    }

    /// Returns the time from the request's arrival until now.
    pub fn latency(&self) -> Duration {
        micros(&self.report, field::REPORT_LATENCY).unwrap_or_default()
    }

    /// Returns the request as it was sent, read-only.
    pub fn request(&self) -> Option<Request<'_>> {
        self.report.document(field::REPORT_REQUEST).map(Request::new)
    }

    /// Sends one more chunk after all others. The chunk passes the chunk hooks of the instances that follow.
    /// Without effect if the stream did not complete.
    ///
    /// # Errors
    ///
    /// If the chunk cannot be written as JSON.
    pub fn emit(&mut self, chunk: impl Serialize) -> Result<()> {
        self.emit_event("", chunk)
    }

    /// Sends one more chunk like [`emit`](Self::emit), as an event with a name.
    ///
    /// # Errors
    ///
    /// If the chunk cannot be written as JSON.
    pub fn emit_event(&mut self, event: &str, chunk: impl Serialize) -> Result<()> {
        self.emitted.push((event.to_owned(), serde_json::to_string(&chunk)?));
        Ok(())
    }
}

/// The report of a finished client request, for `on_complete`.
pub struct Completion<'a> {
    report: ReportHandle<'a>,
}

impl<'a> Completion<'a> {
    pub(crate) fn new(report: ReportHandle<'a>) -> Self {
        Self { report }
    }

    /// Returns the kind of end: completed, failed or cancelled.
    pub fn ending(&self) -> Ending {
        ending(&self.report)
    }

    /// Returns true if the request ended with a response or its stream reached the end.
    pub fn completed(&self) -> bool {
        self.report.kind() == field::OUTCOME_COMPLETED
    }

    /// Returns true if the client closed the connection before the end.
    pub fn cancelled(&self) -> bool {
        self.report.kind() == field::OUTCOME_CANCELLED
    }

    /// Returns the HTTP status: the error's status, or 200.
    pub fn status(&self) -> u16 {
        self.report.number(field::REPORT_STATUS).and_then(|status| status.try_into().ok()).unwrap_or_default()
    }

    /// Returns the time from the request's arrival to its end.
    pub fn latency(&self) -> Duration {
        micros(&self.report, field::REPORT_LATENCY).unwrap_or_default()
    }

    /// Returns the time from the request's arrival to the first chunk for the client. Streams only.
    pub fn first_chunk(&self) -> Option<Duration> {
        micros(&self.report, field::REPORT_FIRST_CHUNK)
    }

    /// Returns the number of chunks that were sent to the client. Streams only.
    pub fn chunks(&self) -> Option<u64> {
        self.report.number(field::REPORT_CHUNKS)?.try_into().ok()
    }

    /// Returns the number of tokens used. `None` if the provider did not state it.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.report)
    }

    /// Returns the request as it was sent, read-only. If it was not sent, returns it as it would have been sent.
    pub fn request(&self) -> Option<Request<'_>> {
        self.report.document(field::REPORT_REQUEST).map(Request::new)
    }

    /// Returns the response that the client received, read-only. `None` for streams and errors.
    pub fn response(&self) -> Option<Response<'_>> {
        self.report.document(field::REPORT_RESPONSE).map(Response::new)
    }
}
