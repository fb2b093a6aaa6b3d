//! Answers that a test scripts for a [`ScriptedServer`](crate::ScriptedServer), piece by piece.
//!
//! This module holds the script only: the server writes it to the socket.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;

/// A scripted answer to one request.
#[derive(Clone, Debug)]
pub struct ScriptedResponse {
    pub(crate) head: Option<Head>,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// The status line and the headers of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    pub(crate) chunked: bool,
}

/// One step of an answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Bytes),
    Pause(Duration),
}

/// The state of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The answer is complete, and the connection serves the next request.
    Proper,
    /// The connection closes at once, even if the headers announced more.
    Close,
    /// The server sends nothing more, and the connection stays open.
    Hang,
}

impl ScriptedResponse {
    /// Creates a whole answer with a JSON body. The bytes are not checked, so that a test may pass invalid JSON.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let head = Head { status, headers: Vec::new(), chunked: false }
            .with("content-type", "application/json")
            .with("content-length", &body.len().to_string());
        Self { head: Some(head), steps: vec![Step::Send(body)], end: End::Proper }
    }

    /// Creates a stream of server-sent events with status 200. The server writes the pieces unchanged, one at a time.
    pub fn sse<T: Into<Bytes>>(pieces: impl IntoIterator<Item = T>) -> Self {
        let head = Head { status: 200, headers: Vec::new(), chunked: true }
            .with("content-type", "text/event-stream; charset=utf-8")
            .with("transfer-encoding", "chunked");
        let steps = pieces.into_iter().map(|piece| Step::Send(piece.into())).collect();
        Self { head: Some(head), steps, end: End::Proper }
    }

    /// Creates an answer of raw bytes in place of an HTTP response. The connection then closes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { head: None, steps: vec![Step::Send(bytes.into())], end: End::Close }
    }

    /// Creates an answer that sends nothing: the server reads the request, and the connection stays open.
    pub fn hang() -> Self {
        Self { head: None, steps: Vec::new(), end: End::Hang }
    }

    /// Adds a header, or replaces the header of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head = self.head.map(|head| head.with(name, value));
        self
    }

    /// Sets the status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.head = self.head.map(|head| Head { status, ..head });
        self
    }

    /// Adds a piece to the body.
    #[must_use]
    pub fn then(mut self, piece: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Send(piece.into()));
        self
    }

    /// Adds a pause to the body, in real time.
    #[must_use]
    pub fn then_pause(mut self, pause: Duration) -> Self {
        self.steps.push(Step::Pause(pause));
        self
    }

    /// Closes the connection after the body, even if the headers announced more.
    #[must_use]
    pub fn then_close(mut self) -> Self {
        self.end = End::Close;
        self
    }

    /// Sends nothing more after the body and keeps the connection open.
    #[must_use]
    pub fn then_hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }
}

impl Head {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            // Writing to a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head.into()
    }
}
