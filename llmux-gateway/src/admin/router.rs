//! Routes of the admin API, on a listener of its own, and the checks before them.
//!
//! ```text
//! enter (Host, Origin, query, token, type) ──► plugins (list, load, …) │ providers │ reload
//! ```
//!
//! Loading a file runs its code, so [`refuse_web_pages`] refuses every request that a web page could have caused. Changes
//! run to their end even if the client disconnects.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, patch, post},
};
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    error::NEEDS_FORCE,
    plugins::{disable, enable, list, load, read_force, reload_library, show, unload, update},
    providers::providers,
    reload::Refused,
    state::{Admin, Who},
    tokens::Denied,
};
use crate::{
    config::server::Server,
    http::{
        api::metrics_of,
        body,
        client_address::client_address,
        refusals::{self, Listener},
        reply, unserved, web_pages,
    },
};

/// Returns the routes of the admin listener.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/admin/plugins", get(list).post(load))
        .route("/admin/plugins/{name}", patch(update).get(show).delete(unload))
        .route("/admin/plugins/{name}/reload", post(reload_library))
        .route("/admin/plugins/{name}/enable", post(enable))
        .route("/admin/plugins/{name}/disable", post(disable))
        .route("/admin/providers", get(providers))
        .route("/admin/reload", post(reload))
        .route(
            "/metrics",
            get(async |State(admin): State<Arc<Admin>>| metrics_of(&admin.client, &admin.refusals).await),
        )
        .fallback(unserved::unknown_path)
        .method_not_allowed_fallback(unserved::wrong_method)
        .layer(from_fn_with_state(admin.clone(), enter))
        .with_state(admin)
}

/// Handles each request first: refuses web pages, checks the token, and checks the type of a body.
async fn enter(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let settings = admin.settings.load_full();
    let client = client_address(request.extensions(), request.headers(), &settings.trusted_proxies);
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let refused = match refuse_web_pages(&request, &settings) {
        Err((code, message)) => reply::refuse(StatusCode::FORBIDDEN, code, message),
        Ok(()) => match admin.tokens.load().allow(request.headers(), is_change) {
            Ok(who) => match body::check_type(request.headers(), true) {
                Err(error) if is_change => reply::refused(&error),
                _ => {
                    request.extensions_mut().insert(Who(who));
                    return next.run(request).await;
                }
            },
            Err(denied) => deny(denied),
        },
    };
    let (parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    // The query is not logged, because it may hold a token.
    let (method, path) = (&parts.method, parts.uri.path());
    let request = refusals::Request { method, path, client, request_id: None };
    admin.refusals.note(Listener::Admin, &request, &refused);
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

/// Refuses requests that a web page could have caused, also a page that `[server] cors` names, and requests with a query.
/// Queries, and tokens in them, get into logs and histories.
fn refuse_web_pages(request: &Request, settings: &Server) -> Result<(), (&'static str, String)> {
    if let Some(header) = web_pages::cause(request.headers(), &[]) {
        let message = format!("the admin API refuses requests from web pages (header `{header}`)");
        return Err(("origin_refused", message));
    }
    if web_pages::names_foreign_host(request, settings.hosts.iter().chain(&settings.admin_hosts)) {
        return Err(("wrong_host", format!("{} or `admin_hosts`", web_pages::FOREIGN_HOST)));
    }
    if request.uri().query().is_some() {
        let message = "the admin API refuses queries; a token belongs into a header";
        return Err(("query_refused", message.to_owned()));
    }
    Ok(())
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
