//! Chunks that are ready behind the present one, for an instance that gains by receiving several together.

use std::{future::poll_fn, iter, task::Poll};

use super::Streaming;
use crate::{
    pipeline::{
        clock::{Clock, Limit},
        hook::CallContext,
        kind::HookKind,
        snapshot::Entry,
        upcoming::Upcoming,
    },
    provider::Event,
};

impl<'r> Streaming<'r> {
    /// Returns the instance to tell of chunks before their turn: the only one that sees them, so that they reach it as they are, and
    /// so that no other instance sets values between them.
    pub(super) fn told(&self) -> Option<(usize, &'r Entry)> {
        let mut turns = self.snapshot.turns(HookKind::Chunk, self.request.ran);
        let (at, entry) = turns.next()?;
        let is_only = turns.next().is_none() && entry.sees_only_chunks();
        (is_only && entry.instance().takes_announcements()).then_some((at, entry))
    }

    /// Tells an instance of an event and of those that are ready behind it, unless it was told of this one before.
    pub(super) async fn announce(
        &mut self,
        (at, entry): (usize, &Entry),
        event: &Event,
        upcoming: &mut Upcoming,
    ) {
        if self.is_told {
            self.is_told = upcoming.has_ready();
            return;
        }
        let timeout = self.request.shared.config.post_hook_timeout;
        let limit = Limit { started: Clock::start(), timeout };
        poll_fn(|cx| {
            let mut ready = upcoming.look(cx);
            if ready.len() > 0 {
                let request = &mut self.request.context;
                let (state, _) = self.request.states.lend(at);
                let context = &mut CallContext { request, state, limit, kind: HookKind::Chunk };
                let mut events = iter::once(event).chain(ready.by_ref());
                self.is_told = entry.instance().announce(context, &mut events, self.incoming.limit());
            }
            Poll::Ready(())
        })
        .await;
    }
}
