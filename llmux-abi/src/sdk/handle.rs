//! Safe wrappers over the contract's tables: everything else in the SDK stands on these.
//!
//! # Why this is sound
//!
//! A handle here is made from a raw handle that the host passed to a hook (in `shim`), and carries that
//! hook call's lifetime. The contract says that what a call was lent stays valid and in place for that
//! lifetime, that every function pointer in a host table may be called with the object that stands beside
//! it, and that borrowed text is UTF-8 and lives until the object is changed. Getters borrow `&self` and
//! setters `&mut self`, so the compiler upholds the last part; what returns a borrow ties it to that of the
//! handle. The opaque objects are `Send + Sync`, as the contract promises for getters, so handles are too.

#![allow(unsafe_code)]

use abi_stable::{
    sabi_types::RMut,
    std_types::{RSlice, RStr},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::{State, Value},
    error::{Error, Result},
    flow::BoxedSource,
    host::Host,
    shim,
};
use crate::raw::{
    context::{self, RawContext, StateObject},
    document::{self, RawDocument},
    flow::{ERROR, PANIC, RawAnswer},
    host::{RawHost, RawHttpRequest, RawHttpResponse, RawMetric},
    outcome::{RawOutcome, RawReport},
    value::{self, RawField, RawValue},
};

/// A JSON document that the host owns: read and edited by JSON Pointer (RFC 6901).
///
/// `""` is the whole document, `/messages/0/content` a place in it; in a last segment, `-` is the place
/// after an array's last element. Requests, responses and chunks are all documents: their views deref to
/// this.
pub struct Document<'a> {
    raw: RawDocument<'a>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(raw: RawDocument<'a>) -> Self {
        Self { raw }
    }

    /// The JSON text of a place, `None` where there is none.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.raw.table.get()(self.raw.object.as_rref(), pointer.into()) };
        text.into_option().map(|text| text.as_str())
    }

    /// The content of a string, `None` where there is none, or something else.
    pub fn get_str(&self, pointer: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.raw.table.get_str()(self.raw.object.as_rref(), pointer.into()) };
        text.into_option().map(|text| text.as_str())
    }

    /// A value of any type that serde reads, `None` where there is none, or it is of another type.
    pub fn get<T: DeserializeOwned>(&self, pointer: &str) -> Option<T> {
        serde_json::from_str(self.text(pointer)?).ok()
    }

    /// How many members an object or elements an array has; `None` for anything else.
    pub fn len(&self, pointer: &str) -> Option<usize> {
        // SAFETY: the host's table and object belong together, see the head.
        let len = unsafe { self.raw.table.len()(self.raw.object.as_rref(), pointer.into()) };
        len.into_option().and_then(|len| len.try_into().ok())
    }

    /// The whole document as a type of the caller's choice, for instance one of [`types`](crate::types).
    ///
    /// # Errors
    ///
    /// Those of serde, which name the member.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_str(self.text("").unwrap_or("null"))?)
    }

    /// Adds a member or replaces it; replaces an element, or with `-` appends one. The parent must exist.
    ///
    /// # Errors
    ///
    /// When there is no such place, the document is for reading, or it would become too large.
    pub fn set(&mut self, pointer: &str, value: impl Serialize) -> Result<()> {
        self.set_text(pointer, &serde_json::to_string(&value)?)
    }

    /// The same, with JSON text.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), and when the text is not JSON.
    pub fn set_text(&mut self, pointer: &str, json: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.raw.table.set()(self.raw.object.reborrow(), pointer.into(), json.into()) };
        edited(code, pointer)
    }

    /// Inserts an element before the one that the pointer names, shifting what follows; into an object, sets
    /// a member.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn insert(&mut self, pointer: &str, value: impl Serialize) -> Result<()> {
        let json = serde_json::to_string(&value)?;
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe {
            self.raw.table.insert()(self.raw.object.reborrow(), pointer.into(), json.as_str().into())
        };
        edited(code, pointer)
    }

    /// Removes a member or an element. `false` where there was none.
    ///
    /// # Errors
    ///
    /// When the document is for reading.
    pub fn remove(&mut self, pointer: &str) -> Result<bool> {
        // SAFETY: the host's table and object belong together, see the head.
        match unsafe { self.raw.table.remove()(self.raw.object.reborrow(), pointer.into()) } {
            document::NO_SUCH_PLACE => Ok(false),
            code => edited(code, pointer).map(|()| true),
        }
    }

    /// Replaces the whole document.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn replace(&mut self, value: impl Serialize) -> Result<()> {
        self.set("", value)
    }
}

