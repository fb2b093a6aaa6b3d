//! Forwards a library's `tracing` events and panic messages to the host.
//!
//! A library has its own copy of `tracing` and of the panic hook. Without this file, its events would be lost and its
//! panics would go to standard error. `shim` installs the forwarder in `attach`, which a host calls for loaded images
//! only: in the host's own image, the forwarder would call itself.
//!
//! Deliberately absent: spans. An event carries its fields. The host adds the name of the instance that runs the hook
//! or the task.

use std::{
    fmt::{self, Write},
    ops::Range,
};

use abi_stable::std_types::RStr;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    contain::panic_message,
    handle::{HostHandle, log},
};
use crate::raw::{
    host as level,
    value::{RawField, RawValue, VALUE_BOOLEAN, VALUE_FLOAT, VALUE_INTEGER, VALUE_JSON, VALUE_STRING},
};

/// Installs the forwarder for this image. Without effect if the image has another one already.
pub(crate) fn install(host: HostHandle) {
    if !log::keep(host) {
        return;
    }
    let _ = tracing::subscriber::set_global_default(Forwarder);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic_message(panic.payload());
        log::forward(level::LEVEL_ERROR, "panic", &format!("panicked at {place}: {message}"), &[]);
    }));
}

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => level::LEVEL_ERROR,
        Level::WARN => level::LEVEL_WARN,
        Level::INFO => level::LEVEL_INFO,
        Level::DEBUG => level::LEVEL_DEBUG,
        Level::TRACE => level::LEVEL_TRACE,
    }
}

struct Forwarder;

impl Subscriber for Forwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        // The host may change its levels at any time, so every event asks again. Spans are never forwarded.
        match metadata.is_span() {
            false => tracing::subscriber::Interest::sometimes(),
            true => tracing::subscriber::Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // `tracing::enabled!` also asks, with metadata of neither an event nor a span.
        !metadata.is_span() && log::enabled(number(metadata.level()), metadata.target())
    }

    fn event(&self, event: &Event<'_>) {
        // The allocator of the system is fast up to 1 KiB.
        let mut record =
            Record { texts: String::with_capacity(512), message: 0..0, fields: Vec::with_capacity(20) };
        event.record(&mut record);
        record.forward(event.metadata());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The message and the fields of an event.
struct Record {
    /// The texts of the message and of all fields, one after the other.
    texts: String,
    message: Range<usize>,
    fields: Vec<FieldOfRecord>,
}

/// A field of an event. Its text is a range of the record's texts.
struct FieldOfRecord {
    name: &'static str,
    kind: u32,
    bits: u64,
    text: Range<usize>,
}

impl Record {
    /// Adds a text, and returns its place.
    fn add_text(&mut self, text: fmt::Arguments<'_>) -> Range<usize> {
        let start = self.texts.len();
        match text.as_str() {
            Some(text) => self.texts.push_str(text),
            // A `Debug` that fails leaves the beginning of its text.
            None => drop(self.texts.write_fmt(text)),
        }
        start..self.texts.len()
    }

    fn add(&mut self, field: &Field, kind: u32, bits: u64, text: Range<usize>) {
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push(FieldOfRecord { name, kind, bits, text }),
        }
    }

    fn forward(&self, metadata: &Metadata<'_>) {
        let raw = |FieldOfRecord { name, kind, bits, text }: &FieldOfRecord| RawField {
            name: RStr::from_str(name),
            value: RawValue { kind: *kind, bits: *bits, text: self.texts[text.clone()].into() },
        };
        let fields: Vec<RawField<'_>> = self.fields.iter().map(raw).collect();
        let message = &self.texts[self.message.clone()];
        log::forward(number(metadata.level()), metadata.target(), message, &fields);
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.add_text(format_args!("{value:?}"));
        self.add(field, VALUE_STRING, 0, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let start = self.texts.len();
        self.texts.push_str(value);
        self.add(field, VALUE_STRING, 0, start..self.texts.len());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, VALUE_INTEGER, value as u64, 0..0);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            // Too large for an integer of the contract. JSON has no such limit.
            Err(_) => {
                let text = self.add_text(format_args!("{value}"));
                self.add(field, VALUE_JSON, 0, text);
            }
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, VALUE_FLOAT, value.to_bits(), 0..0);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, VALUE_BOOLEAN, u64::from(value), 0..0);
    }
}
