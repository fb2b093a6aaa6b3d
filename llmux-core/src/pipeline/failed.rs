//! The hooks of an instance that is not there: an exclusive instance while it is replaced, or after neither the new nor
//! the old one could be made (rule D4). Each call fails, and the chains treat it as any other failure (rules E1 to E4).
//!
//! `plugins::registry` puts it into the place of the instance. No code of a plugin runs here.

use std::{any::Any, sync::Arc, task, time::Duration};

use futures_util::future::BoxFuture;

use super::{
    hook::{Decision, FirstPoll, HookCall, Hooks, StateSlot},
    kind::{Failure, HookSet},
};

/// Hooks that fail.
pub(crate) struct FailedHooks {
    hooks: HookSet,
    why: Arc<str>,
}

impl FailedHooks {
    /// Hooks in the place of an instance with these hooks. Each call fails for this reason.
    pub(crate) fn new(hooks: HookSet, why: &str) -> Self {
        Self { hooks, why: why.into() }
    }
}

impl Hooks for FailedHooks {
    fn call<'f>(&'f self, call: HookCall<'f>, _: &mut task::Context<'_>) -> FirstPoll<'f> {
        call.reply.failure = Some(Failure::error(&*self.why));
        FirstPoll::Ready(Decision::Fail(0))
    }

    fn hooks(&self) -> HookSet {
        self.hooks
    }

    fn release_state(&self, _: &mut StateSlot) {}

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn clean_up(&self, _: Duration) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
