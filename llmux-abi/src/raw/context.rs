//! The context table: what every hook of one request shares.

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
/// The model that the request names now.
pub const CONTEXT_MODEL: u32 = 2;
/// The provider chosen now; absent while there is none.
pub const CONTEXT_PROVIDER: u32 = 3;
/// The deployment chosen now; absent while there is none.
pub const CONTEXT_DEPLOYMENT: u32 = 4;
/// The id of the API key that authenticated the request, never the key; absent without authentication.
pub const CONTEXT_KEY_ID: u32 = 5;
/// The user the key belongs to.
pub const CONTEXT_USER: u32 = 6;
/// The team the key belongs to.
pub const CONTEXT_TEAM: u32 = 7;

/// Number: which attempt this is, from 1; a fallback is one more.
pub const CONTEXT_ATTEMPT: u32 = 0;
/// Number: 1 when the request streams, 0 otherwise.
pub const CONTEXT_IS_STREAMING: u32 = 1;
/// Number: when the request arrived, in microseconds since the Unix epoch.
pub const CONTEXT_STARTED: u32 = 2;
/// Number: milliseconds until this hook call's timeout.
pub const CONTEXT_REMAINING: u32 = 3;

/// The change was made.
pub const CONTEXT_OK: u32 = 0;
/// A name or value that HTTP does not allow, or that the host reserves.
pub const CONTEXT_INVALID: u32 = 1;
/// More or larger entries than the host keeps for one request.
pub const CONTEXT_TOO_LARGE: u32 = 2;
/// This context may be read, not changed (`on_complete`).
pub const CONTEXT_READ_ONLY: u32 = 3;

/// A request's context inside the host, as seen by one instance.
#[repr(C)]
#[derive(StableAbi)]
pub struct ContextObject {
    opaque: [u8; 0],
}

/// What an instance keeps for one request: plugin memory, given back through `PluginTable::drop_state`.
#[repr(C)]
#[derive(StableAbi)]
pub struct StateObject {
    opaque: [u8; 0],
}

/// A handle on a context: host memory, valid until the hook call that received it ends.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawContext<'a> {
    /// The context.
    pub object: RMut<'a, ContextObject>,
    /// What can be done with it.
    pub table: ContextTableRef,
}

/// Functions of a context, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ContextTableRef)))]
#[sabi(missing_field(option))]
pub struct ContextTable {
    /// A text by its number ([`CONTEXT_REQUEST_ID`] and on); absent where it has no value or the host no such text.
    pub text: for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, which: u32) -> ROption<RStr<'a>>,
    /// A number by its number ([`CONTEXT_ATTEMPT`] and on).
    pub number: unsafe extern "C" fn(object: RRef<'_, ContextObject>, which: u32) -> ROption<i64>,
    /// A header of the request, by its name in any case. Credentials read `[redacted]`.
    pub header:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, name: RStr<'_>) -> ROption<RStr<'a>>,
    /// A value that this or another plugin has set.
    pub value:
        for<'a> unsafe extern "C" fn(object: RRef<'a, ContextObject>, key: RStr<'_>) -> ROption<RawValue<'a>>,
    /// Sets a value, for every hook that follows in this attempt. Answers a code.
    pub set_value:
        unsafe extern "C" fn(object: RMut<'_, ContextObject>, key: RStr<'_>, value: RawValue<'_>) -> u32,
    /// Sets a header of the response to the client: name, value. Answers a code.
    pub set_response_header:
        unsafe extern "C" fn(object: RMut<'_, ContextObject>, name: RStr<'_>, value: RStr<'_>) -> u32,
    /// The place where this instance keeps its state for this request: null until the plugin puts a pointer
    /// there. The host passes it to `drop_state` once, after `on_complete`.
    #[sabi(last_prefix_field)]
    pub state: for<'a> unsafe extern "C" fn(object: RMut<'a, ContextObject>) -> RMut<'a, *mut StateObject>,
}
