//! The main listener: the OpenAI API, health and metrics.
//!
//! ```text
//! enter (request id, web page, client key, log line) ──► complete (body ──► client ──► JSON or events) │ models │ health
//! ```
//!
//! `commands::serve` serves its router. Deliberately absent: the way of a request through the pipeline, which is
//! `llmux-core`'s.

use std::{net::IpAddr, ops::ControlFlow, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use llmux_core::{Client, Endpoint, Error, pipeline::Identity};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    auth::{ApiKeys, KeyError},
    body,
    client_address::client_address,
    cuts::Cuts,
    encoding,
    held_bytes::HeldBytes,
    inflight_requests::{InflightRequests, Limits},
    refusals::{self, Listener, Refusals},
    reply::{self, Name},
    response_id::ResponseIds,
    server::Phase,
    sse::Events,
    unserved, web_pages,
};
use crate::config::server::Server;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FALLBACKS: HeaderName = HeaderName::from_static("llmux-fallbacks");

/// State that every route shares.
pub(crate) struct Api {
    pub(crate) client: Client,
    /// True if only this machine reaches the listener.
    pub(crate) is_loopback: bool,
    /// Replaced by a reload of the configuration.
    pub(crate) keys: Arc<ArcSwap<ApiKeys>>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Replaced by a reload of the configuration.
    pub(crate) settings: Arc<ArcSwap<Server>>,
    pub(crate) held: Arc<HeldBytes>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) cuts: Arc<Cuts>,
    pub(crate) inflight: Arc<InflightRequests>,
    pub(crate) ids: Arc<ResponseIds>,
}

/// Facts about a request that [`enter`] has found.
#[derive(Clone)]
struct Entered {
    request_id: Arc<str>,
    /// The id that the client gave. It names nothing here: clients may repeat it, or choose a path.
    client_id: Option<Arc<str>>,
    identity: Option<Arc<Identity>>,
    client: Option<IpAddr>,
}

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

async fn complete(api: &Api, endpoint: Endpoint, request: Request) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    if let Err(error) = body::check_type(&parts.headers, true) {
        body::discard(&parts.headers, body).await;
        return Err(error);
    }
    let limit = api.client.max_body_bytes();
    let settings = api.settings.load_full();
    let entered: Option<&Entered> = parts.extensions.get();
    let key = entered.and_then(|entered| entered.identity.as_deref()).map(|identity| &*identity.key_id);
    let limits =
        Limits { all: settings.max_inflight_requests, per_key: settings.max_inflight_requests_per_key };
    let place = match api.inflight.enter(limits, key) {
        Ok(place) => place,
        Err(error) => {
            body::discard(&parts.headers, body).await;
            return Err(error);
        }
    };
    let mut held = api.held.share(settings.max_inflight_bytes);
    held.keep(place);
    let text = body::read(&parts.headers, body, limit, settings.read_timeout, &mut held).await?;
    // The headers describe the body as plugins see it.
    if parts.headers.remove(header::CONTENT_ENCODING).is_some() {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut request = llmux_core::Request::parse(endpoint, text).await?;
    let entered: Option<Entered> = parts.extensions.remove();
    let id = entered.as_ref().map(|entered| entered.request_id.clone()).unwrap_or_default();
    let identity = entered.as_ref().and_then(|entered| entered.identity.clone());
    request = of_sender(request, entered);
    let mut previous = None;
    if endpoint == Endpoint::Responses {
        (request, previous) = api.ids.continued(&api.client, request, identity.as_deref())?;
    }
    let fallbacks = fallbacks(&parts.headers, settings.client_fallbacks)?;
    let request = request.with_fallbacks(fallbacks).with_headers(parts.headers);
    if request.wants_stream() && endpoint.streams() {
        let answer = api.client.stream(request).await;
        let (headers, returned) = (answer.headers().to_vec(), answer.provider_headers().to_vec());
        let extender = api.ids.extender(endpoint, identity, answer.deployment(), previous);
        let response = match answer.result {
            Ok(stream) => {
                let (cuts, phase) = (api.cuts.clone(), api.phase.clone());
                let cut = Box::pin(async move { cuts.wait(phase, &id).await });
                let stream = Events::new(stream, endpoint, settings.keep_alive, held);
                events(stream.with_cut(cut).with_extender(extender))
            }
            Err(error) => reply::error(&error),
        };
        return Ok(with_headers(response, &headers, &returned));
    }
    let mut answer = api.client.send(request).await;
    let extender = api.ids.extender(endpoint, identity, answer.deployment(), previous);
    let response = match (&answer.result, answer.binary.take()) {
        (Ok(_), Some(binary)) => reply::binary(binary, held),
        (Ok(document), None) => {
            let extended = extender.map(|extender| extender.answer(document));
            reply::json_text(StatusCode::OK, extended.unwrap_or_else(|| document.to_bytes()))
        }
        (Err(error), _) => reply::error(error),
    };
    Ok(with_headers(response, answer.headers(), answer.provider_headers()))
}

