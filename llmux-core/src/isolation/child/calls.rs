//! The calls of hooks in the child: many at once, with the states and streams that the instance keeps for requests.
//!
//! `reading` polls a call once where it is read. A call that waits becomes a task. The calls of one request wait for each
//! other at its state. A call that is cancelled confirms it when the plugin's future is dropped.

use std::{
    collections::HashMap,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex, task::AbortHandle};

use super::to_host::ToHost;
use crate::{
    boundary::{
        NativeHooks,
        paused::{self, Busy, Paused},
    },
    isolation::{
        collect::{self, Ended},
        frame::Frame,
        protocol::{self as message, decode},
        rebuild::{self, Subject, text},
    },
    pipeline::{
        Clock, Limit,
        context::RequestContext,
        hook::{
            Answer, CallContext, ChunkError, ChunkStream, Decision, FirstPoll, HookCall, HookReply, Hooks,
            StateSlot,
        },
        kind::HookKind,
        memory::HookMemory,
    },
};

/// The parts of a request that one call after the other is lent.
#[derive(Default)]
struct Lent {
    /// The state of the instance.
    state: StateSlot,
    memory: HookMemory,
    /// The context that the host does not send again.
    context: Option<RequestContext>,
    /// Number of the last call, if it let a chunk go on and set nothing; otherwise 0.
    passed: u64,
}

type Stream = Arc<AsyncMutex<Box<dyn ChunkStream>>>;

/// Longest poll of a hook that runs on the reading thread the next time, too. Longer ones run beside each other.
const SHORT: Duration = Duration::from_micros(100);

/// The instance, and its calls.
pub(super) struct Calls {
    instance: NativeHooks,
    to_host: Arc<ToHost>,
    runtime: Handle,
    running: Mutex<Running>,
    /// The parts that are kept between the calls of a request, which wait for each other there.
    requests: Mutex<HashMap<u64, Arc<AsyncMutex<Lent>>>>,
    streams: Mutex<HashMap<u64, Stream>>,
    /// The kinds of work whose last first poll was long, one bit for each.
    long: AtomicU32,
    /// The call that a reader polls, or polled last.
    polling: AtomicU64,
}

/// The calls that are tasks.
#[derive(Default)]
struct Running {
    tasks: HashMap<u64, (AbortHandle, Option<Busy>)>,
    /// The call that was cancelled while a reader polled it.
    cancelled: u64,
}

/// Work of the plugin, which has not begun.
pub(super) struct Work {
    /// Number of the call; `None` if nobody waits for its end.
    number: Option<u64>,
    /// The kind of work: the place of a hook, or one of the numbers below.
    kind: u8,
    future: BoxFuture<'static, ()>,
}

const NEXT: u8 = 29;
const RELEASE: u8 = 30;
/// Always a task.
const CLEAN_UP: u8 = 31;

impl Calls {
    pub(super) fn new(instance: NativeHooks, to_host: Arc<ToHost>, runtime: Handle) -> Self {
        let (running, requests, streams) = <_>::default();
        let long = AtomicU32::new(1 << CLEAN_UP);
        let polling = AtomicU64::new(0);
        Self { instance, to_host, runtime, running, requests, streams, long, polling }
    }

    /// Returns a call of a hook. `None` if its message is malformed; the call has then failed.
    pub(super) fn call(self: &Arc<Self>, frame: Frame) -> Option<Work> {
        let (calls, number) = (self.clone(), frame.number);
        let Ok(((_, kind), _)) = postcard::take_from_bytes::<(u64, u8)>(&frame.message) else {
            self.to_host.confirm(number);
            return None;
        };
        let future = Box::pin(async move { calls.run(frame).await });
        Some(Work { number: Some(number), kind: kind.min(NEXT), future })
    }

    /// Returns the wait for the next chunk of a stream.
    pub(super) fn next(self: &Arc<Self>, number: u64, stream: u64) -> Work {
        let calls = self.clone();
        let stream = lock(&self.streams).get(&stream).cloned();
        let future = Box::pin(async move {
            let next = match &stream {
                Some(stream) => stream.lock().await.next().await,
                None => Ok(None),
            };
            calls.reply_next(number, next);
        });
        Work { number: Some(number), kind: NEXT, future }
    }

