//! The hooks of an instance that runs in a child process: each call is sent to the child, and its reply is applied.
//!
//! `plugins::registry` makes it, and the chains do not know about it. What a call lends stays borrowed until the reply is
//! there. If the call is dropped before, the child is told, and is killed if it does not confirm (rule I4).

use std::{any::Any, collections::VecDeque, ptr, sync::Arc, task, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::{
    announced::Sent,
    bodies::Kept,
    call::{CONFIRMATION, cancel, received, unsent_failure},
    connection::{Connection, FREE_BIT, KILLED},
    stream::IsolatedStream,
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
        hook::{Answer, CallContext, Decision, FirstPoll, HookCall, HookInput, HookReply, Hooks, StateSlot},
        kind::{Failure, FailureKind, HookKind, HookSet},
    },
    provider::Event,
};

/// Hooks that run in a child process.
pub(crate) struct IsolatedHooks {
    hooks: HookSet,
    /// True if several hooks of a request are called.
    repeats: bool,
    supervisor: Arc<Supervisor>,
}

/// Bit of a state slot that says that the plugin keeps a state of the request. The others are the number of the state.
const HAS_STATE: u64 = FREE_BIT;

/// A call that was replied to: its number, the parts of the context that it gave, and the reply.
type Replied = (u64, Given, Bytes);

/// A call that was sent before the turn of its chunk: its connection, and the state of its request.
type Announced = (Arc<Connection>, u64, Sent);

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
        announced: Option<Announced>,
    ) -> Result<Decision, Failure> {
        if let Some((connection, state, Sent { number, reply: receiver, limit, .. })) = announced {
            let bytes = received(&connection, number, receiver, limit).await?;
            if !bytes.is_empty() {
                let replied = (number, Given::Nothing, bytes);
                return self.applied((&connection, state), replied, context, &mut input, reply);
            }
            // It did not run.
        }
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
        let replied = self.ask(&connection, &mut state, context, &mut input).await?;
        self.applied((&connection, state), replied, context, &mut input, reply)
    }

    /// Applies a reply.
    fn applied(
        &self,
        (connection, state): (&Arc<Connection>, u64),
        (number, given, bytes): Replied,
        context: &mut CallContext<'_>,
        input: &mut HookInput<'_>,
        reply: &mut HookReply,
    ) -> Result<Decision, Failure> {
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
        let answer = message.effects.as_ref().map(|effects| &effects.answer);
        let is_stream = matches!(answer, Some(message::Answer::Stream));
        let stream = is_stream.then(|| IsolatedStream::new(connection.clone(), number));
        let decision = apply(message, context, input, reply)?;
        if let Some(stream) = stream {
            reply.answer = Answer::Stream(Box::new(stream));
        }
        Ok(decision)
    }

    /// Sends a call, and waits for its reply. `state` is 0 for a new request.
    async fn ask(
        &self,
        connection: &Arc<Connection>,
        state: &mut u64,
        context: &mut CallContext<'_>,
        input: &mut HookInput<'_>,
    ) -> Result<Replied, Failure> {
        let (number, is_new) = (connection.number(), *state == 0);
        if is_new {
            *state = number;
        }
        let state = *state;
        let given = match self.repeats {
            true => connection.bodies.given(state, context.request),
            false => Given::Once,
        };
        let receiver = {
            let mut bodies = Vec::new();
            let texts = Texts::of(input, |text| {
                let placed = connection.bodies.place(state, text)?;
                let start = placed.start();
                bodies.push(placed);
                Some(start)
            });
            let call = lend::call(state, context, input, &texts, given);
            connection.call((number, Kind::Call), Some(context.kind), bodies, &call)
        };
        let receiver = receiver.map_err(|unsent| {
            if is_new {
                connection.bodies.release(state);
            }
            unsent_failure(connection, unsent)
        })?;
        // From here on, the child may keep a state under this number.
        *context.state.get_mut() = ptr::without_provenance_mut((state | HAS_STATE) as usize);
        let deadline = context.limit.remaining();
        Ok((number, given, received(connection, number, receiver, deadline).await?))
    }

    /// Takes the call that was sent for a chunk before its turn, and cancels the calls whose turn does not come.
    fn announced(&self, context: &mut CallContext<'_>, input: &HookInput<'_>) -> Option<Announced> {
        if !self.hooks.has(HookKind::Chunk) {
            return None;
        }
        let state = context.state.get_mut().addr() as u64 & !HAS_STATE;
        let connection = self.supervisor.active().filter(|connection| connection.made(state))?;
        let chunk = match input {
            HookInput::Chunk(chunk) => Some(&**chunk),
            _ => None,
        };
        match connection.announced.take(state, chunk) {
            Ok(sent) => Some((connection, state, sent?)),
            Err(others) => {
                cancel(&connection, others);
                None
            }
        }
    }
}

