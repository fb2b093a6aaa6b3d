//! A provider's stream out of the bytes of its connection: server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), bounded in size and in silence.
//!
//! `openai.rs` calls it. The framing is parsed by the crate `sse-stream`; here are the bounds that it does not
//! have, and the end of the stream, which `ending.rs` judges. Data is passed on as it came, never parsed for its
//! own sake. Reconnection (`id`, `retry`) is not for an API that is asked with POST.

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
    ending::{Ending, Verdict, broke_off},
    failure,
};
use crate::error::Error;

/// The most bytes that may come between two events. Comments count: an upstream that sends nothing else for so
/// long is not alive.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// How long the rest of a complete stream is read, so that its connection can be used again.
const LINGER: Duration = Duration::from_secs(1);

/// The bytes of a connection.
pub(crate) type Input = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The events in `input`, which fails after `idle` without a byte while somebody waits for one.
pub(crate) fn events(input: Input, idle: Duration, ending: Ending) -> Events {
    let progress = Arc::new(Progress::default());
    let source = Source {
        input,
        progress: progress.clone(),
        idle,
        timer: Box::pin(tokio::time::sleep(idle)),
        armed: false,
    };
    Box::pin(Decoder { parser: Some(SseByteStream::new(source)), progress, ending, last_name: None })
}

/// What the parser keeps to itself, and the bounds have to know. Only one task ever touches it.
#[derive(Default)]
struct Progress {
    /// Bytes given to the parser since it gave an event.
    since_event: AtomicUsize,
    /// Has the upstream ended?
    at_eof: AtomicBool,
}

/// The bytes on their way into the parser.
struct Source {
    input: Input,
    progress: Arc<Progress>,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    /// Does the timer run? Only while somebody waits, so that a slow client is not held against the provider.
    armed: bool,
}

impl Stream for Source {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Poll::Ready(next) = self.input.poll_next_unpin(cx) else {
            if !std::mem::replace(&mut self.armed, true) {
                // A limit beyond the end of time stays where the timer was made, which is decades away.
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
            // Some servers end with `data: [DONE]` and no blank line after it: supplied here, and believed by the
            // decoder for nothing else, since any other event may have been cut short.
            None if !self.progress.at_eof.swap(true, Relaxed) => Some(Ok(Bytes::from_static(b"\n\n"))),
            None => None,
        })
    }
}

/// The events, up to the endpoint's own end or the first error.
struct Decoder {
    /// `None` when the stream has ended.
    parser: Option<SseByteStream<Source>>,
    progress: Arc<Progress>,
    ending: Ending,
    /// The events of `responses` have few names, each of them many times in a row.
    last_name: Option<Arc<str>>,
}

impl Decoder {
    fn name(&mut self, name: String) -> Arc<str> {
        match &self.last_name {
            Some(last) if **last == *name => last.clone(),
            _ => self.last_name.insert(name.into()).clone(),
        }
    }

    /// Ends the stream by its own mark. What follows is at most the end of the HTTP body; a connection on which
    /// that was not read cannot be used again.
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
                None => match self.ending.at_eof() {
                    Some(error) => return self.fail(error),
                    None => {
                        self.parser = None;
                        return Poll::Ready(None);
                    }
                },
            };
            self.progress.since_event.store(0, Relaxed);
            // Without data it is a comment or a keep-alive in another form.
            let Some(data) = data.filter(|data| !data.is_empty()) else { continue };
            let name = event.filter(|name| !name.is_empty());
            let verdict = self.ending.judge(name.as_deref(), &data);
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

/// An error of the parser: one of ours that went through it, or its own.
fn decoding_error(error: sse_stream::Error) -> Error {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(_) => broke_off(),
        },
        sse_stream::Error::Utf8Parse(_) => failure::bad_gateway("the provider's stream is not valid UTF-8"),
        _ => failure::bad_gateway("the provider's stream is no stream of server-sent events"),
    }
}

#[cfg(test)]
mod tests;
