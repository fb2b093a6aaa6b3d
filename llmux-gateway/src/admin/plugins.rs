//! Routes of the admin API for plugins: list, load, unload, update, reload, enable, disable.
//!
//! `router` has accepted the request before. Each change carries the name of its token into the line of the audit log
//! that `llmux-core` writes.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::StatusCode;
use llmux_core::{
    Error, PluginSpec,
    plugins::{
        Change, Guards, Isolation, OnError, Origin, PluginError, SandboxChange, SandboxParts,
        SandboxSettings, Setting, Unloaded, acting_as,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    error::refused,
    state::{Admin, Who},
};
use crate::http::{
    body,
    held_bytes::HeldBytes,
    reply::{self, Name},
};

/// Largest body, in bytes. It holds the configuration of an instance.
const MAX_BODY: usize = 1024 * 1024;

pub(crate) async fn list(State(admin): State<Arc<Admin>>) -> Response {
    let plugins = admin.client.plugins();
    let value = json!({
        "plugins": plugins.list(),
        "retired": plugins.retired(),
        "refused": plugins.refused(),
        "inactive": *plugins.inactive(),
    });
    reply::json_value(StatusCode::OK, &value)
}

pub(crate) async fn show(State(admin): State<Arc<Admin>>, Name(name): Name) -> Response {
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
    isolation: Option<Isolation>,
    // The rights and limits of an isolated instance.
    sandbox: Option<SandboxParts>,
    read: Option<Vec<PathBuf>>,
    write: Option<Vec<PathBuf>>,
    env: Option<Vec<String>>,
    network: Option<bool>,
    processes: Option<bool>,
    memory: Option<u64>,
    files: Option<u64>,
    cpu: Option<f64>,
}

pub(crate) async fn load(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    request: Request,
) -> Response {
    let load: Load = match read(&admin, request).await {
        Ok(load) => load,
        Err(response) => return response,
    };
    let mut spec = match (load.path, load.plugin) {
        (Some(path), None) if path.is_absolute() => PluginSpec::path(path),
        (Some(path), None) => {
            let message = format!("`path` must be absolute; `{}` is not", path.display());
            return reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_path", message);
        }
        (None, Some(plugin)) => PluginSpec::plugin(plugin),
        _ => {
            let message = "the body must have either `path`, a library's file, or `plugin`, a plugin's name";
            return reply::refuse(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", message);
        }
    };
    spec = spec.with_origin(Origin::Operator);
    if let Some(name) = load.name {
        spec = spec.with_name(name);
    }
    if let Some(priority) = load.priority {
        spec = spec.with_priority(priority);
    }
    if let Some(on_error) = load.on_error {
        spec = spec.with_on_error(on_error);
    }
    if let Some(config) = load.config {
        spec = spec.with_config(config);
    }
    if let Some(sha256) = load.sha256 {
        spec = spec.with_sha256(sha256);
    }
    if let Some(isolation) = load.isolation {
        spec = spec.with_isolation(isolation);
    }
    spec = spec.with_sandbox(
        SandboxSettings::default()
            .with_sandbox(load.sandbox)
            .with_read(load.read)
            .with_write(load.write)
            .with_env(load.env)
            .with_network(load.network)
            .with_processes(load.processes)
            .with_memory(load.memory)
            .with_files(load.files)
            .with_cpu(load.cpu),
    );
    let client = admin.client.clone();
    match to_the_end(who, async move { client.plugins().load(spec).await }).await {
        Ok(info) => reply::json_value(StatusCode::CREATED, &info),
        Err(error) => refused(&error),
    }
}

pub(crate) async fn unload(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Name(name): Name,
    request: Request,
) -> Response {
    let guards = match read_force(&admin, request).await {
        Ok(guards) => guards,
        Err(response) => return response,
    };
    let client = admin.client.clone();
    match to_the_end(who, async move { client.plugins().unload_with(&name, guards).await }).await {
        Ok(Unloaded::Gone) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(_) => reply::json_text(StatusCode::ACCEPTED, r#"{"state":"draining"}"#),
        Err(error) => refused(&error),
    }
}

/// Settings to change. An absent one stays as it is; `null` resets one to its default.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Update {
    priority: Setting<i32>,
    on_error: Setting<OnError>,
    config: Setting<Value>,
    isolation: Setting<Isolation>,
    sandbox: Setting<SandboxParts>,
    read: Setting<Vec<PathBuf>>,
    write: Setting<Vec<PathBuf>>,
    env: Setting<Vec<String>>,
    network: Setting<bool>,
    processes: Setting<bool>,
    memory: Setting<u64>,
    files: Setting<u64>,
    cpu: Setting<f64>,
    force: bool,
}

impl Update {
    /// Returns the changes of an instance, which are made together.
    fn changes(self, name: &str) -> Vec<Change> {
        let Self { priority, on_error, config, isolation, sandbox, read, write, env, .. } = self;
        let mut rights = SandboxChange::default();
        (rights.sandbox, rights.read, rights.write, rights.env) = (sandbox, read, write, env);
        (rights.network, rights.processes) = (self.network, self.processes);
        (rights.memory, rights.files, rights.cpu) = (self.memory, self.files, self.cpu);
        let moves = !(isolation.is_keep() && rights.is_keep());
        let isolate = Change::Isolate { name: name.to_owned(), isolation, sandbox: rights };
        let update = Change::Update { name: name.to_owned(), priority, on_error, config };
        moves.then_some(isolate).into_iter().chain([update]).collect()
    }
}

/// Body of a change that has no other members.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Force {
    force: bool,
}

/// Returns the decision of the operator: only a forced change may weaken instances that fail closed.
fn guards(force: bool) -> Guards {
    if force { Guards::Weaken } else { Guards::Keep }
}

pub(crate) async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Name(name): Name,
    request: Request,
) -> Response {
    let update: Update = match read(&admin, request).await {
        Ok(update) => update,
        Err(response) => return response,
    };
    let guards = guards(update.force);
    make(&admin, who, &name, update.changes(&name), guards).await
}

