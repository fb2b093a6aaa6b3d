//! The context table: a [`CallContext`], which holds a request's context and the instance's state of the request.

use std::{marker::PhantomData, sync::Arc};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RSome, RStr},
};
use llmux_abi::{
    host::guarded,
    raw::{
        context::{self as field, ContextObject, ContextTable, ContextTableRef, RawContext, StateObject},
        value::{self, RawValue},
    },
};

use crate::pipeline::{
    collected::{Refused, StoredValue},
    context::RequestContext,
    hook::CallContext,
    kind::HookKind,
};

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
            set_provider_header,
            provider_header,
        });
    }
}

/// Makes a handle on the context of a call.
pub(super) fn handle<'f>(context: &'f mut CallContext<'f>) -> RawContext<'f> {
    let object = std::ptr::from_mut(context).cast::<ContextObject>();
    RawContext { object, table: ContextTableRef(Table::TABLE.as_prefix()), lent: PhantomData }
}

fn call<'a>(object: RRef<'a, ContextObject>) -> &'a CallContext<'a> {
    // SAFETY: objects of this table are contexts of calls, lent for `'a` (see `handle`).
    unsafe { object.transmute_into_ref() }
}

fn context<'a>(object: RRef<'a, ContextObject>) -> &'a RequestContext {
    call(object).request
}

fn call_mut<'a>(object: RMut<'a, ContextObject>) -> &'a mut CallContext<'a> {
    // SAFETY: objects of this table are contexts of calls, lent mutably for `'a` (see `handle`).
    unsafe { object.transmute_into_mut() }
}

unsafe extern "C" fn text<'a>(object: RRef<'a, ContextObject>, which: u32) -> ROption<RStr<'a>> {
    guarded(RNone, || {
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
            field::CONTEXT_CLIENT => context.client(),
            field::CONTEXT_TEAM => identity.and_then(|identity| identity.team.as_deref()),
            _ => None,
        };
        text.map(RStr::from_str).into()
    })
}

unsafe extern "C" fn number(object: RRef<'_, ContextObject>, which: u32) -> ROption<i64> {
    guarded(RNone, || {
        let call = call(object);
        let context = &*call.request;
        match which {
            field::CONTEXT_ATTEMPT => RSome(context.attempt.into()),
            field::CONTEXT_IS_STREAMING => RSome(context.is_streaming.into()),
            field::CONTEXT_STARTED => RSome(context.started_micros()),
            field::CONTEXT_REMAINING => {
                RSome(call.limit.remaining().as_millis().try_into().unwrap_or(i64::MAX))
            }
            _ => RNone,
        }
    })
}

unsafe extern "C" fn header<'a>(object: RRef<'a, ContextObject>, name: RStr<'_>) -> ROption<RStr<'a>> {
    guarded(RNone, || context(object).headers.get(name.as_str()).map(RStr::from_str).into())
}

unsafe extern "C" fn value<'a>(object: RRef<'a, ContextObject>, key: RStr<'_>) -> ROption<RawValue<'a>> {
    guarded(RNone, || {
        let scalar = |kind, bits| RawValue { kind, bits, text: RStr::empty() };
        let raw = context(object).collected.value(key.as_str()).map(|value| match value {
            StoredValue::String(text) => {
                RawValue { kind: value::VALUE_STRING, bits: 0, text: RStr::from_str(text) }
            }
            StoredValue::Json(text) => {
                RawValue { kind: value::VALUE_JSON, bits: 0, text: RStr::from_str(text) }
            }
            StoredValue::Integer(integer) => scalar(value::VALUE_INTEGER, *integer as u64),
            StoredValue::Float(float) => scalar(value::VALUE_FLOAT, float.to_bits()),
            StoredValue::Boolean(boolean) => scalar(value::VALUE_BOOLEAN, u64::from(*boolean)),
        });
        raw.into()
    })
}

/// Copies a plugin's value; `None` for a kind that this host does not know.
pub(super) fn owned(raw: RawValue<'_>) -> Option<StoredValue> {
    Some(match raw.kind {
        value::VALUE_STRING => StoredValue::String(Arc::from(raw.text.as_str())),
        value::VALUE_INTEGER => StoredValue::Integer(raw.bits as i64),
        value::VALUE_FLOAT => StoredValue::Float(f64::from_bits(raw.bits)),
        value::VALUE_BOOLEAN => StoredValue::Boolean(raw.bits != 0),
        value::VALUE_JSON => StoredValue::Json(Arc::from(raw.text.as_str())),
        _ => return None,
    })
}

unsafe extern "C" fn set_value(object: RMut<'_, ContextObject>, key: RStr<'_>, raw: RawValue<'_>) -> u32 {
    guarded(field::CONTEXT_INVALID, || {
        change(object, |context| match owned(raw) {
            Some(value) => context.collected.set_value(key.as_str(), value),
            None => Err(Refused::Invalid),
        })
    })
}

unsafe extern "C" fn set_response_header(
    object: RMut<'_, ContextObject>,
    name: RStr<'_>,
    value: RStr<'_>,
) -> u32 {
    guarded(field::CONTEXT_INVALID, || {
        change(object, |context| context.collected.set_response_header(name.as_str(), value.as_str()))
    })
}

unsafe extern "C" fn set_provider_header(
    object: RMut<'_, ContextObject>,
    name: RStr<'_>,
    value: RStr<'_>,
) -> u32 {
    guarded(field::CONTEXT_INVALID, || {
        if !matches!(call(object.as_rref()).kind, HookKind::Pre | HookKind::PreStream) {
            return field::CONTEXT_READ_ONLY;
        }
        change(object, |context| context.collected.set_provider_header(name.as_str(), value.as_str()))
    })
}

unsafe extern "C" fn provider_header<'a>(
    object: RRef<'a, ContextObject>,
    name: RStr<'_>,
) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let headers = context(object).provider_headers.as_ref();
        headers.and_then(|headers| headers.get(name.as_str())).map(RStr::from_str).into()
    })
}

fn change(
    object: RMut<'_, ContextObject>,
    change: impl FnOnce(&mut RequestContext) -> Result<(), Refused>,
) -> u32 {
    let context = &mut *call_mut(object).request;
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
    let slot: *mut *mut () = call_mut(object).state.get_mut();
    // SAFETY: a slot is a pointer, and a pointer to an opaque object has the layout of any other thin pointer. The slot
    // is lent mutably for `'a`.
    unsafe { RMut::from_raw(slot.cast::<*mut StateObject>()) }
}
