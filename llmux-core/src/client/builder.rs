//! The builder of a client: providers, models, plugins, settings.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use llmux_abi::{
    Plugin,
    host::{Compiled, Exported, compiled},
};
use tokio::{runtime::Handle, time::Instant};

use super::{handle::Client, settings::Settings};
use crate::{
    boundary::{host::HostShared, http},
    metrics::Metrics,
    pipeline::{Clock, Completions, PipelineConfig, Shared},
    plugins::{Changed, Guards, PluginError, PluginSpec, PluginsConfig, Registry, RegistrySettings},
    provider::Provider,
    upstream::{Added, DeploymentConfig, RetryConfig, Router, RoutingStrategy},
};

/// The reason for which a client could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A plugin was refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The HTTP client for plugins could not be made.
    #[error("the HTTP client for plugins: {0}")]
    Http(#[source] reqwest::Error),
    /// The caller is outside of a tokio runtime.
    #[error("a client must be built inside a tokio runtime")]
    NoRuntime,
}

impl Client {
    /// Returns a builder.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Applies all settings of a builder: its providers, models, fallbacks, retries, pipeline and plugin settings, for
    /// requests that enter from now on, and its specs of the origin [`Config`](crate::plugins::Origin::Config) in place of
    /// those before. Its other specs are ignored: [`plugins`](Self::plugins) changes those instances.
    ///
    /// A deployment keeps its rests and its figures if the builder has the same object (`Arc`) as its provider, under the
    /// same name. That object also keeps its connections.
    ///
    /// # Errors
    ///
    /// The first plugin that is refused, or [`PluginError::Weakens`] if `guards` is [`Guards::Keep`]; everything is then
    /// as it was.
    pub async fn reconfigure(&self, builder: ClientBuilder, guards: Guards) -> Result<Changed, PluginError> {
        let ClientBuilder {
            deployments, retry, routing, fallbacks, pipeline, plugins_config, plugins, ..
        } = builder;
        let pipeline = Arc::new(pipeline);
        let of_registry = RegistrySettings { plugins: plugins_config, pipeline: pipeline.clone() };
        let changed = self.plugins.configure(of_registry, plugins, guards).await?;
        let before = self.settings.load();
        let router = Router::new(deployments, routing, retry, Some(&before.router));
        let counts = (before.shared.completions.clone(), before.shared.dropped_headers.clone());
        self.settings.store(Arc::new(settings(router, fallbacks, pipeline, counts)));
        Ok(changed)
    }
}

/// Builds a [`Client`].
#[derive(Default)]
pub struct ClientBuilder {
    deployments: Vec<Added>,
    retry: RetryConfig,
    routing: RoutingStrategy,
    fallbacks: HashMap<Arc<str>, Vec<Arc<str>>>,
    pub(super) pipeline: PipelineConfig,
    plugins_config: PluginsConfig,
    compiled: Vec<Compiled>,
    plugins: Vec<PluginSpec>,
}

impl ClientBuilder {
    /// Adds a provider with the models that it serves. Contexts and metrics show `name`. A model is a name, a pair of
    /// the name that requests use and the provider's name for it, or a [`DeploymentConfig`]. If several providers serve a
    /// model, they share its requests by order and weight.
    pub fn provider<M: Model>(
        mut self,
        name: &str,
        provider: Arc<dyn Provider>,
        models: impl IntoIterator<Item = M>,
    ) -> Self {
        let name: Arc<str> = name.into();
        for model in models {
            let (provider_name, provider) = (name.clone(), provider.clone());
            self.deployments.push(Added { provider_name, provider, config: model.config() });
        }
        self
    }

    /// Sets the models to try, in order, if this one fails.
    pub fn fallbacks<M: Into<Arc<str>>>(
        mut self,
        model: &str,
        fallbacks: impl IntoIterator<Item = M>,
    ) -> Self {
        let fallbacks = fallbacks.into_iter().map(Into::into).collect();
        self.fallbacks.insert(model.into(), fallbacks);
        self
    }

    /// Sets how often a provider is tried again, and after which delay.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the rule by which the deployments of a model share its requests.
    pub fn routing(mut self, strategy: RoutingStrategy) -> Self {
        self.routing = strategy;
        self
    }

    /// Sets the settings of the pipeline.
    pub fn pipeline(mut self, config: PipelineConfig) -> Self {
        self.pipeline = config;
        self
    }

    /// Sets the plugin folders, and the settings of loading.
    pub fn plugins(mut self, config: PluginsConfig) -> Self {
        self.plugins_config = config;
        self
    }

    /// Registers a plugin that is compiled into this program under the name in its manifest, without an instance.
    pub fn compiled<P: Plugin + Exported>(mut self) -> Self {
        self.compiled.push(compiled::<P>());
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
    /// [`BuildError::Plugin`] for the first plugin that is refused, [`BuildError::NoRuntime`] outside of a tokio runtime.
    pub async fn build(self) -> Result<Client, BuildError> {
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let metrics = Arc::new(Metrics::default());
        crate::provider::install_tls();
        // The first reading measures the processor's counter against the system's clock.
        Clock::start();
        let host = HostShared {
            runtime,
            http: Some(http::client().map_err(BuildError::Http)?),
            metrics: metrics.clone(),
            epoch: Instant::now(),
            mirror: None,
        };
        let Self { deployments, retry, routing, fallbacks, pipeline, plugins_config, compiled, plugins } =
            self;
        let pipeline = Arc::new(pipeline);
        let of_registry = RegistrySettings { plugins: plugins_config, pipeline: pipeline.clone() };
        let registry = Arc::new(Registry::new(Arc::new(host), compiled, of_registry)?);
        registry.start(plugins).await?;
        let router = Router::new(deployments, routing, retry, None);
        let settings = settings(router, fallbacks, pipeline, <_>::default());
        Ok(Client { settings: Arc::new(ArcSwap::from_pointee(settings)), plugins: registry, metrics })
    }
}

fn settings(
    router: Router,
    fallbacks: HashMap<Arc<str>, Vec<Arc<str>>>,
    config: Arc<PipelineConfig>,
    (completions, dropped_headers): (Arc<Completions>, Arc<AtomicU64>),
) -> Settings {
    let router = Arc::new(router);
    let shared = Shared { config, upstream: router.clone(), completions, dropped_headers };
    Settings { router, fallbacks, shared: Arc::new(shared) }
}

/// A model that a provider serves.
pub trait Model {
    /// Returns its names, its weight and its order.
    fn config(self) -> DeploymentConfig;
}

impl Model for DeploymentConfig {
    fn config(self) -> DeploymentConfig {
        self
    }
}

impl Model for &str {
    fn config(self) -> DeploymentConfig {
        DeploymentConfig::new(self)
    }
}

impl Model for String {
    fn config(self) -> DeploymentConfig {
        DeploymentConfig::new(self)
    }
}

impl<H: Into<String>, T: Into<String>> Model for (H, T) {
    fn config(self) -> DeploymentConfig {
        DeploymentConfig::new(self.0).with_upstream_model(self.1.into())
    }
}
