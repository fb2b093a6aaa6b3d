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

    /// Returns the response, to read and to edit. `None` if the outcome is an error, or a response whose body is not JSON.
    pub fn response(&mut self) -> Option<Response<'_>> {
        if self.is_error() { None } else { self.handle.body().map(Response::new) }
    }

    /// Returns the error. `None` if the outcome is a response.
    pub fn error(&mut self) -> Option<Error> {
        Some(Error::from_document(self.error_document()?.text("")?))
    }

    /// Returns the error document, to read and to edit: `/status`, `/error/message`, `/error/type`, `/error/code`,
    /// `/retry_after`. `None` if the outcome is a response.
    pub fn error_document(&mut self) -> Option<Document<'_>> {
        if self.is_error() { self.handle.body() } else { None }
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

fn is_unfinished(report: &ReportHandle<'_>) -> bool {
    report.number(field::REPORT_IS_UNFINISHED) == Some(1)
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
        is_estimated: tokens(field::REPORT_IS_ESTIMATED).is_some_and(|is| is != 0),
    })
}

/// The party that gave the outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnsweredBy<'a> {
    /// The provider with this name, with a response or an error.
    Provider(&'a str),
    /// The instance with this name, by a short circuit or in the place of the provider's answer.
    Plugin(&'a str),
    /// The instance with this name, with a copy of an earlier answer.
    Cache(&'a str),
    /// The host, with an error of its own.
    Host,
}

/// One attempt of a request that called a provider.
pub struct Attempt<'a> {
    report: &'a ReportHandle<'a>,
    at: u32,
}

impl<'a> Attempt<'a> {
    fn number(&self, which: u32) -> Option<u64> {
        self.report.attempt_number(self.at, which)?.try_into().ok()
    }

    /// Returns the name of the provider that was called last.
    pub fn provider(&self) -> &'a str {
        self.report.attempt_text(self.at, field::ATTEMPT_PROVIDER).unwrap_or_default()
    }

    /// Returns the deployment that was called last, as `provider/model`.
    pub fn deployment(&self) -> &'a str {
        self.report.attempt_text(self.at, field::ATTEMPT_DEPLOYMENT).unwrap_or_default()
    }

    /// Returns the instance whose hook [`beside`](crate::Plugin::beside) cancelled the provider's call. `None` if no instance did.
    pub fn cancelled_by(&self) -> Option<&'a str> {
        self.report.attempt_text(self.at, field::ATTEMPT_CANCELLED_BY)
    }

    /// Returns the HTTP status of the provider's answer, or of the error in its place. A stream that the provider
    /// accepted and did not break off has 200.
    pub fn status(&self) -> u16 {
        self.number(field::ATTEMPT_STATUS).and_then(|status| status.try_into().ok()).unwrap_or_default()
    }

    /// Returns the usage that the provider reported, or an estimate, see [`Completion::usage`]. `None` if nothing of an
    /// answer has arrived.
    pub fn usage(&self) -> Option<Usage> {
        Some(Usage {
            prompt_tokens: self.number(field::ATTEMPT_PROMPT_TOKENS)?,
            completion_tokens: self.number(field::ATTEMPT_COMPLETION_TOKENS)?,
            total_tokens: self.number(field::ATTEMPT_TOTAL_TOKENS)?,
            is_estimated: self.number(field::ATTEMPT_IS_ESTIMATED).is_some_and(|is| is != 0),
        })
    }
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

    /// Returns true if the provider ended its stream with `[DONE]` before every choice had a `finish_reason`. The client
    /// received the stream as it came.
    pub fn is_unfinished(&self) -> bool {
        is_unfinished(&self.report)
    }

    /// Returns the number of tokens used by this attempt, as its provider has reported it until now, or an estimate.
    /// `None` if a plugin answered, or nothing of an answer has arrived. For billing, see [`Completion::usage`].
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

    /// Returns true if the provider ended its stream with `[DONE]` before every choice had a `finish_reason`. The client
    /// received the stream as it came. Streams only.
    pub fn is_unfinished(&self) -> bool {
        is_unfinished(&self.report)
    }

    /// Returns the number of chunks that were sent to the client. Streams only.
    pub fn chunks(&self) -> Option<u64> {
        self.report.number(field::REPORT_CHUNKS)?.try_into().ok()
    }

    /// Returns the number of tokens that providers counted, in all attempts, whatever plugins made of the answers. `None`
    /// if no provider was called, or nothing of an answer has arrived. An answer from a cache has no usage.
    ///
    /// If a provider reported no usage and something of its answer has arrived, the host estimates it: one token for each
    /// four bytes of the texts of request and answer. [`Usage::is_estimated`] is then true.
    pub fn usage(&self) -> Option<Usage> {
        usage(&self.report)
    }

    /// Returns the party that gave the outcome of the last attempt: the response, or the error.
    pub fn answered_by(&self) -> AnsweredBy<'_> {
        let name = self.report.text(field::REPORT_ANSWERER).unwrap_or_default();
        match self.report.number(field::REPORT_ANSWERED_BY).and_then(|by| u32::try_from(by).ok()) {
            Some(field::ANSWERED_BY_PROVIDER) => AnsweredBy::Provider(name),
            Some(field::ANSWERED_BY_PLUGIN) => AnsweredBy::Plugin(name),
            Some(field::ANSWERED_BY_CACHE) => AnsweredBy::Cache(name),
            _ => AnsweredBy::Host,
        }
    }

    /// Returns the attempts that called a provider, in order. An attempt that a plugin answered is not among them.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt<'_>> {
        let count = self.report.number(field::REPORT_ATTEMPTS).and_then(|count| u32::try_from(count).ok());
        (0..count.unwrap_or_default()).map(|at| Attempt { report: &self.report, at })
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
