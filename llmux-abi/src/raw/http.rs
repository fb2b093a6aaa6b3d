//! The parameters of an HTTP request that a plugin sends through the host, and the response table.
//!
//! The plugin makes the parameters, the host implements the table.

use abi_stable::{
    StableAbi,
    sabi_types::{RMut, RRef},
    std_types::{ROption, RSlice, RStr},
};
use async_ffi::BorrowingFfiFuture;

/// A response came.
pub const HTTP_FAILURE_NONE: u32 = 0;
/// The request is not valid: its method, its URL, or one of its headers.
pub const HTTP_FAILURE_INVALID: u32 = 1;
/// No connection was made: the name, the address, or the certificate.
pub const HTTP_FAILURE_CONNECT: u32 = 2;
/// The time limit of the request has passed.
pub const HTTP_FAILURE_TIMEOUT: u32 = 3;
/// The body is larger than the request allows.
pub const HTTP_FAILURE_TOO_LARGE: u32 = 4;
/// The connection ended before the end of the response. Every unknown code means the same.
pub const HTTP_FAILURE_BROKEN: u32 = 5;

/// `next`: there are no more bytes.
pub const HTTP_END: u32 = 0;
/// `next`: `body` returns the next bytes.
pub const HTTP_MORE: u32 = 1;
/// `next`: the response failed; `failure` returns the kind, and `body` the reason.
pub const HTTP_FAILED: u32 = 2;

/// A header.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawHeader<'a> {
    /// The header's name.
    pub name: RStr<'a>,
    /// The header's value.
    pub value: RStr<'a>,
}

/// Parameters of [`HostTable::http`](super::host::HostTable::http): an HTTP request to send.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HttpCallRef)))]
#[sabi(missing_field(option))]
pub struct HttpCall<'a> {
    /// The method, as `POST`.
    pub method: RStr<'a>,
    /// The whole URL, `http` or `https`.
    pub url: RStr<'a>,
    /// The headers.
    pub headers: RSlice<'a, RawHeader<'a>>,
    /// The body.
    pub body: RSlice<'a, u8>,
    /// The time limit for the whole exchange, in milliseconds.
    pub timeout: u64,
    /// The largest body of the response, in bytes. The host has a limit of its own for a body that does not stream.
    pub max_body: u64,
    /// 1 if the response is ready when its head has come, and `next` returns the body in pieces. 0 if the response is ready
    /// when its whole body has come.
    #[sabi(last_prefix_field)]
    pub streams: u32,
}

/// A response inside the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct HttpResponseObject {
    opaque: [u8; 0],
}

/// A handle on a response. Host memory; the plugin owns the handle and returns it once, through `drop`.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawHttpResponse {
    /// The response.
    pub object: *mut HttpResponseObject,
    /// The functions that take this object.
    pub table: HttpResponseTableRef,
}

/// Functions of a response, implemented by the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HttpResponseTableRef)))]
#[sabi(missing_field(option))]
pub struct HttpResponseTable {
    /// Returns the HTTP status, or 0 if no response came.
    pub status: unsafe extern "C" fn(object: RRef<'_, HttpResponseObject>) -> u16,
    /// Returns a header's value; the name's case does not matter. The text is valid until `drop`. Absent: there is no
    /// such header.
    pub header: for<'a> unsafe extern "C" fn(
        object: RRef<'a, HttpResponseObject>,
        name: RStr<'_>,
    ) -> ROption<RStr<'a>>,
    /// Returns the body, or the piece that `next` has found, or the reason as text if the response failed. Valid until
    /// `next` or `drop`.
    pub body: for<'a> unsafe extern "C" fn(object: RRef<'a, HttpResponseObject>) -> RSlice<'a, u8>,
    /// Returns the kind of failure, [`HTTP_FAILURE_NONE`] to [`HTTP_FAILURE_BROKEN`].
    pub failure: unsafe extern "C" fn(object: RRef<'_, HttpResponseObject>) -> u32,
    /// Waits for the next bytes of a response that streams, and resolves to [`HTTP_END`], [`HTTP_MORE`] or
    /// [`HTTP_FAILED`]. The plugin owns the future. Dropping it loses no bytes.
    pub next:
        for<'a> unsafe extern "C" fn(object: RMut<'a, HttpResponseObject>) -> BorrowingFfiFuture<'a, u32>,
    /// Frees the response. Called once.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut HttpResponseObject),
}
