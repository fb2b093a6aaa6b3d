//! Server-sent events of a reply's chunks (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! `api` makes a response's body of it. Chunks that are ready at the same time are written together. If the client
//! disconnects, the server drops the body, and with it the stream and the connection to the provider.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use llmux_core::{Endpoint, Error, ReplyStream};
use serde_json::json;
use tokio::time::{Instant, Sleep, sleep};

use super::{cuts::Cut, held_bytes::Held, response_id::Extender};

/// Largest size of events that are written together, in bytes.
const TOGETHER: usize = 16 * 1024;

/// Body of a streamed response: the chunks, an error if one ends the stream, and comments while it is silent.
pub(crate) struct Events {
    /// `None` after its end.
    stream: Option<ReplyStream>,
    endpoint: Endpoint,
    /// Events that are ready to be written. Its memory is reused after the connection has written it.
    ready: BytesMut,
    sent: u64,
    /// True once something was written.
    has_begun: bool,
    /// The first event of a stream of `responses`, which has the response's members.
    first: Bytes,
    extending: Extending,
    keep_alive: Option<KeepAlive>,
    /// Ends the stream when requests in flight are cut.
    cut: Option<Cut>,
    /// The bytes of the request, which the stream holds.
    _held: Held,
}

/// A function that makes the extender for a deployment.
type MakeExtender = dyn FnOnce(Option<&str>) -> Option<Extender> + Send;

/// The extension of the ids of responses. The deployment is known with the first chunk at the latest.
pub(crate) enum Extending {
    /// The events have no such ids.
    None,
    /// No event was there. The function makes the extender for a deployment.
    Later(Box<MakeExtender>),
    Known(Box<Extender>),
}

impl Extending {
    /// The extension of a stream that has such ids, by a function that makes the extender for a deployment.
    pub(crate) fn new(
        has_ids: bool,
        make: impl FnOnce(Option<&str>) -> Option<Extender> + Send + 'static,
    ) -> Self {
        if has_ids { Self::Later(Box::new(make)) } else { Self::None }
    }

    /// Returns the data of an event of a stream with extended ids; `None` if it has none.
    fn event(&mut self, stream: &ReplyStream, data: &Bytes) -> Option<Bytes> {
        if matches!(self, Self::Later(_))
            && let Self::Later(make) = std::mem::replace(self, Self::None)
            && let Some(extender) = make(stream.deployment())
        {
            *self = Self::Known(Box::new(extender));
        }
        match self {
            Self::Known(extender) => extender.event(data),
            _ => None,
        }
    }
}

struct KeepAlive {
    every: Duration,
    last: Instant,
    /// Not reset by each chunk: it reads `last` when it fires.
    timer: Pin<Box<Sleep>>,
}

impl Events {
    /// Returns the body of a stream. If `keep_alive` is zero, no comments are sent.
    pub(crate) fn new(stream: ReplyStream, endpoint: Endpoint, keep_alive: Duration, held: Held) -> Self {
        let keep_alive = (!keep_alive.is_zero()).then(|| KeepAlive {
            every: keep_alive,
            last: Instant::now(),
            timer: Box::pin(sleep(keep_alive)),
        });
        Self {
            stream: Some(stream),
            endpoint,
            ready: BytesMut::new(),
            sent: 0,
            has_begun: false,
            first: Bytes::new(),
            extending: Extending::None,
            keep_alive,
            cut: None,
            _held: held,
        }
    }

    /// Ends the stream with an error when requests in flight are cut.
    pub(crate) fn with_cut(mut self, cut: Cut) -> Self {
        self.cut = Some(cut);
        self
    }

    /// Extends the ids of responses in the events.
    pub(crate) fn with_extending(mut self, extending: Extending) -> Self {
        self.extending = extending;
        self
    }

