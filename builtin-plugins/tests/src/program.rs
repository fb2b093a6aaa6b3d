//! The host as a process: a real `llmux` with all four libraries in its folder, and its upstream over HTTP.
//!
//! Every process configures all four plugins. The plugins that a test does not ask for are disabled, so that the
//! folder does not autoload them with another configuration. Every request to the process needs an API key: a request
//! that names no key is sent with [`ANYBODY`].

use std::{
    fmt::Write,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use llmux_core::{Error, ErrorKind};
use llmux_testing::{ScriptedServer, Server, http::http, program::until};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Answer, Ask, Builtin, Upstream, log, value_in,
    world::{Listed, MODELS},
};

const ANYBODY: &str = "anybody";
/// Ids of the API keys. The key itself is `key-` and the id.
const KEYS: [&str; 6] = [ANYBODY, "a", "b", "k", "another", "tenant"];

pub(crate) struct Program {
    server: Server,
    _upstream: ScriptedServer,
    plugins: Vec<Builtin>,
    /// Number of requests sent.
    sent: AtomicUsize,
}

impl Program {
    pub(crate) async fn start(plugins: &[(Builtin, Value)], upstream: Arc<Upstream>) -> Self {
        let upstream = ScriptedServer::serving(Arc::new(upstream.provider())).await;
        let folder = Builtin::library_folder();
        let arguments = ["--plugin-dir", folder.to_str().expect("a path in UTF-8")];
        let server = Server::with(&configuration(plugins, &upstream), &arguments).await;
        let plugins = plugins.iter().map(|(plugin, _)| *plugin).collect();
        Self { server, _upstream: upstream, plugins, sent: AtomicUsize::new(0) }
    }

    fn post(&self, ask: Ask) -> RequestBuilder {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let Ask { mut body, stream, mut headers, identity, fallbacks, endpoint } = ask;
        assert!(identity.user.is_none(), "the keys of a process belong to nobody");
        body["stream"] = json!(stream);
        let id = if identity.key_id.is_empty() { ANYBODY } else { &identity.key_id };
        assert!(KEYS.contains(&id), "the process knows no key `{id}`");
        let key = HeaderValue::from_str(&format!("Bearer key-{id}")).expect("a header");
        headers.insert("authorization", key);
        // A request with another key in another header is refused.
        headers.remove("x-api-key");
        if !fallbacks.is_empty() {
            headers.insert("llmux-fallbacks", HeaderValue::from_str(&fallbacks.join(",")).expect("a header"));
        }
        http().post(format!("{}/v1/{}", self.server.api, endpoint.path())).headers(headers).json(&body)
    }

    /// Sends a request. The method is not `async`, so that the request counts from the call on.
    pub(crate) fn send(&self, ask: Ask) -> impl Future<Output = Answer> {
        let request = self.post(ask);
        async move { answer(request.send().await.expect("an answer")).await }
    }

    pub(crate) async fn leave(&self, ask: Ask, upstream: &Upstream) {
        let (stream, before) = (ask.stream, upstream.calls());
        let sending = tokio::spawn(self.post(ask).send());
        if stream {
            let mut response = sending.await.expect("a task").expect("an answer");
            response.chunk().await.expect("a chunk").expect("a chunk");
            return;
        }
        until("the upstream is called", async || upstream.calls() > before).await;
        sending.abort();
        let _ = sending.await;
    }

    /// Waits until the plugins have received as many `on_complete` calls as there were requests.
    pub(crate) async fn settle(&self) {
        let told = async || {
            let metrics = self.metrics().await;
            let sent = self.sent.load(Ordering::SeqCst) as f64;
            self.plugins.iter().all(|plugin| {
                let labels = [("hook", "on_complete"), ("plugin", plugin.name())];
                value_in(&metrics, "llmux_hook_duration_seconds_count", &labels) == Some(sent)
            })
        };
        until("every request is complete", told).await;
    }

