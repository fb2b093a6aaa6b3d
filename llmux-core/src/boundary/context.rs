//! The context table: a [`RequestContext`], and the state that an instance keeps in it.

use std::sync::Arc;

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RSome, RStr},
};
use llmux_abi::raw::{
    context::{self as field, ContextObject, ContextTable, ContextTableRef, RawContext, StateObject},
    plugin::PluginTableRef,
    value::{self, RawValue},
};

use crate::pipeline::context::{Refused, RequestContext, Value};

struct Table;

impl Table {
    abi_stable::staticref! {
        const TABLE: WithMetadata<ContextTable> = WithMetadata::new(ContextTable {
            text,
            number,
            header,
            value,
            set_value,
            set_response_header,
            state,
        });
    }
}

/// A handle on a context, for the instance at `context.at`.
pub(super) fn handle(context: &mut RequestContext) -> RawContext<'_> {
    // SAFETY: a reference is a valid pointer for its lifetime.
    let object = unsafe { RMut::from_raw(std::ptr::from_mut(context).cast::<ContextObject>()) };
    RawContext { object, table: ContextTableRef(Table::TABLE.as_prefix()) }
}

fn context<'a>(object: RRef<'a, ContextObject>) -> &'a RequestContext {
    // SAFETY: objects of this table are contexts, lent for `'a` (see `handle`).
    unsafe { object.transmute_into_ref() }
}

fn context_mut<'a>(object: RMut<'a, ContextObject>) -> &'a mut RequestContext {
    // SAFETY: objects of this table are contexts, lent mutably for `'a` (see `handle`).
    unsafe { object.transmute_into_mut() }
}

unsafe extern "C" fn text<'a>(object: RRef<'a, ContextObject>, which: u32) -> ROption<RStr<'a>> {
    let context = context(object);
    let deployment = context.deployment.as_deref();
    let identity = context.identity.as_deref();
    let text = match which {
        field::CONTEXT_REQUEST_ID => Some(&*context.request_id),
        field::CONTEXT_ENDPOINT => Some(context.endpoint.path()),
        field::CONTEXT_MODEL => Some(&*context.model),
        field::CONTEXT_PROVIDER => deployment.map(|deployment| &*deployment.provider_name),
        field::CONTEXT_DEPLOYMENT => deployment.map(|deployment| &*deployment.id),
        field::CONTEXT_KEY_ID => identity.map(|identity| identity.key_id.as_str()),
        field::CONTEXT_USER => identity.and_then(|identity| identity.user.as_deref()),
        field::CONTEXT_TEAM => identity.and_then(|identity| identity.team.as_deref()),
        _ => None,
    };
    text.map(RStr::from_str).into()
}

unsafe extern "C" fn number(object: RRef<'_, ContextObject>, which: u32) -> ROption<i64> {
    let context = context(object);
    match which {
        field::CONTEXT_ATTEMPT => RSome(context.attempt.into()),
        field::CONTEXT_IS_STREAMING => RSome(context.is_streaming.into()),
        field::CONTEXT_STARTED => RSome(context.started_micros()),
        field::CONTEXT_REMAINING => {
            RSome(context.limit.remaining().as_millis().try_into().unwrap_or(i64::MAX))
        }
        _ => RNone,
    }
}

unsafe extern "C" fn header<'a>(object: RRef<'a, ContextObject>, name: RStr<'_>) -> ROption<RStr<'a>> {
    let value = context(object).headers.get(name.as_str());
    value.and_then(|value| value.to_str().ok()).map(RStr::from_str).into()
}

unsafe extern "C" fn value<'a>(object: RRef<'a, ContextObject>, key: RStr<'_>) -> ROption<RawValue<'a>> {
    let scalar = |kind, bits| RawValue { kind, bits, text: RStr::empty() };
    let raw = context(object).collected.value(key.as_str()).map(|value| match value {
        Value::String(text) => RawValue { kind: value::VALUE_STRING, bits: 0, text: RStr::from_str(text) },
        Value::Json(text) => RawValue { kind: value::VALUE_JSON, bits: 0, text: RStr::from_str(text) },
        Value::Integer(integer) => scalar(value::VALUE_INTEGER, *integer as u64),
        Value::Float(float) => scalar(value::VALUE_FLOAT, float.to_bits()),
        Value::Boolean(boolean) => scalar(value::VALUE_BOOLEAN, u64::from(*boolean)),
    });
    raw.into()
}

/// A plugin's value, copied; `None` for a kind that this host does not know.
pub(super) fn owned(raw: RawValue<'_>) -> Option<Value> {
    Some(match raw.kind {
        value::VALUE_STRING => Value::String(Arc::from(raw.text.as_str())),
        value::VALUE_INTEGER => Value::Integer(raw.bits as i64),
        value::VALUE_FLOAT => Value::Float(f64::from_bits(raw.bits)),
        value::VALUE_BOOLEAN => Value::Boolean(raw.bits != 0),
        value::VALUE_JSON => Value::Json(Arc::from(raw.text.as_str())),
        _ => return None,
    })
}

unsafe extern "C" fn set_value(object: RMut<'_, ContextObject>, key: RStr<'_>, raw: RawValue<'_>) -> u32 {
    change(object, |context| match owned(raw) {
        Some(value) => context.collected.set_value(key.as_str(), value),
        None => Err(Refused::Invalid),
    })
}

unsafe extern "C" fn set_response_header(
    object: RMut<'_, ContextObject>,
    name: RStr<'_>,
    value: RStr<'_>,
) -> u32 {
    change(object, |context| context.collected.set_response_header(name.as_str(), value.as_str()))
}

fn change(
    object: RMut<'_, ContextObject>,
    change: impl FnOnce(&mut RequestContext) -> Result<(), Refused>,
) -> u32 {
    let context = context_mut(object);
    if context.read_only {
        return field::CONTEXT_READ_ONLY;
    }
    match change(context) {
        Ok(()) => field::CONTEXT_OK,
        Err(Refused::Invalid) => field::CONTEXT_INVALID,
        Err(Refused::TooLarge) => field::CONTEXT_TOO_LARGE,
    }
}

unsafe extern "C" fn state<'a>(object: RMut<'a, ContextObject>) -> RMut<'a, *mut StateObject> {
    let context = context_mut(object);
    RMut::new(&mut context.states[context.at].state)
}

/// What an instance keeps for one request: empty until the instance fills it, given back when dropped.
pub(crate) struct StateSlot {
    state: *mut StateObject,
    table: PluginTableRef,
}

// SAFETY: the state is touched only by hooks of its instance, one at a time for a request, and the SDK
// requires it to be `Send`. Shared access to the slot reads nothing.
unsafe impl Send for StateSlot {}
// SAFETY: as for `Send`.
unsafe impl Sync for StateSlot {}

impl StateSlot {
    pub(super) fn new(table: PluginTableRef) -> Self {
        Self { state: std::ptr::null_mut(), table }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_null()
    }
}

impl Drop for StateSlot {
    fn drop(&mut self) {
        if !self.state.is_null() {
            // SAFETY: the instance put this pointer there, for this function, and gets it back once.
            unsafe { self.table.drop_state()(self.state) }
        }
    }
}
