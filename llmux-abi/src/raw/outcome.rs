//! Outcomes: what a post hook gets, how a request ended, and a stream that a plugin produces.
//!
//! An *error document* is `{"status": 429, "error": {"message", "type", "param", "code", …}}`, with
//! `"retry_after"` in seconds beside them where known: what `error` holds is what the client gets.

use super::document::RawDocument;
use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};

/// The outcome is a response; the report, that the request or stream completed.
pub const OUTCOME_COMPLETED: u32 = 0;
/// The outcome is an error; the report, that the request or stream failed.
pub const OUTCOME_FAILED: u32 = 1;
/// The client went away before the end. Only in a report; an outcome is then an error of type `cancelled`.
pub const OUTCOME_CANCELLED: u32 = 2;

/// Document: the request as it was sent.
pub const REPORT_REQUEST: u32 = 0;
/// Document: the response; absent for streams and errors.
pub const REPORT_RESPONSE: u32 = 1;
/// Document: the error; absent where there is none.
pub const REPORT_ERROR: u32 = 2;

/// Number: microseconds from the request's arrival to its end.
pub const REPORT_LATENCY: u32 = 0;
/// Number: microseconds from the request's arrival to the first chunk for the client; streams only.
pub const REPORT_FIRST_CHUNK: u32 = 1;
/// Number: tokens of the prompt, as the provider counted them.
pub const REPORT_PROMPT_TOKENS: u32 = 2;
/// Number: tokens of the answer.
pub const REPORT_COMPLETION_TOKENS: u32 = 3;
/// Number: all tokens.
pub const REPORT_TOTAL_TOKENS: u32 = 4;
/// Number: the HTTP status of the outcome.
pub const REPORT_STATUS: u32 = 5;
/// Number: how many chunks went to the client; streams only.
pub const REPORT_CHUNKS: u32 = 6;

/// An outcome inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct OutcomeObject {
    opaque: [u8; 0],
}

/// A handle on an outcome: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawOutcome<'a> {
    /// The outcome.
    pub object: RMut<'a, OutcomeObject>,
    /// What can be done with it.
    pub table: OutcomeTableRef,
}

/// Functions of an outcome, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = OutcomeTableRef)))]
#[sabi(missing_field(option))]
pub struct OutcomeTable {
    /// [`OUTCOME_COMPLETED`] or [`OUTCOME_FAILED`].
    pub kind: unsafe extern "C" fn(object: RRef<'_, OutcomeObject>) -> u32,
    /// The response, or the error document: readable and editable. It is another one after `recover` or
    /// `fail`.
    pub body: for<'a> unsafe extern "C" fn(object: RMut<'a, OutcomeObject>) -> RawDocument<'a>,
    /// The request as it was sent: readable.
    pub request: for<'a> unsafe extern "C" fn(object: RRef<'a, OutcomeObject>) -> RawDocument<'a>,
    /// Makes the outcome this response. Answers a code of `document`.
    pub recover: unsafe extern "C" fn(object: RMut<'_, OutcomeObject>, response: RStr<'_>) -> u32,
    /// Makes the outcome this error document. Answers a code of `document`.
    #[sabi(last_prefix_field)]
    pub fail: unsafe extern "C" fn(object: RMut<'_, OutcomeObject>, error: RStr<'_>) -> u32,
}

/// A report inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct ReportObject {
    opaque: [u8; 0],
}

/// A handle on how a request or a stream ended: host memory, valid until the hook call ends.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawReport<'a> {
    /// The report.
    pub object: RRef<'a, ReportObject>,
    /// What can be asked of it.
    pub table: ReportTableRef,
}

/// Functions of a report, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ReportTableRef)))]
#[sabi(missing_field(option))]
pub struct ReportTable {
    /// [`OUTCOME_COMPLETED`], [`OUTCOME_FAILED`] or [`OUTCOME_CANCELLED`].
    pub kind: unsafe extern "C" fn(object: RRef<'_, ReportObject>) -> u32,
    /// A number by its number ([`REPORT_LATENCY`] and on); absent where it is not known.
    pub number: unsafe extern "C" fn(object: RRef<'_, ReportObject>, which: u32) -> ROption<i64>,
    /// A document by its number ([`REPORT_REQUEST`] and on): readable; absent where there is none.
    #[sabi(last_prefix_field)]
    pub document:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ReportObject>, which: u32) -> ROption<RawDocument<'a>>,
}
