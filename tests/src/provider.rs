//! A provider in this process that answers as a test has scripted it, without a socket, so that time can stand.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use llmux_core::{
    Document, Error, ErrorKind,
    provider::{Call, Event, Events, Provider},
};
use serde_json::{Value, json};

/// One scripted answer.
#[derive(Clone, Debug)]
pub enum Turn {
    /// A response, or a stream of these texts.
    Say(Vec<Value>),
    /// Bytes of a response, or the data of the events of a stream.
    Raw(Vec<&'static str>),
    /// A stream of these events: name and data.
    Named(Vec<(&'static str, &'static str)>),
    /// An error.
    Fail(Error),
    /// A stream of these chunks that breaks off with this error.
    BreakOff(Vec<Value>, Error),
    /// A stream of these chunks that then stands still.
    Stall(Vec<Value>),
    /// A stream of these chunks, with a second before each but the first.
    Paced(Vec<Value>),
    /// A stream of so many chunks.
    Many(usize),
    /// No answer at all.
    Hang,
    /// A wait before the next turn of the script.
    After(Duration, Box<Turn>),
}

impl Turn {
    /// A response with this text, or a stream of one chunk with it.
    pub fn text(text: &str) -> Self {
        Turn::Say(vec![json!(text)])
    }

    /// An error as a provider gives it.
    pub fn error(status: u16, message: &str) -> Self {
        Turn::Fail(provider_error(status, message))
    }
}

/// An error as a provider gives it.
pub fn provider_error(status: u16, message: &str) -> Error {
    let error = json!({"message": message, "type": "upstream_type", "param": null, "code": "upstream_code"});
    Error::from_parts(ErrorKind::Provider, status, error, None)
}

/// A chunk of a chat stream. A string is its text; anything else is the chunk as it is.
pub fn chunk(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
        }
        value => value.clone(),
    }
}

/// A chunk that only states the usage.
pub fn usage_chunk() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
}

/// A response with this text. Anything but a string is the response as it is.
pub fn response(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({
            "id": "r", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }),
        value => value.clone(),
    }
}

/// The provider. When its script is at its end, it says `again` for ever.
#[derive(Debug, Default)]
pub struct Scripted {
    turns: Mutex<VecDeque<Turn>>,
    calls: Mutex<Vec<Bytes>>,
    produced: AtomicUsize,
    open: AtomicUsize,
    knows_no_usage: bool,
}

impl Scripted {
    /// One with this script.
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Arc<Self> {
        Arc::new(Self { turns: Mutex::new(turns.into_iter().collect()), ..Self::default() })
    }

    /// The same, that does not know `stream_options.include_usage`.
    pub fn without_usage(turns: impl IntoIterator<Item = Turn>) -> Arc<Self> {
        Arc::new(Self {
            turns: Mutex::new(turns.into_iter().collect()),
            knows_no_usage: true,
            ..Self::default()
        })
    }

    /// Adds a turn at the end of the script.
    pub fn push(&self, turn: Turn) {
        lock(&self.turns).push_back(turn);
    }

    /// The bodies it has been sent.
    pub fn bodies(&self) -> Vec<String> {
        lock(&self.calls).iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }

    /// The bodies it has been sent, parsed.
    pub fn calls(&self) -> Vec<Value> {
        lock(&self.calls).iter().map(|body| serde_json::from_slice(body).expect("JSON is sent")).collect()
    }

    /// How many chunks have been taken from it.
    pub fn produced(&self) -> usize {
        self.produced.load(SeqCst)
    }

    /// How many of its streams or answers are being waited for.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    fn next(self: &Arc<Self>, call: &Call) -> Turn {
        lock(&self.calls).push(call.body.clone());
        lock(&self.turns).pop_front().unwrap_or_else(|| Turn::text("again"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts as open until it is dropped.
struct Open(Arc<Scripted>);

impl Open {
    fn new(scripted: &Arc<Scripted>) -> Self {
        scripted.open.fetch_add(1, SeqCst);
        Self(scripted.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// The provider as a client takes it.
pub struct Shared(pub Arc<Scripted>);

impl Provider for Shared {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>> {
        let turn = self.0.next(&call);
        let open = Open::new(&self.0);
        async move {
            let _open = open;
            answer(turn).await
        }
        .boxed()
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>> {
        let turn = self.0.next(&call);
        let open = Open::new(&self.0);
        begin(turn, open).boxed()
    }

    fn stream_usage(&self) -> bool {
        !self.0.knows_no_usage
    }
}

fn answer(turn: Turn) -> BoxFuture<'static, Result<Document, Error>> {
    async move {
        match turn {
            Turn::Say(texts) => {
                let value = response(texts.first().expect("something to say"));
                Ok(Document::parse(value.to_string()).expect("JSON"))
            }
            Turn::Raw(texts) => Ok(Document::parse(texts.concat()).expect("JSON")),
            Turn::Fail(error) => Err(error),
            Turn::After(wait, turn) => {
                tokio::time::sleep(wait).await;
                answer(*turn).await
            }
            Turn::Hang => pending().await,
            turn => unreachable!("{turn:?} is for streams"),
        }
    }
    .boxed()
}

fn begin(turn: Turn, open: Open) -> BoxFuture<'static, Result<Events, Error>> {
    async move {
        let chunks =
            |values: Vec<Value>| stream::iter(values).map(|value| Ok(event(chunk(&value).to_string())));
        let events: BoxStream<'static, Result<Event, Error>> = match turn {
            Turn::Say(values) => chunks(values).boxed(),
            Turn::Raw(texts) => stream::iter(texts).map(|text| Ok(event(text.to_owned()))).boxed(),
            Turn::Named(events) => {
                let event = |(name, data): (&str, &'static str)| {
                    Ok(Event { name: Some(name.into()), data: data.into() })
                };
                stream::iter(events).map(event).boxed()
            }
            Turn::BreakOff(values, error) => chunks(values).chain(stream::iter([Err(error)])).boxed(),
            Turn::Stall(values) => chunks(values).chain(stream::pending()).boxed(),
            Turn::Paced(values) => chunks(values)
                .enumerate()
                .then(|(at, chunk)| async move {
                    if at > 0 {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    chunk
                })
                .boxed(),
            Turn::Many(count) => chunks((0..count).map(|at| json!(at.to_string())).collect()).boxed(),
            Turn::Fail(error) => return Err(error),
            Turn::Hang => pending().await,
            Turn::After(wait, turn) => {
                tokio::time::sleep(wait).await;
                return begin(*turn, open).await;
            }
        };
        Ok(events
            .inspect(move |_| {
                open.0.produced.fetch_add(1, SeqCst);
            })
            .boxed())
    }
    .boxed()
}

fn event(data: String) -> Event {
    Event { name: None, data: data.into() }
}