    /// Returns the cleanup of the instance.
    pub(super) fn clean_up(self: &Arc<Self>, number: u64, limit: Duration) -> Work {
        let calls = self.clone();
        let future = Box::pin(async move {
            let cleaned = calls.instance.clean_up(limit).await;
            let cleaned: message::CleanedUp<'_> = cleaned.as_ref().copied().map_err(collect::failure);
            calls.to_host.reply(number, &cleaned);
        });
        Work { number: Some(number), kind: CLEAN_UP, future }
    }

    /// Cancels a call. If it has ended, the host does not take the stream that it answered with: returns its release.
    pub(super) fn cancel(&self, number: u64) -> Option<Work> {
        {
            let mut running = lock(&self.running);
            match running.tasks.get_mut(&number) {
                // Its end is work, which no waker counts.
                Some((task, busy)) => {
                    *busy = self.to_host.paused().map(Paused::busy);
                    task.abort();
                }
                None if self.polling.load(Relaxed) == number => running.cancelled = number,
                None => {}
            }
        }
        self.drop_stream(number)
    }

    /// Returns the release of a state, after the calls that use it.
    pub(super) fn release(self: &Arc<Self>, number: u64) -> Option<Work> {
        let lent = lock(&self.requests).remove(&number)?;
        let calls = self.clone();
        let future = Box::pin(async move { calls.instance.release_state(&mut lent.lock().await.state) });
        Some(Work { number: None, kind: RELEASE, future })
    }

    /// Returns the release of a stream.
    pub(super) fn drop_stream(&self, number: u64) -> Option<Work> {
        let stream = lock(&self.streams).remove(&number)?;
        // The drop is the plugin's code.
        Some(Work { number: None, kind: RELEASE, future: Box::pin(async move { drop(stream) }) })
    }

    /// Cancels all calls.
    pub(super) fn abort(&self) {
        lock(&self.running).tasks.values().for_each(|(task, _)| task.abort());
    }

    /// Returns true if work of this kind should not run on the reading thread.
    pub(super) fn is_long(&self, work: &Work) -> bool {
        self.long.load(Relaxed) & 1 << work.kind != 0
    }

    /// Polls work once. If it waits, it becomes a task, unless it was cancelled meanwhile.
    pub(super) fn poll(self: &Arc<Self>, mut work: Work) {
        self.polling.store(work.number.unwrap_or_default(), Relaxed);
        let clock = Clock::start();
        let polled = work.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.polled(work.kind, clock.elapsed());
        if polled.is_pending() {
            self.start(work);
        }
    }

    /// Keeps whether a first poll was long.
    fn polled(&self, kind: u8, time: Duration) {
        let (bit, is_long) = (1 << kind, time > SHORT);
        if is_long != (self.long.load(Relaxed) & bit != 0) {
            self.long.fetch_xor(bit, Relaxed);
        }
    }

    /// Runs work in a task, which ends with a reply, or with the confirmation that it was cancelled.
    pub(super) fn start(self: &Arc<Self>, Work { number, kind, mut future }: Work) {
        let calls = self.clone();
        let confirm = number.map(|number| Confirm { calls: calls.clone(), number, is_open: true });
        let task = async move {
            // Dropped last, also if this task is cancelled or panics.
            let mut confirm = confirm;
            let first = poll_fn(|cx| {
                let clock = Clock::start();
                let polled = future.as_mut().poll(cx);
                if kind != CLEAN_UP {
                    calls.polled(kind, clock.elapsed());
                }
                Poll::Ready(polled)
            });
            if first.await.is_pending() {
                future.await;
            }
            if let Some(confirm) = &mut confirm {
                confirm.is_open = false;
            }
        };
        let Some(number) = number else {
            paused::spawn(&self.runtime, self.to_host.paused(), task);
            return;
        };
        // Held until the task is in the map: the task removes itself.
        let mut running = lock(&self.running);
        if running.cancelled == number {
            drop(running);
            return drop(task);
        }
        let task = paused::spawn(&self.runtime, self.to_host.paused(), task);
        running.tasks.insert(number, (task.abort_handle(), None));
    }

