//! The lines of JSON for the log records of plugins: the fields of a plugin are members beside the host's.
//!
//! `logging` uses it for JSON logs. The host's members come first, and their names are reserved: a plugin chooses the names
//! of its fields. Deliberately absent: the host's own events, which `tracing-subscriber` writes, and text, which `line`
//! writes.

use std::fmt;

use llmux_core::{LogFields, PLUGIN_LOG};
use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer, time::FormatTime},
    registry::LookupSpan,
};

use super::{
    clock::Clock,
    line::{MAX_LINE, MAX_TEXT, cut},
};

/// Members of the host in the line of a plugin.
const RESERVED: [&str; 7] =
    ["timestamp", "level", "message", "instance", "source", "target", "fields_left_out"];
/// Goes before the name of a field whose name the line has already.
const PREFIX: &str = "plugin_";
/// Largest name of an instance or of a source, in bytes.
const MAX_NAME: usize = 256;

/// A format of events that writes the records of plugins itself and leaves all other events to the format `F`.
pub(super) struct PluginLines<F>(pub(super) F);

impl<F, S, N> FormatEvent<S, N> for PluginLines<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() != PLUGIN_LOG {
            return self.0.format_event(context, writer, event);
        }
        let mut timestamp = String::new();
        Clock.format_time(&mut Writer::new(&mut timestamp))?;
        let mut record = Record::default();
        event.record(&mut record);
        writer.write_str(&record.line(&timestamp, event.metadata().level().as_str()))
    }
}

/// A record of a plugin, as the host's event has it.
#[derive(Default)]
struct Record {
    message: String,
    instance: String,
    source: String,
    /// Text of a JSON object, or empty.
    fields: String,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let place = match field.name() {
            "message" => &mut self.message,
            "instance" => &mut self.instance,
            "source" => &mut self.source,
            "plugin_fields" => &mut self.fields,
            _ => return,
        };
        value.clone_into(place);
    }
}

impl Record {
    fn line(&self, timestamp: &str, level: &str) -> String {
        let [message, instance, source] =
            [(&self.message, MAX_TEXT), (&self.instance, MAX_NAME), (&self.source, MAX_NAME)]
                .map(|(text, max)| bounded(text, max));
        let mut line = format!(
            "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"message\":{message},\"instance\":{instance},\
             \"source\":{source},\"target\":\"{PLUGIN_LOG}\""
        );
        let fields = LogFields::parse(&self.fields);
        let mut fields = fields.iter().flat_map(LogFields::iter);
        let mut names = RESERVED.map(str::to_owned).to_vec();
        let mut left_out = 0;
        for (name, json) in fields.by_ref() {
            let mut name = name.to_owned();
            while names.contains(&name) {
                name.insert_str(0, PREFIX);
            }
            let member = format!(",{}:{}", Value::from(&*name), value(json));
            if line.len() + member.len() > MAX_LINE - 64 {
                left_out = 1;
                break;
            }
            line.push_str(&member);
            names.push(name);
        }
        left_out += fields.count();
        if left_out > 0 {
            line.push_str(&format!(",\"fields_left_out\":{left_out}"));
        }
        line.push_str("}\n");
        line
    }
}

/// Returns the value of a member. A long text is cut. Another long value becomes a text that is cut.
fn value(json: &str) -> String {
    if json.len() <= MAX_TEXT {
        return json.to_owned();
    }
    bounded(&serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()), MAX_TEXT)
}