fn edited(code: u32, pointer: &str) -> Result<()> {
    let why = match code {
        document::OK => return Ok(()),
        document::NO_SUCH_PLACE => "there is no such place",
        document::INVALID_JSON => "the value is not JSON",
        document::READ_ONLY => "this document is for reading",
        document::TOO_LARGE => "the document would become too large",
        _ => "the host refuses the edit",
    };
    Err(Error::new(format!("cannot edit `{pointer}`: {why}")))
}

/// A context.
pub(crate) struct ContextHandle<'a> {
    raw: RawContext<'a>,
}

impl<'a> ContextHandle<'a> {
    pub(crate) fn new(raw: RawContext<'a>) -> Self {
        Self { raw }
    }

    pub(crate) fn text(&self, which: u32) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.raw.table.text()(self.raw.object.as_rref(), which) };
        text.into_option().map(|text| text.as_str())
    }

    pub(crate) fn number(&self, which: u32) -> Option<i64> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.number()(self.raw.object.as_rref(), which) }.into_option()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let value = unsafe { self.raw.table.header()(self.raw.object.as_rref(), name.into()) };
        value.into_option().map(|text| text.as_str())
    }

    fn raw_value(&self, key: &str) -> Option<RawValue<'_>> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.value()(self.raw.object.as_rref(), key.into()) }.into_option()
    }

    pub(crate) fn string(&self, key: &str) -> Option<&str> {
        self.raw_value(key).filter(|value| value.kind == value::STRING).map(|value| value.text.as_str())
    }

    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        let raw = self.raw_value(key)?;
        Some(match raw.kind {
            value::STRING => Value::String(raw.text.as_str().to_owned()),
            value::INTEGER => Value::Integer(raw.bits as i64),
            value::FLOAT => Value::Float(f64::from_bits(raw.bits)),
            value::BOOLEAN => Value::Boolean(raw.bits != 0),
            value::JSON => Value::Json(serde_json::from_str(raw.text.as_str()).ok()?),
            _ => return None,
        })
    }

    pub(crate) fn set_value(&mut self, key: &str, value: &Value) -> Result<()> {
        let code = with_raw_value(value, |raw| {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { self.raw.table.set_value()(self.raw.object.reborrow(), key.into(), raw) }
        });
        changed(code, "value", key)
    }

    pub(crate) fn set_response_header(&mut self, name: &str, value: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe {
            self.raw.table.set_response_header()(self.raw.object.reborrow(), name.into(), value.into())
        };
        changed(code, "response header", name)
    }

    /// The instance's state for this request, made on first use.
    pub(crate) fn state(&mut self) -> &mut State {
        // SAFETY: the host's table and object belong together, see the head.
        let slot = unsafe { self.raw.table.state()(self.raw.object.reborrow()) }.into_mut();
        if slot.is_null() {
            *slot = Box::into_raw(Box::<State>::default()).cast::<StateObject>();
        }
        // SAFETY: only this function fills the slot, so it holds a `State`; the host keeps the slot for this
        // instance and request alone, and one hook of them runs at a time (`&mut self`). Freed by
        // `drop_state` after the last hook.
        unsafe { &mut *slot.cast::<State>() }
    }
}

/// Frees what [`ContextHandle::state`] made.
///
/// # Safety
///
/// The pointer comes from that slot and is not used again.
pub(crate) unsafe fn drop_state(state: *mut StateObject) {
    // SAFETY: made by `Box::into_raw` in `state`, and passed here once.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
}

fn changed(code: u32, what: &str, name: &str) -> Result<()> {
    let why = match code {
        context::OK => return Ok(()),
        context::INVALID => "its name or value is not allowed",
        context::TOO_LARGE => "the host keeps no more for one request",
        context::READ_ONLY => "the request is complete",
        _ => "the host refuses it",
    };
    Err(Error::new(format!("cannot set the {what} `{name}`: {why}")))
}

fn with_raw_value<R>(value: &Value, use_raw: impl FnOnce(RawValue<'_>) -> R) -> R {
    let scalar = |kind, bits| RawValue { kind, bits, text: RStr::empty() };
    match value {
        Value::String(text) => use_raw(RawValue { kind: value::STRING, bits: 0, text: text.as_str().into() }),
        Value::Integer(integer) => use_raw(scalar(value::INTEGER, *integer as u64)),
        Value::Float(float) => use_raw(scalar(value::FLOAT, float.to_bits())),
        Value::Boolean(boolean) => use_raw(scalar(value::BOOLEAN, u64::from(*boolean))),
        Value::Json(json) => {
            let text = json.to_string();
            use_raw(RawValue { kind: value::JSON, bits: 0, text: text.as_str().into() })
        }
    }
}

/// An outcome.
pub(crate) struct OutcomeHandle<'a> {
    raw: RawOutcome<'a>,
}

