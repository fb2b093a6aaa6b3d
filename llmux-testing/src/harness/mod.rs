//! Runs a plugin through the real chain, without a server and without a provider.
//!
//! A common test has five lines, three of which are about the plugin:
//!
//! ```
//! # use llmux_abi::prelude::*;
//! # #[derive(Deserialize, JsonSchema)]
//! # struct SystemPrompt { prompt: String }
//! # impl Plugin for SystemPrompt {
//! #     type Config = Self;
//! #     fn new(config: Self, _: Host) -> Result<Self> { Ok(config) }
//! #     async fn pre_hook(&self, _: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
//! #         request.prepend_message("system", &self.prompt)?;
//! #         Ok(Flow::Continue)
//! #     }
//! # }
//! # export_plugin!(SystemPrompt, name: "system-prompt");
//! use llmux_testing::Harness;
//! use serde_json::json;
//!
//! # /*
//! #[tokio::test]
//! # */
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() { adds_the_prompt().await }
//! async fn adds_the_prompt() {
//!     let harness = Harness::new::<SystemPrompt>(json!({"prompt": "Be brief."})).await;
//!     harness.chat("Hello!").await.assert_text("Hello!");
//!     harness.assert_sent("/messages/0/content", "Be brief.");
//! }
//! ```
//!
//! The upstream repeats the request unless the test scripts another answer ([`Harness::respond_text`],
//! [`Harness::stream_text`], [`Harness::fail`], …). Everything else is as in production: the configuration is checked
//! against the schema, hooks have their timeouts, the changes of a failed hook are rolled back. There is one
//! exception: a provider's failure is not retried, so that one answer of the script is one attempt.
//!
//! With `#[tokio::test(start_paused = true)]`, timeouts pass at once. The harness captures the logs of the test's own
//! thread, so leave the runtime single-threaded, as `#[tokio::test]` makes it.

use std::{path::PathBuf, time::Duration};

use llmux_abi::{Plugin, convert::Assembler, host::Exported};
use llmux_core::{Client, Endpoint, Error, ErrorKind, Request};
use serde::Serialize;
use serde_json::{Value, json};

mod builder;
pub(crate) mod every_split;
mod logs;
mod reply;
mod script;

pub use builder::HarnessBuilder;
pub use logs::Log;
use reply::Answer;
pub use reply::HarnessReply;

use crate::{build::this_library, logs::Capture, provider::ScriptedProvider, turn::Turn};

/// Model that a harness serves. Requests that name no model get it.
pub const MODEL: &str = "test-model";

/// Plugins, the pipeline around them, and a provider that follows a script.
pub struct Harness {
    client: Client,
    provider: ScriptedProvider,
    capture: Capture,
}