/// Returns a text as JSON, cut if it is longer than `max` bytes.
fn bounded(text: &str, max: usize) -> String {
    match text.len() > max {
        true => Value::from(cut(text, max)).to_string(),
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(message: &str, fields: &str) -> (String, Value) {
        let (message, fields) = (message.to_owned(), fields.to_owned());
        let record =
            Record { message, fields, instance: "guard".to_owned(), source: "guard::hooks".to_owned() };
        let line = record.line("2026-11-23T00:37:49.030165Z", "WARN");
        assert!(line.len() <= MAX_LINE && line.find('\n') == Some(line.len() - 1), "{line}");
        let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON, {error}: {line}"));
        (line, value)
    }

    /// The fields of a record, as the host displays them.
    struct Fields;

    impl fmt::Display for Fields {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(match f.alternate() {
                true => r#"status=200 level=x note="a b""#,
                false => r#"{"status":200,"level":"x","note":"a b"}"#,
            })
        }
    }

    /// Returns what a subscriber writes for a record of a plugin and for an event of the host.
    fn logged<S>(subscriber: impl FnOnce(std::sync::Arc<std::fs::File>) -> S) -> Vec<String>
    where
        S: Subscriber + Send + Sync,
    {
        let mut file = tempfile::tempfile().expect("a file");
        let writer = std::sync::Arc::new(file.try_clone().expect("the same file"));
        tracing::subscriber::with_default(subscriber(writer), || {
            let plugin_fields = tracing::field::display(Fields);
            tracing::warn!(target: PLUGIN_LOG, plugin_fields, instance = "guard", source = "g", "asked");
            tracing::warn!(target: "llmux_core", fields = "no object", "of the host");
        });
        std::io::Seek::rewind(&mut file).expect("rewound");
        std::io::read_to_string(file).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_log_in_text_shows_names_and_values_and_one_in_json_has_members() {
        use tracing_subscriber::{field::MakeExt, fmt::format::debug_fn};
        let builder = || tracing_subscriber::fmt().with_ansi(false);
        let text = logged(|writer| {
            builder()
                .fmt_fields(debug_fn(super::super::line::field).delimited(" "))
                .with_writer(writer)
                .finish()
        });
        let shown = r#" WARN llmux::plugin: asked status=200 level=x note="a b" instance="guard" source="g""#;
        assert!(text[0].ends_with(shown), "{text:?}");
        assert!(text[1].ends_with(r#" WARN llmux_core: of the host fields="no object""#), "{text:?}");
        let json = logged(|writer| {
            let builder = builder().json().flatten_event(true).map_event_format(PluginLines);
            builder.with_writer(writer).finish()
        });
        let values: Vec<Value> = json.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of_plugin = ["status", "plugin_level", "note", "level"].map(|name| values[0][name].clone());
        assert_eq!(of_plugin, [json!(200), json!("x"), json!("a b"), json!("WARN")], "{json:?}");
        assert_eq!(
            (&values[1]["message"], &values[1]["fields"]),
            (&json!("of the host"), &json!("no object"))
        );
    }

    #[test]
    fn fields_are_members_of_their_type() {
        let fields =
            r#"{"status":200,"latency_ms":4.104,"whole":4.0,"stream":false,"tags":["a"],"note":"a\nb"}"#;
        let (line, value) = written("request completed", fields);
        let expected = json!({
            "timestamp": "2026-11-23T00:37:49.030165Z", "level": "WARN", "message": "request completed",
            "instance": "guard", "source": "guard::hooks", "target": "llmux::plugin", "status": 200,
            "latency_ms": 4.104, "whole": 4.0, "stream": false, "tags": ["a"], "note": "a\nb",
        });
        assert_eq!(value, expected, "{line}");
        assert_eq!(written("asked", "").1.as_object().map(serde_json::Map::len), Some(6));
    }

    #[test]
    fn no_field_stands_in_place_of_a_member_of_the_host_or_of_another_field() {
        for name in RESERVED {
            let (line, value) = written("asked", &format!(r#"{{"{name}":"forged","plugin_{name}":1}}"#));
            assert_eq!(line.matches(&format!("\"{name}\":")).count(), usize::from(name != "fields_left_out"));
            assert_eq!(value[format!("plugin_{name}")], "forged", "{line}");
            assert_eq!(value[format!("plugin_plugin_{name}")], 1, "{line}");
        }
        let (line, value) = written("asked", r#"{"a":1,"a":2,"a":3,"":4}"#);
        let found = ["a", "plugin_a", "plugin_plugin_a", ""].map(|name| value[name].as_i64());
        assert_eq!(found, [Some(1), Some(2), Some(3), Some(4)], "{line}");
    }

    #[test]
    fn a_line_is_bounded_whatever_a_plugin_logs() {
        let long = "\u{1}".repeat(1 << 20);
        let (_, value) = written(&long, &json!({"long": long, "list": ["x".repeat(1 << 20)]}).to_string());
        for name in ["message", "list"] {
            let text = value[name].as_str().unwrap_or_default();
            assert!(text.len() <= MAX_TEXT && text.ends_with(" bytes in all)"), "{name}: {text}");
        }
        // Its escaped form has no room beside that of the message.
        assert_eq!((value.get("long"), &value["fields_left_out"]), (None, &json!(1)));
        let many: Vec<String> = (0..100_000).map(|_| r#""same":"x""#.to_owned()).collect();
        let (line, value) = written("asked", &format!("{{{}}}", many.join(",")));
        let left_out = value["fields_left_out"].as_u64().unwrap_or_default();
        assert!(left_out > 90_000 && value["same"] == "x", "{line}");
        let name = "n".repeat(1 << 20);
        assert_eq!(written("asked", &json!({name: 1}).to_string()).1["fields_left_out"], 1);
    }
}
