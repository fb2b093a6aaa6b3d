//! Builder of a harness: its plugins, and the settings of its pipeline.

use std::{path::PathBuf, sync::Arc};

use llmux_abi::{Plugin, host::Exported};
use llmux_core::{
    PluginSpec,
    client::{BuildError, ClientBuilder, RetryConfig},
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::{Isolation, PluginsConfig},
};
use serde::Serialize;

use super::{Harness, MODEL, logs, value_of};
use crate::provider::ScriptedProvider;

/// Builder of a [`Harness`] with several plugins, or with settings.
#[must_use = "a builder does nothing until it builds"]
#[derive(Default)]
pub struct HarnessBuilder {
    client: ClientBuilder,
    models: Vec<String>,
    pub(super) provider: ScriptedProvider,
    insecure: bool,
    every_thread: bool,
    child: Option<ChildProgram>,
}

impl HarnessBuilder {
    /// Adds a plugin compiled into the test, with its manifest's priority and `on_error`.
    #[track_caller]
    pub fn plugin<P: Plugin + Exported>(self, config: impl Serialize) -> Self {
        self.spec(PluginSpec::compiled::<P>().with_config(value_of("a configuration", config)))
    }

    /// Adds the plugin of a compiled library.
    #[track_caller]
    pub fn library(mut self, path: impl Into<PathBuf>, config: impl Serialize) -> Self {
        // A file that was just built lies in nobody's plugin folder.
        self.insecure = true;
        self.spec(PluginSpec::path(path).with_config(value_of("a configuration", config)))
    }

    /// Adds an instance with settings of its own, such as another name or priority, or an instance made by hand.
    pub fn spec(mut self, spec: PluginSpec) -> Self {
        self.client = self.client.plugin(spec);
        self
    }

    /// Sets the settings of the pipeline.
    pub fn pipeline(mut self, config: PipelineConfig) -> Self {
        self.client = self.client.pipeline(config);
        self
    }

    /// Adds models that the upstream serves, beside [`MODEL`].
    pub fn models<M: Into<String>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.models.extend(models.into_iter().map(Into::into));
        self
    }

    /// Sets the models to try, in order, after this model failed.
    pub fn fallbacks(mut self, model: &str, fallbacks: &[&str]) -> Self {
        self.client = self.client.fallbacks(model, fallbacks.iter().copied());
        self
    }

    /// Captures the plugins' log records of every thread, not of this thread only: records of their construction, and
    /// of their own threads. This is for a program that does nothing else, because tests run beside each other. The
    /// capture lasts until the process ends, and only the first capture of a process gets the records.
    pub fn logs_of_every_thread(mut self) -> Self {
        self.every_thread = true;
        self
    }

    /// Runs libraries in child processes of this program.
    pub fn isolated(mut self, program: ChildProgram) -> Self {
        self.child = Some(program);
        self
    }

    /// Builds the harness.
    ///
    /// # Panics
    ///
    /// If a plugin is refused, with the reason.
    pub async fn build(self) -> Harness {
        self.try_build().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Builds the harness, for tests of plugins that must be refused.
    ///
    /// # Errors
    ///
    /// Error of the first plugin that was refused.
    pub async fn try_build(self) -> Result<Harness, BuildError> {
        let Self { client, models, provider, insecure, every_thread, child } = self;
        let mut capture = logs::capture();
        if every_thread {
            capture = capture.of_every_thread();
        }
        let models = models.into_iter().chain([MODEL.to_owned()]);
        let isolation = if child.is_some() { Isolation::Process } else { Isolation::None };
        let plugins = PluginsConfig::default()
            .with_allow_insecure_permissions(insecure)
            .with_isolation(isolation)
            .with_child(child);
        let client = client
            .provider("scripted", Arc::new(provider.clone()), models)
            .retry(RetryConfig::default().with_max_retries(0))
            .plugins(plugins);
        let client = capture.within(client.build()).await?;
        Ok(Harness { client, provider, capture })
    }
}
