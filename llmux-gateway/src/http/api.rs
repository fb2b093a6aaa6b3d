//! The main listener: the OpenAI API, health and metrics.
//!
//! ```text
//! enter (request id, web page, client key, log line) ──► complete │ models │ health
//! ```
//!
//! `commands::serve` serves its router. Deliberately absent: the way of a request through the pipeline, which is
//! `llmux-core`'s.

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use llmux_core::{Client, Endpoint, Error, pipeline::Identity};
use serde_json::{Value, json};

use super::{
    auth::KeyError,
    body,
    client_address::client_address,
    complete::{complete, refused, stored},
    refusals::{self, Listener, Refusals},
    reply::{self, Name},
    server::Phase,
    state::{Api, Entered},
    unserved, web_pages,
};
use crate::config::server::Server;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Returns the routes of the main listener.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let mut routes = Router::new();
    for endpoint in Endpoint::ALL {
        let handler = move |State(api): State<Arc<Api>>, request: Request| async move {
            let request_id = request.extensions().get().map(|it: &Entered| it.request_id.clone());
            let request_id = request_id.unwrap_or_default();
            tokio::select! {
                biased;
                answer = complete(&api, endpoint, request) => answer.unwrap_or_else(|error| refused(&error)),
                () = api.cuts.wait(api.phase.clone(), &request_id) => reply::error(&Error::shutting_down()),
            }
        };
        routes = routes.route(&format!("/v1/{}", endpoint.path()), post(handler));
    }
    let with_id = |endpoint| {
        move |State(api): State<Arc<Api>>, Name(id): Name, request: Request| async move {
            let request_id = request.extensions().get().map(|it: &Entered| it.request_id.clone());
            let request_id = request_id.unwrap_or_default();
            tokio::select! {
                biased;
                answer = stored(&api, endpoint, &id, request) => answer.unwrap_or_else(|error| refused(&error)),
                () = api.cuts.wait(api.phase.clone(), &request_id) => reply::error(&Error::shutting_down()),
            }
        }
    };
    let one = get(with_id(Endpoint::ResponseRetrieval)).delete(with_id(Endpoint::ResponseDeletion));
    let routes = routes
        .route("/v1/responses/{id}", one)
        .route("/v1/responses/{id}/cancel", post(with_id(Endpoint::ResponseCancellation)))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(unserved::wrong_method)
        .with_state(api.clone());
    // A path that is not served is tried once more, as the client probably means it.
    let again = routes.clone().fallback(unserved::unknown_path);
    let near = move |request: Request| unserved::serve_near(again.clone(), request);
    routes.fallback(near).layer(from_fn_with_state(api, enter))
}

/// Handles each request first: gives it an id, checks who sends it, and logs one line.
async fn enter(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_id(id));
    let client_id: Option<Arc<str>> = given.map(Into::into);
    let request_id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let settings = api.settings.load_full();
    let client = client_address(request.extensions(), request.headers(), &settings.trusted_proxies);
    let origin = web_pages::named_origin(request.headers(), &settings.cors).cloned();
    let mut response = match admit(&api, &settings, &request) {
        ControlFlow::Break(response) => {
            let (parts, body) = request.into_parts();
            body::discard(&parts.headers, body).await;
            response
        }
        ControlFlow::Continue(identity) => {
            let (request_id, client_id) = (request_id.clone(), client_id.clone());
            request.extensions_mut().insert(Entered { request_id, client_id, identity, client });
            next.run(request).await
        }
    };
    let request = refusals::Request { method: &method, path: &path, client, request_id: Some(&*request_id) };
    api.refusals.note(Listener::Main, &request, &response);
    if !settings.cors.is_empty() {
        web_pages::permit(response.headers_mut(), origin);
    }
    // The client gets its own id back.
    if let Ok(id) = HeaderValue::from_str(client_id.as_ref().unwrap_or(&request_id)) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    tracing::debug!(
        request_id = &*request_id,
        client_request_id = client_id.as_deref(),
        client = client.map(tracing::field::display),
        status = response.status().as_u16(),
        ms = started.elapsed().as_secs_f64() * 1000.0,
        "{method} {path}"
    );
    response
}