impl<'a> OutcomeHandle<'a> {
    pub(crate) fn new(raw: RawOutcome<'a>) -> Self {
        Self { raw }
    }

    pub(crate) fn kind(&self) -> u32 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.kind()(self.raw.object.as_rref()) }
    }

    pub(crate) fn body(&mut self) -> Document<'_> {
        // SAFETY: the host's table and object belong together, see the head.
        Document::new(unsafe { self.raw.table.body()(self.raw.object.reborrow()) })
    }

    pub(crate) fn request(&self) -> Document<'_> {
        // SAFETY: the host's table and object belong together, see the head.
        Document::new(unsafe { self.raw.table.request()(self.raw.object.as_rref()) })
    }

    pub(crate) fn recover(&mut self, response: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.raw.table.recover()(self.raw.object.reborrow(), response.into()) };
        edited(code, "")
    }

    pub(crate) fn fail(&mut self, error: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.raw.table.fail()(self.raw.object.reborrow(), error.into()) };
        edited(code, "")
    }
}

/// A report.
pub(crate) struct ReportHandle<'a> {
    raw: RawReport<'a>,
}

impl<'a> ReportHandle<'a> {
    pub(crate) fn new(raw: RawReport<'a>) -> Self {
        Self { raw }
    }

    pub(crate) fn kind(&self) -> u32 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.kind()(self.raw.object) }
    }

    pub(crate) fn number(&self, which: u32) -> Option<i64> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.number()(self.raw.object, which) }.into_option()
    }

    pub(crate) fn document(&self, which: u32) -> Option<Document<'_>> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.document()(self.raw.object, which) }.into_option().map(Document::new)
    }
}

/// Where a hook's answer goes.
pub(crate) struct Answer<'a> {
    raw: RawAnswer<'a>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(raw: RawAnswer<'a>) -> Self {
        Self { raw }
    }

    fn object(&mut self) -> RMut<'_, crate::raw::flow::AnswerObject> {
        self.raw.object.reborrow()
    }

    pub(crate) fn respond(&mut self, json: &str) {
        let respond = self.raw.table.respond();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { respond(self.object(), json.into()) }
    }

    pub(crate) fn respond_stream(&mut self, source: Box<dyn BoxedSource>, host: &Host) {
        let respond_stream = self.raw.table.respond_stream();
        // SAFETY: the host's table and object belong together, see the head. The stream is a fresh one, and
        // the host owns it from here on.
        unsafe { respond_stream(self.object(), shim::stream(source, host)) }
    }

    pub(crate) fn reject(&mut self, error: &str, allow_fallback: bool) {
        let reject = self.raw.table.reject();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { reject(self.object(), error.into(), allow_fallback) }
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &Value) {
        let metadata = self.raw.table.metadata();
        // SAFETY: the host's table and object belong together, see the head.
        with_raw_value(value, |raw| unsafe { metadata(self.object(), key.into(), raw) })
    }

    pub(crate) fn emit(&mut self, event: &str, data: &str) {
        let emit = self.raw.table.emit();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { emit(self.object(), event.into(), data.into()) }
    }

    pub(crate) fn end_stream(&mut self, error: &str) {
        let end_stream = self.raw.table.end_stream();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { end_stream(self.object(), error.into()) }
    }

    pub(crate) fn failed(&mut self, message: &str) {
        self.say_failed(ERROR, message);
    }

    pub(crate) fn panicked(&mut self, message: &str) {
        self.say_failed(PANIC, message);
    }

    fn say_failed(&mut self, kind: u32, message: &str) {
        let failed = self.raw.table.failed();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { failed(self.object(), kind, message.into()) }
    }
}

/// A counted reference to the host.
pub(crate) struct HostHandle {
    raw: RawHost,
}

// SAFETY: the contract lets every function of the host table be called from any thread.
unsafe impl Send for HostHandle {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostHandle {}

impl Clone for HostHandle {
    fn clone(&self) -> Self {
        Self::retain(self.raw)
    }
}

impl Drop for HostHandle {
    fn drop(&mut self) {
        // SAFETY: this handle retained the host once, in `retain`.
        unsafe { self.raw.table.release()(self.raw.object) }
    }
}

impl HostHandle {
    /// Keeps a host that a call was lent.
    pub(crate) fn retain(raw: RawHost) -> Self {
        // SAFETY: the host lent this handle for the length of the call under way, or another `HostHandle`
        // retains it.
        unsafe { raw.table.retain()(raw.object) };
        Self { raw }
    }

    pub(crate) fn raw(&self) -> RawHost {
        self.raw
    }

    pub(crate) fn now(&self) -> u64 {
        // SAFETY: retained.
        unsafe { self.raw.table.now()(self.raw.object) }
    }

