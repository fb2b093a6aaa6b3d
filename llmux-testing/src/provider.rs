//! A provider in this process that answers as a test scripts it, without a socket, so that time can be paused.
//!
//! The harness and the tests of LLMux use it. [`turn`](crate::turn) has the answers. For a test of HTTP there is
//! [`ScriptedServer`](crate::ScriptedServer).

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use llmux_core::{
    Document, Error,
    provider::{self, Call, Echo, Events, Provider},
};
use serde_json::Value;

use crate::turn::{Answer, Asked, End, Step, Turn};

/// A provider that takes its answers from a script. Clones share the script.
///
/// After the last turn of the script it repeats each request, as the provider `echo` does, or gives the turn that
/// [`otherwise`](Self::otherwise) names.
#[derive(Clone, Debug)]
pub struct ScriptedProvider {
    state: Arc<State>,
    otherwise: Option<Turn>,
    stream_usage: bool,
}

#[derive(Debug, Default)]
struct State {
    turns: Mutex<VecDeque<Turn>>,
    bodies: Mutex<Vec<bytes::Bytes>>,
    produced: AtomicUsize,
    open: AtomicUsize,
}

impl ScriptedProvider {
    /// Returns a provider with this script: one turn for each call.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let state = State { turns: Mutex::new(turns.into_iter().collect()), ..State::default() };
        Self { state: Arc::new(state), otherwise: None, stream_usage: true }
    }

    /// Sets the turn for each call after the script.
    #[must_use]
    pub fn otherwise(mut self, turn: Turn) -> Self {
        self.otherwise = Some(turn);
        self
    }

    /// Makes this a provider without `stream_options.include_usage`.
    #[must_use]
    pub fn without_usage(mut self) -> Self {
        self.stream_usage = false;
        self
    }

    /// Adds a turn at the end of the script.
    pub fn push(&self, turn: Turn) {
        lock(&self.state.turns).push_back(turn);
    }

    /// Makes this turn the rest of the script.
    pub fn replace(&self, turn: Turn) {
        *lock(&self.state.turns) = [turn].into();
    }

    /// Bodies of all calls so far, in order, as text.
    pub fn bodies(&self) -> Vec<String> {
        lock(&self.state.bodies).iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// Bodies of all calls so far, in order, as JSON.
    ///
    /// # Panics
    ///
    /// If a body is not JSON.
    pub fn calls(&self) -> Vec<Value> {
        let bodies = lock(&self.state.bodies);
        bodies.iter().map(|body| serde_json::from_slice(body).expect("a provider gets JSON")).collect()
    }

    /// Number of stream items that were read so far.
    pub fn produced(&self) -> usize {
        self.state.produced.load(SeqCst)
    }

    /// Number of calls and streams that have not ended.
    pub fn open(&self) -> usize {
        self.state.open.load(SeqCst)
    }

    /// Records a call and takes the turn for it. `None` means that the request is repeated.
    fn next(&self, call: &Call, stream: bool) -> Option<(Turn, Asked)> {
        let number = {
            let mut bodies = lock(&self.state.bodies);
            bodies.push(call.body.clone());
            bodies.len()
        };
        let turn = lock(&self.state.turns).pop_front().or_else(|| self.otherwise.clone())?;
        let body = serde_json::from_slice(&call.body).unwrap_or_default();
        Some((turn, Asked { body, number, stream }))
    }
}

impl Default for ScriptedProvider {
    fn default() -> Self {
        Self::new([])
    }
}

impl Provider for ScriptedProvider {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<provider::Answer<Document>, Error>> {
        let (turn, open) = (self.next(&call, false), Open::new(&self.state));
        async move {
            let _open = open;
            let Some((turn, asked)) = turn else { return Echo::new().send(call).await };
            match turn.answer(&asked).await? {
                Answer { end: End::Error(error), .. } => Err(error),
                Answer { end: End::Stall, .. } => pending().await,
                Answer { whole, .. } => {
                    Ok(Document::parse(whole?).expect("the response of a turn is JSON").into())
                }
            }
        }
        .boxed()
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<provider::Answer<Events>, Error>> {
        let (turn, open) = (self.next(&call, true), Open::new(&self.state));
        async move {
            let Some((turn, asked)) = turn else { return Echo::new().stream(call).await };
            let Answer { steps, end, .. } = turn.answer(&asked).await?;
            let events = stream::iter(steps).filter_map(async |step| match step {
                Step::Event(event) => Some(Ok(event)),
                Step::Pause(pause) => {
                    tokio::time::sleep(pause).await;
                    None
                }
            });
            let end = match end {
                End::Done => stream::empty().boxed(),
                End::Error(error) => stream::iter([Err(error)]).boxed(),
                End::Stall => stream::pending().boxed(),
            };
            let count = move |_: &_| {
                open.0.produced.fetch_add(1, SeqCst);
            };
            let events: Events = events.chain(end).inspect(count).boxed();
            Ok(events.into())
        }
        .boxed()
    }

    fn stream_usage(&self) -> bool {
        self.stream_usage
    }
}

/// Counts as an open call until it is dropped.
struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        state.open.fetch_add(1, SeqCst);
        Self(state.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// Locks a mutex. A test that panicked while it held the lock has failed already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
