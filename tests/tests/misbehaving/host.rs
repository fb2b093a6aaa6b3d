//! The two kinds of host: a client of this process, and a program.

use std::{sync::Arc, time::Duration};

use llmux_core::{
    Client, Endpoint, PluginSpec, Request,
    pipeline::PipelineConfig,
    plugins::{PluginsConfig, Unloaded},
    provider::Echo,
};
use llmux_misbehaving::Misbehaving;
use llmux_testing::{Server, http::http};
use llmux_tests::Fixtures;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Limit of each hook call, and of a stream's silence.
const LIMIT: Duration = Duration::from_millis(700);

/// A host with instances of the fixture.
pub(crate) trait Host {
    /// Makes an instance of a mode.
    async fn load(&self, mode: &str) -> Result<(), String>;
    /// Unloads it. Returns true if it left the pipeline.
    async fn unload(&self, mode: &str) -> bool;
    /// Begins a request in a task.
    fn start(&self, body: &Value, stream: bool) -> JoinHandle<String>;
    /// Returns every metric.
    async fn metrics(&self) -> String;
    /// Ends the host in an orderly way.
    async fn end(self);

    /// Sends a request and returns its outcome: the status, and for a stream `done` or `error`.
    async fn ask(&self, body: &Value, stream: bool) -> String {
        self.start(body, stream).await.expect("no panic here")
    }
}

/// Returns the name of the instance of a mode.
fn instance(mode: &str) -> String {
    mode.replace('_', "-")
}

pub(crate) struct InProcess(Client);

impl InProcess {
    pub(crate) async fn start() -> Self {
        let pipeline = PipelineConfig::default()
            .with_pre_hook_timeout(LIMIT)
            .with_post_hook_timeout(LIMIT)
            .with_stream_idle_timeout(LIMIT);
        let client = Client::builder()
            .provider("echo", Arc::new(Echo::new()), ["echo"])
            .pipeline(pipeline)
            .plugins(PluginsConfig::default().with_drain_timeout(LIMIT));
        Self(client.build().await.expect("a client"))
    }
}

impl Host for InProcess {
    async fn load(&self, mode: &str) -> Result<(), String> {
        let spec = PluginSpec::compiled::<Misbehaving>().with_name(instance(mode));
        let loaded = self.0.plugins().load(spec.with_config(json!({"mode": mode}))).await;
        loaded.map(drop).map_err(|error| error.to_string())
    }

    async fn unload(&self, mode: &str) -> bool {
        matches!(self.0.plugins().unload(&instance(mode)).await, Ok(Unloaded::Gone | Unloaded::Draining))
    }

    fn start(&self, body: &Value, stream: bool) -> JoinHandle<String> {
        let (client, request) =
            (self.0.clone(), Request::of(Endpoint::ChatCompletions, body).expect("a request"));
        tokio::spawn(async move {
            if !stream {
                return match client.send(request).await.result {
                    Ok(_) => "200".to_owned(),
                    Err(error) => error.status().to_string(),
                };
            }
            match client.stream(request).await.result {
                Err(error) => error.status().to_string(),
                Ok(mut chunks) => {
                    let mut end = "200 done";
                    while let Some(chunk) = chunks.next().await {
                        if chunk.is_err() {
                            end = "200 error";
                        }
                    }
                    end.to_owned()
                }
            }
        })
    }

    async fn metrics(&self) -> String {
        self.0.render_metrics()
    }

    async fn end(self) {
        let report = self.0.shutdown(Duration::from_secs(30)).await;
        assert!(report.drained, "{report:?}");
    }
}

pub(crate) struct Program(Server);

impl Program {
    pub(crate) async fn start() -> Self {
        let configuration = format!(
            "[server]\ndrain_timeout = \"10s\"\n[log]\nlevel = \"warn\"\n\
             [pipeline]\npre_hook_timeout = \"{LIMIT:?}\"\npost_hook_timeout = \"{LIMIT:?}\"\n\
             stream_idle_timeout = \"{LIMIT:?}\"\n\
             [plugins]\ndrain_timeout = \"{LIMIT:?}\"\nallow_insecure_permissions = true\n\
             [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n"
        );
        let mut server = Server::with(&configuration, &[]).await;
        // The log is read, so that the program never waits for its reader.
        let mut log = server.child.stderr.take().expect("piped");
        tokio::spawn(async move { tokio::io::copy(&mut log, &mut tokio::io::sink()).await });
        Self(server)
    }
}

impl Host for Program {
    async fn load(&self, mode: &str) -> Result<(), String> {
        let library = Fixtures::get().misbehaving();
        let load = json!({"path": library, "name": instance(mode), "config": {"mode": mode}});
        match self.0.call("POST", "/admin/plugins", Some(&load)).await {
            (201, _) => Ok(()),
            (_, refused) => Err(refused["error"]["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    async fn unload(&self, mode: &str) -> bool {
        let path = format!("/admin/plugins/{}", instance(mode));
        matches!(self.0.call("DELETE", &path, None).await.0, 202 | 204)
    }

    fn start(&self, body: &Value, stream: bool) -> JoinHandle<String> {
        let mut body = body.clone();
        body["stream"] = stream.into();
        let request = self.0.post("/v1/chat/completions", &body);
        tokio::spawn(async move {
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            let text = response.text().await.expect("a whole answer");
            match status {
                200 if stream && text.contains("\"error\":") => "200 error".to_owned(),
                200 if stream => {
                    assert!(text.ends_with("data: [DONE]\n\n"), "the stream ends: {text}");
                    "200 done".to_owned()
                }
                status => status.to_string(),
            }
        })
    }

    async fn metrics(&self) -> String {
        let metrics = http().get(format!("{}/metrics", self.0.api)).send().await.expect("an answer");
        metrics.text().await.expect("text")
    }

    async fn end(mut self) {
        self.0.signal("-TERM").await;
        let ended = tokio::time::timeout(llmux_testing::http::LONG, self.0.child.wait()).await;
        let status = ended.expect("in time").expect("ended");
        assert!(status.success(), "{status}");
    }
}
