//! The hooks of an instance that runs in a child process: each call is sent to the child, and its reply is applied.
//!
//! `plugins::registry` makes it, and the chains do not know about it. What a call lends stays borrowed until the reply is
//! there. If the call is dropped before, the child is told, and is killed if it does not confirm (rule I4).

use std::{any::Any, ptr, sync::Arc, task, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::{
    connection::{Connection, FREE_BIT, KILLED, Unsent},
    supervisor::Supervisor,
};
use crate::{
    isolation::{
        apply::{self, apply},
        frame::Kind,
        lend::{self, Given, Texts},
        protocol::{self as message, decode},
    },
    pipeline::{
        hook::{
            Answer, CallContext, ChunkError, ChunkStream, Decision, FirstPoll, HookCall, HookInput,
            HookReply, Hooks, StateSlot,
        },
        kind::{Failure, FailureKind, HookKind, HookSet},
    },
    provider::Event,
};

/// Time that a child has to confirm the end of a call.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// Hooks that run in a child process.
pub(crate) struct IsolatedHooks {
    hooks: HookSet,
    /// True if several hooks of a request are called.
    repeats: bool,
    supervisor: Arc<Supervisor>,
}

/// Bit of a state slot that says that the plugin keeps a state of the request. The others are the number of the state.
const HAS_STATE: u64 = FREE_BIT;

impl IsolatedHooks {
    /// The hooks of a supervised instance. `bits` are the hooks that it has.
    pub(crate) fn new(supervisor: Arc<Supervisor>, bits: u16) -> Self {
        let hooks = HookSet::from_bits(bits);
        let many = [HookKind::Chunk, HookKind::Text, HookKind::ToolCall];
        let of_requests =
            HookKind::ALL.into_iter().filter(|kind| *kind != HookKind::Cleanup && hooks.has(*kind));
        let repeats = of_requests.count() > 1 || many.into_iter().any(|kind| hooks.has(kind));
        Self { hooks, repeats, supervisor }
    }

    /// Runs a call. The failure is not yet in the reply.
    async fn run(
        &self,
        context: &mut CallContext<'_>,
        mut input: HookInput<'_>,
        reply: &mut HookReply,
    ) -> Result<Decision, Failure> {
        let slot = context.state.get_mut().addr() as u64;
        let (has_state, mut state) = (slot & HAS_STATE != 0, slot & !HAS_STATE);
        let connection = match self.supervisor.active() {
            Some(connection) if connection.made(state) => connection,
            _ if has_state => {
                return Err(Failure::crashed(
                    "the child process that kept the state of this request has died",
                ));
            }
            active => {
                state = 0;
                match active {
                    Some(connection) => connection,
                    None => self.supervisor.connection().await?,
                }
            }
        };
        let (number, is_new) = (connection.number(), state == 0);
        if is_new {
            state = number;
        }
        let request = &*context.request;
        let given = match self.repeats {
            true => connection.bodies.given(state, request),
            false => Given::Once,
        };
        let receiver = {
            let mut bodies = Vec::new();
            let texts = Texts::of(&mut input, |text| {
                let placed = connection.bodies.place(state, text)?;
                let start = placed.start();
                bodies.push(placed);
                Some(start)
            });
            let call = lend::call(state, context, &input, &texts, given);
            connection.call((number, Kind::Call), Some(context.kind), bodies, &call)
        };
        let receiver = receiver.map_err(|unsent| {
            if is_new {
                connection.bodies.release(state);
            }
            unsent_failure(&connection, unsent)
        })?;
        // From here on, the child may keep a state under this number.
        *context.state.get_mut() = ptr::without_provenance_mut((state | HAS_STATE) as usize);
        let deadline = context.limit.remaining();
        let guard = CancelOnDrop { connection: &connection, number, deadline };
        let received = receiver.await;
        std::mem::forget(guard);
        let bytes = received.map_err(|_| connection.crashed())?;
        let Ok(message) = decode::<message::Reply<'_>>(&bytes) else {
            connection.condemn(KILLED, "it sent a malformed reply");
            return Err(Failure::crashed("the child process sent a malformed reply"));
        };
        let is_kept = connection.bodies.replied(state, message.keeps_state, (given, context.request));
        let slot = match (is_kept, message.keeps_state) {
            (_, true) => state | HAS_STATE,
            (true, false) => state,
            (false, false) => 0,
        };
        *context.state.get_mut() = ptr::without_provenance_mut(slot as usize);
        let is_stream = matches!(message.answer, message::Answer::Stream);
        let stream =
            is_stream.then(|| IsolatedStream { connection: connection.clone(), number, is_over: false });
        let decision = apply(message, context, &mut input, reply)?;
        if let Some(stream) = stream {
            reply.answer = Answer::Stream(Box::new(stream));
        }
        Ok(decision)
    }
}

fn unsent_failure(connection: &Connection, unsent: Unsent) -> Failure {
    match unsent {
        Unsent::Dead => connection.crashed(),
        Unsent::Refused(why) => Failure::error(why),
    }
}

