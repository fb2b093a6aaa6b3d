//! A stream of chunks that a plugin produces, as the pipeline reads it.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use abi_stable::sabi_types::RMut;
use async_ffi::{BorrowingFfiFuture, ContextExt, FfiContext};
use futures_util::future::BoxFuture;
use llmux_abi::{
    host::Parameters,
    raw::{
        flow::HookPoll,
        stream::{NextCall, NextCallRef, RawStream},
    },
};

use super::{decision::decode, lent_memory, reply};
use crate::{
    pipeline::{
        hook::{Answer, ChunkError, ChunkStream, Decision, HookReply},
        kind::Failure,
        memory::HookMemory,
    },
    provider::Event,
};

/// A call into a plugin. The first poll starts it, with that poll's waker.
pub(super) enum Calling<'f, F> {
    Start(F),
    Waiting(BorrowingFfiFuture<'f, u32>),
    Done,
}

impl<'f, F: FnOnce(&mut FfiContext<'_>) -> HookPoll<'f>> Calling<'f, F> {
    pub(super) fn new(call: F) -> Self {
        Self::Start(call)
    }
}

impl<'f, F> Future for Calling<'f, F>
where
    F: FnOnce(&mut FfiContext<'_>) -> HookPoll<'f> + Unpin,
{
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        match std::mem::replace(&mut *self, Calling::Done) {
            Calling::Start(call) => match cx.with_ffi_context(call) {
                HookPoll::Ready(code) => Poll::Ready(code),
                HookPoll::Pending(future) => {
                    *self = Calling::Waiting(future);
                    Poll::Pending
                }
            },
            Calling::Waiting(mut future) => {
                let polled = Pin::new(&mut future).poll(cx);
                if polled.is_pending() {
                    *self = Calling::Waiting(future);
                }
                polled
            }
            Calling::Done => Poll::Pending,
        }
    }
}

/// A plugin's stream.
pub(super) struct PluginStream {
    raw: RawStream,
    ready: VecDeque<Event>,
    /// The memory for the next call.
    memory: HookMemory,
    ended: bool,
}

// SAFETY: the SDK requires a source to be `Send`, and the contract lets any one thread call it at a time.
unsafe impl Send for PluginStream {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for PluginStream {}

impl PluginStream {
    pub(super) fn new(raw: RawStream) -> Self {
        Self { raw, ready: VecDeque::new(), memory: HookMemory::default(), ended: false }
    }

    async fn next(&mut self) -> Result<Option<Event>, ChunkError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let mut reply = HookReply::default();
            let decision = decode(self.call(&mut reply).await);
            if let Some(failure) = reply.failure {
                self.ended = true;
                return Err(ChunkError::Failed(failure));
            }
            match (decision, reply.answer) {
                (Decision::Replace, _) => self.ready = reply.emitted.into(),
                (Decision::Continue, _) => self.ended = true,
                (Decision::End, Answer::End(error)) => {
                    self.ended = true;
                    return Err(ChunkError::Ended(error));
                }
                (decision, _) => {
                    self.ended = true;
                    let message = format!("{decision:?} is no reply of a stream");
                    return Err(ChunkError::Failed(Failure::error(message)));
                }
            }
        }
    }

    async fn call(&mut self, reply: &mut HookReply) -> u32 {
        let next = self.raw.table.next();
        // SAFETY: the plugin's object is live until `drop`, and `&mut self` keeps calls one at a time.
        let object = unsafe { RMut::from_raw(self.raw.object) };
        let memory = &mut self.memory;
        Calling::new(move |waker: &mut FfiContext<'_>| {
            let (answer, memory) = (reply::handle(reply), lent_memory::handle(memory));
            let call = Parameters::new(NextCall { answer, memory });
            // SAFETY: the object stands beside its table, and the table of parameters outlives the call.
            unsafe { next(object, NextCallRef(call.lend()), waker) }
        })
        .await
    }
}

impl ChunkStream for PluginStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, ChunkError>> {
        Box::pin(PluginStream::next(self))
    }
}

impl Drop for PluginStream {
    fn drop(&mut self) {
        // SAFETY: the host owns the stream and gives it back here, once; no call is under way.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}