    /// Hands a future to the host; `None` where the host has no such service.
    pub(crate) fn spawn(&self, future: async_ffi::FfiFuture<()>) -> Option<bool> {
        // SAFETY: retained.
        self.raw.table.spawn().map(|spawn| unsafe { spawn(self.raw.object, future) })
    }

    pub(crate) fn sleep(&self, millis: u64) -> Option<async_ffi::FfiFuture<()>> {
        // SAFETY: retained.
        self.raw.table.sleep().map(|sleep| unsafe { sleep(self.raw.object, millis) })
    }

    pub(crate) fn http(&self, request: &RawHttpRequest<'_>) -> Option<async_ffi::FfiFuture<RawHttpResponse>> {
        // SAFETY: retained.
        self.raw.table.http().map(|http| unsafe { http(self.raw.object, request) })
    }

    pub(crate) fn metric(&self, metric: &RawMetric<'_>) -> Option<u64> {
        // SAFETY: retained.
        self.raw.table.metric().map(|register| unsafe { register(self.raw.object, metric) })
    }

    pub(crate) fn record(&self, id: u64, labels: &[RStr<'_>], value: f64) {
        if let Some(record) = self.raw.table.record() {
            // SAFETY: retained.
            unsafe { record(self.raw.object, id, RSlice::from_slice(labels), value) }
        }
    }

    /// The host of a raw handle that somebody retains, for logging.
    pub(crate) fn log_enabled(raw: &LogTarget, level: u32, target: &str) -> bool {
        // SAFETY: a `LogTarget` exists only while its host is retained.
        unsafe { raw.0.table.log_enabled()(raw.0.object, level, target.into()) }
    }

    pub(crate) fn log(raw: &LogTarget, level: u32, target: &str, message: &str, fields: &[(&str, Value)]) {
        let texts: Vec<String> = fields
            .iter()
            .map(|(_, value)| if let Value::Json(json) = value { json.to_string() } else { String::new() })
            .collect();
        let raws: Vec<RawField<'_>> = fields
            .iter()
            .zip(&texts)
            .map(|((name, value), json)| {
                let (kind, bits, text) = match value {
                    Value::String(text) => (value::STRING, 0, text.as_str()),
                    Value::Integer(integer) => (value::INTEGER, *integer as u64, ""),
                    Value::Float(float) => (value::FLOAT, float.to_bits(), ""),
                    Value::Boolean(boolean) => (value::BOOLEAN, u64::from(*boolean), ""),
                    Value::Json(_) => (value::JSON, 0, json.as_str()),
                };
                RawField { name: (*name).into(), value: RawValue { kind, bits, text: text.into() } }
            })
            .collect();
        // SAFETY: a `LogTarget` exists only while its host is retained.
        unsafe {
            raw.0.table.log()(raw.0.object, level, target.into(), message.into(), RSlice::from_slice(&raws))
        }
    }
}

/// The host that log events of this thread go to, without a count of its own: copied from a [`HostHandle`]
/// that outlives its use (`tracing::enter` borrows it; the library's own is never dropped).
#[derive(Clone, Copy)]
pub(crate) struct LogTarget(RawHost);

// SAFETY: the contract lets the host's functions be called from any thread.
unsafe impl Send for LogTarget {}
// SAFETY: as for `Send`.
unsafe impl Sync for LogTarget {}

impl LogTarget {
    /// # Safety
    ///
    /// The handle outlives every use of the target.
    pub(crate) unsafe fn of(host: &HostHandle) -> Self {
        Self(host.raw())
    }
}

/// A response to an HTTP request of the plugin's.
pub(crate) struct HttpResponseHandle {
    raw: RawHttpResponse,
}

// SAFETY: a response belongs to whoever holds the handle, and the contract lets any thread call its table.
unsafe impl Send for HttpResponseHandle {}
// SAFETY: its getters take an `RRef`, which the contract lets several threads use at once.
unsafe impl Sync for HttpResponseHandle {}

impl Drop for HttpResponseHandle {
    fn drop(&mut self) {
        // SAFETY: the handle owns the response and gives it back here, once.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}

impl HttpResponseHandle {
    pub(crate) fn new(raw: RawHttpResponse) -> Self {
        Self { raw }
    }

    fn object(&self) -> abi_stable::sabi_types::RRef<'_, crate::raw::host::HttpResponseObject> {
        // SAFETY: the host's pointer is to a live response until `drop`.
        unsafe { abi_stable::sabi_types::RRef::from_raw(self.raw.object) }
    }

    pub(crate) fn status(&self) -> u16 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.status()(self.object()) }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.header()(self.object(), name.into()) }.into_option().map(|text| text.as_str())
    }

    pub(crate) fn body(&self) -> &[u8] {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.body()(self.object()) }.as_slice()
    }
}
