//! HTTP requests of plugins, and the response table.

use std::{fmt::Write, time::Duration};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RSlice, RStr},
};
use async_ffi::{BorrowingFfiFuture, FfiFuture, FutureExt};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use llmux_abi::{
    host::{guarded, guarded_or},
    raw::http::{
        HTTP_END, HTTP_FAILED, HTTP_FAILURE_BROKEN, HTTP_FAILURE_CONNECT, HTTP_FAILURE_INVALID,
        HTTP_FAILURE_NONE, HTTP_FAILURE_TIMEOUT, HTTP_FAILURE_TOO_LARGE, HTTP_MORE, HttpCallRef,
        HttpResponseObject, HttpResponseTable, HttpResponseTableRef, RawHttpResponse,
    },
};
use reqwest::redirect::Policy;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Largest body of a response that does not stream, in bytes.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// Number of pieces of a body that wait for the plugin.
const PIECES: usize = 4;

/// Makes the HTTP client of plugins. A system without a store of certificates can still be asked over `http`.
///
/// # Errors
///
/// If the client cannot be made.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // A redirect would take a plugin's own credentials to a host that the plugin did not name.
    let builder = || reqwest::Client::builder().redirect(Policy::none());
    builder().build().or_else(|error| {
        let none = builder().tls_certs_only([]).build().map_err(|_| error)?;
        tracing::debug!(
            "this system has no store of certificates, so plugins can send no request over https; install the package \
             `ca-certificates` or set SSL_CERT_FILE"
        );
        Ok(none)
    })
}

/// A request of a plugin.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) max_body: u64,
    /// True if the plugin takes the body in pieces.
    pub(crate) streams: bool,
}

/// The reason for which no whole response came.
pub(crate) struct Failed {
    /// Code of the contract.
    pub(crate) kind: u32,
    pub(crate) reason: String,
}

type Pieces = mpsc::Receiver<Result<Bytes, Failed>>;

/// The result of a request.
pub(crate) struct HttpResponse {
    /// 0 if no response came.
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body, the last piece of it, or the reason of a failure.
    pub(crate) body: Bytes,
    failure: u32,
    /// The pieces that follow. `None` if the body is whole.
    pieces: Option<Pieces>,
    /// The task that reads the response.
    _task: Option<AbortOnDrop>,
}

impl HttpResponse {
    pub(crate) fn failed(Failed { kind, reason }: Failed) -> Self {
        let failed = Self::new(0, HeaderMap::new(), reason.into(), None);
        Self { failure: kind, ..failed }
    }

    pub(crate) fn new(status: u16, headers: HeaderMap, body: Bytes, pieces: Option<Pieces>) -> Self {
        Self { status, headers, body, failure: HTTP_FAILURE_NONE, pieces, _task: None }
    }

    /// Sets the task that reads the response. It is aborted when the response is dropped.
    pub(crate) fn with_task(self, task: JoinHandle<()>) -> Self {
        Self { _task: Some(AbortOnDrop(task)), ..self }
    }

    /// Returns the failure, if no response came.
    pub(crate) fn failure(&self) -> Option<Failed> {
        let reason = || String::from_utf8_lossy(&self.body).into_owned();
        (self.failure != HTTP_FAILURE_NONE).then(|| Failed { kind: self.failure, reason: reason() })
    }

    /// Returns true if the body comes in pieces.
    pub(crate) fn is_in_pieces(&self) -> bool {
        self.pieces.is_some()
    }

    /// Waits for the next piece of the body; `None` at its end.
    pub(crate) async fn take_piece(&mut self) -> Option<Result<Bytes, Failed>> {
        self.pieces.as_mut()?.recv().await
    }

    fn into_raw(self) -> RawHttpResponse {
        let object = Box::into_raw(Box::new(self)).cast::<HttpResponseObject>();
        RawHttpResponse { object, table: HttpResponseTableRef(Table::RESPONSE.as_prefix()) }
    }

    /// Waits for the next piece of the body, and returns its code.
    async fn next(&mut self) -> u32 {
        let (code, body) = match self.take_piece().await {
            Some(Ok(piece)) => (HTTP_MORE, piece),
            Some(Err(Failed { kind, reason })) => {
                self.failure = kind;
                (HTTP_FAILED, reason.into())
            }
            None if self.pieces.is_none() => return HTTP_END,
            None => (HTTP_END, Bytes::new()),
        };
        self.body = body;
        code
    }
}

/// Returns the future of a response as the contract has it.
pub(super) fn raw(
    response: impl Future<Output = HttpResponse> + Send + 'static,
) -> FfiFuture<RawHttpResponse> {
    async move { response.await.into_raw() }.into_ffi()
}

/// Sends a request in a task of the runtime, because the plugin may poll the future on a thread of its own. Dropping the
/// future, or a response whose body is not yet whole, aborts the task.
pub(crate) fn start(
    runtime: &Handle,
    client: reqwest::Client,
    request: Request,
) -> impl Future<Output = HttpResponse> + Send + 'static {
    let (answer, answered) = oneshot::channel();
    let task = match request.streams {
        false => runtime.spawn(async move { drop(answer.send(request.whole(&client).await)) }),
        true => runtime.spawn(request.in_pieces(client, answer)),
    };
    let task = AbortOnDrop(task);
    async move {
        match answered.await {
            Ok(Ok(response)) => HttpResponse { _task: Some(task), ..response },
            Ok(Err(failed)) => HttpResponse::failed(failed),
            Err(_) => HttpResponse::failed(broken(UNSENT)),
        }
    }
}

