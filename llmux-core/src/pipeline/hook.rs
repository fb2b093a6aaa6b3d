//! One call of one hook: what it is lent, what it answers, and the narrow interface through which the chain
//! calls an instance.
//!
//! `chain` and `stream` make a [`Frame`], call, and read the [`Answer`]. Whoever implements [`Hooks`] (today
//! `boundary::Instance`, for compiled-in and loaded plugins alike) passes the frame's parts on and fills the
//! answer. Nothing here knows how an instance is reached.

use std::{sync::Arc, task};

use futures_util::future::BoxFuture;

use super::{
    body::{Body, Chunk},
    context::{RequestContext, Value},
    outcome::{Outcome, Report},
};
use crate::{
    boundary::{PluginStream, StateSlot},
    document::Document,
    error::Error,
    provider::Event,
};
use llmux_abi::raw::flow::{HOOK_CONTINUE, HOOK_DROP, HOOK_END, HOOK_REPLACE, HOOK_SHORT_CIRCUIT};

/// The points where a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// Before the provider.
    Pre,
    /// After the provider.
    Post,
    /// Before the provider, of a stream.
    PreStream,
    /// A chunk of a stream.
    Chunk,
    /// The end of a stream.
    PostStream,
    /// After everything.
    Complete,
    /// The end of the instance.
    Cleanup,
}

impl HookKind {
    /// Every hook.
    pub const ALL: [HookKind; 7] = [
        HookKind::Pre,
        HookKind::Post,
        HookKind::PreStream,
        HookKind::Chunk,
        HookKind::PostStream,
        HookKind::Complete,
        HookKind::Cleanup,
    ];

    /// The hook's name, as in the trait.
    pub fn as_str(self) -> &'static str {
        match self {
            HookKind::Pre => "pre_hook",
            HookKind::Post => "post_hook",
            HookKind::PreStream => "pre_stream_hook",
            HookKind::Chunk => "on_stream_chunk",
            HookKind::PostStream => "post_stream_hook",
            HookKind::Complete => "on_complete",
            HookKind::Cleanup => "cleanup",
        }
    }
}

/// Some of the hooks.
#[derive(Clone, Copy, Default)]
pub(crate) struct HookSet(u8);

impl HookSet {
    pub(crate) fn has(self, hook: HookKind) -> bool {
        self.0 & 1 << hook as u8 != 0
    }
}

impl FromIterator<HookKind> for HookSet {
    fn from_iter<I: IntoIterator<Item = HookKind>>(hooks: I) -> Self {
        Self(hooks.into_iter().fold(0, |set, hook| set | 1 << hook as u8))
    }
}

/// How the chain reaches an instance.
pub(crate) trait Hooks: Send + Sync {
    /// Polls a hook once. What the frame lends stays borrowed until the call is ready or its future dropped.
    fn start<'f>(&'f self, frame: Frame<'f>, cx: &mut task::Context<'_>) -> Started<'f>;

    /// The hooks that the instance has. The others do nothing, and are not called.
    fn hooks(&self) -> HookSet;

    /// An empty place for this instance's state of one request.
    fn state_slot(&self) -> StateSlot;
}

/// What polling a hook once gives: a code of the contract, or the rest of the hook.
pub(crate) enum Started<'f> {
    Ready(u32),
    Waiting(BoxFuture<'f, u32>),
}

/// What a call of a hook is lent.
pub(crate) struct Frame<'f> {
    pub(crate) context: &'f mut RequestContext,
    pub(crate) subject: Subject<'f>,
    pub(crate) answer: &'f mut Answer,
}

