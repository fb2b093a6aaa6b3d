//! The admin API on any request: no panic, an answer in JSON, and no change without a token that permits it.
//!
//! The gateway is a program without a library, so its modules are compiled into this target. The first byte of the input
//! selects the method, the second one the token, and the rest is `path, newline, headers, empty line, body`.

#![no_main]
#![allow(dead_code, unused_imports, reason = "the commands that use the rest of the modules are not here")]

#[path = "../../../llmux-gateway/src/admin/mod.rs"]
mod admin;
#[path = "../../../llmux-gateway/src/config/mod.rs"]
mod config;
#[path = "../../../llmux-gateway/src/http/mod.rs"]
mod http;
#[path = "../../../llmux-gateway/src/terminal/mod.rs"]
mod terminal;

use std::sync::{Arc, LazyLock};

use ::http::{HeaderName, HeaderValue, Method, Request, header};
use arc_swap::ArcSwap;
use axum::{Router, body::Body};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use llmux_abi::prelude::*;
use llmux_core::{Client, PluginSpec};
use serde_json::Value;
use tokio::{runtime::Runtime, sync::watch};
use tower::ServiceExt;

use crate::{
    admin::{
        reload::{Current, Live, Reloader},
        router,
        state::Admin,
        tokens::AdminTokens,
    },
    config::{client, file::Loaded, overrides::Overrides, provider::Providers},
    http::{auth::ApiKeys, refusals::Refusals},
    terminal::logging,
};

const TOKEN: &str = "fuzz-token-of-an-operator";
const METHODS: [Method; 6] =
    [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::PUT, Method::OPTIONS];

static SERVER: LazyLock<(Runtime, Client, Router)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (client, router) = runtime.block_on(server());
    (runtime, client, router)
});

/// An instance to change.
struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }
}

async fn server() -> (Client, Router) {
    let file = std::env::temp_dir().join(format!("llmux-fuzz-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "[log]\nlevel = \"off\"\n[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n",
    )
    .expect("a configuration file");
    let loaded = Loaded::read(Some(&file)).expect("a configuration");
    let (_log, level) = logging::start(loaded.config.log.level(), loaded.config.log.format).expect("a log");
    let made = client::client(&loaded, vec![PluginSpec::of::<Noop>("noop")], &Providers::default());
    let (builder, providers) = made.expect("a builder");
    let client = client::build(&loaded, builder).await.expect("a client");
    let keys = Arc::new(ArcSwap::from_pointee(ApiKeys::of(&loaded).expect("no keys")));
    let tokens = Arc::new(ArcSwap::from_pointee(AdminTokens::local(TOKEN)));
    let settings = Arc::new(ArcSwap::from_pointee(loaded.config.server.clone()));
    let (watched, _) = watch::channel(Vec::new());
    let live = Live { keys, tokens: tokens.clone(), server: settings.clone(), level, watched };
    let overrides = Overrides {
        file: Some(file),
        plugin_dirs: Vec::new(),
        listen: None,
        admin_listen: None,
        log_format: None,
    };
    let address = "127.0.0.1:8080".parse().expect("an address");
    let current = Current { loaded, providers };
    let reloader =
        Reloader::new(client.clone(), live, overrides, current, (address, None), None).expect("a reloader");
    let (reloader, refusals) = (Arc::new(reloader), Arc::new(Refusals::new()));
    let admin = Admin { client: client.clone(), tokens, refusals, reloader, settings };
    (client, router::router(Arc::new(admin)))
}

fuzz_target!(|input: &[u8]| {
    let [method, token, rest @ ..] = input else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()].clone();
    let may_change = token % 3 == 0;
    let Some(request) = request(&method, token % 3, rest) else { return };
    let (runtime, client, router) = &*SERVER;
    runtime.block_on(async {
        let before = serde_json::to_value(client.plugins().list()).expect("a list is JSON");
        let response = router.clone().oneshot(request).await.expect("the router never fails");
        let status = response.status();
        let is_text = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|it| it.as_bytes().starts_with(b"text/plain"));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(!status.is_server_error(), "{method} {status} {body:?}");
        if !body.is_empty() && !is_text {
            let body: Value = serde_json::from_slice(&body).expect("an answer is JSON");
            // An instance has a member of this name, too: a text or nothing.
            assert_eq!(status.is_success(), !body["error"].is_object(), "{status} {body}");
        }
        if !may_change {
            let after = serde_json::to_value(client.plugins().list()).expect("a list is JSON");
            assert_eq!(after, before, "a change without a token");
            assert!(method == Method::GET || !status.is_success(), "{method} {status}");
        }
    });
});

/// Returns the request that the input describes; `None` if it describes none that HTTP permits.
fn request(method: &Method, token: u8, rest: &[u8]) -> Option<Request<Body>> {
    let text = rest.iter().position(|byte| *byte == b'\n')?;
    let (path, rest) = (str::from_utf8(&rest[..text]).ok()?, &rest[text + 1..]);
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1");
    match token {
        0 => request = request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}")),
        1 => request = request.header(header::AUTHORIZATION, "Bearer another-token"),
        _ => {}
    }
    let mut rest = rest;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        // The second byte alone decides about the token.
        if name != header::AUTHORIZATION {
            request = request.header(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
        }
    }
    request.body(Body::from(rest.to_vec())).ok()
}
