//! A request's context: its texts, numbers and values, and the state an instance keeps in it.

use abi_stable::sabi_types::RMut;

use super::value::{lend, owned};
use crate::{
    raw::{
        context::{self, ContextObject, ContextTableRef, RawContext, StateObject},
        value::{RawValue, VALUE_STRING},
    },
    sdk::{
        error::{Error, Result},
        state::State,
        value::Value,
    },
};

/// A context.
pub(crate) struct ContextHandle<'a> {
    object: RMut<'a, ContextObject>,
    table: ContextTableRef,
}

impl<'a> ContextHandle<'a> {
    pub(crate) fn new(raw: RawContext<'a>) -> Self {
        // SAFETY: the host lends the object for this time, see the head.
        Self { object: unsafe { RMut::from_raw(raw.object) }, table: raw.table }
    }

    pub(crate) fn text(&self, which: u32) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.table.text()(self.object.as_rref(), which) };
        text.into_option().map(|text| text.as_str())
    }

    pub(crate) fn number(&self, which: u32) -> Option<i64> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.table.number()(self.object.as_rref(), which) }.into_option()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let value = unsafe { self.table.header()(self.object.as_rref(), name.into()) };
        value.into_option().map(|text| text.as_str())
    }

    fn raw_value(&self, key: &str) -> Option<RawValue<'_>> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.table.value()(self.object.as_rref(), key.into()) }.into_option()
    }

    pub(crate) fn string(&self, key: &str) -> Option<&str> {
        self.raw_value(key).filter(|value| value.kind == VALUE_STRING).map(|value| value.text.as_str())
    }

    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        owned(self.raw_value(key)?)
    }

    pub(crate) fn set_value(&mut self, key: &str, value: &Value) -> Result<()> {
        let code = lend(value, |raw| {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { self.table.set_value()(self.object.reborrow(), key.into(), raw) }
        });
        changed(code, "value", key)
    }

    pub(crate) fn set_response_header(&mut self, name: &str, value: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code =
            unsafe { self.table.set_response_header()(self.object.reborrow(), name.into(), value.into()) };
        changed(code, "response header", name)
    }

    pub(crate) fn set_provider_header(&mut self, name: &str, value: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code =
            unsafe { self.table.set_provider_header()(self.object.reborrow(), name.into(), value.into()) };
        changed(code, "provider header", name)
    }

    pub(crate) fn provider_header(&self, name: &str) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let value = unsafe { self.table.provider_header()(self.object.as_rref(), name.into()) };
        value.into_option().map(|text| text.as_str())
    }

    /// Returns the instance's state for this request, made on first use.
    pub(crate) fn state(&mut self) -> &mut State {
        // SAFETY: the host's table and object belong together, see the head.
        let slot = unsafe { self.table.state()(self.object.reborrow()) }.into_mut();
        if slot.is_null() {
            *slot = Box::into_raw(Box::<State>::default()).cast::<StateObject>();
        }
        // SAFETY: only this function fills the slot, so it holds a `State`; the host keeps the slot for this
        // instance and request alone, and one hook of them runs at a time (`&mut self`). Freed by
        // `drop_state` after the last hook.
        unsafe { &mut *slot.cast::<State>() }
    }
}

/// Frees the state that [`ContextHandle::state`] made.
///
/// # Safety
///
/// The pointer is the one in that slot, and is not used again.
pub(crate) unsafe fn drop_state(state: *mut StateObject) {
    // SAFETY: made by `Box::into_raw` in `state`, and passed here once.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
}

fn changed(code: u32, what: &str, name: &str) -> Result<()> {
    let why = match code {
        context::CONTEXT_OK => return Ok(()),
        context::CONTEXT_INVALID => "the name or the value is not valid",
        context::CONTEXT_TOO_LARGE => "it exceeds the host's limits for one request",
        context::CONTEXT_READ_ONLY => "it is too late for this change",
        _ => "the host refused it",
    };
    Err(Error::new(format!("cannot set the {what} `{name}`: {why}")))
}
