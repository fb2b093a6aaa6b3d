//! Requests of tests to a server: one client for all, and the common readings of an answer.

use std::{sync::OnceLock, time::Duration};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

/// Limit for every wait: longer than any step of a test takes.
pub const LONG: Duration = Duration::from_secs(60);

/// Returns the client of all tests. It uses no proxy, and one connection for each request: a connection that belongs
/// to the runtime of one test cannot serve another.
pub fn http() -> &'static Client {
    static HTTP: OnceLock<Client> = OnceLock::new();
    HTTP.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LONG);
        builder.build().expect("a client")
    })
}

/// Sends a request and returns the answer.
///
/// # Panics
///
/// If there is no answer.
pub async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Sends a request and returns the status and the JSON of the answer; `null` for an empty body.
///
/// # Panics
///
/// If there is no answer, or its body is not JSON.
pub async fn read(request: RequestBuilder) -> (u16, Value) {
    let response = send(request).await;
    let status = response.status().as_u16();
    let text = response.text().await.expect("text");
    let body = || serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON, {error}: {text}"));
    (status, if text.is_empty() { Value::Null } else { body() })
}

/// Sends a request and returns the status and the `error` object of the answer.
///
/// # Panics
///
/// If the object does not have the shape of OpenAI's errors.
pub async fn error(request: RequestBuilder) -> (u16, Value) {
    let (status, body) = read(request).await;
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
    assert!(error.get("param").is_some() && error.get("code").is_some(), "{body}");
    (status, error.clone())
}