    fn finish(&mut self, error: Option<&Error>) {
        self.stream = None;
        match error {
            Some(error) if self.endpoint == Endpoint::Responses => {
                let body = responses_error(error, self.sent);
                write_event(&mut self.ready, Some("error"), body.as_bytes());
                let body = response_failed(error, self.sent, &self.first);
                write_event(&mut self.ready, Some("response.failed"), body.as_bytes());
            }
            Some(error) => write_event(&mut self.ready, None, &error.body()),
            None if self.endpoint.ends_with_done() => write_event(&mut self.ready, None, b"[DONE]"),
            None => {}
        }
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        while let Some(stream) = &mut this.stream
            && this.ready.len() < TOGETHER
        {
            match Pin::new(&mut *stream).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    let data = chunk.data();
                    let extended = this.extending.event(stream, &data);
                    let data = extended.unwrap_or(data);
                    if this.sent == 0 && this.endpoint == Endpoint::Responses {
                        this.first = data.clone();
                    }
                    write_event(&mut this.ready, chunk.event(), &data);
                    this.sent += 1;
                }
                Poll::Ready(Some(Err(error))) => this.finish(Some(&error)),
                Poll::Ready(None) => this.finish(None),
                Poll::Pending if this.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(cx).is_ready()) => {
                    this.finish(Some(&Error::shutting_down()));
                }
                Poll::Pending => break,
            }
        }
        if this.ready.is_empty() && this.stream.is_some() {
            // The head of a stream comes with its first chunk, or early and then with a comment.
            let is_early = this.sent == 0 && !std::mem::replace(&mut this.has_begun, true);
            let is_due = this.keep_alive.as_mut().is_some_and(|keep_alive| keep_alive.is_due(cx));
            if !is_early && !is_due {
                return Poll::Pending;
            }
            this.ready.put_slice(b": keep-alive\n\n");
        }
        if this.ready.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(keep_alive) = &mut this.keep_alive {
            keep_alive.last = Instant::now();
        }
        Poll::Ready(Some(Ok(Frame::data(this.ready.split().freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none() && self.ready.is_empty()
    }
}

impl KeepAlive {
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.last + self.every;
            let now = Instant::now();
            if due <= now {
                self.timer.as_mut().reset(now + self.every);
                // Registers the waker for the next comment.
                let _ = self.timer.as_mut().poll(cx);
                return true;
            }
            self.timer.as_mut().reset(due);
        }
        false
    }
}

/// Writes one event. A line end in the data begins another `data:` line. A name with a line end is left out, because it
/// would begin another field.
fn write_event(out: &mut BytesMut, name: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + name.map_or(0, str::len) + 32);
    if let Some(name) = name.filter(|name| !name.contains(['\n', '\r'])) {
        out.put_slice(b"event: ");
        out.put_slice(name.as_bytes());
        out.put_u8(b'\n');
    }
    let mut rest = data;
    loop {
        out.put_slice(b"data: ");
        match memchr::memchr2(b'\n', b'\r', rest) {
            None => {
                out.put_slice(rest);
                out.put_slice(b"\n\n");
                return;
            }
            Some(at) => {
                out.put_slice(&rest[..at]);
                out.put_u8(b'\n');
                rest = &rest[at + if rest[at..].starts_with(b"\r\n") { 2 } else { 1 }..];
            }
        }
    }
}

/// Returns an error in the shape of the responses API's `error` event
/// (<https://platform.openai.com/docs/api-reference/responses-streaming/error>), with the usual member `error` as well.
fn responses_error(error: &Error, sequence_number: u64) -> String {
    let body: serde_json::Value = serde_json::from_slice(&error.body()).unwrap_or_default();
    json!({
        "type": "error",
        "code": body["error"]["code"],
        "message": error.message(),
        "param": body["error"]["param"],
        "sequence_number": sequence_number,
        "error": body["error"],
    })
    .to_string()
}

/// Returns the `response.failed` event of a stream that an error ends
/// (<https://platform.openai.com/docs/api-reference/responses-streaming/response/failed>). Some clients read this event and
/// no `error`. It tells the same failure as the `error` event before it, and has the same number. The response has the members
/// of the stream's first event.
fn response_failed(error: &Error, sequence_number: u64, first: &[u8]) -> String {
    let first: serde_json::Value = serde_json::from_slice(first).unwrap_or_default();
    let mut response = match first.get("response") {
        Some(serde_json::Value::Object(members)) => members.clone(),
        _ => serde_json::Map::new(),
    };
    let code = error.code().unwrap_or("server_error");
    response.insert("object".to_owned(), json!("response"));
    response.insert("status".to_owned(), json!("failed"));
    response.insert("error".to_owned(), json!({"code": code, "message": error.message()}));
    json!({"type": "response.failed", "sequence_number": sequence_number, "response": response}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_framed() {
        let cases: [(Option<&str>, &str, &str); 7] = [
            (None, "{}", "data: {}\n\n"),
            (Some("ping"), "{}", "event: ping\ndata: {}\n\n"),
            (None, "a\nb", "data: a\ndata: b\n\n"),
            (None, "a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"),
            (None, "a\n", "data: a\ndata: \n\n"),
            (None, "", "data: \n\n"),
            (Some("a\ndata: forged"), "x", "data: x\n\n"),
        ];
        for (name, data, expected) in cases {
            let mut out = BytesMut::new();
            write_event(&mut out, name, data.as_bytes());
            assert_eq!(out, expected, "{name:?} {data:?}");
        }
    }
}
