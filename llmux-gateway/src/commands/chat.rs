//! `llmux chat`: sends one request through the same pipeline as the server's, in this process.

use llmux_core::{Document, Endpoint, PluginSpec, Request};
use llmux_terminal::{CliError, Result};
use serde_json::json;

use super::cli::Chat;
use crate::{
    config::{client, file::Loaded, provider::Providers},
    terminal::logging::{self, LogFormat},
};

/// Longest time to wait for the plugins' last hooks.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// Runs the command.
pub(crate) async fn run(options: Chat) -> Result<()> {
    // Standard output is for the answer, so the log shows warnings and errors only. A failed provider is the error of the
    // command.
    let (_log, _) = logging::start("warn,llmux_core::upstream=error", LogFormat::Text)?;
    let mut loaded = Loaded::read(options.config.as_deref())?;
    // One request uses the instances that are named, here or in the file.
    loaded.config.plugins.autoload = false;
    let specs = options.plugins.iter().map(|(path, config)| {
        let path = std::path::absolute(path)
            .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
        Ok(PluginSpec::path(path).with_config(config.clone()))
    });
    let (builder, _) = client::client(&loaded, specs.collect::<Result<_>>()?, &Providers::default())?;
    let client = client::build(&loaded, builder).await?;
    let model = match options.model {
        Some(model) => model,
        None => client.models().into_iter().next().map(|(model, _)| model).unwrap_or_default(),
    };
    let mut messages = Vec::new();
    messages.extend(options.system.map(|text| json!({"role": "system", "content": text})));
    messages.push(json!({"role": "user", "content": options.text}));
    let body = json!({"model": model, "messages": messages, "stream": options.stream});
    let result = async {
        let request = Request::of(Endpoint::ChatCompletions, &body).map_err(CliError::new)?;
        match options.stream {
            true => print_stream(client.stream(request).await.result.map_err(CliError::new)?).await,
            false => print_answer(&client.send(request).await.result.map_err(CliError::new)?),
        }
    };
    let result = result.await;
    for (instance, error) in client.shutdown(LAST_WORDS).await.errors {
        tracing::error!(instance, "cleanup: {error}");
    }
    result
}

fn print_answer(answer: &Document) -> Result<()> {
    match answer.get_str("/choices/0/message/content") {
        Some(text) => llmux_terminal::print(&format!("{text}\n")),
        // A message without text, such as calls of tools, is printed as it is.
        None => llmux_terminal::print(&format!("{}\n", answer.get("/choices/0/message").unwrap_or_default())),
    }
}

async fn print_stream(mut stream: llmux_core::ReplyStream) -> Result<()> {
    let mut result = Ok(());
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => {
                let text = chunk.document().and_then(|chunk| chunk.get_str("/choices/0/delta/content"));
                llmux_terminal::print(text.unwrap_or_default())?;
            }
            Err(error) => result = Err(CliError::new(error)),
        }
    }
    llmux_terminal::print("\n")?;
    result
}
