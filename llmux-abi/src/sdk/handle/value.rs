//! Values of the contract and the SDK's [`Value`], converted in both directions.

use abi_stable::std_types::RStr;

use crate::{
    raw::value::{RawValue, VALUE_BOOLEAN, VALUE_FLOAT, VALUE_INTEGER, VALUE_JSON, VALUE_STRING},
    sdk::value::Value,
};

/// Copies a value. `None` if this SDK does not know the kind.
pub(super) fn owned(raw: RawValue<'_>) -> Option<Value> {
    Some(match raw.kind {
        VALUE_STRING => Value::String(raw.text.as_str().to_owned()),
        VALUE_INTEGER => Value::Integer(raw.bits as i64),
        VALUE_FLOAT => Value::Float(f64::from_bits(raw.bits)),
        VALUE_BOOLEAN => Value::Boolean(raw.bits != 0),
        VALUE_JSON => Value::Json(serde_json::from_str(raw.text.as_str()).ok()?),
        _ => return None,
    })
}

/// Lends a value to one call.
pub(super) fn lend<R>(value: &Value, use_raw: impl FnOnce(RawValue<'_>) -> R) -> R {
    let scalar = |kind, bits| RawValue { kind, bits, text: RStr::empty() };
    match value {
        Value::String(text) => use_raw(RawValue { kind: VALUE_STRING, bits: 0, text: text.as_str().into() }),
        Value::Integer(integer) => use_raw(scalar(VALUE_INTEGER, *integer as u64)),
        Value::Float(float) => use_raw(scalar(VALUE_FLOAT, float.to_bits())),
        Value::Boolean(boolean) => use_raw(scalar(VALUE_BOOLEAN, u64::from(*boolean))),
        Value::Json(json) => {
            let text = json.to_string();
            use_raw(RawValue { kind: VALUE_JSON, bits: 0, text: text.as_str().into() })
        }
    }
}
