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

use super::mirror::Mirror;

/// Target of the events that the host logs for loaded plugins.
///
/// An event has the message of the plugin and up to three fields. `instance` is the name of the instance, and `source` is
/// the target that the plugin set, by default its module. `plugin_fields` has the plugin's own fields as the text of a JSON object,
/// which [`LogFields`] reads; it is absent if there are none. Its alternate form (`{value:#?}`) is text for people,
/// `name=value name=value`: a string is in quotes if it is empty or has a blank, a control character, `"` or `=`. The host
/// bounds none of these texts.
pub const PLUGIN_LOG: &str = "llmux::plugin";

/// The fields of a log record of a plugin, in order. A plugin chooses the names: any text, and also the same text twice.
#[derive(Clone, Debug)]
pub struct LogFields<'j>(Vec<(Text<'j>, &'j Json)>);

/// A string, borrowed from the JSON text unless it has an escape.
#[derive(Clone, Debug, Deserialize)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

impl<'j> LogFields<'j> {
    /// Reads the text of the field `plugin_fields` of an event with the target [`PLUGIN_LOG`]. Returns `None` if the text is not a
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

/// Returns true if a value with this text must be quoted.
fn must_quote(text: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=');
    // To the end, even if a byte is found before: that compiles to vector instructions.
    if text.iter().fold(true, |all, byte| all & is_plain(*byte)) {
        return text.is_empty();
    }
    lossy(text).contains(|it: char| it.is_whitespace() || it.is_control() || matches!(it, '"' | '='))
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

/// Logs a record of an instance, or sends it out of the child process.
pub(super) fn write(
    instance: &str,
    mirror: Option<&dyn Mirror>,
    level: u32,
    target: RStr<'_>,
    message: RStr<'_>,
    fields: &[RawField<'_>],
) {
    let (source, message) = (text(target), text(message));
    // A plugin chooses the names, so they cannot be fields of the host's own event.
    let fields = (!fields.is_empty()).then_some(Fields(fields));
    match mirror {
        Some(mirror) => {
            let fields = fields.map(|fields| fields.to_string());
            mirror.log(level, &source, &message, fields.as_deref());
        }
        None => event(instance, level, &source, &message, fields),
    }
}

/// Returns the highest level of the contract that a subscriber takes, from the least verbose one; 0 for none.
pub(crate) fn highest_level() -> u32 {
    let levels =
        [level::LEVEL_ERROR, level::LEVEL_WARN, level::LEVEL_INFO, level::LEVEL_DEBUG, level::LEVEL_TRACE];
    levels.into_iter().take_while(|level| is_enabled(*level)).last().unwrap_or_default()
}

/// Logs a record that came out of a child process. Fields that are not a JSON object are left out.
pub(crate) fn forwarded(instance: &str, level: u32, source: &str, message: &str, fields: Option<&str>) {
    let fields = fields.and_then(|json| Some(Forwarded { json, fields: LogFields::parse(json)? }));
    event(instance, level, source, message, fields);
}

/// Makes the event of a record.
fn event(instance: &str, level: u32, source: &str, message: &str, fields: Option<impl fmt::Display>) {
    let fields = fields.map(display);
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: PLUGIN_LOG, Level::$level, plugin_fields = fields, instance, source, "{message}")
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
    lossy(text.as_rslice().as_slice())
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Almost every text is valid, and this check is the faster one.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The fields of a record. Displays as a JSON object, with the numbers and booleans of the plugin; the alternate form is
/// text for people.
struct Fields<'f>(&'f [RawField<'f>]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A later contract may have more kinds.
        let is_known = |kind| (value::VALUE_STRING..=value::VALUE_JSON).contains(&kind);
        let fields = self.0.iter().filter(|field| is_known(field.value.kind));
        if f.alternate() {
            let mut line = Line::with_capacity(32 * self.0.len());
            for RawField { name, value } in fields {
                line.begin(name.as_rslice().as_slice());
                line.value(value);
            }
            return line.write_to(f);
        }
        f.write_str("{")?;
        for (at, RawField { name, value }) in fields.enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            quoted(f, &text(*name))?;
            f.write_str(":")?;
            json(f, value)?;
        }
        f.write_str("}")
    }
}

/// The fields of a record that came out of a child process. Displays like [`Fields`].
struct Forwarded<'j> {
    json: &'j str,
    fields: LogFields<'j>,
}

impl fmt::Display for Forwarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(self.json);
        }
        let mut line = Line::with_capacity(self.json.len());
        for (name, json) in self.fields.iter() {
            line.begin(name.as_bytes());
            line.json(json);
        }
        line.write_to(f)
    }
}

/// Writes a value as JSON without line breaks.
fn json(f: &mut fmt::Formatter<'_>, value: &RawValue<'_>) -> fmt::Result {
    let RawValue { kind, bits, text: raw } = value;
    let float = f64::from_bits(*bits);
    match *kind {
        value::VALUE_FLOAT if float.is_finite() => serialized(f, &float),
        value::VALUE_FLOAT => quoted(f, &float.to_string()),
        value::VALUE_INTEGER => serialized(f, &(*bits as i64)),
        value::VALUE_BOOLEAN => serialized(f, &(*bits != 0)),
        value::VALUE_JSON => match one_line(&text(*raw)) {
            Some(json) => f.write_str(&json),
            None => quoted(f, &text(*raw)),
        },
        _ => quoted(f, &text(*raw)),
    }
}

