//! Values that a context or a log record carries: one of five kinds, given by a number.

use abi_stable::{StableAbi, std_types::RStr};

/// `text` is a string.
pub const VALUE_STRING: u32 = 0;
/// `bits` is an `i64` in two's complement.
pub const VALUE_INTEGER: u32 = 1;
/// `bits` is an `f64` in IEEE 754 form.
pub const VALUE_FLOAT: u32 = 2;
/// `bits` is 0 or 1.
pub const VALUE_BOOLEAN: u32 = 3;
/// `text` is JSON.
pub const VALUE_JSON: u32 = 4;

/// A value, borrowed for the length of one call. The reader treats a kind that it does not know as absent.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawValue<'a> {
    /// [`VALUE_STRING`] to [`VALUE_JSON`]; selects the field that holds the value.
    pub kind: u32,
    /// The value of an integer, a float or a boolean; 0 for other kinds.
    pub bits: u64,
    /// The value of a string or of JSON; empty for other kinds.
    pub text: RStr<'a>,
}

/// A name and a value, as one field of a log record.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct RawField<'a> {
    /// The field's name.
    pub name: RStr<'a>,
    /// The field's value.
    pub value: RawValue<'a>,
}
