//! The answers of a [`ScriptedProvider`](crate::ScriptedProvider): one turn is the answer to one call.
//!
//! A turn answers plain requests and streams alike: a response is also a stream of chunks, and chunks are also a
//! response.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use llmux_abi::convert::{Assembler, to_chunks};
use llmux_core::{Error, ErrorKind, provider::Event};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// A call, for turns that depend on it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Body of the call.
    pub body: Value,
    /// Number of the call at this provider, from 1.
    pub number: usize,
    /// Whether the caller asked for a stream.
    pub stream: bool,
}

/// The answer to one call.
#[derive(Clone, Debug)]
pub struct Turn {
    wait: Wait,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Wait {
    No,
    For(Duration),
    Permit(Arc<Semaphore>),
}

#[derive(Clone)]
enum Kind {
    Fail(Error),
    Hang,
    Answer(Answer),
    By(Arc<dyn Fn(&Asked) -> Turn + Send + Sync>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Fail(error) => f.debug_tuple("Fail").field(error).finish(),
            Kind::Hang => f.write_str("Hang"),
            Kind::Answer(answer) => answer.fmt(f),
            Kind::By(_) => f.write_str("By"),
        }
    }
}

/// A response, and its form as a stream.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) whole: Result<Bytes, Error>,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// One step of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Event(Event),
    Pause(Duration),
}

/// End of a stream. A plain request gets the error, or no answer, too.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Done,
    Error(Error),
    Stall,
}

impl Turn {
    fn of(kind: Kind) -> Self {
        Self { wait: Wait::No, kind }
    }

    fn from_parts(whole: Option<String>, steps: impl IntoIterator<Item = Step>, end: End) -> Self {
        let none = || Error::new(ErrorKind::BadGateway, "the chunks of this turn are no response");
        let (whole, steps) = (whole.map(Bytes::from).ok_or_else(none), steps.into_iter().collect());
        Self::of(Kind::Answer(Answer { whole, steps, end }))
    }

    /// Returns a chat response with this text, or a stream of one chunk with it. See [`response`].
    pub fn text(text: &str) -> Self {
        Self::say(vec![text.into()])
    }

    /// Returns a stream of these chunks, as [`chunk`] makes them; or the first of them as a response, as [`response`]
    /// makes it.
    pub fn say(values: Vec<Value>) -> Self {
        let whole = values.first().map(|value| response(value).to_string());
        Self::from_parts(whole, chunks(values), End::Done)
    }

    /// Returns a stream whose events have these data; or all of them as one response.
    pub fn raw(texts: Vec<&str>) -> Self {
        let whole = texts.concat();
        Self::from_parts(Some(whole), texts.into_iter().map(|text| event(None, text)), End::Done)
    }

    /// Returns a stream of these events, each with name and data.
    pub fn named(events: Vec<(&str, &str)>) -> Self {
        Self::from_parts(None, events.into_iter().map(|(name, data)| event(Some(name), data)), End::Done)
    }

    /// Returns a stream of these chunks that breaks off with an error.
    pub fn break_off(values: Vec<Value>, error: Error) -> Self {
        Self::from_parts(None, chunks(values), End::Error(error))
    }

    /// Returns a stream of these chunks that never ends after the last chunk.
    pub fn stall(values: Vec<Value>) -> Self {
        Self::from_parts(None, chunks(values), End::Stall)
    }

    /// Returns a stream of these chunks, with a pause of one second before each but the first.
    pub fn paced(values: Vec<Value>) -> Self {
        let pause = || Step::Pause(Duration::from_secs(1));
        let steps = chunks(values)
            .enumerate()
            .flat_map(|(at, chunk)| (at > 0).then(pause).into_iter().chain([chunk]));
        Self::from_parts(None, steps, End::Done)
    }

    /// Returns a stream of this many chunks, whose texts are their numbers.
    pub fn many(count: usize) -> Self {
        Self::say((0..count).map(|at| at.to_string().into()).collect())
    }

    /// Returns a response of these bytes, and a stream of events with these data. With a pause, the first of its
    /// numbers is the number of events before the pause.
    pub fn bytes(whole: String, events: Vec<String>, pause: Option<(usize, Duration)>) -> Self {
        let mut steps: Vec<_> = events.iter().map(|data| event(None, data)).collect();
        if let Some((after, pause)) = pause {
            steps.insert(after, Step::Pause(pause));
        }
        Self::from_parts(Some(whole), steps, End::Done)
    }

