//! The calls of hooks in the child: many at once, each in a task of its own, with the states and streams that the instance
//! keeps for requests.
//!
//! The tasks of one request wait for each other at its state. A task that is cancelled confirms it when the plugin's future
//! is dropped.

use std::{
    collections::HashMap,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{runtime::Handle, sync::Mutex as AsyncMutex, task::AbortHandle};

use super::to_host::ToHost;
use crate::{
    boundary::NativeHooks,
    isolation::{
        collect::{self, Ended},
        frame::Frame,
        protocol::{self as message, decode},
        rebuild::{self, Subject, text},
    },
    pipeline::{
        Clock, Limit,
        hook::{
            Answer, CallContext, ChunkError, ChunkStream, Decision, FirstPoll, HookCall, HookReply, Hooks,
            StateSlot,
        },
        kind::HookKind,
        memory::HookMemory,
    },
};

/// The state that the instance keeps for one request.
type State = Arc<AsyncMutex<StateSlot>>;
type Stream = Arc<AsyncMutex<Box<dyn ChunkStream>>>;

/// The instance, and its calls.
pub(super) struct Calls {
    instance: NativeHooks,
    to_host: Arc<ToHost>,
    runtime: Handle,
    running: Mutex<HashMap<u64, AbortHandle>>,
    states: Mutex<HashMap<u64, State>>,
    streams: Mutex<HashMap<u64, Stream>>,
}

impl Calls {
    pub(super) fn new(instance: NativeHooks, to_host: Arc<ToHost>, runtime: Handle) -> Self {
        let (running, states, streams) = <_>::default();
        Self { instance, to_host, runtime, running, states, streams }
    }

    /// Starts a call of a hook.
    pub(super) fn call(self: &Arc<Self>, frame: Frame) {
        let (calls, number) = (self.clone(), frame.number);
        self.start(number, async move { calls.run(frame).await });
    }

    /// Starts the wait for the next chunk of a stream.
    pub(super) fn next(self: &Arc<Self>, number: u64, stream: u64) {
        let calls = self.clone();
        let stream = lock(&self.streams).get(&stream).cloned();
        self.start(number, async move {
            let next = match &stream {
                Some(stream) => stream.lock().await.next().await,
                None => Ok(None),
            };
            calls.reply_next(number, next);
        });
    }

    /// Starts the cleanup of the instance.
    pub(super) fn clean_up(self: &Arc<Self>, number: u64, limit: Duration) {
        let calls = self.clone();
        self.start(number, async move {
            let cleaned = calls.instance.clean_up(limit).await;
            let cleaned: message::CleanedUp<'_> = cleaned.as_ref().copied().map_err(collect::failure);
            calls.to_host.reply(number, &cleaned);
        });
    }

    /// Cancels a call. If it has ended, the host does not take the stream that it answered with.
    pub(super) fn cancel(&self, number: u64) {
        if let Some(task) = lock(&self.running).get(&number) {
            task.abort();
        }
        self.drop_stream(number);
    }

    /// Releases a state, after the calls that use it.
    pub(super) fn release(self: &Arc<Self>, number: u64) {
        if let Some(state) = lock(&self.states).remove(&number) {
            let calls = self.clone();
            self.runtime.spawn(async move { calls.instance.release_state(&mut *state.lock().await) });
        }
    }

    pub(super) fn drop_stream(&self, number: u64) {
        if let Some(stream) = lock(&self.streams).remove(&number) {
            // The drop is the plugin's code.
            self.runtime.spawn(async move { drop(stream) });
        }
    }

    /// Cancels all calls.
    pub(super) fn abort(&self) {
        lock(&self.running).values().for_each(AbortHandle::abort);
    }

    /// Runs a task that ends with a reply, or with the confirmation that it was cancelled.
    fn start(self: &Arc<Self>, number: u64, task: impl Future<Output = ()> + Send + 'static) {
        let confirm = Confirm { calls: self.clone(), number, is_open: true };
        // Held until the task is in the map: the task removes itself.
        let mut running = lock(&self.running);
        let task = self.runtime.spawn(async move {
            // Dropped last, also if this task is cancelled or panics.
            let mut confirm = confirm;
            task.await;
            confirm.is_open = false;
        });
        running.insert(number, task.abort_handle());
    }

    async fn run(self: &Arc<Self>, frame: Frame) {
        let number = frame.number;
        let Some((message, mut context, mut subject)) = read(&frame) else {
            // Both ends are one program. An empty reply is a failure of the call.
            return self.to_host.confirm(number);
        };
        let kind = HookKind::ALL.get(usize::from(message.hook)).copied().unwrap_or(HookKind::Cleanup);
        let limit = Limit { started: Clock::start(), timeout: Duration::from_micros(message.remaining) };
        let state = lock(&self.states).entry(message.state).or_default().clone();
        let mut slot = state.lock().await;
        let (mut reply, mut memory) = (HookReply::default(), HookMemory::default());
        let decision = {
            let mut lent = CallContext { request: &mut context, state: &mut slot, limit, kind };
            let call = HookCall {
                context: &mut lent,
                input: subject.lend(kind),
                reply: &mut reply,
                memory: &mut memory,
            };
            decision(&self.instance, call).await
        };
        let keeps_state = !slot.get_mut().is_null();
        drop(slot);
        if !keeps_state {
            lock(&self.states).remove(&message.state);
        }
        let mut frames = Vec::new();
        let subject = &mut subject;
        let ended = Ended { decision, reply: &reply, context: &context, subject, keeps_state };
        if collect::write(&mut frames, number, ended).is_err() {
            return self.to_host.confirm(number);
        }
        if let Answer::Stream(stream) = mem::take(&mut reply.answer) {
            lock(&self.streams).insert(number, Arc::new(AsyncMutex::new(stream)));
        }
        self.to_host.send(&frames);
    }

    fn reply_next(&self, number: u64, next: Result<Option<crate::provider::Event>, ChunkError>) {
        let json;
        let message = match &next {
            Ok(Some(event)) => {
                message::Next::Chunk(message::Event { name: event.name.as_deref(), data: text(&event.data) })
            }
            Ok(None) => message::Next::End,
            Err(ChunkError::Ended(error)) => {
                json = error.document().to_bytes();
                message::Next::Ended(text(&json))
            }
            Err(ChunkError::Failed(failure)) => message::Next::Failed(collect::failure(failure)),
        };
        self.to_host.reply(number, &message);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a call, and makes the parts of the request.
fn read(frame: &Frame) -> Option<(message::Call<'_>, crate::pipeline::context::RequestContext, Subject)> {
    let message: message::Call<'_> = decode(&frame.message).ok()?;
    let context = rebuild::context(&message.context)?;
    let subject = Subject::of(&message.subject, frame)?;
    Some((message, context, subject))
}

/// Runs a hook to its end.
async fn decision<'f>(instance: &'f NativeHooks, call: HookCall<'f>) -> Decision {
    let (mut call, mut rest) = (Some(call), None);
    poll_fn(|cx| {
        if let Some(call) = call.take() {
            match instance.call(call, cx) {
                FirstPoll::Ready(decision) => return Poll::Ready(decision),
                FirstPoll::Pending(future) => rest = Some(future),
            }
            return Poll::Pending;
        }
        match &mut rest {
            Some(future) => future.as_mut().poll(cx),
            None => Poll::Pending,
        }
    })
    .await
}

/// Removes a call when its task ends. If it was cancelled, the host receives the confirmation, after the plugin's future
/// was dropped.
struct Confirm {
    calls: Arc<Calls>,
    number: u64,
    is_open: bool,
}

impl Drop for Confirm {
    fn drop(&mut self) {
        lock(&self.calls.running).remove(&self.number);
        if self.is_open {
            self.calls.to_host.confirm(self.number);
        }
    }
}
