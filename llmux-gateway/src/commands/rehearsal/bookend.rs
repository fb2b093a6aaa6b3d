//! Two plugins that stand around the one on trial, and write down what passes them.
//!
//! `outer` has the lowest priority and `inner` the highest, so that `outer` sees a request before the plugin does and
//! `inner` after it; on the way back it is the reverse. They change nothing. What they see is what the next plugin,
//! the provider or the client would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llmux_abi::prelude::*;
use llmux_core::{PluginSpec, testing::Traffic};

/// Where a bookend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Outer,
    Inner,
}

/// What a bookend saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Request(String),
    Response(String),
    Error(String),
    /// A chunk: its event's name, which may be empty, and its data.
    Chunk(String, String),
    /// The end of a stream.
    End,
    /// The end of it all.
    Complete,
}

/// One look of a bookend.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) side: Side,
    pub(crate) seen: Seen,
    /// What plugins had read and written when the bookend was called, and when it returned.
    pub(crate) called: Traffic,
    pub(crate) returned: Traffic,
}

/// What the two have written down, in the order in which it happened.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Look>>>);

impl Notes {
    /// The two, as instances.
    pub(crate) fn bookends(&self) -> [PluginSpec; 2] {
        let make = |name: &str, side, priority| {
            let notes = self.clone();
            PluginSpec::by_hand(name, move |_| Ok(Bookend { side, notes })).priority(priority)
        };
        [make("try.outer", Side::Outer, i32::MIN), make("try.inner", Side::Inner, i32::MAX)]
    }

    /// What has been written down; nothing is left.
    pub(crate) fn take(&self) -> Vec<Look> {
        std::mem::take(&mut self.looks())
    }

    fn looks(&self) -> MutexGuard<'_, Vec<Look>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Bookend {
    side: Side,
    notes: Notes,
}

impl Bookend {
    fn note(&self, look: impl FnOnce() -> Seen) {
        let called = Traffic::so_far();
        let seen = look();
        let look = Look { side: self.side, seen, called, returned: Traffic::so_far() };
        self.notes.looks().push(look);
    }
}

fn text(document: &Document<'_>) -> String {
    document.text("").unwrap_or_default().to_owned()
}

impl Plugin for Bookend {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Err(Error::new("made by hand"))
    }

    async fn pre_hook(&self, _: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        self.note(|| Seen::Request(text(request)));
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, outcome: &mut Outcome<'_>) -> Result<()> {
        self.note(|| match outcome.error_document() {
            Some(error) => Seen::Error(text(&error)),
            None => Seen::Response(outcome.response().map(|it| text(&it)).unwrap_or_default()),
        });
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, chunk: &mut Chunk<'_>) -> Result<ChunkFlow> {
        self.note(|| Seen::Chunk(chunk.event().unwrap_or_default().to_owned(), text(chunk)));
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, _: &mut Context<'_>, _: &mut StreamEnd<'_>) -> Result<()> {
        self.note(|| Seen::End);
        Ok(())
    }

    async fn on_complete(&self, _: &mut Context<'_>, _: &Completion<'_>) {
        self.note(|| Seen::Complete);
    }
}
