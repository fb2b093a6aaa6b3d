//! Makes a harness: which plugins, in which pipeline.

use std::{path::PathBuf, sync::Arc};

use llmux_abi::{Plugin, host::Exported};
use serde::Serialize;
use tracing::{Dispatch, instrument::WithSubscriber};

use super::{Harness, Logs, MODEL, Script, value_of};
use llmux_core::{
    PluginSpec,
    client::{BuildError, ClientBuilder, RetryConfig},
    pipeline::PipelineConfig,
    plugins::PluginsConfig,
};

/// Makes a [`Harness`] of several plugins, or with settings.
#[must_use = "a builder does nothing until it builds"]
#[derive(Default)]
pub struct HarnessBuilder {
    client: ClientBuilder,
    models: Vec<String>,
    pub(super) script: Script,
    insecure: bool,
    every_thread: bool,
}

impl HarnessBuilder {
    /// Adds a plugin compiled into the test, with its manifest's priority and `on_error`.
    #[track_caller]
    pub fn plugin<P: Plugin + Exported>(self, config: impl Serialize) -> Self {
        self.spec(PluginSpec::compiled::<P>().with_config(value_of("a configuration", config)))
    }

    /// Adds the plugin in a compiled library.
    #[track_caller]
    pub fn library(mut self, path: impl Into<PathBuf>, config: impl Serialize) -> Self {
        // A file that was just built lies in nobody's plugin folder.
        self.insecure = true;
        self.spec(PluginSpec::path(path).with_config(value_of("a configuration", config)))
    }

    /// Adds an instance with settings of its own: another name or priority, one made by hand.
    pub fn spec(mut self, spec: PluginSpec) -> Self {
        self.client = self.client.plugin(spec);
        self
    }

    /// How the pipeline treats its plugins.
    pub fn pipeline(mut self, config: PipelineConfig) -> Self {
        self.client = self.client.pipeline(config);
        self
    }

    /// Models that the upstream serves, beside [`MODEL`].
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models.extend(models.into_iter().map(Into::into));
        self
    }

    /// The models to try, in order, when this one fails.
    pub fn fallbacks(mut self, model: &str, fallbacks: &[&str]) -> Self {
        self.client = self.client.fallbacks(model, fallbacks.iter().copied());
        self
    }

    /// Keeps what plugins log on every thread, not on this one alone: while they are made, and in their own threads.
    /// For a program that does nothing else; tests run beside each other. It lasts until the process ends, and the
    /// first one in a process has it.
    pub fn logs_of_every_thread(mut self) -> Self {
        self.every_thread = true;
        self
    }

    /// Makes the harness.
    ///
    /// # Panics
    ///
    /// When a plugin is refused, saying why.
    pub async fn build(self) -> Harness {
        self.try_build().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes the harness, for tests of what is refused.
    ///
    /// # Errors
    ///
    /// The first plugin that was refused.
    pub async fn try_build(self) -> Result<Harness, BuildError> {
        let Self { client, models, script, insecure, every_thread } = self;
        let logs = Logs::default();
        let dispatch = Dispatch::new(logs.clone());
        if every_thread {
            // Where there is one already, this thread's own is what is left.
            let _ = tracing::dispatcher::set_global_default(dispatch.clone());
        }
        let subscriber = tracing::dispatcher::set_default(&dispatch);
        let models = models.into_iter().chain([MODEL.to_owned()]);
        let client = client
            .provider("scripted", Arc::new(script.clone()), models)
            .retry(RetryConfig::default().with_max_retries(0))
            .plugins(PluginsConfig { allow_insecure_permissions: insecure, ..PluginsConfig::default() })
            .build()
            .with_subscriber(dispatch.clone())
            .await?;
        Ok(Harness { client, script, logs, dispatch, _subscriber: subscriber })
    }
}