pub(crate) async fn reload_library(admin: State<Arc<Admin>>, who: Extension<Who>, name: Name) -> Response {
    make_bare(admin, who, name, Change::Reload).await
}

pub(crate) async fn enable(admin: State<Arc<Admin>>, who: Extension<Who>, name: Name) -> Response {
    make_bare(admin, who, name, Change::Enable).await
}

pub(crate) async fn disable(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Name(name): Name,
    request: Request,
) -> Response {
    match read_force(&admin, request).await {
        Ok(guards) => make(&admin, who, &name, vec![Change::Disable(name.clone())], guards).await,
        Err(response) => response,
    }
}

async fn make_bare(
    State(admin): State<Arc<Admin>>,
    Extension(who): Extension<Who>,
    Name(name): Name,
    change: fn(String) -> Change,
) -> Response {
    make(&admin, who, &name, vec![change(name.clone())], Guards::Keep).await
}

async fn make(admin: &Admin, who: Who, name: &str, changes: Vec<Change>, guards: Guards) -> Response {
    let client = admin.client.clone();
    match to_the_end(who, async move { client.plugins().change_with(changes, guards).await }).await {
        Ok(_) => describe(admin, name),
        Err(error) => refused(&error),
    }
}

/// Runs a change in a task of its own, so that it is completed even if the client disconnects.
async fn to_the_end<T: Send + 'static>(
    who: Who,
    change: impl Future<Output = Result<T, PluginError>> + Send + 'static,
) -> Result<T, PluginError> {
    tokio::spawn(acting_as(who.0, change)).await.unwrap_or(Err(PluginError::PipelineClosed))
}

/// Reads the body as JSON of the shape `T`.
async fn read<T: DeserializeOwned>(admin: &Admin, request: Request) -> Result<T, Response> {
    let text = read_text(admin, request, false).await;
    text.and_then(|text| parse(&text)).map_err(|error| reply::error(&error))
}

/// Reads whether a change is forced, from a body that may be absent.
pub(super) async fn read_force(admin: &Admin, request: Request) -> Result<Guards, Response> {
    let text = read_text(admin, request, true).await;
    let read = text.and_then(|text| if text.is_empty() { Ok(Force::default()) } else { parse(&text) });
    read.map(|Force { force }| guards(force)).map_err(|error| reply::error(&error))
}

async fn read_text(admin: &Admin, request: Request, lenient: bool) -> Result<Bytes, Error> {
    let (parts, body) = request.into_parts();
    body::check_type(&parts.headers, lenient)?;
    // These bodies are small, and nobody without a token sends one.
    let mut held = Arc::<HeldBytes>::default().share(usize::MAX);
    body::read(&parts.headers, body, MAX_BODY, admin.settings.load().read_timeout, &mut held).await
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| {
        let code = if error.is_data() { "invalid_body" } else { "invalid_json" };
        reply::refusal(StatusCode::BAD_REQUEST, code, format!("the body is not valid: {error}"))
    })
}
