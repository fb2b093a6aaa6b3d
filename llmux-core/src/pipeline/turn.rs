//! One turn of one instance at texts or tool calls: the calls of the hook, and the reasons why it ends the request.

use super::{
    call::Calls,
    context::RequestContext,
    hook::{Answer, Decision, Subject},
    kind::{FailureKind, HookKind},
    snapshot::Entry,
    states::States,
    traffic::Traffic,
};
use crate::error::{Error, ErrorKind};

/// The most bytes that the text hooks and tool call hooks of all instances hold of one request.
pub(crate) const MAX_HELD: usize = 1 << 20;

/// The turn of an instance.
pub(crate) struct Turn<'c> {
    pub(crate) calls: &'c mut Calls,
    pub(crate) place: (usize, &'c Entry),
    pub(crate) context: &'c mut RequestContext,
    pub(crate) states: &'c mut States,
    /// The bytes that all instances hold.
    pub(crate) held: &'c mut usize,
}

/// The reason why a hook ends the request.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The plugin ended it with this error.
    Ended(Error),
    /// The plugin failed, and its failure fails the request (rule E3).
    Failed,
    /// The request must end.
    Cancelled,
}

impl Stop {
    /// An answer that is too large to be kept.
    pub(super) fn too_much(what: &str) -> Self {
        Self::Ended(Error::new(ErrorKind::BadGateway, format!("the provider's answer has {what}")))
    }
}

impl Turn<'_> {
    /// Calls a hook. `None` if it failed and the request goes on without it.
    pub(super) async fn call(
        &mut self,
        kind: HookKind,
        subject: &mut impl Subject,
    ) -> Result<Option<Decision>, Stop> {
        let Self { calls, place, context, states, .. } = self;
        match calls.call(kind, *place, context, states, subject).await {
            Ok(Decision::End) => match std::mem::take(&mut calls.reply.answer) {
                Answer::End(error) => Err(Stop::Ended(error)),
                // `HookReply::check` has refused it.
                _ => Err(Stop::Failed),
            },
            Ok(decision) => Ok(Some(decision)),
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(Stop::Cancelled),
            Err(_) if place.1.fails_request => Err(Stop::Failed),
            Err(_) => Ok(None),
        }
    }

    /// Holds bytes for the instance. `false` if they are too many: the instance has failed, and is passed by.
    pub(super) fn hold(&mut self, kind: HookKind, bytes: usize) -> Result<bool, Stop> {
        if self.held.saturating_add(bytes) > MAX_HELD {
            self.place.1.stats.record(kind, 0, Some(FailureKind::Error), Traffic::default());
            self.refuse(kind, "the host would have to hold more than 1 MiB of one request")?;
            return Ok(false);
        }
        *self.held += bytes;
        Ok(true)
    }

    /// The failure of the instance, for an edit that the host cannot make.
    pub(super) fn refuse(&self, kind: HookKind, why: &str) -> Result<(), Stop> {
        tracing::warn!(
            instance = &*self.place.1.name,
            hook = kind.as_str(),
            failure = FailureKind::Error.as_str(),
            request_id = &*self.context.request_id,
            "a plugin failed: {why}"
        );
        if self.place.1.fails_request { Err(Stop::Failed) } else { Ok(()) }
    }
}