/// Returns the response of a request that the host could not begin.
pub(super) fn failed() -> FfiFuture<RawHttpResponse> {
    async { HttpResponse::failed(broken(UNSENT)).into_raw() }.into_ffi()
}

const UNSENT: &str = "the host cannot send requests now";

/// A failure of no other kind.
pub(crate) fn broken(reason: impl Into<String>) -> Failed {
    Failed { kind: HTTP_FAILURE_BROKEN, reason: reason.into() }
}

impl Request {
    pub(super) fn of(call: HttpCallRef<'_>) -> Self {
        let headers =
            call.headers().into_iter().map(|header| (header.name.to_string(), header.value.to_string()));
        Self {
            method: call.method().to_string(),
            url: call.url().to_string(),
            headers: headers.collect(),
            body: call.body().to_vec(),
            timeout: Duration::from_millis(call.timeout()),
            max_body: call.max_body(),
            streams: call.streams() != 0,
        }
    }

    /// Sends the request, and waits for the head of the response.
    async fn head(&mut self, client: &reqwest::Client) -> Result<reqwest::Response, Failed> {
        let method = self.method.parse::<http::Method>();
        let method =
            method.map_err(|error| Failed { kind: HTTP_FAILURE_INVALID, reason: error.to_string() })?;
        let body = std::mem::take(&mut self.body);
        let mut request = client.request(method, &self.url).timeout(self.timeout).body(body);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(failure)
    }

    async fn whole(mut self, client: &reqwest::Client) -> Result<HttpResponse, Failed> {
        let limit = self.max_body.min(MAX_BODY);
        let response = self.head(client).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut collected = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(failure)?;
            if (collected.len() + piece.len()) as u64 > limit {
                return Err(too_large(limit));
            }
            collected.extend_from_slice(&piece);
        }
        Ok(HttpResponse::new(status, headers, collected.into(), None))
    }

    async fn in_pieces(
        mut self,
        client: reqwest::Client,
        answer: oneshot::Sender<Result<HttpResponse, Failed>>,
    ) {
        let response = match self.head(&client).await {
            Ok(response) => response,
            Err(failed) => return drop(answer.send(Err(failed))),
        };
        let (sender, pieces) = mpsc::channel(PIECES);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let head = HttpResponse::new(status, headers, Bytes::new(), Some(pieces));
        if answer.send(Ok(head)).is_err() {
            return;
        }
        let (mut left, mut body) = (self.max_body, response.bytes_stream());
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(failure).and_then(|piece| {
                left = left.checked_sub(piece.len() as u64).ok_or_else(|| too_large(self.max_body))?;
                Ok(piece)
            });
            let is_last = piece.is_err();
            if sender.send(piece).await.is_err() || is_last {
                return;
            }
        }
    }
}

fn too_large(limit: u64) -> Failed {
    let reason = format!("the response is larger than {limit} bytes");
    Failed { kind: HTTP_FAILURE_TOO_LARGE, reason }
}

fn failure(error: reqwest::Error) -> Failed {
    let kind = match &error {
        error if error.is_timeout() => HTTP_FAILURE_TIMEOUT,
        error if error.is_builder() => HTTP_FAILURE_INVALID,
        error if error.is_connect() => HTTP_FAILURE_CONNECT,
        _ => HTTP_FAILURE_BROKEN,
    };
    // The URL may carry a credential.
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(reason, ": {cause}");
        source = cause.source();
    }
    Failed { kind, reason }
}

/// A task that ends with its handle.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Table;

impl Table {
    abi_stable::staticref! {
        const RESPONSE: WithMetadata<HttpResponseTable> = WithMetadata::new(HttpResponseTable {
            status,
            header,
            body,
            failure: failure_kind,
            next,
            drop: drop_response,
        });
    }
}

fn response<'a>(object: RRef<'a, HttpResponseObject>) -> &'a HttpResponse {
    // SAFETY: objects of this table are `HttpResponse`s, owned by the plugin until `drop`.
    unsafe { object.transmute_into_ref() }
}

unsafe extern "C" fn status(object: RRef<'_, HttpResponseObject>) -> u16 {
    guarded(0, || response(object).status)
}

unsafe extern "C" fn header<'a>(object: RRef<'a, HttpResponseObject>, name: RStr<'_>) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let value = response(object).headers.get(name.as_str());
        value.and_then(|value| value.to_str().ok()).map(RStr::from_str).into()
    })
}

unsafe extern "C" fn body<'a>(object: RRef<'a, HttpResponseObject>) -> RSlice<'a, u8> {
    guarded(RSlice::EMPTY, || RSlice::from_slice(&response(object).body))
}

unsafe extern "C" fn failure_kind(object: RRef<'_, HttpResponseObject>) -> u32 {
    guarded(HTTP_FAILURE_BROKEN, || response(object).failure)
}

unsafe extern "C" fn next<'a>(object: RMut<'a, HttpResponseObject>) -> BorrowingFfiFuture<'a, u32> {
    guarded_or(
        || std::future::ready(HTTP_FAILED).into_ffi(),
        || {
            // SAFETY: as in `response`; the plugin makes one call at a time.
            let response: &'a mut HttpResponse = unsafe { object.transmute_into_mut() };
            response.next().into_ffi()
        },
    )
}

unsafe extern "C" fn drop_response(object: *mut HttpResponseObject) {
    guarded((), || {
        // SAFETY: made by `Box::into_raw` in `into_raw`; the plugin gives it back once.
        drop(unsafe { Box::from_raw(object.cast::<HttpResponse>()) });
    })
}
