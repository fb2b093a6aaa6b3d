//! One request of the OpenAI API: its body, the call of the client, and the reply.
//!
//! ```text
//! body ──► client ──► JSON, bytes or events, with the headers of plugins and of the provider
//! ```
//!
//! `api` calls it after the entrance. Deliberately absent: keys, web pages and paths.

use std::sync::Arc;

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use llmux_core::{Endpoint, Error};

use super::{
    body, encoding,
    inflight_requests::{Limits, Place},
    reply,
    sse::{Events, Extending},
    state::{Api, Entered},
};
use crate::config::server::Server;

const FALLBACKS: HeaderName = HeaderName::from_static("llmux-fallbacks");

/// Serves a request with a body.
pub(super) async fn complete(api: &Api, endpoint: Endpoint, request: Request) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    if let Err(error) = body::check_type(&parts.headers, true) {
        body::discard(&parts.headers, body).await;
        return Err(error);
    }
    let limit = api.client.max_body_bytes();
    let settings = api.settings.load_full();
    let place = match place(api, &settings, &parts) {
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
        let silence = Some(settings.keep_alive).filter(|silence| !silence.is_zero());
        let request = request.with_early_head(settings.early_head, silence);
        let answer = api.client.stream(request).await;
        let (headers, returned) = (answer.headers().to_vec(), answer.provider_headers().to_vec());
        let ids = api.ids.clone();
        let extending = Extending::new(endpoint == Endpoint::Responses, move |deployment| {
            ids.extender(endpoint, identity, deployment, previous)
        });
        let response = match answer.result {
            Ok(stream) => {
                let (cuts, phase) = (api.cuts.clone(), api.phase.clone());
                let cut = Box::pin(async move { cuts.wait(phase, &id).await });
                let stream = Events::new(stream, endpoint, settings.keep_alive, held);
                events(stream.with_cut(cut).with_extending(extending))
            }
            Err(error) => reply::error(&error),
        };
        return Ok(with_headers(response, &headers, &returned));
    }
    let mut answer = api.client.send(request).await;
    let extender = api.ids.extender(endpoint, identity, answer.deployment(), previous);
    let response = match (&answer.result, answer.binary.take()) {
        (Ok(_), Some(binary)) => reply::binary(binary, held, id),
        (Ok(document), None) => {
            let extended = extender.map(|extender| extender.answer(document));
            reply::json_text(StatusCode::OK, extended.unwrap_or_else(|| document.to_bytes()))
        }
        (Err(error), _) => reply::error(error),
    };
    Ok(with_headers(response, answer.headers(), answer.provider_headers()))
}

/// Takes a place among the requests in flight.
fn place(api: &Api, settings: &Server, parts: &Parts) -> Result<Place, Error> {
    let entered: Option<&Entered> = parts.extensions.get();
    let key = entered.and_then(|entered| entered.identity.as_deref()).map(|identity| &*identity.key_id);
    let limits =
        Limits { all: settings.max_inflight_requests, per_key: settings.max_inflight_requests_per_key };
    api.inflight.enter(limits, key)
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
pub(super) async fn stored(
    api: &Api,
    endpoint: Endpoint,
    id: &str,
    request: Request,
) -> Result<Response, Error> {
    let (mut parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    let _place = place(api, &api.settings.load_full(), &parts)?;
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
pub(super) fn refused(error: &Error) -> Response {
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
}
