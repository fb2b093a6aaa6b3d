//! One call of one hook: what the hook is lent, what it replies, and the trait through which the chains call an
//! instance.
//!
//! `call` makes a [`HookCall`], and `chain` and `stream` read the [`HookReply`]. An implementation of [`Hooks`] passes
//! the parts of the call on and fills the reply. `boundary::NativeHooks` is the one for compiled-in and loaded plugins;
//! `failed` stands in the place of an instance that is not there. Deliberately absent: how an instance is reached, and
//! the codes of the contract.

use std::{
    any::Any,
    sync::{Arc, atomic::AtomicPtr},
    task,
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{
    body::{Body, Chunk},
    clock::Limit,
    collected::StoredValue,
    context::RequestContext,
    kind::{Failure, HookKind, HookSet},
    memory::HookMemory,
    outcome::Outcome,
    report::Report,
    text::{Hold, Text},
    tool_call::ToolCall,
    traffic::Traffic,
};
use crate::{document::Document, error::Error, provider::Event};

/// An instance, as the chains see it.
pub(crate) trait Hooks: Send + Sync {
    /// Calls a hook and polls it once. What the call lends stays borrowed until the reply is ready or its future is
    /// dropped.
    fn call<'f>(&'f self, call: HookCall<'f>, cx: &mut task::Context<'_>) -> FirstPoll<'f>;

    /// Returns true if [`announce`](Self::announce) does something.
    fn takes_announcements(&self) -> bool {
        false
    }

    /// Tells the instance of chunks of a request that are ready, before their turn. The chunk hook is called for each of them in
    /// its turn, unless the stream ends before. `limit` is the largest size that an edit may produce, in bytes. Returns false if
    /// the instance takes none of them now.
    fn announce(
        &self,
        context: &mut CallContext<'_>,
        chunks: &mut dyn Iterator<Item = &Event>,
        limit: usize,
    ) -> bool {
        let _ = (context, chunks, limit);
        false
    }

    /// Returns the hooks that the instance has. The others do nothing and are not called.
    fn hooks(&self) -> HookSet;

    /// Releases what the instance put into its state slot of a request. Called once, after the last hook of that
    /// request.
    fn release_state(&self, slot: &mut StateSlot);

    /// Returns true if the release of a state runs code of the plugin in this process, for which no caller waits.
    fn release_takes_time(&self) -> bool {
        true
    }

    /// Returns the instance itself, for one of the same kind that takes its place.
    fn as_any(&self) -> &dyn Any;

    /// Runs `cleanup`, then ends the instance's tasks. Called once, after the last hook.
    fn clean_up(&self, timeout: Duration) -> BoxFuture<'_, Result<(), Failure>>;
}

/// The place where an instance keeps its state of one request. Null until the instance puts a pointer there; the
/// pipeline never looks behind it.
pub(crate) type StateSlot = AtomicPtr<()>;

/// The result of polling a hook once: its decision, or the rest of the hook.
pub(crate) enum FirstPoll<'f> {
    Ready(Decision),
    Pending(BoxFuture<'f, Decision>),
}

/// A hook's decision. What belongs to it is in the [`HookReply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Goes on; forwards a chunk; ends a plugin's own stream.
    Continue,
    /// Answers the request instead of the provider.
    ShortCircuit,
    /// Leaves the chunk or the tool call out.
    Drop,
    /// Puts the emitted chunks in the place of this one.
    Replace,
    /// Ends the stream with an error.
    End,
    /// The hook failed. The number is for the log, if the reply does not say why.
    Fail(u32),
}

/// The parts of a request that one call of a hook is lent.
pub(crate) struct HookCall<'f> {
    pub(crate) context: &'f mut CallContext<'f>,
    pub(crate) input: HookInput<'f>,
    pub(crate) reply: &'f mut HookReply,
    pub(crate) memory: &'f mut HookMemory,
}

/// The context of a request, as one call of one instance sees it.
pub(crate) struct CallContext<'f> {
    pub(crate) request: &'f mut RequestContext,
    /// The instance's state of this request.
    pub(crate) state: &'f mut StateSlot,
    /// The time that this call may take.
    pub(crate) limit: Limit,
    /// The kind of the hook.
    pub(crate) kind: HookKind,
}

