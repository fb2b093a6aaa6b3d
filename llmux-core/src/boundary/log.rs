//! The log of loaded plugins: each record is one event of the host, and its fields are JSON in one field of that event.
//!
//! `host` calls it for each record. Subscribers read [`LogFields`]. Deliberately absent: the lines of a log, their length,
//! and the records of compiled-in plugins, which are events of their own.

use std::{borrow::Cow, fmt, io};

use abi_stable::std_types::RStr;
use llmux_abi::raw::{
    host as level,
    value::{self, RawField, RawValue},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue as Json;
use tracing::{Level, field::display};

/// Target of the events that the host logs for loaded plugins.
///
/// An event has the message of the plugin and up to three fields. `instance` is the name of the instance, and `source` is
/// the target that the plugin set, by default its module. `fields` has the plugin's own fields as the text of a JSON object,
/// which [`LogFields`] reads; it is absent if there are none. The host bounds none of these texts. A subscriber that knows
/// nothing of this shows the JSON text.
pub const PLUGIN_LOG: &str = "llmux::plugin";

/// The fields of a log record of a plugin, in order. A plugin chooses the names: any text, and also the same text twice.
///
/// Displays as `name=value name=value`. A string is in quotes if it is empty or has a blank, a control character, `"` or `=`.
#[derive(Clone, Debug)]
pub struct LogFields<'j>(Vec<(Text<'j>, &'j Json)>);

/// A string, borrowed from the JSON text unless it has an escape.
#[derive(Clone, Debug, Deserialize)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

impl<'j> LogFields<'j> {
    /// Reads the text of the field `fields` of an event with the target [`PLUGIN_LOG`]. Returns `None` if the text is not a
    /// JSON object.
    pub fn parse(json: &'j str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Returns the name of each field, and its value as JSON without line breaks. A float that is not finite is a string.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'j str)> {
        self.0.iter().map(|(name, value)| (&*name.0, value.get()))
    }
}

impl<'de> Deserialize<'de> for LogFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = LogFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(LogFields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl fmt::Display for LogFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, json)) in self.iter().enumerate() {
            let blank = if at > 0 { " " } else { "" };
            write!(f, "{blank}{name}=")?;
            let is_float = json.starts_with(|it: char| it == '-' || it.is_ascii_digit())
                && json.contains(['.', 'e', 'E']);
            if json.starts_with('"') {
                let Text(text) = serde_json::from_str(json).unwrap_or(Text(json.into()));
                match text.contains(ends_a_value) || text.is_empty() {
                    true => write!(f, "{text:?}")?,
                    false => f.write_str(&text)?,
                }
                continue;
            }
            match json.parse::<f64>() {
                Ok(float) if is_float => write!(f, "{float}")?,
                _ => f.write_str(json)?,
            }
        }
        Ok(())
    }
}

/// Returns true if a value with this character must be quoted.
fn ends_a_value(character: char) -> bool {
    character.is_whitespace() || character.is_control() || matches!(character, '"' | '=')
}

/// Returns true if a subscriber takes records of this level.
pub(super) fn is_enabled(level: u32) -> bool {
    match level {
        level::LEVEL_ERROR => tracing::enabled!(target: PLUGIN_LOG, Level::ERROR),
        level::LEVEL_WARN => tracing::enabled!(target: PLUGIN_LOG, Level::WARN),
        level::LEVEL_INFO => tracing::enabled!(target: PLUGIN_LOG, Level::INFO),
        level::LEVEL_DEBUG => tracing::enabled!(target: PLUGIN_LOG, Level::DEBUG),
        _ => tracing::enabled!(target: PLUGIN_LOG, Level::TRACE),
    }
}

/// Logs a record of an instance.
pub(super) fn write(
    instance: &str,
    level: u32,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: &[RawField<'_>],
) {
    let (source, message) = (text(target), text(message));
    // A plugin chooses the names, so they cannot be fields of the host's own event.
    let fields = (!fields.is_empty()).then(|| display(Fields(fields)));
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: PLUGIN_LOG, Level::$level, fields, instance, source = &*source, "{message}")
        };
    }
    match level {
        level::LEVEL_ERROR => event!(ERROR),
        level::LEVEL_WARN => event!(WARN),
        level::LEVEL_INFO => event!(INFO),
        level::LEVEL_DEBUG => event!(DEBUG),
        _ => event!(TRACE),
    }
}

/// Returns a text of a plugin. Bytes that are not UTF-8, which the contract forbids, become `U+FFFD`.
fn text(text: RStr<'_>) -> Cow<'_, str> {
    String::from_utf8_lossy(text.as_rslice().as_slice())
}

/// The fields of a record as a JSON object, with the numbers and booleans of the plugin.
struct Fields<'f>(&'f [RawField<'f>]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        let mut comma = "";
        for RawField { name, value } in self.0 {
            // A later contract may have more kinds.
            if (value::VALUE_STRING..=value::VALUE_JSON).contains(&value.kind) {
                f.write_str(comma)?;
                quoted(f, &text(*name))?;
                f.write_str(":")?;
                json(f, value)?;
                comma = ",";
            }
        }
        f.write_str("}")
    }
}