impl Hooks for IsolatedHooks {
    fn call<'f>(&'f self, call: HookCall<'f>, cx: &mut task::Context<'_>) -> FirstPoll<'f> {
        let HookCall { context, input, reply, memory: _ } = call;
        let mut future: BoxFuture<'f, Decision> = Box::pin(async move {
            match self.run(context, input, reply).await {
                Ok(decision) => decision,
                Err(failure) => {
                    reply.failure = Some(failure);
                    Decision::Fail(0)
                }
            }
        });
        match future.as_mut().poll(cx) {
            task::Poll::Ready(decision) => FirstPoll::Ready(decision),
            task::Poll::Pending => FirstPoll::Pending(future),
        }
    }

    fn hooks(&self) -> HookSet {
        self.hooks
    }

    fn release_state(&self, slot: &mut StateSlot) {
        let state = std::mem::replace(slot.get_mut(), ptr::null_mut()).addr() as u64 & !HAS_STATE;
        // The states of a dead child are gone with it.
        if let Some(connection) = self.supervisor.active().filter(|connection| connection.made(state))
            && connection.bodies.release(state)
        {
            connection.tell(Kind::Release, state);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn clean_up(&self, limit: Duration) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let cleaned = self.call_cleanup(limit).await;
            self.supervisor.end();
            self.supervisor.over().await;
            cleaned
        })
    }
}

impl IsolatedHooks {
    async fn call_cleanup(&self, limit: Duration) -> Result<(), Failure> {
        if !self.hooks.has(HookKind::Cleanup) {
            return Ok(());
        }
        let connection = self.supervisor.connection().await?;
        let call = (connection.number(), Kind::CleanUp);
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let reply = connection.call(call, Some(HookKind::Cleanup), Vec::new(), &millis);
        let reply = reply.map_err(|unsent| unsent_failure(&connection, unsent))?;
        // The child keeps the limit itself, unless its workers are blocked.
        let Ok(reply) = timeout(limit + CONFIRMATION, reply).await else {
            let message = format!("ran past its timeout of {limit:?}");
            return Err(Failure { kind: FailureKind::Timeout, message });
        };
        let reply: Bytes = reply.map_err(|_| connection.crashed())?;
        match decode::<message::CleanedUp<'_>>(&reply) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reported)) => Err(apply::failure(&reported)),
            Err(_) => Err(Failure::error("the child process sent a malformed reply")),
        }
    }
}

impl Drop for IsolatedHooks {
    fn drop(&mut self) {
        self.supervisor.end();
    }
}

/// Cancels a call that is dropped. The child is killed if it does not confirm within a second after the time limit of the
/// hook: it may be in an endless loop.
struct CancelOnDrop<'c> {
    connection: &'c Arc<Connection>,
    number: u64,
    /// The rest of the hook's time when the call was sent.
    deadline: Duration,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (connection, number) = (self.connection, self.number);
        if !connection.cancel(number) {
            return;
        }
        let (connection, limit) = (connection.clone(), self.deadline + CONFIRMATION);
        connection.clone().services.spawn(async move {
            sleep(limit).await;
            if connection.is_under_way(number) {
                connection.condemn(KILLED, "a hook did not end within a second after it was cancelled");
            }
        });
    }
}

/// A stream of chunks that a plugin produces in the child.
struct IsolatedStream {
    connection: Arc<Connection>,
    number: u64,
    is_over: bool,
}

impl IsolatedStream {
    async fn ask(&mut self) -> Result<Option<Event>, ChunkError> {
        let failed = ChunkError::Failed;
        let number = self.connection.number();
        let hook = Some(HookKind::PreStream);
        let receiver = self.connection.call((number, Kind::Next), hook, Vec::new(), &self.number);
        let receiver = receiver.map_err(|unsent| failed(unsent_failure(&self.connection, unsent)))?;
        let guard = CancelOnDrop { connection: &self.connection, number, deadline: Duration::from_secs(10) };
        let received = receiver.await;
        std::mem::forget(guard);
        let bytes = received.map_err(|_| failed(self.connection.crashed()))?;
        match decode::<message::Next<'_>>(&bytes) {
            Ok(message::Next::Chunk(event)) => Ok(Some(apply::event(&event))),
            Ok(message::Next::End) => Ok(None),
            Ok(message::Next::Ended(json)) => {
                Err(apply::error(json).map_or_else(ChunkError::Failed, ChunkError::Ended))
            }
            Ok(message::Next::Failed(reported)) => Err(failed(apply::failure(&reported))),
            Err(_) => {
                self.connection.condemn(KILLED, "it sent a malformed reply");
                Err(failed(Failure::crashed("the child process sent a malformed reply")))
            }
        }
    }
}

impl ChunkStream for IsolatedStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, ChunkError>> {
        Box::pin(async move {
            if self.is_over {
                return Ok(None);
            }
            let next = self.ask().await;
            self.is_over = !matches!(next, Ok(Some(_)));
            next
        })
    }
}

impl Drop for IsolatedStream {
    fn drop(&mut self) {
        self.connection.tell(Kind::DropStream, self.number);
    }
}