/// The subject of a hook, by the hook's kind.
pub(crate) enum HookInput<'f> {
    Pre(&'f mut Body),
    PreStream(&'f mut Body),
    Post(&'f mut Outcome),
    Chunk(&'f mut Chunk),
    PostStream(&'f mut Report),
    Complete(&'f mut Report),
    Text(&'f Text<'f>),
    ToolCall(&'f ToolCall<'f>),
    /// A body that can only be read.
    Beside(&'f Body),
}

/// The subject of a hook, as the chains see it: it knows the edits of the current call.
pub(crate) trait Subject {
    /// Lends the subject to a hook of this kind.
    fn lend(&mut self, kind: HookKind) -> HookInput<'_>;

    /// Returns the bytes that the call read and wrote, and starts counting again.
    fn take_traffic(&mut self) -> Traffic;

    /// Returns true if the call has edited or replaced something.
    fn is_changed(&self) -> bool {
        false
    }

    /// Checks that the request can go on with the edits of the call.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Checks that the host can follow what the reply says of the subject.
    fn check_reply(&self, reply: &HookReply) -> Result<(), String> {
        let _ = reply;
        Ok(())
    }

    /// Keeps what the call edited.
    fn commit(&mut self) {}

    /// Undoes what the call edited.
    fn roll_back(&mut self) {}
}

/// A request.
impl Subject for Body {
    fn lend(&mut self, kind: HookKind) -> HookInput<'_> {
        match kind {
            HookKind::PreStream => HookInput::PreStream(self),
            HookKind::Beside => HookInput::Beside(self),
            _ => HookInput::Pre(self),
        }
    }

    fn take_traffic(&mut self) -> Traffic {
        self.take_traffic()
    }

    fn is_changed(&self) -> bool {
        self.is_changed()
    }

    fn check(&self) -> Result<(), String> {
        match self.document().is_some_and(|document| document.get_str("/model").is_some()) {
            true => Ok(()),
            false => Err("left a request without a model".to_owned()),
        }
    }

    fn commit(&mut self) {
        self.commit();
    }

    fn roll_back(&mut self) {
        self.roll_back();
    }
}

impl Subject for Outcome {
    fn lend(&mut self, _: HookKind) -> HookInput<'_> {
        HookInput::Post(self)
    }

    fn take_traffic(&mut self) -> Traffic {
        self.take_traffic()
    }

    fn is_changed(&self) -> bool {
        self.is_changed()
    }

    fn check(&self) -> Result<(), String> {
        self.check()
    }

    fn commit(&mut self) {
        self.commit();
    }

    fn roll_back(&mut self) {
        self.roll_back();
    }
}

impl Subject for Chunk {
    fn lend(&mut self, _: HookKind) -> HookInput<'_> {
        HookInput::Chunk(self)
    }

    fn take_traffic(&mut self) -> Traffic {
        self.body.take_traffic()
    }

    fn is_changed(&self) -> bool {
        self.body.is_changed()
    }

    fn commit(&mut self) {
        self.body.commit();
    }

    fn roll_back(&mut self) {
        self.body.roll_back();
    }
}

/// The edit of a text is part of the reply: nothing has to be undone.
impl Subject for Text<'_> {
    fn lend(&mut self, _: HookKind) -> HookInput<'_> {
        HookInput::Text(self)
    }

    fn take_traffic(&mut self) -> Traffic {
        Traffic { read: self.text.len() as u64, written: 0 }
    }

    fn check_reply(&self, reply: &HookReply) -> Result<(), String> {
        self.check(reply.hold)
    }
}

/// The edit of a tool call is part of the reply: nothing has to be undone.
impl Subject for ToolCall<'_> {
    fn lend(&mut self, _: HookKind) -> HookInput<'_> {
        HookInput::ToolCall(self)
    }

    fn take_traffic(&mut self) -> Traffic {
        Traffic { read: self.arguments.len() as u64, written: 0 }
    }

    fn check_reply(&self, reply: &HookReply) -> Result<(), String> {
        reply.tool_call.as_ref().map_or(Ok(()), |(name, arguments)| self.check(name, arguments))
    }
}

/// A report can only be read.
impl Subject for Report {
    fn lend(&mut self, kind: HookKind) -> HookInput<'_> {
        match kind {
            HookKind::PostStream => HookInput::PostStream(self),
            _ => HookInput::Complete(self),
        }
    }

    fn take_traffic(&mut self) -> Traffic {
        self.take_traffic()
    }
}

