//! Forwards a library's `tracing` events and panic messages to the host.
//!
//! A library has its own copy of `tracing` and of the panic hook. Without this file, its events would be lost and its
//! panics would go to standard error. `shim` installs the forwarder in `attach`, which a host calls for loaded images
//! only: in the host's own image, the forwarder would call itself.
//!
//! Deliberately absent: spans. An event carries its fields. The host adds the name of the instance that runs the hook
//! or the task.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    contain::panic_message,
    handle::{HostHandle, log},
    value::Value,
};
use crate::raw::host as level;

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
        let mut record = Record::default();
        event.record(&mut record);
        let metadata = event.metadata();
        log::forward(number(metadata.level()), metadata.target(), &record.message, &record.fields);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event's message and fields.
#[derive(Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, Value::String(format!("{value:?}")))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            name => self.fields.push((name, value.into())),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            // Too large for an integer of the contract. JSON has no such limit.
            Err(_) => self.fields.push((field.name(), Value::Json(value.into()))),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }
}