/// Returns the identity of the sender, or the response to a request that goes no further.
///
/// A web page has no key. While no key is configured, the requests of web pages are therefore refused instead.
fn admit(api: &Api, settings: &Server, request: &Request) -> ControlFlow<Response, Option<Arc<Identity>>> {
    let keys = api.keys.load();
    let headers = request.headers();
    let refuse = |code, message| ControlFlow::Break(reply::refuse(StatusCode::FORBIDDEN, code, message));
    if keys.is_empty() {
        if let Some(header) = web_pages::cause(headers, &settings.cors) {
            let message = format!(
                "requests from web pages are refused (header `{header}`) while no API key is configured; name the page's origin in `[server] cors`, or configure an [[api_key]]"
            );
            return refuse("origin_refused", message);
        }
        if api.is_loopback && web_pages::names_foreign_host(request, &settings.hosts) {
            return refuse("wrong_host", web_pages::FOREIGN_HOST.to_owned());
        }
    }
    if let Some(permission) = web_pages::preflight(request, &settings.cors) {
        return ControlFlow::Break(permission);
    }
    match keys.identify(headers) {
        Err(error) if !matches!(request.uri().path(), "/healthz" | "/readyz") => {
            ControlFlow::Break(unidentified(error))
        }
        identity => ControlFlow::Continue(identity.unwrap_or_default()),
    }
}

/// Returns true if a client's request id may go into headers and to the provider as it is: 1 to 128 visible ASCII characters.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn unidentified(error: KeyError) -> Response {
    let message = match error {
        KeyError::Different => {
            let message = "the headers `authorization`, `api-key` and `x-api-key` hold different API keys; send one key";
            return reply::refuse(StatusCode::BAD_REQUEST, "different_api_keys", message);
        }
        KeyError::Invalid => "the API key is not valid here",
        KeyError::Missing => {
            "an API key is required, in the header `authorization: Bearer …`, `api-key` or `x-api-key`"
        }
    };
    let mut response = reply::refuse(StatusCode::UNAUTHORIZED, "invalid_api_key", message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn describe(id: &str, providers: &[String]) -> Value {
    let owner = providers.first().map_or("", String::as_str);
    json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
}

async fn models(State(api): State<Arc<Api>>) -> Response {
    let models: Vec<_> =
        api.client.listed_models().await.iter().map(|(id, providers)| describe(id, providers)).collect();
    reply::json_value(StatusCode::OK, &json!({"object": "list", "data": models}))
}

async fn model(State(api): State<Arc<Api>>, Name(id): Name) -> Response {
    let models = api.client.listed_models().await;
    let named = |id: &str| models.iter().find(|(model, _)| *model == *id);
    match named(&id).or_else(|| named(id.trim_end_matches('/'))) {
        Some((id, providers)) => reply::json_value(StatusCode::OK, &describe(id, providers)),
        None => reply::error(&Error::model_not_found(&id)),
    }
}

async fn healthz() -> Response {
    reply::json_text(StatusCode::OK, r#"{"status":"ok"}"#)
}

async fn readyz(State(api): State<Arc<Api>>) -> Response {
    if *api.phase.borrow() != Phase::Running {
        return reply::error(&Error::shutting_down());
    }
    if api.client.plugins().inactive().is_empty() {
        return reply::json_text(StatusCode::OK, r#"{"status":"ready"}"#);
    }
    // This path needs no key, so the body has no names.
    let message = "a required plugin is not active; the log and the admin API name it";
    reply::error(&reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message))
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    metrics_of(&api.client, &api.refusals).await
}

/// Returns every metric in the text format of Prometheus. Many series take long to write, so another thread does it.
pub(crate) async fn metrics_of(client: &Client, refusals: &Refusals) -> Response {
    let (client, own) = (client.clone(), refusals.render());
    let Ok(text) = tokio::task::spawn_blocking(move || client.render_metrics() + &own).await else {
        return reply::refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the metrics cannot be written",
        );
    };
    let mut response = Response::new(Body::from(text));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_short_and_visible() {
        assert!(is_id("abc-123"));
        for wrong in ["", "a b", "a\tb", &"x".repeat(129)] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }
}
