//! One turn of one instance: the calls of its text hook.

use super::subject::{Hold, Text};
use crate::{
    error::Error,
    pipeline::{
        call::Calls,
        context::RequestContext,
        hook::{Answer, Decision},
        kind::{FailureKind, HookKind},
        snapshot::Entry,
        states::States,
    },
};

/// The turn of an instance.
pub(crate) struct Turn<'c> {
    pub(crate) calls: &'c mut Calls,
    pub(crate) place: (usize, &'c Entry),
    pub(crate) context: &'c mut RequestContext,
    pub(crate) states: &'c mut States,
}

/// A hook's decision about a text that goes on.
#[derive(Default)]
pub(super) struct Verdict {
    /// The text in the place of the part that is not held.
    pub(super) text: Option<String>,
    pub(super) hold: Hold,
    /// True if the hook failed, and the request goes on without it.
    pub(super) has_failed: bool,
}

/// The reason why a text hook ends the request.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The plugin ended it with this error.
    Ended(Error),
    /// The plugin failed, and its failure fails the request (rule E3).
    Failed,
    /// The request must end.
    Cancelled,
}

impl Turn<'_> {
    /// Calls the text hook.
    pub(super) async fn call(&mut self, text: &mut Text<'_>) -> Result<Verdict, Stop> {
        let Self { calls, place, context, states } = self;
        match calls.call(HookKind::Text, *place, context, states, text).await {
            Ok(Decision::End) => match std::mem::take(&mut calls.reply.answer) {
                Answer::End(error) => Err(Stop::Ended(error)),
                // `HookReply::check` has refused it.
                _ => Err(Stop::Failed),
            },
            Ok(_) => {
                let reply = &mut calls.reply;
                Ok(Verdict { text: reply.text.take(), hold: reply.hold, has_failed: false })
            }
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(Stop::Cancelled),
            Err(_) if place.1.fails_request => Err(Stop::Failed),
            Err(_) => Ok(Verdict { has_failed: true, ..Verdict::default() }),
        }
    }

    /// The failure of the instance, for an edit that the host cannot make.
    pub(super) fn refuse(&self, why: &str) -> Result<(), Stop> {
        tracing::warn!(
            instance = &*self.place.1.name,
            hook = HookKind::Text.as_str(),
            failure = FailureKind::Error.as_str(),
            request_id = &*self.context.request_id,
            "a plugin failed: {why}"
        );
        if self.place.1.fails_request { Err(Stop::Failed) } else { Ok(()) }
    }
}
