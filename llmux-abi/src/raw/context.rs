//! The context table: facts, values and headers that all hooks of one request share.
//!
//! The host implements the table, the SDK's `handle` calls it. All functions are called on the thread that runs the
//! hook, during the hook call. Fields before `last_prefix_field` are never absent from the table.

use std::marker::PhantomData;

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RStr},
};

use super::value::RawValue;

/// The request's id (a UUID, version 7).
pub const CONTEXT_REQUEST_ID: u32 = 0;
/// The endpoint's path without its version, as `chat/completions`.
pub const CONTEXT_ENDPOINT: u32 = 1;
/// The model that the request names at this moment.
pub const CONTEXT_MODEL: u32 = 2;
/// The provider that this attempt called last; absent while no provider was called.
pub const CONTEXT_PROVIDER: u32 = 3;
/// The deployment that this attempt called last; absent while no provider was called.
pub const CONTEXT_DEPLOYMENT: u32 = 4;
/// The id of the API key that authenticated the request, never the key; absent without authentication.
pub const CONTEXT_KEY_ID: u32 = 5;
/// The user that the key belongs to.
pub const CONTEXT_USER: u32 = 6;
/// The team that the key belongs to.
pub const CONTEXT_TEAM: u32 = 7;
/// The address of the client, without a port; absent for a request of the embedder.
pub const CONTEXT_CLIENT: u32 = 8;

/// Number: the attempt, counted from 1; each fallback is one more.
pub const CONTEXT_ATTEMPT: u32 = 0;
/// Number: 1 when the request streams, 0 otherwise.
pub const CONTEXT_IS_STREAMING: u32 = 1;
/// Number: the time of the request's arrival, in microseconds since the Unix epoch.
pub const CONTEXT_STARTED: u32 = 2;
/// Number: milliseconds until this hook call's timeout.
pub const CONTEXT_REMAINING: u32 = 3;

/// The change was made.
pub const CONTEXT_OK: u32 = 0;
/// HTTP does not allow the name or value, or the host reserves the name.
pub const CONTEXT_INVALID: u32 = 1;
/// The host keeps no more entries, or none this large, for one request.
pub const CONTEXT_TOO_LARGE: u32 = 2;
/// The context is read-only (in `on_complete`), or it is too late for this change.
pub const CONTEXT_READ_ONLY: u32 = 3;

/// A request's context inside the host, as seen by one instance.
#[repr(C)]
#[derive(StableAbi)]
pub struct ContextObject {
    opaque: [u8; 0],
}

/// The state of one instance for one request. Plugin memory; the host returns it through `PluginTable::drop_state`.
#[repr(C)]
#[derive(StableAbi)]
pub struct StateObject {
    opaque: [u8; 0],
}

/// A handle on a context: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawContext<'a> {
    /// The context.
    pub object: *mut ContextObject,
    /// The functions that take this object.
    pub table: ContextTableRef,
    /// The time for which the object is lent.
    pub lent: PhantomData<&'a mut ()>,
}

/// Functions of a context, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ContextTableRef)))]
#[sabi(missing_field(option))]
pub struct ContextTable {
    /// Returns a text by its number ([`CONTEXT_REQUEST_ID`] to [`CONTEXT_CLIENT`]). The host owns the text; it is valid
    /// until the context is changed or the hook call ends. Absent: the text has no value, or the host does not know
    /// the number.
    pub text: for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, which: u32) -> ROption<RStr<'a>>,
    /// Returns a number by its number ([`CONTEXT_ATTEMPT`] to [`CONTEXT_REMAINING`]). Absent: the host does not know
    /// the number.
    pub number: unsafe extern "C" fn(object: RRef<'_, ContextObject>, which: u32) -> ROption<i64>,
    /// Returns the value of a request header; the name's case does not matter. The host owns the text. Credentials read
    /// `[redacted]`. Absent: the request has no such header, or its value is not text.
    pub header:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, name: RStr<'_>) -> ROption<RStr<'a>>,
    /// Returns a value that a plugin has set under this key. The host owns the value. Absent: no plugin has set it.
    pub value:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, key: RStr<'_>) -> ROption<RawValue<'a>>,
    /// Sets a value for every later hook of this attempt. The host copies the key and the value. Returns
    /// [`CONTEXT_OK`] or the reason of a refusal.
    pub set_value:
        unsafe extern "C" fn(object: RMut<'_, ContextObject>, key: RStr<'_>, value: RawValue<'_>) -> u32,
    /// Sets a header of the response to the client. The host copies the name and the value. Returns [`CONTEXT_OK`] or
    /// the reason of a refusal.
    pub set_response_header:
        unsafe extern "C" fn(object: RMut<'_, ContextObject>, name: RStr<'_>, value: RStr<'_>) -> u32,
    /// Returns the slot in which this instance keeps its state for this request. The slot is host memory and null at
    /// first; the pointer that the plugin puts there is plugin memory. The host passes a pointer that is not null to
    /// `drop_state` once, after `on_complete`.
    pub state: for<'a> unsafe extern "C" fn(object: RMut<'a, ContextObject>) -> RMut<'a, *mut StateObject>,
    /// Sets a header of the request to the provider. The host copies the name and the value. Returns [`CONTEXT_OK`] or the
    /// reason of a refusal: the host reserves credentials, and the headers that frame a message. Headers that are set after
    /// the pre hooks of an attempt are refused.
    pub set_provider_header:
        unsafe extern "C" fn(object: RMut<'_, ContextObject>, name: RStr<'_>, value: RStr<'_>) -> u32,
    /// Returns the value of a header of the provider's answer; the name's case does not matter. The host owns the text.
    /// Absent: no provider has answered this attempt, the answer has no such header, or its value is not text.
    #[sabi(last_prefix_field)]
    pub provider_header:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, name: RStr<'_>) -> ROption<RStr<'a>>,
}
