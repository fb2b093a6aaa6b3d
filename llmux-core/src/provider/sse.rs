//! Decodes a provider's stream of server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), with bounds on its size and its silence.
//!
//! `openai` calls it. The crate `sse-stream` parses the framing. This file adds the bounds, and the end of the stream,
//! which `end_of_stream.rs` recognizes. Data is forwarded byte for byte. Deliberately absent: reconnection (`id`,
//! `retry`), which does not apply to POST requests.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use sse_stream::{Sse, SseByteStream};
use tokio::time::{Instant, Sleep};

use super::{
    Event, Events,
    end_of_stream::{EndOfStream, Verdict, broke_off},
    failure,
};
use crate::{error::Error, progress::Progress};

/// Maximum number of bytes between two events. Comments count, too: an upstream that sends so many of them and no event
/// counts as broken.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Time limit for reading the rest of a complete stream, so that its connection can be used again.
const LINGER: Duration = Duration::from_secs(1);

/// The bytes of a connection.
pub(crate) type Input = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// Decodes the events in `input`. Fails if no byte arrives for `idle` while the caller waits for an event.
pub(crate) fn events(input: Input, idle: Duration, end: EndOfStream) -> Events {
    let progress = Arc::new(Counters::default());
    let input = BoundedInput {
        input,
        progress: progress.clone(),
        idle,
        timer: Box::pin(tokio::time::sleep(idle)),
        armed: false,
    };
    Box::pin(Decoder { parser: Some(SseByteStream::new(input)), progress, end, last_name: None })
}

/// Counters that the input and the decoder share, on both sides of the parser. Only one task uses them.
#[derive(Default)]
struct Counters {
    /// Bytes passed to the parser since its last event.
    since_event: AtomicUsize,
    /// True once the upstream has closed.
    at_eof: AtomicBool,
}

/// The input of the parser, with the bounds.
struct BoundedInput {
    input: Input,
    progress: Arc<Counters>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// True while the timer runs. It runs only while the caller waits, so that a slow client causes no timeout.
    armed: bool,
}

impl Stream for BoundedInput {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(next) = self.input.poll_next_unpin(cx) else {
            if !std::mem::replace(&mut self.armed, true) {
                // If the deadline cannot be represented, the timer keeps its first one, decades away.
                if let Some(deadline) = Instant::now().checked_add(self.idle) {
                    self.timer.as_mut().reset(deadline);
                }
            }
            ready!(self.timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(failure::timed_out("sent nothing", self.idle))));
        };
        self.armed = false;
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                let since_event = self.progress.since_event.fetch_add(bytes.len(), Relaxed) + bytes.len();
                Some(if since_event > MAX_EVENT_BYTES {
                    Err(failure::bad_gateway(format_args!(
                        "the provider sent more than {MAX_EVENT_BYTES} bytes without the end of an event"
                    )))
                } else {
                    Ok(bytes)
                })
            }
            Some(Err(error)) => Some(Err(error)),
            // Some servers send no blank line after the last `data: [DONE]`, so it is added here. The decoder accepts
            // only `[DONE]` because of it, since any other event may be incomplete.
            None if !self.progress.at_eof.swap(true, Relaxed) => Some(Ok(Bytes::from_static(b"\n\n"))),
            None => None,
        })
    }
}

/// The decoded events, up to the endpoint's own end or the first error.
struct Decoder {
    /// `None` once the stream has ended.
    parser: Option<SseByteStream<BoundedInput>>,
    progress: Arc<Counters>,
    end: EndOfStream,
    /// The name of the last event, to be shared: the events of `responses` have few names, many times in a row.
    last_name: Option<Arc<str>>,
}

impl Decoder {
    fn name(&mut self, name: String) -> Arc<str> {
        match &self.last_name {
            Some(last) if **last == *name => last.clone(),
            _ => self.last_name.insert(name.into()).clone(),
        }
    }

    /// Ends the stream after its last event. Reads the rest of the HTTP body: only then can the connection be used
    /// again.
    fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(mut parser) = self.parser.take() else { return };
        let at_end = matches!(parser.poll_next_unpin(cx), Poll::Ready(None | Some(Err(_))));
        if !at_end && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER, async move {
                while let Some(Ok(_)) = parser.next().await {}
            }));
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Event, Error>>> {
        self.parser = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Decoder {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(parser) = &mut self.parser else { return Poll::Ready(None) };
            let Sse { event, data, .. } = match ready!(parser.poll_next_unpin(cx)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return self.fail(decoding_error(error)),
                None => match self.end.at_eof() {
                    Some(error) => return self.fail(error),
                    None => {
                        self.parser = None;
                        return Poll::Ready(None);
                    }
                },
            };
            self.progress.since_event.store(0, Relaxed);
            // An event without data is a keep-alive.
            let Some(data) = data.filter(|data| !data.is_empty()) else { continue };
            let name = event.filter(|name| !name.is_empty());
            let verdict = self.end.judge(name.as_deref(), &data);
            if self.progress.at_eof.load(Relaxed) && !matches!(verdict, Verdict::End) {
                return self.fail(broke_off());
            }
            match verdict {
                Verdict::Fail(error) => return self.fail(error),
                Verdict::End => {
                    self.finish(cx);
                    return Poll::Ready(None);
                }
                Verdict::ForwardLast => self.finish(cx),
                Verdict::Forward => {}
            }
            let name = name.map(|name| self.name(name));
            return Poll::Ready(Some(Ok(Event { name, data: data.into() })));
        }
    }
}

/// The error of a stream that the parser refused: the input's own error, or the parser's.
fn decoding_error(error: sse_stream::Error) -> Error {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => broke_off(),
        },
        sse_stream::Error::Utf8Parse(_) => unreadable("the provider's stream is not valid UTF-8"),
        _ => unreadable("the provider's stream is no stream of server-sent events"),
    }
}

/// The error of a stream that has arrived and cannot be read.
fn unreadable(message: &str) -> Error {
    failure::bad_gateway(message).with_progress(Progress::Answered)
}

#[cfg(test)]
mod tests;
