//! The outcome table and the report table: the result that a post hook edits, and the report of how a request ended.
//!
//! The host implements both tables, the SDK's `handle` calls them, during the hook call that was lent the object.
//!
//! An *error document* is `{"status": 429, "error": {"message", "type", "param", "code", …}}`, with
//! `"retry_after"` in seconds beside them where known. The client receives the content of `error`.

use super::document::RawDocument;
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
/// Number: tokens of the prompt, as the provider counted them.
pub const REPORT_PROMPT_TOKENS: u32 = 2;
/// Number: tokens of the answer.
pub const REPORT_COMPLETION_TOKENS: u32 = 3;
/// Number: all tokens.
pub const REPORT_TOTAL_TOKENS: u32 = 4;
/// Number: the HTTP status of the outcome.
pub const REPORT_STATUS: u32 = 5;
/// Number: the count of chunks that were sent to the client; streams only.
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
    /// The functions that take this object.
    pub table: OutcomeTableRef,
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
    /// replaces it or the hook call ends.
    pub body: for<'a> unsafe extern "C" fn(object: RMut<'a, OutcomeObject>) -> RawDocument<'a>,
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
#[derive(StableAbi)]
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
    /// Returns a number by its number ([`REPORT_LATENCY`] to [`REPORT_CHUNKS`]). Absent: the number is not known.
    pub number: unsafe extern "C" fn(object: RRef<'_, ReportObject>, which: u32) -> ROption<i64>,
    /// Returns a document by its number ([`REPORT_REQUEST`] to [`REPORT_ERROR`]), read-only. Absent: there is none.
    #[sabi(last_prefix_field)]
    pub document:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ReportObject>, which: u32) -> ROption<RawDocument<'a>>,
}