/// A hook's reply, beyond its decision.
#[derive(Default)]
pub(crate) struct HookReply {
    pub(crate) answer: Answer,
    /// True if the answer is a copy of an earlier one.
    pub(crate) cached: bool,
    pub(crate) metadata: Vec<(Arc<str>, StoredValue)>,
    pub(crate) emitted: Vec<Event>,
    /// The text in the place of the one that the hook received, without the end that it holds.
    pub(crate) text: Option<String>,
    pub(crate) hold: Hold,
    /// The name and the arguments in the place of those of the tool call that the hook received.
    pub(crate) tool_call: Option<(String, String)>,
    pub(crate) failure: Option<Failure>,
    /// The bytes of JSON that the hook has given.
    pub(crate) written: u64,
    /// Nanoseconds of the longest poll of a hook that runs in a child process. The pipeline measures all other polls.
    pub(crate) longest_poll: u64,
    /// The size of all parts of the reply.
    size: usize,
}

/// The most bytes that one call of a hook may reply with.
const MAX_REPLY: usize = 64 * 1024 * 1024;

impl HookReply {
    /// Empties the reply for the next call.
    #[inline]
    pub(crate) fn reset(&mut self) {
        if !self.is_empty() {
            *self = Self::default();
        }
    }

    /// Adds to the size of the reply. Returns false, and the hook has failed, if the reply is now too large.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        // Each part costs something besides its text.
        self.size = self.size.saturating_add(bytes).saturating_add(64);
        if self.size > MAX_REPLY {
            self.failure = Some(Failure::error("answered with more than 64 MiB"));
        }
        self.size <= MAX_REPLY
    }

    /// Returns true if the hook gave nothing beyond its decision.
    pub(crate) fn is_empty(&self) -> bool {
        self.size == 0 && self.failure.is_none()
    }

    /// Checks that the decision, with the answer, is one that this hook may make.
    pub(crate) fn check(&self, kind: HookKind, decision: Decision) -> Result<(), String> {
        match (kind, decision, &self.answer) {
            (_, Decision::Continue, _) | (HookKind::Chunk, Decision::Drop | Decision::Replace, _) => Ok(()),
            (HookKind::ToolCall, Decision::Drop, _) => Ok(()),
            (HookKind::Chunk | HookKind::Text | HookKind::ToolCall, Decision::End, Answer::End(_)) => Ok(()),
            (HookKind::Chunk | HookKind::Text | HookKind::ToolCall, Decision::End, _) => {
                Err("ended the stream without an error".to_owned())
            }
            (HookKind::PreStream, Decision::ShortCircuit, Answer::Stream(_)) => Ok(()),
            (HookKind::Beside, Decision::ShortCircuit, Answer::Error(..)) => Ok(()),
            (HookKind::Beside, Decision::ShortCircuit, _) => {
                Err("refused the request without an error".to_owned())
            }
            (HookKind::Pre, Decision::ShortCircuit, Answer::Stream(_)) => {
                Err("answered with a stream, and the request does not stream".to_owned())
            }
            (
                HookKind::Pre | HookKind::PreStream,
                Decision::ShortCircuit,
                Answer::Response(_) | Answer::Error(..),
            ) => Ok(()),
            (HookKind::Pre | HookKind::PreStream, Decision::ShortCircuit, _) => {
                Err("a short circuit without an answer".to_owned())
            }
            _ => Err(format!("{decision:?} is no reply to {}", kind.as_str())),
        }
    }
}

/// A hook's answer in the provider's place. If a hook gives several, the last one counts.
#[derive(Default)]
pub(crate) enum Answer {
    #[default]
    None,
    Response(Document),
    Stream(Box<dyn ChunkStream>),
    /// An error, and whether a fallback may follow.
    Error(Error, bool),
    /// The error that ends a stream.
    End(Error),
}

/// A stream of chunks that a plugin produces.
pub(crate) trait ChunkStream: Send + Sync {
    /// Returns the next chunk; `None` at the end. An error is the last item.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, ChunkError>>;
}

/// The error that ends a plugin's stream.
pub(crate) enum ChunkError {
    /// The plugin ended the stream with this error.
    Ended(Error),
    /// The plugin failed.
    Failed(Failure),
}
