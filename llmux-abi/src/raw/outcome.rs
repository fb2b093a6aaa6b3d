//! Outcomes: what a post hook gets, how a request ended, and a stream that a plugin produces.
//!
//! An *error document* is `{"status": 429, "error": {"message", "type", "param", "code", …}}`, with
//! `"retry_after"` in seconds beside them where known: what `error` holds is what the client gets.

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};
use async_ffi::FfiContext;

use super::{
    document::RawDocument,
    flow::{HookPoll, RawAnswer},
};

/// The outcome is a response; the report, that the request or stream completed.
pub const COMPLETED: u32 = 0;
/// The outcome is an error; the report, that the request or stream failed.
pub const FAILED: u32 = 1;
/// The client went away before the end. Only in a report; an outcome is then an error of type `cancelled`.
pub const CANCELLED: u32 = 2;

/// Document: the request as it was sent.
pub const REQUEST: u32 = 0;
/// Document: the response; absent for streams and errors.
pub const RESPONSE: u32 = 1;
/// Document: the error; absent where there is none.
pub const ERROR: u32 = 2;

/// Number: microseconds from the request's arrival to its end.
pub const LATENCY: u32 = 0;
/// Number: microseconds from the request's arrival to the first chunk for the client; streams only.
pub const FIRST_CHUNK: u32 = 1;
/// Number: tokens of the prompt, as the provider counted them.
pub const PROMPT_TOKENS: u32 = 2;
/// Number: tokens of the answer.
pub const COMPLETION_TOKENS: u32 = 3;
/// Number: all tokens.
pub const TOTAL_TOKENS: u32 = 4;
/// Number: the HTTP status of the outcome.
pub const STATUS: u32 = 5;
/// Number: how many chunks went to the client; streams only.
pub const CHUNKS: u32 = 6;

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
    /// [`COMPLETED`] or [`FAILED`].
    pub kind: unsafe extern "C" fn(RRef<'_, OutcomeObject>) -> u32,
    /// The response, or the error document: readable and editable. It is another one after `recover` or
    /// `fail`.
    pub body: for<'a> unsafe extern "C" fn(RMut<'a, OutcomeObject>) -> RawDocument<'a>,
    /// The request as it was sent: readable.
    pub request: for<'a> unsafe extern "C" fn(RRef<'a, OutcomeObject>) -> RawDocument<'a>,
    /// Makes the outcome this response. Answers a code of `document`.
    pub recover: unsafe extern "C" fn(RMut<'_, OutcomeObject>, RStr<'_>) -> u32,
    /// Makes the outcome this error document. Answers a code of `document`.
    #[sabi(last_prefix_field)]
    pub fail: unsafe extern "C" fn(RMut<'_, OutcomeObject>, RStr<'_>) -> u32,
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
    /// [`COMPLETED`], [`FAILED`] or [`CANCELLED`].
    pub kind: unsafe extern "C" fn(RRef<'_, ReportObject>) -> u32,
    /// A number by its number ([`LATENCY`] and on); absent where it is not known.
    pub number: unsafe extern "C" fn(RRef<'_, ReportObject>, u32) -> ROption<i64>,
    /// A document by its number ([`REQUEST`] and on): readable; absent where there is none.
    #[sabi(last_prefix_field)]
    pub document: for<'a> unsafe extern "C" fn(RRef<'a, ReportObject>, u32) -> ROption<RawDocument<'a>>,
}

/// A producer of chunks inside a plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct StreamObject {
    opaque: [u8; 0],
}

/// A stream of chunks that a plugin produces. Plugin memory; the host owns the handle and gives it back
/// once, through `drop`, while no call of `next` is under way.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawStream {
    /// The producer.
    pub object: *mut StreamObject,
    /// What can be done with it.
    pub table: StreamTableRef,
}

/// Functions of a producer, implemented by the plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StreamTableRef)))]
#[sabi(missing_field(option))]
pub struct StreamTable {
    /// The next chunks: `REPLACE` with what was emitted, `CONTINUE` at the end, `END` with an error, `FAILED`.
    pub next: for<'a> unsafe extern "C" fn(
        RMut<'a, StreamObject>,
        RawAnswer<'a>,
        &mut FfiContext<'_>,
    ) -> HookPoll<'a>,
    /// Frees the producer.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(*mut StreamObject),
}
