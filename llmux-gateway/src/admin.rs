//! The admin API, on a listener of its own: see the plugins, change them.
//!
//! ```text
//! door (Host, Origin, query, token) ──► list │ load │ unload │ update │ reload, enable, disable
//! ```
//!
//! Loading a file runs its code, so the door is narrow: see [`refuse_web_pages`]. Changes run to their end even if
//! who asked leaves. Every change is a line in the log.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, patch, post},
};
use http::{HeaderValue, Method, StatusCode, header, uri::Authority};
use llmux_core::{
    Client, PluginSpec,
    plugins::{Change, OnError, PluginError, Unloaded},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    api::metrics_of,
    auth::{AdminTokens, Denied},
    body,
    plugin_error::refused,
    reply,
};

/// The largest body, in bytes: a configuration.
const MAX_BODY: usize = 1024 * 1024;

/// What every request needs.
pub(crate) struct Admin {
    pub(crate) client: Client,
    pub(crate) tokens: AdminTokens,
    /// The listener's address.
    pub(crate) address: SocketAddr,
    pub(crate) read_timeout: Duration,
}

/// The name of the token that came with a request.
#[derive(Clone)]
struct Who(Arc<str>);

/// The routes of the admin listener.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/plugins", get(list).post(load))
        .route("/admin/plugins/{name}", patch(update).get(show).delete(unload))
        .route("/admin/plugins/{name}/reload", post(reload))
        .route("/admin/plugins/{name}/enable", post(enable))
        .route("/admin/plugins/{name}/disable", post(disable))
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
        Ok(()) => match admin.tokens.allow(request.headers(), is_change) {
            Ok(who) => {
                request.extensions_mut().insert(Who(who));
                return next.run(request).await;
            }
            Err(denied) => deny(denied),
        },
    };
    // The path only: a query may hold what should not be there.
    let (method, path) = (request.method(), request.uri().path());
    tracing::warn!(status = refused.status().as_u16(), "the admin API refused {method} {path}");
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
/// from (`Origin`), and a name that a stranger points at this address (DNS rebinding) stands in `Host`. A query is
/// refused since it ends up in logs and histories, and a token in it with it.
fn refuse_web_pages(request: &Request, address: SocketAddr) -> Result<(), (&'static str, &'static str)> {
    if request.headers().contains_key(header::ORIGIN) {
        return Err(("origin_refused", "the admin API takes no requests of web pages (header `origin`)"));
    }
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    let host: Option<Authority> = host.or_else(|| request.uri().authority().cloned());
    if !host.is_some_and(|host| is_own(host.host(), address)) {
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

async fn list(State(admin): State<Arc<Admin>>) -> Response {
    let plugins = admin.client.plugins();
    let value = json!({"plugins": plugins.list(), "retired": plugins.retired()});
    reply::json_value(StatusCode::OK, &value)
}

async fn show(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Response {
    describe(&admin, &name)
}

fn describe(admin: &Admin, name: &str) -> Response {
    match admin.client.plugins().list().iter().find(|info| info.name == name) {
        Some(info) => reply::json_value(StatusCode::OK, info),
        None => refused(&PluginError::PluginNotFound { name: name.to_owned() }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    name: Option<String>,
    path: Option<PathBuf>,
    plugin: Option<String>,
    priority: Option<i32>,
    on_error: Option<OnError>,
    config: Option<Value>,
    sha256: Option<String>,
}

async fn load(State(admin): State<Arc<Admin>>, Extension(who): Extension<Who>, request: Request) -> Response {
    let load: Load = match read(&admin, request).await {
        Ok(load) => load,
        Err(response) => return response,
    };
    let mut spec = match (load.path, load.plugin) {
        (Some(path), None) if path.is_absolute() => PluginSpec::path(path),
        (Some(path), None) => {
            let message = format!("`path` is absolute; `{}` is not", path.display());
            return reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_path", message);
        }
        (None, Some(plugin)) => PluginSpec::plugin(plugin),
        _ => {
            let message = "the body has either `path`, a library's file, or `plugin`, a plugin's name";
            return reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", message);
        }
    };
    if let Some(name) = load.name {
        spec = spec.name(name);
    }
    if let Some(priority) = load.priority {
        spec = spec.priority(priority);
    }
    if let Some(on_error) = load.on_error {
        spec = spec.on_error(on_error);
    }
    if let Some(config) = load.config {
        spec = spec.config(config);
    }
    if let Some(sha256) = load.sha256 {
        spec = spec.sha256(sha256);
    }
    let client = admin.client.clone();
    match to_the_end(async move { client.plugins().load(spec).await }).await {
        Ok(info) => {
            let sha256 = info.sha256.as_deref();
            tracing::info!(
                who = &*who.0,
                instance = info.name,
                version = info.version,
                sha256,
                "plugin loaded"
            );
            reply::json_value(StatusCode::CREATED, &info)
        }
        Err(error) => refused_change(&who, "load", &error),
    }
}

async fn unload(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
) -> Response {
    let (client, instance) = (admin.client.clone(), name.clone());
    match to_the_end(async move { client.plugins().unload(&instance).await }).await {
        Ok(unloaded) => {
            tracing::info!(
                who = &*who.0,
                instance = name,
                drained = unloaded == Unloaded::Gone,
                "plugin unloaded"
            );
            match unloaded {
                Unloaded::Gone => {
                    let mut response = Response::default();
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    response
                }
                Unloaded::Draining => reply::json_text(StatusCode::ACCEPTED, r#"{"state":"draining"}"#),
            }
        }
        Err(error) => refused_change(&who, "unload", &error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    priority: Option<i32>,
    on_error: Option<OnError>,
    config: Option<Value>,
}

async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Update { priority, on_error, config } = match read(&admin, request).await {
        Ok(update) => update,
        Err(response) => return response,
    };
    let change = Change::Update { name: name.clone(), priority, on_error, config };
    make(&admin, &who, &name, "update", change).await
}

async fn reload(
    admin: State<Arc<Admin>>,
    who: Extension<Who>,
    name: Path<String>,
    request: Request,
) -> Response {
    make_bare(admin, who, name, request, "reload", Change::Reload).await
}

async fn enable(
    admin: State<Arc<Admin>>,
    who: Extension<Who>,
    name: Path<String>,
    request: Request,
) -> Response {
    make_bare(admin, who, name, request, "enable", Change::Enable).await
}

async fn disable(
    admin: State<Arc<Admin>>,
    who: Extension<Who>,
    name: Path<String>,
    request: Request,
) -> Response {
    make_bare(admin, who, name, request, "disable", Change::Disable).await
}

/// A change that needs no body; one of a form is refused all the same.
async fn make_bare(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
    request: Request,
    what: &'static str,
    change: fn(String) -> Change,
) -> Response {
    match body::check_type(request.headers(), true) {
        Ok(()) => make(&admin, &who, &name, what, change(name.clone())).await,
        Err(error) => reply::error(&error),
    }
}

async fn make(admin: &Admin, who: &Who, name: &str, what: &'static str, change: Change) -> Response {
    let client = admin.client.clone();
    match to_the_end(async move { client.plugins().change(vec![change]).await }).await {
        Ok(_) => {
            tracing::info!(who = &*who.0, instance = name, change = what, "plugin changed");
            describe(admin, name)
        }
        Err(error) => refused_change(who, what, &error),
    }
}

/// Runs a change in a task of its own: half of one would be left if its caller took it along.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, PluginError> {
    tokio::spawn(change).await.unwrap_or(Err(PluginError::PipelineClosed))
}

/// The body, JSON of a known shape.
async fn read<T: DeserializeOwned>(admin: &Admin, request: Request) -> Result<T, Response> {
    let (parts, body) = request.into_parts();
    let text = async {
        body::check_type(&parts.headers, false)?;
        body::read(&parts.headers, body, MAX_BODY, admin.read_timeout).await
    };
    let text = text.await.map_err(|error| reply::error(&error))?;
    serde_json::from_slice(&text).map_err(|error| {
        let code = if error.is_data() { "invalid_body" } else { "invalid_json" };
        reply::refuse(StatusCode::BAD_REQUEST, code, format!("the body: {error}"))
    })
}

fn refused_change(who: &Who, what: &str, error: &PluginError) -> Response {
    tracing::warn!(who = &*who.0, change = what, "a change of the plugins was refused: {error}");
    refused(error)
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
