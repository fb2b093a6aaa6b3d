//! The admin API, on a listener of its own: its door, its routes, and the reload of the configuration.
//!
//! ```text
//! door (Host, Origin, query, token, type) ──► admin_plugins (list, load, …) │ reload
//! ```
//!
//! Loading a file runs its code, so the door is narrow: see [`refuse_web_pages`]. Changes run to their end even if
//! who asked leaves.

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
    plugins::{disable, enable, list, load, reload_library, show, unload, update},
    state::{Admin, Who},
    tokens::Denied,
};
use crate::http::{api::metrics_of, body, reply};

/// Fetch Metadata Request Headers, W3C: in whose name a browser asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How many characters of a refused path are logged.
const MOST_OF_A_PATH: usize = 256;

/// The routes of the admin listener.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/plugins", get(list).post(load))
        .route("/admin/plugins/{name}", patch(update).get(show).delete(unload))
        .route("/admin/plugins/{name}/reload", post(reload_library))
        .route("/admin/plugins/{name}/enable", post(enable))
        .route("/admin/plugins/{name}/disable", post(disable))
        .route("/admin/reload", post(reload))
        .route("/metrics", get(async |State(admin): State<Arc<Admin>>| metrics_of(&admin.client)))
        .fallback(reply::unknown_path)
        .method_not_allowed_fallback(reply::wrong_method)
        .layer(from_fn_with_state(admin.clone(), door))
        .with_state(admin)
}

async fn door(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
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
    // The path only: a query may hold what should not be there. What is too long was not meant for here.
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
            "this token may read, and changes nothing",
        ),
        Denied::NoToken | Denied::WrongToken => {
            let message = match denied {
                Denied::NoToken => "this needs an admin token, in the header `authorization: Bearer …`",
                _ => "the admin token is not one of those that are known here",
            };
            let mut response = reply::refuse(StatusCode::UNAUTHORIZED, "invalid_admin_token", message);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// Web pages reach loopback too, from the browser of whoever sits at this machine: a page's script says where it is
/// from (`Origin`), a browser says that it acts for a page where it says nothing else (`Sec-Fetch-Site`, as for an
/// image), and a name that a stranger points at this address (DNS rebinding) stands in `Host`. A query is refused
/// since it ends up in logs and histories, and a token in it with it.
fn refuse_web_pages(request: &Request, address: SocketAddr) -> Result<(), (&'static str, &'static str)> {
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return Err(("origin_refused", "the admin API takes no requests of web pages (header `origin`)"));
    }
    // `none` is what a person typed.
    if headers.get_all(FETCH_SITE).iter().any(|site| site != "none") {
        return Err((
            "origin_refused",
            "the admin API takes no requests of web pages (header `sec-fetch-site`)",
        ));
    }
    // Wherever a request may name its host: which of several counts would be a guess.
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok()?.parse().ok());
    let hosts: Option<Vec<Authority>> = named.chain(request.uri().authority().cloned().map(Some)).collect();
    if !hosts.is_some_and(|hosts| !hosts.is_empty() && hosts.iter().all(|it| is_own(it.host(), address))) {
        return Err(("wrong_host", "the header `host` is not the admin listener's own address"));
    }
    if request.uri().query().is_some() {
        return Err(("query_refused", "the admin API takes no query; a token goes into a header"));
    }
    Ok(())
}

/// Is this the listener's own address, or `localhost` for one on loopback? The port may be another, forwarded one.
/// A listener on all addresses takes each that is written as a number: only a name can be pointed elsewhere.
fn is_own(host: &str, address: SocketAddr) -> bool {
    let ip = address.ip();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let local = ip.is_loopback() || ip.is_unspecified();
    match number {
        Ok(number) => number == ip || ip.is_unspecified() || (local && number.is_loopback()),
        Err(_) => local && host.eq_ignore_ascii_case("localhost"),
    }
}

/// Reads the configuration file again.
async fn reload(State(admin): State<Arc<Admin>>, Extension(who): Extension<Who>) -> Response {
    // Half of a reload would be left if its caller took it along.
    let reloaded = tokio::spawn(async move { admin.reloader.reload(&who.0).await }).await;
    match reloaded {
        Ok(Ok(reloaded)) => reply::json_value(StatusCode::OK, &reloaded),
        Ok(Err(problem)) => reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "configuration_refused", problem),
        Err(_) => reply::refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the reload ended before its time; the log says why",
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
