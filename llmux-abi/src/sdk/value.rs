//! Values that plugins share through the context, and that log records carry.

/// A value that plugins share, under a name, for the length of one attempt ([`Context::set`](crate::Context::set)).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// Any JSON value.
    Json(serde_json::Value),
}

macro_rules! value_from {
    ($($from:ty => $value:ident => $made:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $made
            }
        }
    )*};
}

value_from! {
    &str => text => Value::String(text.to_owned());
    String => text => Value::String(text);
    i64 => integer => Value::Integer(integer);
    i32 => integer => Value::Integer(integer.into());
    u32 => integer => Value::Integer(integer.into());
    f64 => float => Value::Float(float);
    bool => boolean => Value::Boolean(boolean);
    serde_json::Value => json => Value::Json(json);
}
