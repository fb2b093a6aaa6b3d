//! The outcome table and the report table: the result that a post hook edits, and the report of how a request ended.
//!
//! The host implements both tables, the SDK's `handle` calls them, during the hook call that was lent the object.
//!
//! An *error document* is `{"status": 429, "error": {"message", "type", "param", "code", …}}`, with
//! `"retry_after"` in seconds beside them where known. The client receives the content of `error`.

use super::document::RawDocument;
use std::marker::PhantomData;

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};

/// The outcome is a response, or the request or stream completed.
pub const OUTCOME_COMPLETED: u32 = 0;
/// The outcome is an error, or the request or stream failed.
pub const OUTCOME_FAILED: u32 = 1;
/// The client left before the end. Only in a report; an outcome is then an error of type `cancelled`.
pub const OUTCOME_CANCELLED: u32 = 2;

/// Document: the request as it was sent to the provider.
pub const REPORT_REQUEST: u32 = 0;
/// Document: the response; absent for streams and errors.
pub const REPORT_RESPONSE: u32 = 1;
/// Document: the error; absent where there is none.
pub const REPORT_ERROR: u32 = 2;

/// Number: microseconds from the request's arrival to its end.
pub const REPORT_LATENCY: u32 = 0;
/// Number: microseconds from the request's arrival to the first chunk for the client; streams only.
pub const REPORT_FIRST_CHUNK: u32 = 1;
/// Number: tokens of the prompts, as providers reported them, or as the host estimates them
/// ([`REPORT_IS_ESTIMATED`]): at the end of a stream those of this attempt, otherwise those of all attempts. Absent, as
/// the next two: no provider was called, or nothing of its answer has arrived.
pub const REPORT_PROMPT_TOKENS: u32 = 2;
/// Number: tokens of the answers.
pub const REPORT_COMPLETION_TOKENS: u32 = 3;
/// Number: all tokens.
pub const REPORT_TOTAL_TOKENS: u32 = 4;
/// Number: the HTTP status of the outcome.
pub const REPORT_STATUS: u32 = 5;
/// Number: the count of chunks that were sent to the client; streams only.
pub const REPORT_CHUNKS: u32 = 6;
/// Number: 1 if the numbers of tokens, or some of them, are an estimate of the host, 0 otherwise.
pub const REPORT_IS_ESTIMATED: u32 = 7;
/// Number: the party that gave the outcome ([`ANSWERED_BY_HOST`] to [`ANSWERED_BY_CACHE`]); in `on_complete` only.
pub const REPORT_ANSWERED_BY: u32 = 8;
/// Number: the count of attempts that called a provider; in `on_complete` only.
pub const REPORT_ATTEMPTS: u32 = 9;
/// Number: 1 if the provider ended its stream with `[DONE]` before every choice had a `finish_reason`, 0 otherwise;
/// streams only. Since 0.2.1.
pub const REPORT_IS_UNFINISHED: u32 = 10;

/// Text: the name of the provider or of the instance that gave the outcome; absent for the host.
pub const REPORT_ANSWERER: u32 = 0;

/// The host gave the outcome: an error of its own.
pub const ANSWERED_BY_HOST: u32 = 0;
/// A provider gave the outcome.
pub const ANSWERED_BY_PROVIDER: u32 = 1;
/// An instance gave the outcome, by a short circuit or in the place of the provider's answer.
pub const ANSWERED_BY_PLUGIN: u32 = 2;
/// An instance gave the outcome, with a copy of an earlier answer (`AnswerTable::cached`).
pub const ANSWERED_BY_CACHE: u32 = 3;

/// Text of an attempt: the provider's name.
pub const ATTEMPT_PROVIDER: u32 = 0;
/// Text of an attempt: the deployment that was called last.
pub const ATTEMPT_DEPLOYMENT: u32 = 1;
/// Text of an attempt: the name of the instance whose hook `beside` cancelled the provider's call. Absent: no instance did. Since
/// 0.2.2.
pub const ATTEMPT_CANCELLED_BY: u32 = 2;

/// Number of an attempt: the status of the provider's answer, or of the error in its place.
pub const ATTEMPT_STATUS: u32 = 0;
/// Number of an attempt: tokens of the prompt. Absent, as the next two: nothing of an answer has arrived.
pub const ATTEMPT_PROMPT_TOKENS: u32 = 1;
/// Number of an attempt: tokens of the answer.
pub const ATTEMPT_COMPLETION_TOKENS: u32 = 2;
/// Number of an attempt: all tokens.
pub const ATTEMPT_TOTAL_TOKENS: u32 = 3;
/// Number of an attempt: 1 if the numbers of tokens are an estimate of the host, 0 otherwise.
pub const ATTEMPT_IS_ESTIMATED: u32 = 4;