/// Adds the facts about the sender to a request.
fn of_sender(request: llmux_core::Request, entered: Option<Entered>) -> llmux_core::Request {
    let Some(Entered { request_id, client_id, identity, client }) = entered else { return request };
    request
        .with_request_id(request_id)
        .with_client_request_id(client_id)
        .with_identity(identity)
        .with_client(client)
}

/// Retrieves, deletes or cancels a stored response, at the deployment that has it.
async fn stored(api: &Api, endpoint: Endpoint, id: &str, request: Request) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    let entered: Option<Entered> = parts.extensions.remove();
    let client = entered.as_ref().and_then(|entered| entered.identity.clone());
    let query = parts.uri.query().unwrap_or_default();
    let request = api.ids.request(&api.client, endpoint, (id, query), client.as_deref())?;
    let request = of_sender(request, entered).with_headers(parts.headers);
    let answer = api.client.send(request).await;
    let extender = api.ids.extender(endpoint, client, answer.deployment(), None);
    let response = match (&answer.result, extender) {
        (Ok(document), Some(extender)) => reply::json_text(StatusCode::OK, extender.answer(document)),
        (Ok(document), None) => reply::json_text(StatusCode::OK, document.to_bytes()),
        (Err(error), _) => reply::error(error),
    };
    Ok(with_headers(response, answer.headers(), answer.provider_headers()))
}

/// Returns the response to a request that the listener refuses.
fn refused(error: &Error) -> Response {
    let mut response = reply::refused(error);
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // Tells which encodings a body may have (RFC 9110, 12.5.3).
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding::ACCEPTED));
    }
    response
}

/// Returns the fallback models that a client names, each once (rule P7).
fn fallbacks(headers: &HeaderMap, max: usize) -> Result<Vec<Arc<str>>, Error> {
    let mut models: Vec<Arc<str>> = Vec::new();
    let lists = headers.get_all(FALLBACKS).iter().filter_map(|value| value.to_str().ok());
    for model in lists.flat_map(|list| list.split(',')).map(str::trim).filter(|model| !model.is_empty()) {
        if models.iter().any(|known| **known == *model) {
            continue;
        }
        if models.len() == max {
            let message = format!("the header `{FALLBACKS}` may name at most {max} models");
            return Err(reply::refusal(StatusCode::BAD_REQUEST, "too_many_fallbacks", message));
        }
        models.push(model.into());
    }
    Ok(models)
}

fn events(events: Events) -> Response {
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks proxies such as nginx not to buffer the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Adds the headers that plugins set, and those of the provider that go back (rule F9). `llmux-core` has refused those
/// that only the server sets.
fn with_headers(
    mut response: Response,
    headers: &[(HeaderName, HeaderValue)],
    returned: &[(HeaderName, HeaderValue)],
) -> Response {
    let all = response.headers_mut();
    // A plugin's `retry-after` replaces the error's own.
    for (name, value) in headers {
        all.insert(name, value.clone());
    }
    let is_free = |(name, _): &&(HeaderName, HeaderValue)| !all.contains_key(name);
    let free: Vec<_> = returned.iter().filter(is_free).collect();
    for (name, value) in free {
        all.append(name, value.clone());
    }
    response
}

fn describe(id: &str, providers: &[String]) -> Value {
    let owner = providers.first().map_or("", String::as_str);
    json!({"id": id, "object": "model", "created": 0, "owned_by": owner})
}

async fn models(State(api): State<Arc<Api>>) -> Response {
    let models: Vec<_> = api.client.models().iter().map(|(id, providers)| describe(id, providers)).collect();
    reply::json_value(StatusCode::OK, &json!({"object": "list", "data": models}))
}

async fn model(State(api): State<Arc<Api>>, Name(id): Name) -> Response {
    let models = api.client.models();
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
    fn p7_a_client_names_a_few_distinct_fallbacks() {
        let named = |lists: &[&str], max| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(FALLBACKS, HeaderValue::from_str(list).expect("a header"));
            }
            fallbacks(&headers, max)
                .map(|models| models.len())
                .map_err(|error| (error.status(), error.code().map(str::to_owned)))
        };
        assert_eq!(named(&[], 0), Ok(0));
        assert_eq!(named(&["a, b,,a", "b,c"], 3), Ok(3));
        let refused = Err((400, Some("too_many_fallbacks".to_owned())));
        assert_eq!(named(&["a, b,,a", "b,c"], 2), refused);
        assert_eq!(named(&["a"], 0), refused);
        let many: Vec<String> = (0..60_000).map(|at| at.to_string()).collect();
        assert_eq!(named(&[&many.join(",")], 8), refused);
    }

    #[test]
    fn a_request_id_is_short_and_visible() {
        assert!(is_id("abc-123"));
        for wrong in ["", "a b", "a\tb", &"x".repeat(129)] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }
}
