//! A client of this process as the host: the instances are compiled in.

use std::{sync::Arc, time::Duration};

use llmux_core::{
    Client, Endpoint, PluginSpec, Request,
    pipeline::PipelineConfig,
    plugins::{PluginsConfig, Unloaded},
    provider::Echo,
};
use llmux_misbehaving::Misbehaving;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::host::{Host, LIMIT};

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
    async fn load_as(&self, instance: &str, mode: &str) -> Result<(), String> {
        let spec = PluginSpec::compiled::<Misbehaving>().with_name(instance);
        let loaded = self.0.plugins().load(spec.with_config(json!({"mode": mode}))).await;
        loaded.map(drop).map_err(|error| error.to_string())
    }

    async fn unload(&self, instance: &str) -> bool {
        matches!(self.0.plugins().unload(instance).await, Ok(Unloaded::Gone | Unloaded::Draining))
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
