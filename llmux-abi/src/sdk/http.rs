//! HTTP requests of a plugin, which the host sends.

use std::{fmt, time::Duration};

use abi_stable::std_types::RSlice;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    error::Result,
    handle::{HostHandle, HttpResponseHandle},
};
use crate::raw::http::{
    HTTP_FAILURE_CONNECT, HTTP_FAILURE_INVALID, HTTP_FAILURE_TIMEOUT, HTTP_FAILURE_TOO_LARGE, HTTP_MORE,
    HttpCall, RawHeader,
};

/// An HTTP request for [`Host::http`](crate::Host::http) and [`Host::http_stream`](crate::Host::http_stream).
#[derive(Clone, Debug)]
pub struct HttpRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
    max_body: u64,
}

impl HttpRequest {
    /// Returns a request with this method and this whole URL. The time limit is 10 s. The body of the response has at most
    /// 16 MiB.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(10),
            max_body: 16 * 1024 * 1024,
        }
    }

    /// Returns a `GET` request for this URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Returns a `POST` request for this URL with a JSON body.
    ///
    /// # Errors
    ///
    /// If the body cannot be written as JSON.
    pub fn post_json(url: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        let request = Self::new("POST", url).with_header("content-type", "application/json");
        Ok(request.with_body(serde_json::to_vec(body)?))
    }

    /// Adds a header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the time limit for the whole exchange, up to the last byte of the response.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the largest body of the response, in bytes. The host also has a limit of its own for a response that does not
    /// stream: 64 MiB.
    pub fn with_max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }
}

/// Kind of failure of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpFailure {
    /// The request is not valid: its method, its URL, or one of its headers. It was not sent.
    Invalid,
    /// No connection was made: the name, the address, or the certificate. The request was not sent.
    Connect,
    /// The time limit of the request has passed.
    Timeout,
    /// The body of the response is larger than the request allows.
    TooLarge,
    /// The connection ended before the end of the response.
    Broken,
    /// The host sends no HTTP requests for plugins.
    Unsupported,
}

/// Failure of an HTTP request: no whole response came.
#[derive(Clone, Debug)]
pub struct HttpError {
    kind: HttpFailure,
    message: String,
}

impl HttpError {
    /// Returns the kind.
    pub fn kind(&self) -> HttpFailure {
        self.kind
    }

    fn of(response: &HttpResponseHandle, request: &str) -> Self {
        let kind = match response.failure() {
            HTTP_FAILURE_INVALID => HttpFailure::Invalid,
            HTTP_FAILURE_CONNECT => HttpFailure::Connect,
            HTTP_FAILURE_TIMEOUT => HttpFailure::Timeout,
            HTTP_FAILURE_TOO_LARGE => HttpFailure::TooLarge,
            _ => HttpFailure::Broken,
        };
        Self { kind, message: format!("{request}: {}", String::from_utf8_lossy(response.body())) }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpError {}

/// Sends a request, and waits for the whole response.
pub(super) async fn send(host: &HostHandle, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let handle = begin(host, &request, 0).await?;
    Ok(HttpResponse { handle })
}

/// Sends a request, and waits for the head of the response.
pub(super) async fn stream(host: &HostHandle, request: HttpRequest) -> Result<HttpStream, HttpError> {
    let handle = begin(host, &request, 1).await?;
    Ok(HttpStream { handle, request: format!("{} {}", request.method, request.url) })
}

async fn begin(
    host: &HostHandle,
    request: &HttpRequest,
    streams: u32,
) -> Result<HttpResponseHandle, HttpError> {
    let future = {
        let headers: Vec<RawHeader<'_>> = request
            .headers
            .iter()
            .map(|(name, value)| RawHeader { name: name.as_str().into(), value: value.as_str().into() })
            .collect();
        host.http(HttpCall {
            method: request.method.as_str().into(),
            url: request.url.as_str().into(),
            headers: RSlice::from_slice(&headers),
            body: RSlice::from_slice(&request.body),
            timeout: request.timeout.as_millis().try_into().unwrap_or(u64::MAX),
            max_body: request.max_body,
            streams,
        })
    };
    let Some(future) = future else {
        let message = "this host does not offer HTTP requests".to_owned();
        return Err(HttpError { kind: HttpFailure::Unsupported, message });
    };
    let response = HttpResponseHandle::new(future.await);
    match response.status() {
        0 => Err(HttpError::of(&response, &format!("{} {}", request.method, request.url))),
        _ => Ok(response),
    }
}

/// The response to an [`HttpRequest`].
pub struct HttpResponse {
    handle: HttpResponseHandle,
}

impl HttpResponse {
    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.handle.status()
    }

    /// Returns true if the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// Returns a header's value. The name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.handle.header(name)
    }

    /// Returns the body.
    pub fn bytes(&self) -> &[u8] {
        self.handle.body()
    }

    /// Returns the body as text. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    ///
    /// If the body is not JSON of this type. The error is serde's.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(self.bytes())?)
    }
}

/// The response to an [`HttpRequest`] whose body comes in pieces.
pub struct HttpStream {
    handle: HttpResponseHandle,
    request: String,
}

impl HttpStream {
    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.handle.status()
    }

    /// Returns true if the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// Returns a header's value. The name's case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.handle.header(name)
    }

    /// Waits for the next piece of the body. `None` at its end. The sizes of the pieces have no meaning. Dropping the future
    /// loses no bytes.
    ///
    /// # Errors
    ///
    /// If the response ends too early, takes too long, or is too large.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, HttpError> {
        let code = self.handle.next().await;
        if self.handle.failure() != 0 {
            return Err(HttpError::of(&self.handle, &self.request));
        }
        Ok((code == HTTP_MORE).then(|| self.handle.body()))
    }
}
