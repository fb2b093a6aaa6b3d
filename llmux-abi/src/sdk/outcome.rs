//! What came of a request: for the post hooks, and for those that are told afterwards.

use std::time::Duration;

use serde::Serialize;

use super::{
    error::{Error, Result},
    handle::{Document, OutcomeHandle, ReportHandle},
    request::Request,
    response::Response,
};
use crate::{raw::outcome as field, types::Usage};

/// What a post hook gets: the response, or the error, whoever made it.
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
/// One outcome cannot be changed: the `plugin_failure` of an instance whose `on_error` is `fail`.
pub struct Outcome<'a> {
    handle: OutcomeHandle<'a>,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(handle: OutcomeHandle<'a>) -> Self {
        Self { handle }
    }

    /// Is it an error?
    pub fn is_error(&self) -> bool {
        self.handle.kind() != field::OUTCOME_COMPLETED
    }

    /// The response, to read and to edit, if it is one.
    pub fn response(&mut self) -> Option<Response<'_>> {
        (!self.is_error()).then(|| Response::new(self.handle.body()))
    }

    /// The error, if it is one.
    pub fn error(&mut self) -> Option<Error> {
        Some(Error::from_document(self.error_document()?.text("")?))
    }

    /// The error document, to read and to edit, if it is an error: `/status`, `/error/message`,
    /// `/error/type`, `/error/code`, `/retry_after`.
    pub fn error_document(&mut self) -> Option<Document<'_>> {
        self.is_error().then(|| self.handle.body())
    }

    /// The request as it was sent, to read.
    pub fn request(&self) -> Request<'_> {
        Request::new(self.handle.request())
    }

    /// Makes the outcome this response, whatever it was.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON, or is no object, or the outcome is a `plugin_failure`.
    pub fn recover(&mut self, response: impl Serialize) -> Result<()> {
        self.handle.recover(&serde_json::to_string(&response)?)
    }

    /// Makes the outcome this error, whatever it was.
    ///
    /// # Errors
    ///
    /// When the host does not take it: a status outside 400 to 599, or the outcome is a `plugin_failure`.
    pub fn fail(&mut self, error: Error) -> Result<()> {
        self.handle.fail(&error.to_document())
    }
}

/// How a request or a stream ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// With a response, or the end of the stream.
    Completed,
    /// With an error.
    Failed(Error),
    /// The client went away.
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

/// The end of a stream.
pub struct StreamEnd<'a> {
    report: ReportHandle<'a>,
    pub(crate) emitted: Vec<(String, String)>,
}

impl<'a> StreamEnd<'a> {
    pub(crate) fn new(report: ReportHandle<'a>) -> Self {
        Self { report, emitted: Vec::new() }
    }

    /// How it ended.
    pub fn ending(&self) -> Ending {
        ending(&self.report)
    }

    /// Did it complete?
    pub fn completed(&self) -> bool {
        self.report.kind() == field::OUTCOME_COMPLETED
    }

    /// The tokens used, where the provider said so.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.report)
    }

    /// From the request's arrival until now.
    pub fn latency(&self) -> Duration {
        micros(&self.report, field::REPORT_LATENCY).unwrap_or_default()
    }

    /// The request as it was sent, to read.
    pub fn request(&self) -> Option<Request<'_>> {
        self.report.document(field::REPORT_REQUEST).map(Request::new)
    }

    /// Sends one more chunk, after all others; it passes the chunk hooks of the instances that follow.
    /// Without effect if the stream did not complete.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn emit(&mut self, chunk: impl Serialize) -> Result<()> {
        self.emit_event("", chunk)
    }

    /// The same, for an event with a name.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn emit_event(&mut self, event: &str, chunk: impl Serialize) -> Result<()> {
        self.emitted.push((event.to_owned(), serde_json::to_string(&chunk)?));
        Ok(())
    }
}

/// A request of a client that is over.
pub struct Completion<'a> {
    report: ReportHandle<'a>,
}

impl<'a> Completion<'a> {
    pub(crate) fn new(report: ReportHandle<'a>) -> Self {
        Self { report }
    }

    /// How it ended.
    pub fn ending(&self) -> Ending {
        ending(&self.report)
    }

    /// Did it end with a response, or the end of its stream?
    pub fn completed(&self) -> bool {
        self.report.kind() == field::OUTCOME_COMPLETED
    }

    /// Did the client go away before the end?
    pub fn cancelled(&self) -> bool {
        self.report.kind() == field::OUTCOME_CANCELLED
    }

    /// The HTTP status: of the error, or 200.
    pub fn status(&self) -> u16 {
        self.report.number(field::REPORT_STATUS).and_then(|status| status.try_into().ok()).unwrap_or_default()
    }

    /// From the request's arrival to its end.
    pub fn latency(&self) -> Duration {
        micros(&self.report, field::REPORT_LATENCY).unwrap_or_default()
    }

    /// From the request's arrival to the first chunk for the client; streams only.
    pub fn first_chunk(&self) -> Option<Duration> {
        micros(&self.report, field::REPORT_FIRST_CHUNK)
    }

    /// How many chunks went to the client; streams only.
    pub fn chunks(&self) -> Option<u64> {
        self.report.number(field::REPORT_CHUNKS)?.try_into().ok()
    }

    /// The tokens used, where the provider said so.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.report)
    }

    /// The request as it was sent (or was about to be), to read.
    pub fn request(&self) -> Option<Request<'_>> {
        self.report.document(field::REPORT_REQUEST).map(Request::new)
    }

    /// The response that the client got, to read; absent for streams and errors.
    pub fn response(&self) -> Option<Response<'_>> {
        self.report.document(field::REPORT_RESPONSE).map(Response::new)
    }
}
