//! A stream of chunks that a plugin produces, read by the host.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use abi_stable::sabi_types::RMut;
use async_ffi::{BorrowingFfiFuture, ContextExt, FfiContext};
use llmux_abi::raw::{
    flow::{HOOK_CONTINUE, HOOK_END, HOOK_REPLACE, HookPoll},
    stream::RawStream,
};

use super::answer;
use crate::{
    error::Error,
    pipeline::{
        chain::plugin_failure,
        hook::{Answer, Said},
    },
    provider::Event,
};

/// A call into a plugin: started by the first poll, with that poll's waker.
pub(super) enum Calling<'f, F> {
    Start(F),
    Waiting(BorrowingFfiFuture<'f, u32>),
    Done,
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
pub(crate) struct PluginStream {
    raw: RawStream,
    /// The instance it belongs to, for the log; known once its hook has answered.
    pub(crate) instance: Arc<str>,
    ready: VecDeque<Event>,
    ended: bool,
}

// SAFETY: the SDK requires a source to be `Send`, and the contract lets any one thread call it at a time.
unsafe impl Send for PluginStream {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for PluginStream {}

impl PluginStream {
    pub(super) fn new(raw: RawStream) -> Self {
        Self { raw, instance: "".into(), ready: VecDeque::new(), ended: false }
    }

    /// The next chunk, `None` at the end. A failure of the plugin is an error of the stream: there is no
    /// other source to go on with.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let mut answer = Answer::default();
            let code = self.call(&mut answer).await;
            if let Some(failure) = answer.failure {
                self.ended = true;
                tracing::warn!(
                    instance = &*self.instance,
                    failure = failure.kind.as_str(),
                    "a plugin's stream failed: {}",
                    failure.message
                );
                return Err(plugin_failure());
            }
            match (code, answer.said) {
                (HOOK_REPLACE, _) => self.ready = answer.emitted.into(),
                (HOOK_CONTINUE, _) => self.ended = true,
                (HOOK_END, Said::End(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                (code, _) => {
                    self.ended = true;
                    tracing::warn!(instance = &*self.instance, code, "a plugin's stream failed");
                    return Err(plugin_failure());
                }
            }
        }
    }

    async fn call(&mut self, answer: &mut Answer) -> u32 {
        let next = self.raw.table.next();
        // SAFETY: the plugin's object is live until `drop`, and `&mut self` keeps calls one at a time.
        let object = unsafe { RMut::from_raw(self.raw.object) };
        let answer = answer::handle(answer);
        // SAFETY: the object stands beside its table.
        Calling::Start(|waker: &mut FfiContext<'_>| unsafe { next(object, answer, waker) }).await
    }
}

impl Drop for PluginStream {
    fn drop(&mut self) {
        // SAFETY: the host owns the stream and gives it back here, once; no call is under way.
        unsafe { self.raw.table.drop()(self.raw.object) }
    }
}