    async fn run(self: &Arc<Self>, frame: Frame) {
        if self.reply_to(&frame).await.is_none() {
            // Both ends are one program. An empty reply says that there is none.
            self.to_host.confirm(frame.number);
        }
    }

    /// Runs a call and replies to it. `None` if its message is malformed, if it does not run after the call
    /// before, or if its reply is too large.
    async fn reply_to(&self, frame: &Frame) -> Option<()> {
        let message: message::Call<'_> = decode(&frame.message).ok()?;
        let mut subject = Subject::of(&message.subject, frame)?;
        let kind = HookKind::ALL.get(usize::from(message.hook)).copied().unwrap_or(HookKind::Cleanup);
        let limit = Limit { started: Clock::start(), timeout: Duration::from_micros(message.remaining) };
        let lent = match message.after {
            0 => lock(&self.requests).entry(message.state).or_default().clone(),
            _ => lock(&self.requests).get(&message.state)?.clone(),
        };
        let mut lent = lent.lock().await;
        let Lent { state, memory, context: kept, passed } = &mut *lent;
        if mem::take(passed) != message.after && message.after != 0 {
            return None;
        }
        let mut once = None;
        if let Some(given) = &message.context {
            let made = rebuild::context(given, kept.as_ref())?;
            *(if given.is_kept { &mut *kept } else { &mut once }) = Some(made);
        }
        let keeps_context = kept.is_some();
        let context = once.as_mut().or(kept.as_mut())?;
        context.collected = rebuild::collected(message.collected.as_deref())?;
        let mut reply = HookReply::default();
        let (decision, longest_poll) = {
            let context = &mut CallContext { request: context, state, limit, kind };
            let call = HookCall { context, input: subject.lend(kind), reply: &mut reply, memory };
            decision(&self.instance, call).await
        };
        let keeps_state = !state.get_mut().is_null();
        if !keeps_state && !keeps_context {
            lock(&self.requests).remove(&message.state);
        }
        if kind == HookKind::Chunk && goes_on(decision, &reply) && !context.collected.is_touched() {
            *passed = frame.number;
        }
        // The request is no longer lent when the reply is under way: the next call may come at once.
        self.to_host.send(move |frames| {
            let context = once.as_ref().or(lent.context.as_ref())?;
            let (reply, subject) = (&mut reply, &mut subject);
            let ended = Ended { decision, reply, context, subject, keeps_state, longest_poll };
            collect::write(frames, frame.number, ended).ok()?;
            if let Answer::Stream(stream) = mem::take(&mut reply.answer) {
                lock(&self.streams).insert(frame.number, Arc::new(AsyncMutex::new(stream)));
            }
            Some(())
        })
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

/// Returns true if the next chunk goes on to the hook.
fn goes_on(decision: Decision, reply: &HookReply) -> bool {
    let goes_on = matches!(decision, Decision::Continue | Decision::Drop | Decision::Replace);
    goes_on && reply.failure.is_none()
}

/// Runs a hook to its end. Returns its decision, and the nanoseconds of its longest poll (rule E4).
async fn decision<'f>(instance: &'f NativeHooks, call: HookCall<'f>) -> (Decision, u64) {
    let (mut call, mut rest, mut longest_poll) = (Some(call), None::<BoxFuture<'f, Decision>>, 0);
    let decision = poll_fn(|cx| {
        let mut clock = Clock::start();
        let polled = match (call.take(), &mut rest) {
            (Some(call), _) => match instance.call(call, cx) {
                FirstPoll::Ready(decision) => Poll::Ready(decision),
                FirstPoll::Pending(future) => {
                    rest = Some(future);
                    Poll::Pending
                }
            },
            (None, Some(future)) => future.as_mut().poll(cx),
            (None, None) => Poll::Pending,
        };
        longest_poll = clock.lap().max(longest_poll);
        polled
    });
    let decision = decision.await;
    (decision, longest_poll)
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
        let _ended = lock(&self.calls.running).tasks.remove(&self.number);
        if self.is_open {
            self.calls.to_host.confirm(self.number);
        }
    }
}
