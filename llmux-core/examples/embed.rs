//! A program that embeds a client with a compiled-in plugin and a loaded one.
//!
//! `cargo run -p llmux-core --example embed -- path/to/libsystem_prompt.so`

use std::sync::Arc;

use llmux_abi::prelude::*;
use llmux_core::{Client, PluginSpec, provider::Echo};
use serde_json::json;

/// A plugin that refuses a model.
struct NoGpt;

impl Plugin for NoGpt {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, _: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        match request.model() {
            "gpt" => Ok(ShortCircuit::reject(Error::forbidden("not this one")).into()),
            _ => Ok(Flow::Continue),
        }
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder()
        .provider("echo", Arc::new(Echo::new()), ["echo", "echo-request", "gpt"])
        .plugin(PluginSpec::of::<NoGpt>("no-gpt").with_priority(5))
        .build()
        .await?;

    if let Some(library) = std::env::args().nth(1) {
        let spec = PluginSpec::path(library).with_config(json!({"prompt": "Be brief."}));
        println!("loaded {}", client.plugins().load(spec).await?.name);
    }

    let messages = json!([{"role": "user", "content": "Hello!"}]);
    let response = client.chat(&json!({"model": "echo-request", "messages": messages})).await?;
    println!("{}", response.get_str("/choices/0/message/content").unwrap_or_default());

    let mut stream = client.chat_stream(&json!({"model": "echo", "messages": messages})).await?;
    while let Some(chunk) = stream.next().await {
        println!("{}", String::from_utf8_lossy(&chunk?.data()));
    }

    let refused = client.chat(&json!({"model": "gpt", "messages": messages})).await;
    println!("{}", refused.expect_err("refused"));
    for plugin in client.plugins().list() {
        println!("{} {} {:?}", plugin.name, plugin.priority, plugin.hooks);
    }
    client.shutdown(std::time::Duration::from_secs(1)).await;
    Ok(())
}
