//! A host that an instance of the fixture can be loaded into, and the program as one.

use std::time::Duration;

use llmux_testing::{Server, http::http};
use llmux_tests::Fixtures;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Limit of each hook call, and of a stream's silence.
pub(crate) const LIMIT: Duration = Duration::from_millis(700);

/// A host with instances of the fixture.
pub(crate) trait Host {
    /// Makes an instance of a mode.
    async fn load_as(&self, instance: &str, mode: &str) -> Result<(), String>;
    /// Unloads an instance. Returns true if it left the pipeline.
    async fn unload(&self, instance: &str) -> bool;
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

pub(crate) struct Program(pub(crate) Server);

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
    async fn load_as(&self, instance: &str, mode: &str) -> Result<(), String> {
        let library = Fixtures::get().misbehaving();
        let load = json!({"path": library, "name": instance, "config": {"mode": mode}});
        match self.0.call("POST", "/admin/plugins", Some(&load)).await {
            (201, _) => Ok(()),
            (_, refused) => Err(refused["error"]["message"].as_str().unwrap_or_default().to_owned()),
        }
    }

    async fn unload(&self, instance: &str) -> bool {
        let path = format!("/admin/plugins/{instance}");
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
