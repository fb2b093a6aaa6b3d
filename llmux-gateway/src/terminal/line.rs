//! The lines of the log: one for each event, without control characters, and of bounded length.
//!
//! Clients, providers and plugins choose parts of messages, such as the name of a model. A line end in one of them would
//! begin a line that looks like the program's own. `logging` uses this for every event. Deliberately absent: colors of
//! levels, which `tracing-subscriber` writes.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
};

use llmux_core::plugins::LOADING;
use llmux_terminal::Visible;
use serde_json::Value;
use tracing::{Level, Metadata, field::Field};
use tracing_subscriber::fmt::{MakeWriter, format::Writer};

use super::urgent;

/// Largest line, in bytes.
pub(super) const MAX_LINE: usize = 16 * 1024;
/// Largest text in a line of JSON that is too long, in bytes.
pub(super) const MAX_TEXT: usize = 2 * 1024;

/// Writes one field of an event for people to read.
pub(super) fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        // A value's own `Debug` quotes and escapes it, but a message is written as it is.
        "message" => return write!(Visible(writer), "{value:?}"),
        // The alternate form of a plugin's fields is text for people.
        "plugin_fields" => return write!(Visible(writer), "{value:#?}"),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?;
        }
        name => write!(writer, "{name}=")?,
    }
    write!(Visible(writer), "{value:?}")
}

/// Makes writers of bounded lines.
pub(super) struct Lines<M> {
    pub(super) writers: M,
    /// Whether the lines are JSON, which must stay JSON.
    pub(super) json: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Lines<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line { writer: self.writers.make_writer(), json: self.json, is_urgent: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        // A panic may be followed by an abort, and the load of a library by a crash.
        let is_urgent = *event.level() == Level::ERROR || event.target() == LOADING;
        Line { is_urgent, ..self.make_writer() }
    }
}

/// Writer of one event, which arrives whole.
pub(super) struct Line<W> {
    writer: W,
    json: bool,
    /// Whether the line is written before the program goes on, if standard error takes it.
    is_urgent: bool,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match line.len() > MAX_LINE {
            true => self.writer.write_all(&shorter(line, self.json))?,
            false if self.is_urgent && urgent::write(line) => {}
            false => self.writer.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Returns the beginning of a line that is too long.
fn shorter(line: &[u8], json: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(line);
    if json && let Ok(mut event) = serde_json::from_str::<Value>(&text) {
        shorten(&mut event);
        let line = format!("{event}\n");
        if line.len() <= MAX_LINE {
            return line.into_bytes();
        }
        return format!("{{\"message\":\"an event of {} bytes was left out\"}}\n", text.len()).into_bytes();
    }
    format!("{}\n", cut(&text, MAX_LINE)).into_bytes()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => *text = cut(text, MAX_TEXT),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

/// Returns the beginning of a text that is longer than `max` bytes, with its length.
pub(super) fn cut(text: &str, max: usize) -> String {
    let end = text.floor_char_boundary(max - 64);
    format!("{}… ({} bytes in all)", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, json: bool) -> String {
        let mut out = Vec::new();
        Line { writer: &mut out, json, is_urgent: false }.write_all(line.as_bytes()).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_is_cut_and_a_line_of_json_stays_json() {
        assert_eq!(written("short\n", false), "short\n");
        let long = "ä".repeat(10_000);
        let text = written(&format!("{long}\n"), false);
        assert!(text.len() <= MAX_LINE && text.ends_with("… (20001 bytes in all)\n"), "{}", text.len());
        let json = written(&format!("{{\"message\":\"{long}\",\"level\":\"INFO\"}}\n"), true);
        let event: Value = serde_json::from_str(&json).expect("JSON");
        assert!(json.len() <= MAX_LINE && event["level"] == "INFO", "{json}");
        let many: Vec<String> = (0..1000).map(|at| format!("\"k{at}\":\"{}\"", "x".repeat(50))).collect();
        let json = written(&format!("{{{}}}\n", many.join(",")), true);
        assert!(serde_json::from_str::<Value>(&json).is_ok() && json.len() <= MAX_LINE, "{json}");
    }
}