/// Writes a value as JSON without line breaks.
fn json(f: &mut fmt::Formatter<'_>, RawValue { kind, bits, text: raw }: &RawValue<'_>) -> fmt::Result {
    let float = f64::from_bits(*bits);
    match *kind {
        value::VALUE_INTEGER => write!(f, "{}", *bits as i64),
        value::VALUE_FLOAT if float.is_finite() => serialized(f, &float),
        value::VALUE_FLOAT => quoted(f, &float.to_string()),
        value::VALUE_BOOLEAN => write!(f, "{}", *bits != 0),
        value::VALUE_JSON => {
            let raw = text(*raw);
            match serde_json::from_str::<&Json>(&raw) {
                // Outside of strings, a line break is a blank.
                Ok(json) => f.write_str(&json.get().replace(['\n', '\r'], " ")),
                Err(_) => quoted(f, &raw),
            }
        }
        _ => quoted(f, &text(*raw)),
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    serialized(f, &text)
}

/// Writes a value as JSON, without a text in between.
fn serialized(f: &mut fmt::Formatter<'_>, value: &impl Serialize) -> fmt::Result {
    struct Pieces<'f, 'b>(&'f mut fmt::Formatter<'b>);
    impl io::Write for Pieces<'_, '_> {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            let text = std::str::from_utf8(piece).map_err(io::Error::other)?;
            self.0.write_str(text).map_err(io::Error::other)?;
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Pieces(f), value).map_err(|_| fmt::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'f>(name: &'f str, kind: u32, bits: u64, text: &'f str) -> RawField<'f> {
        RawField { name: name.into(), value: RawValue { kind, bits, text: text.into() } }
    }

    fn string<'f>(name: &'f str, text: &'f str) -> RawField<'f> {
        field(name, value::VALUE_STRING, 0, text)
    }

    fn written(fields: &[RawField<'_>]) -> (String, String) {
        let json = Fields(fields).to_string();
        let text = LogFields::parse(&json).unwrap_or_else(|| panic!("no object: {json}")).to_string();
        (json, text)
    }

    #[test]
    fn each_kind_of_value_is_itself_in_json_and_in_text() {
        for (kind, bits, text, json, shown) in [
            (value::VALUE_INTEGER, -7_i64 as u64, "", "-7", "-7"),
            (value::VALUE_FLOAT, 4.0_f64.to_bits(), "", "4.0", "4"),
            (value::VALUE_FLOAT, 4.104_f64.to_bits(), "", "4.104", "4.104"),
            (value::VALUE_FLOAT, 1e21_f64.to_bits(), "", "1e+21", "1000000000000000000000"),
            (value::VALUE_FLOAT, f64::NAN.to_bits(), "", r#""NaN""#, "NaN"),
            (value::VALUE_BOOLEAN, 1, "", "true", "true"),
            (value::VALUE_STRING, 0, "1.5", r#""1.5""#, "1.5"),
            (value::VALUE_STRING, 0, "", r#""""#, r#""""#),
            (value::VALUE_STRING, 0, "a b", r#""a b""#, r#""a b""#),
            (value::VALUE_STRING, 0, "a\nb=\"", r#""a\nb=\"""#, r#""a\nb=\"""#),
            (value::VALUE_JSON, 0, "18446744073709551615", "18446744073709551615", "18446744073709551615"),
            (value::VALUE_JSON, 0, "{\"a\":\n[1.0]}", r#"{"a": [1.0]}"#, r#"{"a": [1.0]}"#),
            (value::VALUE_JSON, 0, "no json", r#""no json""#, r#""no json""#),
        ] {
            let (object, line) = written(&[field("k", kind, bits, text)]);
            assert_eq!((object, line), (format!("{{\"k\":{json}}}"), format!("k={shown}")));
        }
    }

    #[test]
    fn names_are_any_text_and_the_order_stays() {
        let fields = [string("z", "1"), string("a", "2"), string("z", "3"), field("new", 99, 0, "absent")];
        let (json, text) = written(&[&fields[..], &[string("x\n\"", "4")]].concat());
        assert_eq!(json, r#"{"z":"1","a":"2","z":"3","x\n\"":"4"}"#);
        assert_eq!(text, "z=1 a=2 z=3 x\n\"=4");
        assert_eq!(written(&fields[3..]), ("{}".to_owned(), String::new()));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let bytes = b"a\xff\xfeb";
        // SAFETY: the bytes are valid for this length. They are not UTF-8, as those of a plugin in C may be, and nothing reads
        // them as a `str`.
        let wrong = unsafe { RStr::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        let value = RawValue { kind: value::VALUE_STRING, bits: 0, text: wrong };
        let (json, _) = written(&[RawField { name: wrong, value }]);
        assert_eq!(json, r#"{"a��b":"a��b"}"#);
    }
}