    /// Returns this response as JSON; its chunks for a stream.
    pub fn json(response: &Value) -> Self {
        let chunks = to_chunks(response);
        Self::from_parts(Some(response.to_string()), chunks.iter().map(by_type), End::Done)
    }

    /// Returns a stream of these chunks; the response that they form together for a plain request.
    pub fn chunks(chunks: &[Value], cut: Option<Error>) -> Self {
        let mut assembler = Assembler::new();
        chunks.iter().for_each(|chunk| assembler.push(chunk));
        let whole = assembler.finish().map(|whole| whole.to_string());
        Self::from_parts(whole, chunks.iter().map(by_type), cut.map_or(End::Done, End::Error))
    }

    /// Returns an error of the provider, with a status from 400 to 599.
    ///
    /// # Panics
    ///
    /// If the status is outside of this range.
    pub fn error(status: u16, message: &str) -> Self {
        Self::fail(provider_error(status, message))
    }

    /// Returns this error.
    pub fn fail(error: Error) -> Self {
        Self::of(Kind::Fail(error))
    }

    /// Returns a turn without an answer.
    pub fn hang() -> Self {
        Self::of(Kind::Hang)
    }

    /// Returns a turn that a function chooses for each call.
    pub fn by(choose: impl Fn(&Asked) -> Turn + Send + Sync + 'static) -> Self {
        Self::of(Kind::By(Arc::new(choose)))
    }

    /// Delays the turn.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.wait = Wait::For(delay);
        self
    }

    /// Delays the turn until the semaphore has a permit, and takes the permit.
    #[must_use]
    pub fn with_permit_of(mut self, gate: &Arc<Semaphore>) -> Self {
        self.wait = Wait::Permit(gate.clone());
        self
    }

    /// Cuts the stream after this many events: with an error, or without an end.
    #[must_use]
    pub fn cut_after(mut self, events: usize, error: Option<Error>) -> Self {
        if let Kind::Answer(answer) = &mut self.kind {
            answer.steps.truncate(events);
            answer.end = error.map_or(End::Stall, End::Error);
        }
        self
    }

    /// Waits as the turn says, and returns its answer.
    pub(crate) async fn answer(self, asked: &Asked) -> Result<Answer, Error> {
        let mut turn = self;
        loop {
            let Turn { wait, kind } = turn;
            match wait {
                Wait::No => {}
                Wait::For(delay) => tokio::time::sleep(delay).await,
                Wait::Permit(gate) => gate.acquire().await.expect("the gate stays open").forget(),
            }
            match kind {
                Kind::Fail(error) => return Err(error),
                Kind::Hang => return std::future::pending().await,
                Kind::Answer(answer) => return Ok(answer),
                Kind::By(choose) => turn = choose(asked),
            }
        }
    }
}

fn event(name: Option<&str>, data: &str) -> Step {
    Step::Event(Event { name: name.map(Into::into), data: Bytes::from(data.to_owned()) })
}

/// Returns an event with the name of its type, as the responses endpoint has it.
fn by_type(chunk: &Value) -> Step {
    event(chunk["type"].as_str(), &chunk.to_string())
}

fn chunks(values: Vec<Value>) -> impl Iterator<Item = Step> {
    values.into_iter().map(|value| event(None, &chunk(&value).to_string()))
}

/// Returns an error as a provider returns it, with a status from 400 to 599.
///
/// # Panics
///
/// If the status is outside of this range.
pub fn provider_error(status: u16, message: &str) -> Error {
    assert!(
        (400..600).contains(&status),
        "the status of a provider's error is from 400 to 599, not {status}"
    );
    let error = json!({"message": message, "type": "upstream_type", "param": null, "code": "upstream_code"});
    Error::from_parts(ErrorKind::Provider, status, error, None)
}

/// Returns a chunk of a chat stream: with this text for a string, otherwise the value itself.
pub fn chunk(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
        }
        value => value.clone(),
    }
}

/// Returns a chunk that has the usage only.
pub fn usage_chunk() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
}

/// Returns a chat response: with this text for a string, otherwise the value itself.
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
