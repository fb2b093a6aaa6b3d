//! Builds a client: providers, models, plugins, settings.

use std::sync::Arc;

use arc_swap::ArcSwap;
use llmux_abi::{Compiled, Exported, Plugin};
use tokio::{runtime::Handle, time::Instant};

use super::{Client, RetryConfig, Upstreams};
use crate::{
    boundary::host::HostShared,
    metrics::Metrics,
    pipeline::{PipelineConfig, Shared},
    plugins::{Change, PluginError, PluginSpec, PluginsConfig, Registry},
    provider::Provider,
};

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A plugin was refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The HTTP client for plugins could not be made.
    #[error("the HTTP client for plugins: {0}")]
    Http(#[source] reqwest::Error),
    /// There is no runtime to run on.
    #[error("a client is built inside a tokio runtime")]
    NoRuntime,
}

/// Builds a [`Client`].
#[derive(Default)]
pub struct ClientBuilder {
    pub(super) upstreams: Upstreams,
    pub(super) pipeline: PipelineConfig,
    plugins_config: PluginsConfig,
    compiled: Vec<Compiled>,
    plugins: Vec<PluginSpec>,
}

impl ClientBuilder {
    /// Adds a provider, under the name that contexts and metrics show, with the models it serves: `name`, or
    /// `(name here, name there)`. A model that several providers serve is tried at each, in this order.
    pub fn provider<M: Model>(
        mut self,
        name: &str,
        provider: Arc<dyn Provider>,
        models: impl IntoIterator<Item = M>,
    ) -> Self {
        let name: Arc<str> = name.into();
        for model in models {
            let (model, upstream_model) = model.names();
            self.upstreams.routes.add(&model, &upstream_model, &name, &provider);
        }
        self
    }

    /// The models to try, in order, when this one fails.
    pub fn fallbacks<M: Into<Arc<str>>>(
        mut self,
        model: &str,
        fallbacks: impl IntoIterator<Item = M>,
    ) -> Self {
        let fallbacks = fallbacks.into_iter().map(Into::into).collect();
        self.upstreams.fallbacks.insert(model.into(), fallbacks);
        self
    }

    /// How often and how patiently providers are tried again.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.upstreams.retry = retry;
        self
    }

    /// How the pipeline treats its plugins.
    pub fn pipeline(mut self, config: PipelineConfig) -> Self {
        self.pipeline = config;
        self
    }

    /// Where plugins are looked for.
    pub fn plugins(mut self, config: PluginsConfig) -> Self {
        self.plugins_config = config;
        self
    }

    /// Makes a plugin that is compiled into this program known by its manifest's name, without making an
    /// instance of it.
    pub fn compiled<P: Plugin + Exported>(mut self) -> Self {
        self.compiled.push(llmux_abi::compiled::<P>());
        self
    }

    /// Adds an instance.
    pub fn plugin(mut self, spec: PluginSpec) -> Self {
        self.plugins.push(spec);
        self
    }

    /// Builds the client and makes its instances.
    ///
    /// # Errors
    ///
    /// The first plugin that was refused.
    pub async fn build(self) -> Result<Client, BuildError> {
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let metrics = Arc::new(Metrics::default());
        crate::provider::install_tls();
        // The first reading measures the processor's counter against the system's clock.
        quanta::Instant::now();
        let host = HostShared {
            runtime,
            http: reqwest::Client::builder().build().map_err(BuildError::Http)?,
            metrics: metrics.clone(),
            epoch: Instant::now(),
        };
        let registry =
            Registry::new(Arc::new(host), self.compiled, self.pipeline.clone(), self.plugins_config)?;
        registry.change(self.plugins.into_iter().map(Change::Load).collect()).await?;
        let shared = Shared { config: self.pipeline, upstreams: self.upstreams, completions: Arc::default() };
        Ok(Client { shared: Arc::new(ArcSwap::from_pointee(shared)), plugins: Arc::new(registry), metrics })
    }
}

/// A model that a provider serves: its name here, and there.
pub trait Model {
    /// The name that requests use, and the provider's.
    fn names(self) -> (String, String);
}

impl Model for &str {
    fn names(self) -> (String, String) {
        (self.to_owned(), self.to_owned())
    }
}

impl Model for String {
    fn names(self) -> (String, String) {
        (self.clone(), self)
    }
}

impl<H: Into<String>, T: Into<String>> Model for (H, T) {
    fn names(self) -> (String, String) {
        (self.0.into(), self.1.into())
    }
}