    pub(crate) async fn metrics(&self) -> String {
        let request = self.server.get("/metrics").bearer_auth(format!("key-{ANYBODY}"));
        let response = request.send().await.expect("an answer").error_for_status().expect("metrics");
        response.text().await.expect("text")
    }

    pub(crate) async fn plugins(&self) -> Vec<Listed> {
        let (_, list) = self.server.call("GET", "/admin/plugins", None).await;
        let active =
            list["plugins"].as_array().expect("a list").iter().filter(|plugin| plugin["state"] == "active");
        let listed = active.map(|plugin| Listed {
            name: plugin["name"].as_str().expect("a name").to_owned(),
            priority: plugin["priority"].as_i64().expect("a priority"),
            failures: plugin["hooks"]
                .as_array()
                .expect("hooks")
                .iter()
                .filter_map(|hook| hook["failures"].as_u64())
                .sum(),
        });
        listed.collect()
    }

    pub(crate) async fn end(self) {
        let lines = self.server.stop().await;
        assert!(lines.contains("all plugins are cleaned up") && !lines.contains("cleanup:"), "{lines}");
        log::relay(&lines);
    }
}

fn configuration(plugins: &[(Builtin, Value)], upstream: &ScriptedServer) -> String {
    let mut text = format!(
        "[log]\nlevel = \"info,llmux::plugin=trace\"\nformat = \"json\"\n\
         [plugins]\nallow_insecure_permissions = true\n\
         [retry]\nmax_retries = 0\n\
         [[provider]]\nname = \"p\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = {MODELS:?}\n\
         [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n",
        upstream.base_url()
    );
    let mut write = |table: std::fmt::Arguments<'_>| text.write_fmt(table).expect("text takes text");
    for id in KEYS {
        let hash: String =
            Sha256::digest(format!("key-{id}")).iter().map(|byte| format!("{byte:02x}")).collect();
        write(format_args!("[[api_key]]\nid = \"{id}\"\nsha256 = \"{hash}\"\n"));
    }
    for plugin in Builtin::ALL {
        let name = plugin.name();
        match plugins.iter().find(|(asked, _)| *asked == plugin) {
            Some((_, config)) => {
                let config = toml::Value::try_from(config).expect("a configuration in TOML");
                write(format_args!("[[plugin]]\nname = \"{name}\"\nconfig = {config}\n"));
            }
            None => write(format_args!("[[plugin]]\nname = \"{name}\"\nenabled = false\n")),
        }
    }
    text
}

async fn answer(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let streams = header(&headers, "content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let text = response.text().await.expect("a whole answer");
    let mut answer = Answer {
        hit: header(&headers, "x-cache") == Some("hit"),
        limited: false,
        inside: None,
        headers: headers
            .keys()
            .filter_map(|name| Some((name.to_string(), header(&headers, name.as_str())?.to_owned())))
            .collect(),
        bodies: Vec::new(),
        error: None,
    };
    if streams {
        let events =
            text.split("\n\n").filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
        for data in events.filter(|data| *data != "[DONE]") {
            match error(status, &headers, data) {
                Some(error) => answer.error = Some(error),
                None => answer.bodies.push(data.to_owned()),
            }
        }
    } else {
        match error(status, &headers, &text) {
            Some(error) => answer.error = Some(error),
            None => answer.bodies.push(text),
        }
    }
    answer.limited = answer.error.as_ref().is_some_and(|error| error.status() == 429);
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the error in an answer or an event; `None` if there is no error.
fn error(status: u16, headers: &HeaderMap, text: &str) -> Option<Error> {
    let mut body: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON, {error}: {text}"));
    let error = body["error"].take();
    let wait =
        header(headers, "retry-after").map(|seconds| Duration::from_secs(seconds.parse().expect("seconds")));
    // In the middle of a stream there is no status any more.
    let status = if status == 200 { 502 } else { status };
    error.is_object().then(|| Error::from_parts(ErrorKind::Provider, status, error, wait))
}
