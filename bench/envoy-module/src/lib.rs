//! A dynamic module for Envoy, an HTTP filter whose functions are empty: the peer of a plugin with empty hooks.
//!
//! `llmux-bench` builds it and loads copies of it into Envoy. The functions are those of Envoy's
//! `abi.h`, version 0.1.0. Deliberately absent: `on_http_filter_local_reply`, which a module may lack.
//!
//! The exported names are the only unsafe part. They are sound because no other code of the library has such names, no
//! function reads a parameter, and each pointer that Envoy receives is the address of a static byte, which neither side
//! reads.

#![expect(
    unsafe_code,
    reason = "Envoy finds the functions by name, and the language counts an exported name as unsafe"
)]
#![allow(missing_docs, reason = "Envoy documents the functions")]

use std::ffi::{c_char, c_void};

type Pointer = *mut c_void;

/// `envoy_dynamic_module_type_envoy_buffer`, which Envoy passes by value.
#[repr(C)]
pub struct Buffer {
    data: *const c_char,
    length: usize,
}

/// Byte whose address is the filter's configuration and each filter. The module allocates nothing.
static FILTER: u8 = 0;

fn filter() -> Pointer {
    (&raw const FILTER).cast_mut().cast()
}

/// Status of every event: Envoy goes on with the next filter.
const CONTINUE: u32 = 0;

/// Exports functions that return a constant, or nothing.
macro_rules! export {
    ($($name:ident($($parameter:ty),*) -> $result:ty = $value:expr;)*) => {
        $(#[unsafe(no_mangle)] pub extern "C" fn $name($(_: $parameter),*) -> $result { $value })*
    };
}

export! {
    envoy_dynamic_module_on_program_init() -> *const c_char = c"v0.1.0".as_ptr();
    envoy_dynamic_module_on_http_filter_config_new(Pointer, Buffer, Buffer) -> Pointer = filter();
    envoy_dynamic_module_on_http_filter_config_destroy(Pointer) -> () = ();
    envoy_dynamic_module_on_http_filter_per_route_config_new(Buffer, Buffer) -> Pointer = filter();
    envoy_dynamic_module_on_http_filter_per_route_config_destroy(Pointer) -> () = ();
    envoy_dynamic_module_on_http_filter_new(Pointer, Pointer) -> Pointer = filter();
    envoy_dynamic_module_on_http_filter_destroy(Pointer) -> () = ();
    envoy_dynamic_module_on_http_filter_request_headers(Pointer, Pointer, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_request_body(Pointer, Pointer, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_request_trailers(Pointer, Pointer) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_headers(Pointer, Pointer, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_body(Pointer, Pointer, bool) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_response_trailers(Pointer, Pointer) -> u32 = CONTINUE;
    envoy_dynamic_module_on_http_filter_stream_complete(Pointer, Pointer) -> () = ();
}

// Envoy looks these up when it loads a module. This filter makes no callouts and no further streams, so that Envoy calls
// none of them except the last two.
export! {
    envoy_dynamic_module_on_http_filter_http_callout_done() -> () = ();
    envoy_dynamic_module_on_http_filter_http_stream_headers() -> () = ();
    envoy_dynamic_module_on_http_filter_http_stream_data() -> () = ();
    envoy_dynamic_module_on_http_filter_http_stream_trailers() -> () = ();
    envoy_dynamic_module_on_http_filter_http_stream_complete() -> () = ();
    envoy_dynamic_module_on_http_filter_http_stream_reset() -> () = ();
    envoy_dynamic_module_on_http_filter_scheduled() -> () = ();
    envoy_dynamic_module_on_http_filter_config_scheduled() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_callout_done() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_stream_headers() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_stream_data() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_stream_complete() -> () = ();
    envoy_dynamic_module_on_http_filter_config_http_stream_reset() -> () = ();
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Pointer, Pointer) -> () = ();
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Pointer, Pointer) -> () = ();
}
