//! Requests to a path, or with a method, that a listener does not serve.
//!
//! The routers of both listeners call it. The rest of the body is drained first, so that a client that is still writing
//! receives the answer. A client whose base URL is slightly wrong is served ([`serve_near`]).

use axum::{Router, extract::Request, response::Response};
use http::{StatusCode, Uri};
use llmux_core::Endpoint;
use tower_service::Service;

use super::{body, reply::refuse};

/// Largest number of bytes of a path in a message.
const MOST_OF_A_PATH: usize = 256;

/// The path that a client asked for, before [`near_path`] replaced it.
#[derive(Clone)]
struct Asked(String);

/// Refuses a path that the listener does not have.
pub(crate) async fn unknown_path(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    let path = parts.extensions.get().map_or(parts.uri.path(), |Asked(path)| path);
    let hint = hint(path);
    let path = &path[..path.floor_char_boundary(MOST_OF_A_PATH)];
    refuse(StatusCode::NOT_FOUND, "unknown_path", format!("there is no {} {path} here{hint}", parts.method))
}

/// Refuses a method that the path does not support. axum adds the header `allow`.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    let message = format!(
        "{} does not support {}; the header `allow` lists the supported methods",
        parts.uri.path(),
        parts.method
    );
    refuse(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// Serves a request under the path that its client probably means, or refuses it.
pub(crate) async fn serve_near(mut routes: Router, mut request: Request) -> Response {
    let uri = request.uri();
    let near = near_path(uri.path()).map(|path| match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    });
    let Some(Ok(near)) = near.map(|near| near.parse::<Uri>()) else {
        return unknown_path(request).await;
    };
    let asked = std::mem::replace(request.uri_mut(), near);
    request.extensions_mut().insert(Asked(asked.path().to_owned()));
    match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Returns the path that a client probably means, if it differs: without empty segments (`//v1`, `/v1/models/`), and with
/// `/v1` once at its beginning, unless it is the path of a health check or of the metrics.
fn near_path(path: &str) -> Option<String> {
    let mut segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let versions = segments.iter().take_while(|segment| **segment == "v1").count();
    segments.drain(..versions);
    let near = segments.join("/");
    let near = match &*near {
        "" | "healthz" | "readyz" | "metrics" if versions == 0 => format!("/{near}"),
        _ => format!("/v1/{near}"),
    };
    (near != path).then_some(near)
}

/// Returns the end of the message about an unknown path: the path that is served, if the path ends as an endpoint's does.
fn hint(path: &str) -> String {
    let path = path.trim_end_matches('/');
    let known = Endpoint::ALL.iter().map(|endpoint| endpoint.path()).chain(["models"]);
    // The longest: `completions` also ends `chat/completions`.
    let known = known.filter(|known| path.strip_suffix(known).is_some_and(|before| before.ends_with('/')));
    match known.max_by_key(|known| known.len()) {
        // The listener of the admin API has no such path.
        Some(known) if path == format!("/v1/{known}") => String::new(),
        Some(known) => format!("; the path is /v1/{known}, so the client's base URL must end with /v1"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_v1_or_with_more_slashes_is_near_a_served_one() {
        for (path, near) in [
            ("/v1/chat/completions", None),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("/chat/completions", Some("/v1/chat/completions")),
            ("chat/completions", Some("/v1/chat/completions")),
            ("//v1//chat/completions", Some("/v1/chat/completions")),
            ("/v1/v1/models", Some("/v1/models")),
            ("/models/", Some("/v1/models")),
            ("/healthz/", Some("/healthz")),
            ("/v1/healthz", None),
            ("/", None),
            ("//", Some("/")),
            ("*", Some("/v1/*")),
        ] {
            assert_eq!(near_path(path).as_deref(), near, "{path}");
        }
    }

    #[test]
    fn a_path_that_ends_as_an_endpoint_has_a_hint() {
        for (path, expected) in [
            ("/openai/deployments/m/chat/completions", "/v1/chat/completions"),
            ("/api/completions/", "/v1/completions"),
            ("/openai/v1/models", "/v1/models"),
        ] {
            assert!(hint(path).contains(&format!("the path is {expected},")), "{path}: {}", hint(path));
        }
        for path in ["/api/chat", "/", "/xmodels", "/v1/files", "/v1/models"] {
            assert_eq!(hint(path), "", "{path}");
        }
    }
}