impl Hooks for IsolatedHooks {
    fn call<'f>(&'f self, call: HookCall<'f>, cx: &mut task::Context<'_>) -> FirstPoll<'f> {
        let HookCall { context, mut input, reply, memory: _ } = call;
        let failed = |failure, reply: &mut HookReply| {
            reply.failure = Some(failure);
            Decision::Fail(0)
        };
        let mut announced = self.announced(context, &input);
        if let Some((connection, state, sent)) = &mut announced
            && let Some(bytes) = sent.arrived()
        {
            if !bytes.is_empty() {
                let replied = (sent.number, Given::Nothing, bytes);
                let applied = self.applied((connection, *state), replied, context, &mut input, reply);
                return FirstPoll::Ready(applied.unwrap_or_else(|failure| failed(failure, reply)));
            }
            // It did not run.
            announced = None;
        }
        let mut future: BoxFuture<'f, Decision> = Box::pin(async move {
            match self.run(context, input, reply, announced).await {
                Ok(decision) => decision,
                Err(failure) => failed(failure, reply),
            }
        });
        match future.as_mut().poll(cx) {
            task::Poll::Ready(decision) => FirstPoll::Ready(decision),
            task::Poll::Pending => FirstPoll::Pending(future),
        }
    }

    fn takes_announcements(&self) -> bool {
        true
    }

    fn announce(
        &self,
        context: &mut CallContext<'_>,
        chunks: &mut dyn Iterator<Item = &Event>,
        limit: usize,
    ) -> bool {
        let state = context.state.get_mut().addr() as u64 & !HAS_STATE;
        let active = self.supervisor.active().filter(|connection| connection.made(state));
        let active = active.filter(|connection| connection.bodies.has(state, context.request));
        let Some(connection) = active else { return false };
        let (mut after, mut sent) = (0, VecDeque::new());
        for event in chunks {
            let number = connection.number();
            let call = lend::announced((state, after), context, event, limit);
            let Ok(reply) = connection.announce(number, &call) else { break };
            let limit = context.limit.remaining();
            sent.push_back(Sent { event: event.clone(), number, reply, limit });
            after = number;
        }
        let is_taken = !sent.is_empty();
        connection.announced.put(state, sent);
        is_taken
    }

    fn hooks(&self) -> HookSet {
        self.hooks
    }

    fn release_state(&self, slot: &mut StateSlot) {
        let state = std::mem::replace(slot.get_mut(), ptr::null_mut()).addr() as u64 & !HAS_STATE;
        // The states of a dead child are gone with it.
        let active = self.supervisor.active().filter(|connection| connection.made(state));
        let Some(connection) = active else { return };
        if let Err(others) = connection.announced.take(state, None) {
            cancel(&connection, others);
        }
        match connection.bodies.release(state) {
            Kept::Nothing => {}
            Kept::Context => connection.tell_later(Kind::Release, state),
            Kept::State => connection.tell(Kind::Release, state),
        }
    }

    fn release_takes_time(&self) -> bool {
        false
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