/// An outcome inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct OutcomeObject {
    opaque: [u8; 0],
}

/// A handle on an outcome: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawOutcome<'a> {
    /// The outcome.
    pub object: *mut OutcomeObject,
    /// The functions that take this object.
    pub table: OutcomeTableRef,
    /// The time for which the object is lent.
    pub lent: PhantomData<&'a mut ()>,
}

/// Functions of an outcome, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = OutcomeTableRef)))]
#[sabi(missing_field(option))]
pub struct OutcomeTable {
    /// Returns [`OUTCOME_COMPLETED`] or [`OUTCOME_FAILED`].
    pub kind: unsafe extern "C" fn(object: RRef<'_, OutcomeObject>) -> u32,
    /// Returns the response or the error document, to read and to edit. Host memory, valid until `recover` or `fail`
    /// replaces it or the hook call ends. Absent: the response has no document, because its body is not JSON.
    pub body: for<'a> unsafe extern "C" fn(object: RMut<'a, OutcomeObject>) -> ROption<RawDocument<'a>>,
    /// Returns the request as it was sent, read-only. Host memory.
    pub request: for<'a> unsafe extern "C" fn(object: RRef<'a, OutcomeObject>) -> RawDocument<'a>,
    /// Makes this response the outcome. The host copies the JSON. Returns a code of `document`.
    pub recover: unsafe extern "C" fn(object: RMut<'_, OutcomeObject>, response: RStr<'_>) -> u32,
    /// Makes this error document the outcome. The host copies the JSON. Returns a code of `document`.
    #[sabi(last_prefix_field)]
    pub fail: unsafe extern "C" fn(object: RMut<'_, OutcomeObject>, error: RStr<'_>) -> u32,
}

/// A report inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct ReportObject {
    opaque: [u8; 0],
}

/// A handle on the report of a request or a stream: host memory, valid until the hook call ends.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawReport<'a> {
    /// The report.
    pub object: RRef<'a, ReportObject>,
    /// The functions that take this object.
    pub table: ReportTableRef,
}

/// Functions of a report, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ReportTableRef)))]
#[sabi(missing_field(option))]
pub struct ReportTable {
    /// Returns [`OUTCOME_COMPLETED`], [`OUTCOME_FAILED`] or [`OUTCOME_CANCELLED`].
    pub kind: unsafe extern "C" fn(object: RRef<'_, ReportObject>) -> u32,
    /// Returns a number by its number ([`REPORT_LATENCY`] to [`REPORT_IS_UNFINISHED`]). Absent: the number is not known.
    pub number: unsafe extern "C" fn(object: RRef<'_, ReportObject>, which: u32) -> ROption<i64>,
    /// Returns a document by its number ([`REPORT_REQUEST`] to [`REPORT_ERROR`]), read-only. Absent: there is none.
    pub document:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ReportObject>, which: u32) -> ROption<RawDocument<'a>>,
    /// Returns a text by its number ([`REPORT_ANSWERER`]). Host memory, valid until the hook call ends. Absent: the text
    /// has no value, or the host does not know the number.
    pub text: for<'a> unsafe extern "C" fn(object: RRef<'a, ReportObject>, which: u32) -> ROption<RStr<'a>>,
    /// Returns a text of an attempt that called a provider, by its place from 0 and its number ([`ATTEMPT_PROVIDER`]
    /// to [`ATTEMPT_CANCELLED_BY`]). Host memory, valid until the hook call ends. Absent: there is no such attempt, or the host
    /// does not know the number.
    pub attempt_text: for<'a> unsafe extern "C" fn(
        object: RRef<'a, ReportObject>,
        attempt: u32,
        which: u32,
    ) -> ROption<RStr<'a>>,
    /// Returns a number of an attempt that called a provider, by its place from 0 and its number ([`ATTEMPT_STATUS`] to
    /// [`ATTEMPT_IS_ESTIMATED`]). Absent: there is no such attempt, or the number is not known.
    #[sabi(last_prefix_field)]
    pub attempt_number:
        unsafe extern "C" fn(object: RRef<'_, ReportObject>, attempt: u32, which: u32) -> ROption<i64>,
}