/// What a hook is about; its kind with what comes along.
pub(crate) enum Subject<'f> {
    Pre(&'f mut Body),
    PreStream(&'f mut Body),
    Post(&'f mut Outcome),
    Chunk(&'f mut Chunk),
    PostStream(&'f mut Report),
    Complete(&'f mut Report),
}

impl<'f> Subject<'f> {
    pub(crate) fn kind(&self) -> HookKind {
        match self {
            Subject::Pre(_) => HookKind::Pre,
            Subject::PreStream(_) => HookKind::PreStream,
            Subject::Post(_) => HookKind::Post,
            Subject::Chunk(_) => HookKind::Chunk,
            Subject::PostStream(_) => HookKind::PostStream,
            Subject::Complete(_) => HookKind::Complete,
        }
    }

    /// The same, lent for less long.
    pub(crate) fn reborrow(&mut self) -> Subject<'_> {
        match self {
            Subject::Pre(body) => Subject::Pre(body),
            Subject::PreStream(body) => Subject::PreStream(body),
            Subject::Post(outcome) => Subject::Post(outcome),
            Subject::Chunk(chunk) => Subject::Chunk(chunk),
            Subject::PostStream(report) => Subject::PostStream(report),
            Subject::Complete(report) => Subject::Complete(report),
        }
    }

    /// Is what the call left something that can go on? Says what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Subject::Pre(body) | Subject::PreStream(body) if body.is_changed() => {
                match body.document().is_some_and(|document| document.get_str("/model").is_some()) {
                    true => Ok(()),
                    false => Err("left a request without a model".to_owned()),
                }
            }
            Subject::Post(outcome) => outcome.check(),
            _ => Ok(()),
        }
    }

    /// Keeps what the call edited.
    pub(crate) fn commit(&mut self) {
        match self {
            Subject::Pre(body) | Subject::PreStream(body) => body.commit(),
            Subject::Post(outcome) => outcome.commit(),
            Subject::Chunk(chunk) => chunk.body.commit(),
            Subject::PostStream(_) | Subject::Complete(_) => {}
        }
    }

    /// Undoes what the call edited.
    pub(crate) fn roll_back(&mut self) {
        match self {
            Subject::Pre(body) | Subject::PreStream(body) => body.roll_back(),
            Subject::Post(outcome) => outcome.roll_back(),
            Subject::Chunk(chunk) => chunk.body.roll_back(),
            Subject::PostStream(_) | Subject::Complete(_) => {}
        }
    }
}

/// What a hook answered, beyond its code.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) metadata: Vec<(Arc<str>, Value)>,
    pub(crate) emitted: Vec<Event>,
    pub(crate) failure: Option<Failure>,
    /// How many bytes the hook has given.
    size: usize,
}

/// The most bytes that one hook call may answer with.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

impl Answer {
    /// Forgets what a call answered, for the next one.
    pub(crate) fn reset(&mut self) {
        if self.size != 0 || self.failure.is_some() {
            *self = Self::default();
        }
    }

    /// Takes note of so many more bytes. `false`, and the hook has failed, if they are too many.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        // Each part costs something besides its text.
        self.size = self.size.saturating_add(bytes).saturating_add(64);
        if self.size > MAX_ANSWER {
            self.failure = Some(Failure::error("answered with more than 64 MiB"));
        }
        self.size <= MAX_ANSWER
    }

    /// Is this code, with what the hook said, an answer to this hook? Says what is wrong with it.
    pub(crate) fn check(&self, kind: HookKind, code: u32) -> Result<(), String> {
        match (kind, code, &self.said) {
            (_, HOOK_CONTINUE, _) | (HookKind::Chunk, HOOK_DROP | HOOK_REPLACE, _) => Ok(()),
            (HookKind::Chunk, HOOK_END, Said::End(_)) => Ok(()),
            (HookKind::Chunk, HOOK_END, _) => Err("ended the stream without an error".to_owned()),
            (HookKind::PreStream, HOOK_SHORT_CIRCUIT, Said::Stream(_)) => Ok(()),
            (HookKind::Pre, HOOK_SHORT_CIRCUIT, Said::Stream(_)) => {
                Err("answered with a stream, and the request does not stream".to_owned())
            }
            (
                HookKind::Pre | HookKind::PreStream,
                HOOK_SHORT_CIRCUIT,
                Said::Respond(_) | Said::Reject(..),
            ) => Ok(()),
            (HookKind::Pre | HookKind::PreStream, HOOK_SHORT_CIRCUIT, _) => {
                Err("a short circuit without an answer".to_owned())
            }
            _ => Err(format!("the code {code} is no answer to {}", kind.as_str())),
        }
    }
}

/// The one thing that a hook answers with; what it says last counts.
#[derive(Default)]
pub(crate) enum Said {
    #[default]
    Nothing,
    Respond(Document),
    Stream(Box<PluginStream>),
    Reject(Error, bool),
    End(Error),
}

/// A plugin's own failure (rules E1 to E5), as opposed to an error of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

/// How a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It returned an error, or an answer that makes no sense.
    Error,
    /// It panicked.
    Panic,
    /// It ran past its timeout.
    Timeout,
    /// The caller went away while it waited: no fault of the plugin's, and not counted as one.
    Cancelled,
}

impl FailureKind {
    /// The kind's name in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            FailureKind::Error => "error",
            FailureKind::Panic => "panic",
            FailureKind::Timeout => "timeout",
            FailureKind::Cancelled => "cancelled",
        }
    }
}

impl Failure {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Error, message: message.into() }
    }
}
