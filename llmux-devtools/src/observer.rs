//! Observers: two plugins around the plugin on trial, which record each document that passes them.
//!
//! `trial` puts them into the pipeline. The outer observer has the lowest priority and the inner one the highest: the outer
//! one sees a request before the plugin does, and the inner one after it; on the way back it is the reverse. Each sees what
//! the next plugin, the provider or the client would see. Deliberately absent: any change of a document.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llmux_abi::prelude::*;
use llmux_core::PluginSpec;

/// Position of an observer: before the plugin on the way to the provider, or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Outer,
    Inner,
}

/// A document or an event that passed an observer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Request(String),
    Response(String),
    Error(String),
    /// Name of the event, which may be empty, and data of the chunk.
    Chunk(String, String),
    /// The end of a stream.
    End,
    /// The end of the request. True if a hook beside the call refused it.
    Complete(bool),
}

/// One record of an observer.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) side: Side,
    pub(crate) event: Event,
}

/// The records of both observers, in the order of the events.
#[derive(Clone, Default)]
pub(crate) struct Observations(Arc<Mutex<Vec<Observation>>>);

impl Observations {
    /// Returns the two observers as instances for a pipeline.
    pub(crate) fn observers(&self) -> [PluginSpec; 2] {
        let make = |name: &str, side, priority| {
            let observations = self.clone();
            PluginSpec::by_hand(name, move |_| Ok(Observer { side, observations })).with_priority(priority)
        };
        [make("try.outer", Side::Outer, i32::MIN), make("try.inner", Side::Inner, i32::MAX)]
    }

    /// Takes all records.
    pub(crate) fn take(&self) -> Vec<Observation> {
        std::mem::take(&mut self.list())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Observation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Observer {
    side: Side,
    observations: Observations,
}

impl Observer {
    fn record(&self, event: Event) {
        self.observations.list().push(Observation { side: self.side, event });
    }
}

fn text(document: &Document<'_>) -> String {
    document.text("").unwrap_or_default().to_owned()
}

impl Plugin for Observer {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Err(Error::new("made by hand"))
    }

    async fn pre_hook(&self, _: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        self.record(Event::Request(text(request)));
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        self.record(match outcome.error_document() {
            Some(error) => Event::Error(text(&error)),
            None => Event::Response(outcome.response().map(|it| text(&it)).unwrap_or_default()),
        });
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        self.record(Event::Chunk(chunk.event().unwrap_or_default().to_owned(), text(chunk)));
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, _: &mut Context<'_>, _: &mut StreamEnd<'_>) -> Result<()> {
        self.record(Event::End);
        Ok(())
    }

    async fn on_complete(&self, _: &mut Context<'_>, completion: &Completion<'_>) {
        let last = completion.attempts().last().map(|attempt| attempt.cancelled_by().is_some());
        // A hook that refuses without waiting leaves no attempt.
        let refused = last.unwrap_or_else(|| matches!(completion.answered_by(), AnsweredBy::Plugin(_)));
        self.record(Event::Complete(refused));
    }
}
