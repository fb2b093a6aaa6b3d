//! HTTP requests of plugins, and the response table.

use std::{fmt::Write, time::Duration};

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::RRef,
    std_types::{RNone, ROption, RSlice, RStr},
};
use async_ffi::{FfiFuture, FutureExt};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use llmux_abi::{
    host::guarded,
    raw::host::{
        HttpResponseObject, HttpResponseTable, HttpResponseTableRef, RawHttpRequest, RawHttpResponse,
    },
};
use tokio::runtime::Handle;

/// Largest body of a response to a plugin's HTTP request, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The result of a plugin's HTTP request.
struct HttpResponse {
    /// 0 if no response came.
    status: u16,
    headers: HeaderMap,
    /// The body, or the reason for which no response came.
    body: Bytes,
}

impl HttpResponse {
    fn failed(reason: String) -> Self {
        Self { status: 0, headers: HeaderMap::new(), body: reason.into() }
    }

    fn into_raw(self) -> RawHttpResponse {
        let object = Box::into_raw(Box::new(self)).cast::<HttpResponseObject>();
        RawHttpResponse { object, table: HttpResponseTableRef(Table::RESPONSE.as_prefix()) }
    }
}

/// Sends a request in a task of the runtime, because the plugin may poll the future on a thread of its own. Dropping the
/// future aborts the task.
pub(super) fn send(
    runtime: &Handle,
    client: reqwest::Client,
    request: &RawHttpRequest<'_>,
) -> FfiFuture<RawHttpResponse> {
    let headers = request.headers.iter().map(|header| (header.name.to_string(), header.value.to_string()));
    let exchange = AbortOnDrop(runtime.spawn(exchange(
        client,
        request.method.to_string(),
        request.url.to_string(),
        headers.collect(),
        request.body.to_vec(),
        Duration::from_millis(request.timeout),
    )));
    async move {
        let mut exchange = exchange;
        let response = match (&mut exchange.0).await {
            Ok(Ok(response)) => response,
            Ok(Err(reason)) => HttpResponse::failed(reason),
            Err(error) => HttpResponse::failed(error.to_string()),
        };
        response.into_raw()
    }
    .into_ffi()
}

/// Returns the response of a request that the host could not begin.
pub(super) fn failed() -> FfiFuture<RawHttpResponse> {
    async { HttpResponse::failed("the host cannot send requests now".to_owned()).into_raw() }.into_ffi()
}

async fn exchange(
    client: reqwest::Client,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<HttpResponse, String> {
    let method = method.parse::<http::Method>().map_err(|error| error.to_string())?;
    let mut request = client.request(method, url).timeout(timeout).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let text = |error: reqwest::Error| {
        // The URL may carry a credential.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text
    };
    let response = request.send().await.map_err(text)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut collected = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(text)?;
        if collected.len() + chunk.len() > MAX_BODY {
            return Err(format!("the response is larger than {MAX_BODY} bytes"));
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status, headers, body: collected.into() })
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Table;

impl Table {
    abi_stable::staticref! {
        const RESPONSE: WithMetadata<HttpResponseTable> =
            WithMetadata::new(HttpResponseTable { status, header, body, drop: drop_response });
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

unsafe extern "C" fn drop_response(object: *mut HttpResponseObject) {
    guarded((), || {
        // SAFETY: made by `Box::into_raw` in `send`; the plugin gives it back once.
        drop(unsafe { Box::from_raw(object.cast::<HttpResponse>()) });
    })
}