/// The script, on the harness and on its builder.
macro_rules! script {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) => $turn:expr;)*) => {
        impl Harness {$(
            $(#[$doc])*
            pub fn $name(&self, $($argument: $type),*) -> &Self {
                self.provider.push($turn);
                self
            }
        )*}

        impl HarnessBuilder {$(
            $(#[$doc])*
            pub fn $name(self, $($argument: $type),*) -> Self {
                self.provider.push($turn);
                self
            }
        )*}
    };
}

script! {
    /// Scripts the next answer: this JSON. A streaming request gets it as chunks.
    respond(response: Value) => Turn::json(&response);
    /// Scripts the next answer: a chat response with this text. Its usage counts words.
    respond_text(text: &str) => script::text(text);
    /// Scripts the next answer: these chunks. A request that does not stream gets the response that they form.
    stream(chunks: Vec<Value>) => Turn::chunks(&chunks, None);
    /// Scripts the next answer: a chat stream of these texts, one chunk each, then the reason of its end and the usage.
    stream_text(texts: &[&str]) => script::texts(texts, None);
    /// Scripts the next answer: a chat stream of these texts, which then breaks off.
    stream_cut(texts: &[&str], message: &str) => {
        script::texts(texts, Some(Error::new(ErrorKind::BadGateway, message)))
    };
    /// Scripts the next answer: an error, with a status from 400 to 599.
    fail(status: u16, message: &str) => Turn::error(status, message);
    /// Scripts no answer to the next request, for tests of callers that disconnect (`tokio::time::timeout` around the
    /// call).
    hang() => Turn::hang();
}

impl Harness {
    /// Returns a harness with a plugin compiled into the test, as `export_plugin!` describes it.
    ///
    /// # Panics
    ///
    /// If the plugin does not start with this configuration, with the reason.
    pub async fn new<P: Plugin + Exported>(config: impl Serialize) -> Self {
        Self::builder().plugin::<P>(config).build().await
    }

    /// Returns a harness with the plugin of a compiled library.
    ///
    /// # Panics
    ///
    /// If the library cannot be loaded, or the plugin does not start with this configuration, with the reason.
    pub async fn library(path: impl Into<PathBuf>, config: impl Serialize) -> Self {
        Self::builder().library(path, config).build().await
    }

    /// Returns a harness with the plugin of the crate under test, as a compiled library. Cargo builds it at the first call
    /// ([`this_library`]).
    ///
    /// # Panics
    ///
    /// If the library cannot be built or loaded, or the plugin does not start with this configuration, with the reason.
    pub async fn this_library(config: impl Serialize) -> Self {
        Self::library(this_library(), config).await
    }

    /// Returns a builder, for several plugins, instances made by hand, and settings.
    pub fn builder() -> HarnessBuilder {
        HarnessBuilder::default()
    }

    /// Returns a chat request. The body is a text, which becomes the message of a user, or a whole body (JSON, or a
    /// struct that serde writes). If the body names no model, the model is [`MODEL`]. Headers, identity and fallbacks
    /// can be added to the request, for [`send`](Self::send) and [`stream_request`](Self::stream_request).
    ///
    /// # Panics
    ///
    /// If the body is not a request.
    #[track_caller]
    pub fn request(body: impl Serialize) -> Request {
        let mut body = value_of("a request", body);
        if let Value::String(text) = body {
            body = json!({"messages": [{"role": "user", "content": text}]});
        }
        if let Some(body) = body.as_object_mut() {
            body.entry("model").or_insert_with(|| MODEL.into());
        }
        Request::of(Endpoint::ChatCompletions, &body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Sends a chat request, as [`request`](Self::request) makes it, and waits for the whole answer.
    pub async fn chat(&self, body: impl Serialize) -> HarnessReply {
        self.send(Self::request(body)).await
    }

    /// Sends a chat request, as [`request`](Self::request) makes it, and reads the stream to its end.
    pub async fn chat_stream(&self, body: impl Serialize) -> HarnessReply {
        self.stream_request(Self::request(body)).await
    }

    /// Sends any request and waits for the whole answer.
    pub async fn send(&self, request: Request) -> HarnessReply {
        let before = self.capture.count();
        let reply = self.capture.within(self.client.send(request)).await;
        let document = reply.result.as_ref().ok().and_then(|document| document.get(""));
        HarnessReply {
            body: document.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            chunks: Vec::new(),
            error: reply.result.as_ref().err().cloned(),
            failures: logs::failures(&self.capture, before),
            answer: Answer::Whole(reply),
        }
    }

    /// Sends any request and reads the stream to its end.
    pub async fn stream_request(&self, request: Request) -> HarnessReply {
        let before = self.capture.count();
        let read = async {
            let mut reply = self.client.stream(request).await;
            let (mut chunks, mut error) = (Vec::new(), None);
            match &mut reply.result {
                Ok(stream) => {
                    while let Some(chunk) = stream.next().await {
                        match chunk {
                            Ok(chunk) => chunks.push(json_of(&chunk.data())),
                            Err(last) => error = Some(last),
                        }
                    }
                }
                Err(refused) => error = Some(refused.clone()),
            }
            (reply, chunks, error)
        };
        let (reply, chunks, error) = self.capture.within(read).await;
        let mut assembler = Assembler::new();
        chunks.iter().for_each(|chunk| assembler.push(chunk));
        HarnessReply {
            body: assembler.finish().unwrap_or_default(),
            chunks,
            error,
            failures: logs::failures(&self.capture, before),
            answer: Answer::Stream(reply),
        }
    }

    /// Returns the bodies that were sent upstream, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.provider.calls()
    }

    /// Returns the log records of the plugins, in order.
    pub fn logs(&self) -> Vec<Log> {
        logs::of_plugins(&self.capture)
    }

    /// Returns the hooks that have failed since the harness was made, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        logs::failures(&self.capture, 0)
    }

    /// Returns every metric, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.client.render_metrics()
    }

    /// Returns a metric's value: the sum of its series that have these labels; `None` if there is no such series.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metrics = self.metrics();
        let values = metrics.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (there, pairs) = series.split_once('{').unwrap_or((series, ""));
            let has = |(label, value): &(&str, &str)| {
                let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                let pair = format!("{label}=\"{value}\"");
                pairs.starts_with(&pair) || pairs.contains(&format!(",{pair}"))
            };
            (there == name && labels.iter().all(has)).then(|| value.parse::<f64>().ok())?
        });
        values.reduce(|sum, value| sum + value)
    }

    /// Waits until every request is over and the `on_complete` hooks have run.
    ///
    /// # Panics
    ///
    /// If that takes longer than a minute.
    pub async fn completed(&self) {
        let idle = async {
            while !self.client.is_idle() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), idle).await;
        assert!(
            ended.is_ok(),
            "requests are still under way: is a stream neither read to its end nor dropped?"
        );
    }

    /// Waits for the requests under way, and unloads every plugin. `cleanup` runs, and its logs can still be read.
    ///
    /// # Panics
    ///
    /// If a cleanup fails, with the plugin and the reason.
    pub async fn unload(&self) {
        let report = self.capture.within(self.client.shutdown(Duration::from_secs(60))).await;
        let errors: Vec<_> = report.errors.iter().map(|(name, why)| format!("`{name}`: {why}")).collect();
        assert!(errors.is_empty(), "the cleanup failed of {}", errors.join(", "));
    }

    /// Returns the client, for uses without a method of this harness: other endpoints, a stream that its reader
    /// abandons.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asserts that the last body that was sent upstream has this value at this JSON Pointer; `null` asserts that
    /// there is none.
    #[track_caller]
    pub fn assert_sent(&self, pointer: &str, expected: impl Into<Value>) -> &Self {
        let (sent, expected) = (self.sent(), expected.into());
        let Some(last) = sent.last() else {
            panic!("nothing went upstream{}", self.why());
        };
        let found = last.pointer(pointer).unwrap_or(&Value::Null);
        assert!(
            *found == expected,
            "`{pointer}` went upstream as {found}, not {expected}; the whole body: {last}{}",
            self.why()
        );
        self
    }

    /// Asserts that nothing was sent upstream: a plugin answered each time.
    #[track_caller]
    pub fn assert_nothing_sent(&self) -> &Self {
        let sent = self.sent();
        assert!(sent.is_empty(), "{} bodies went upstream, the first: {}", sent.len(), sent[0]);
        self
    }

    /// Asserts that a log record of a plugin contains this text.
    #[track_caller]
    pub fn assert_logged(&self, text: &str) -> &Self {
        let logs = self.logs();
        let found = logs.iter().any(|log| log.to_string().contains(text));
        let all: String = logs.iter().map(|log| format!("\n  {log}")).collect();
        assert!(found, "no plugin logged {text:?}; there is:{all}{}", self.why());
        self
    }

    fn why(&self) -> String {
        self.failures().iter().map(|failure| format!("\n  failed: {failure}")).collect()
    }
}

#[track_caller]
fn value_of(what: &str, value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{what} cannot be written as JSON: {error}"))
}

fn json_of(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap_or_else(|_| String::from_utf8_lossy(data).into())
}
