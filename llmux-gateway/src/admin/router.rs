//! Routes of the admin API, on a listener of its own, and the checks before them.
//!
//! ```text
//! enter (Host, Origin, query, token, type) ──► plugins (list, load, …) │ reload
//! ```
//!
//! Loading a file runs its code, so [`refuse_web_pages`] refuses every request that a web page could have caused. Changes
//! run to their end even if the client disconnects.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, patch, post},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};
use llmux_terminal::visible;

use super::{
    error::NEEDS_FORCE,
    plugins::{disable, enable, list, load, read_force, reload_library, show, unload, update},
    reload::Refused,
    state::{Admin, Who},
    tokens::Denied,
};
use crate::http::{api::metrics_of, body, reply};

/// Header by which a browser says that it acts for a web page (Fetch Metadata Request Headers, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Largest number of characters of a refused path in the log.
const MOST_OF_A_PATH: usize = 256;

/// Returns the routes of the admin listener.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/plugins", get(list).post(load))
        .route("/admin/plugins/{name}", patch(update).get(show).delete(unload))
        .route("/admin/plugins/{name}/reload", post(reload_library))
        .route("/admin/plugins/{name}/enable", post(enable))
        .route("/admin/plugins/{name}/disable", post(disable))
        .route("/admin/reload", post(reload))
        .route("/metrics", get(async |State(admin): State<Arc<Admin>>| metrics_of(&admin.client).await))
        .fallback(reply::unknown_path)
        .method_not_allowed_fallback(reply::wrong_method)
        .layer(from_fn_with_state(admin.clone(), enter))
        .with_state(admin)
}

/// Handles each request first: refuses web pages, checks the token, and checks the type of a body.
async fn enter(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let refused = match refuse_web_pages(&request, admin.address) {
        Err((code, message)) => reply::refuse(StatusCode::FORBIDDEN, code, message),
        Ok(()) => match admin.tokens.load().allow(request.headers(), is_change) {
            Ok(who) => match body::check_type(request.headers(), true) {
                Err(error) if is_change => reply::error(&error),
                _ => {
                    request.extensions_mut().insert(Who(who));
                    return next.run(request).await;
                }
            },
            Err(denied) => deny(denied),
        },
    };
    // The query is not logged, because it may hold a token.
    let (method, path) = (request.method(), request.uri().path());
    let path: String = path.chars().take(MOST_OF_A_PATH).collect();
    tracing::warn!(status = refused.status().as_u16(), "the admin API refused {method} {}", visible(&path));
    refused
}

fn deny(denied: Denied) -> Response {
    match denied {
        Denied::ReadOnly => reply::refuse(
            StatusCode::FORBIDDEN,
            "read_only_token",
            "this token may read but not change anything",
        ),
        Denied::NoToken | Denied::WrongToken => {
            let message = match denied {
                Denied::NoToken => "an admin token is required, in the header `authorization: Bearer …`",
                _ => "the admin token is not valid here",
            };
            let mut response = reply::refuse(StatusCode::UNAUTHORIZED, "invalid_admin_token", message);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// Refuses requests that a web page could have caused, and requests with a query.
///
/// A web page can reach loopback through the browser of a user of this machine. A script sends its page's address in
/// `Origin`. For other requests of a page, such as those for images, a browser sends `Sec-Fetch-Site`. If a stranger points
/// a name at this address (DNS rebinding), that name is in `Host`. A query is refused because queries, and tokens in them,
/// get into logs and histories.
fn refuse_web_pages(request: &Request, address: SocketAddr) -> Result<(), (&'static str, &'static str)> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Err(("origin_refused", "the admin API refuses requests from web pages (header `origin`)"));
    }
    // `none` means that a person typed the address.
    if headers.get_all(FETCH_SITE).iter().any(|site| site != "none") {
        return Err((
            "origin_refused",
            "the admin API refuses requests from web pages (header `sec-fetch-site`)",
        ));
    }
    // Every place where a request names its host counts, because it is unknown which of several is meant.
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok()?.parse().ok());
    let hosts: Option<Vec<Authority>> = named.chain(request.uri().authority().cloned().map(Some)).collect();
    if !hosts.is_some_and(|hosts| !hosts.is_empty() && hosts.iter().all(|it| is_own(it.host(), address))) {
        return Err(("wrong_host", "the header `host` is not the admin listener's own address"));
    }
    if request.uri().query().is_some() {
        return Err(("query_refused", "the admin API refuses queries; a token belongs into a header"));
    }
    Ok(())
}

/// Returns true if the host is the listener's own address, or `localhost` for a listener on loopback. The port may differ,
/// as a forwarded one does. For a listener on all addresses, every numeric address is its own: only a name can be pointed
/// at this machine by a stranger.
fn is_own(host: &str, address: SocketAddr) -> bool {
    let ip = address.ip();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let local = ip.is_loopback() || ip.is_unspecified();
    match number {
        Ok(number) => number == ip || ip.is_unspecified() || (local && number.is_loopback()),
        Err(_) => local && host.eq_ignore_ascii_case("localhost"),
    }
}

/// Reads the configuration file again, and applies it.
async fn reload(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Response {
    let guards = match read_force(&admin, request).await {
        Ok(guards) => guards,
        Err(response) => return response,
    };
    // In a task of its own, so that it is completed even if the client disconnects.
    let reloaded = tokio::spawn(async move { admin.reloader.reload(&who.0, guards).await }).await;
    match reloaded {
        Ok(Ok(reloaded)) => reply::json_value(StatusCode::OK, &reloaded),
        Ok(Err(Refused::Wrong(problem))) => {
            reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused", problem)
        }
        Ok(Err(Refused::NeedsForce(problem))) => reply::refuse(StatusCode::CONFLICT, NEEDS_FORCE, problem),
        Err(_) => reply::refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the reload panicked; the log has the details",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listeners_own_names_are_its_host() {
        let cases = [
            ("127.0.0.1:8081", "127.0.0.1", true),
            ("127.0.0.1:8081", "localhost", true),
            ("127.0.0.1:8081", "[::1]", true),
            ("127.0.0.1:8081", "evil.example", false),
            ("127.0.0.1:8081", "10.0.0.1", false),
            ("127.0.0.1:8081", "LocalHost", true),
            ("127.0.0.1:8081", "localhost.", false),
            ("127.0.0.1:8081", "0.0.0.0", false),
            ("127.0.0.1:8081", "127.1", false),
            ("[::1]:8081", "[::1]", true),
            ("[::1]:8081", "localhost", true),
            ("[::1]:8081", "[::2]", false),
            ("[::]:8081", "[fe80::1]", true),
            ("[::]:8081", "evil.example", false),
            ("127.0.0.1:8081", "127.0.0.1.evil.example", false),
            ("10.0.0.1:8081", "10.0.0.1", true),
            ("10.0.0.1:8081", "localhost", false),
            ("0.0.0.0:8081", "192.168.1.7", true),
            ("0.0.0.0:8081", "evil.example", false),
        ];
        for (address, host, expected) in cases {
            let address = address.parse().expect("an address");
            assert_eq!(is_own(host, address), expected, "{host} at {address}");
        }
    }
}