/// Returns JSON without line breaks, or `None` if the text is not JSON.
fn one_line(raw: &str) -> Option<String> {
    let json: &Json = serde_json::from_str(raw).ok()?;
    // Outside of strings, a line break is a blank.
    Some(json.get().replace(['\n', '\r'], " "))
}

/// The fields of a record as text for people. They are bytes until all of them are there, so that their UTF-8 is checked once.
struct Line(Vec<u8>);

impl Line {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Begins a field.
    fn begin(&mut self, name: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b' ');
        }
        self.0.extend_from_slice(name);
        self.0.push(b'=');
    }

    fn value(&mut self, RawValue { kind, bits, text: raw }: &RawValue<'_>) {
        match *kind {
            value::VALUE_INTEGER => self.number(&(*bits as i64)),
            value::VALUE_FLOAT => self.float(f64::from_bits(*bits)),
            value::VALUE_BOOLEAN => self.0.extend_from_slice(if *bits != 0 { b"true" } else { b"false" }),
            value::VALUE_JSON => match one_line(&text(*raw)) {
                Some(json) => self.json(&json),
                None => self.string(raw.as_rslice().as_slice()),
            },
            _ => self.string(raw.as_rslice().as_slice()),
        }
    }

    /// Writes a number as JSON, whose writer takes a tenth of the time of `Display`.
    fn number(&mut self, number: &impl Serialize) {
        // Writing to a vector does not fail.
        let _ = serde_json::to_writer(&mut self.0, number);
    }

    /// Writes a float as its `Display` does.
    fn float(&mut self, float: f64) {
        let start = self.0.len();
        self.number(&float);
        let written = &self.0[start..];
        if !float.is_finite() || written.contains(&b'e') {
            self.0.truncate(start);
            self.0.extend_from_slice(float.to_string().as_bytes());
        } else if written.ends_with(b".0") {
            self.0.truncate(self.0.len() - 2);
        }
    }

    fn json(&mut self, json: &str) {
        let is_float =
            json.starts_with(|it: char| it == '-' || it.is_ascii_digit()) && json.contains(['.', 'e', 'E']);
        match (serde_json::from_str(json), json.parse::<f64>()) {
            (Ok(Text(text)), _) => self.string(text.as_bytes()),
            (_, Ok(float)) if is_float => self.float(float),
            _ => self.0.extend_from_slice(json.as_bytes()),
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        match must_quote(bytes) {
            true => self.0.extend_from_slice(format!("{:?}", String::from_utf8_lossy(bytes)).as_bytes()),
            false => self.0.extend_from_slice(bytes),
        }
    }

    /// Writes the line as one text, because a subscriber may look at each piece.
    fn write_to(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lossy(&self.0))
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
        let shown = format!("{:#}", Fields(fields));
        let parsed = LogFields::parse(&json).unwrap_or_else(|| panic!("no object: {json}"));
        let forwarded = Forwarded { json: &json, fields: parsed };
        assert_eq!([forwarded.to_string(), format!("{forwarded:#}")], [json.clone(), shown.clone()]);
        (json, shown)
    }

    #[test]
    fn each_kind_of_value_is_itself_in_json_and_in_text() {
        for (kind, bits, text, json, shown) in [
            (value::VALUE_INTEGER, -7_i64 as u64, "", "-7", "-7"),
            (value::VALUE_FLOAT, 4.0_f64.to_bits(), "", "4.0", "4"),
            (value::VALUE_FLOAT, 4.104_f64.to_bits(), "", "4.104", "4.104"),
            (value::VALUE_FLOAT, 1e21_f64.to_bits(), "", "1e+21", "1000000000000000000000"),
            (value::VALUE_FLOAT, 1e-7_f64.to_bits(), "", "1e-7", "0.0000001"),
            (value::VALUE_FLOAT, (-0.0_f64).to_bits(), "", "-0.0", "-0"),
            (value::VALUE_FLOAT, f64::NAN.to_bits(), "", r#""NaN""#, "NaN"),
            (value::VALUE_BOOLEAN, 1, "", "true", "true"),
            (value::VALUE_STRING, 0, "1.5", r#""1.5""#, "1.5"),
            (value::VALUE_STRING, 0, "", r#""""#, r#""""#),
            (value::VALUE_STRING, 0, "a b", r#""a b""#, r#""a b""#),
            (value::VALUE_STRING, 0, "a\nb=\"", r#""a\nb=\"""#, r#""a\nb=\"""#),
            (value::VALUE_JSON, 0, "18446744073709551615", "18446744073709551615", "18446744073709551615"),
            (value::VALUE_JSON, 0, "{\"a\":\n[1.0]}", r#"{"a": [1.0]}"#, r#"{"a": [1.0]}"#),
            (value::VALUE_JSON, 0, "\"a\"", r#""a""#, "a"),
            (value::VALUE_JSON, 0, "1.50", "1.50", "1.5"),
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
