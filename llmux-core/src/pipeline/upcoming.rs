//! The events of a provider's stream, with a look at those that are ready behind the present one.
//!
//! `stream` announces them to an instance that gains by it. Deliberately absent: waiting for an event that is not ready.

use std::{collections::VecDeque, mem, task};

use futures_util::{StreamExt, stream};

use crate::{
    error::Error,
    provider::{Event, Events},
};

/// The most events that are read before their turn, and the most bytes of them. A slow client slows the upstream (rule S6).
const MAX_EVENTS: usize = 7;
const MAX_BYTES: usize = 64 * 1024;

/// The events of a provider's stream.
pub(super) struct Upcoming {
    events: Events,
    /// Read before their turn.
    ready: VecDeque<Event>,
    /// The end that follows the ready ones, once it was read.
    end: Option<Option<Error>>,
}

impl Upcoming {
    pub(super) fn new(events: Events) -> Self {
        Self { events, ready: VecDeque::new(), end: None }
    }

    /// Returns the next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Event, Error>> {
        match (self.ready.pop_front(), &mut self.end) {
            (Some(event), _) => Some(Ok(event)),
            (None, Some(end)) => mem::take(end).map(Err),
            (None, None) => self.events.next().await,
        }
    }

    /// Reads the events that are ready, if no event is left that was read before. Returns those events.
    pub(super) fn look(&mut self, cx: &mut task::Context<'_>) -> impl ExactSizeIterator<Item = &Event> {
        if self.ready.is_empty() && self.end.is_none() {
            let mut bytes = 0;
            while self.ready.len() < MAX_EVENTS && bytes < MAX_BYTES {
                match self.events.poll_next_unpin(cx) {
                    task::Poll::Ready(Some(Ok(event))) => {
                        bytes += event.data.len();
                        self.ready.push_back(event);
                    }
                    task::Poll::Ready(Some(Err(error))) => {
                        self.end = Some(Some(error));
                        break;
                    }
                    task::Poll::Ready(None) => {
                        self.end = Some(None);
                        break;
                    }
                    task::Poll::Pending => break,
                }
            }
        }
        self.ready.iter()
    }

    /// Returns true if events are left that were read before their turn.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the rest of the stream.
    pub(super) fn into_events(self) -> Events {
        let ready = stream::iter(self.ready.into_iter().map(Ok));
        match self.end {
            None => Box::pin(ready.chain(self.events)),
            Some(end) => Box::pin(ready.chain(stream::iter(end.map(Err)))),
        }
    }
}
