//! A host with plugins and an upstream: a client in this process, or an `llmux` in one of its own.

use std::sync::Arc;

use llmux_core::{Client, PluginSpec, plugins::PluginsConfig, provider::Echo};

use crate::{
    Answer, Ask, Part, Upstream,
    inside::{self, settle},
    program::Program,
};

/// A host with plugins.
pub struct World {
    place: Place,
    /// Upstream for every model except `echo`, which answers on every endpoint.
    pub upstream: Arc<Upstream>,
}

enum Place {
    Inside(Client),
    Process(Box<Program>),
}

/// An instance as the host lists it.
#[derive(Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: i64,
    /// Number of failed hook calls.
    pub failures: u64,
}

/// Models that the upstream serves.
pub(crate) const MODELS: [&str; 19] = [
    "m",
    "other",
    "gated",
    "gated-fail",
    "gated-fail-once",
    "fail",
    "fail-once",
    "cut",
    "hang",
    "late",
    "long",
    "spare",
    "hang-once",
    "slow",
    "status-queued",
    "status-in_progress",
    "status-cancelled",
    "status-broken",
    "status-completed",
];

impl World {
    /// Starts a host with these plugins: a process of its own if the plugins are of that kind.
    ///
    /// # Panics
    ///
    /// If a plugin is refused.
    pub async fn new<P: Into<Part>>(plugins: impl IntoIterator<Item = P>) -> Self {
        Self::build(plugins).await.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Starts a host with these plugins, as [`new`](Self::new) does, and returns an error if a plugin is refused.
    ///
    /// # Errors
    ///
    /// The text that the operator would read.
    ///
    /// # Panics
    ///
    /// If a process does not start.
    pub async fn build<P: Into<Part>>(plugins: impl IntoIterator<Item = P>) -> Result<Self, String> {
        let upstream = Upstream::new();
        let mut specs: Vec<PluginSpec> = Vec::new();
        let mut configured = Vec::new();
        for plugin in plugins {
            match plugin.into() {
                Part::Spec(spec) => specs.push(*spec),
                Part::Configured(plugin, config) => configured.push((plugin, config)),
            }
        }
        if !configured.is_empty() {
            assert!(specs.is_empty(), "a process has no plugin of this one");
            let program = Program::start(&configured, Arc::clone(&upstream)).await;
            return Ok(Self { place: Place::Process(Box::new(program)), upstream });
        }
        Self::inside(&MODELS, specs, upstream).await
    }

    /// Starts a host in this process whose upstream serves every model and has no list of them.
    ///
    /// # Panics
    ///
    /// If a plugin is refused.
    pub async fn of_every_model(plugins: impl IntoIterator<Item = PluginSpec>) -> Self {
        let world = Self::inside(&["*"], plugins, Upstream::new()).await;
        world.unwrap_or_else(|why| panic!("{why}"))
    }

    async fn inside(
        models: &[&str],
        plugins: impl IntoIterator<Item = PluginSpec>,
        upstream: Arc<Upstream>,
    ) -> Result<Self, String> {
        let mut builder = Client::builder()
            .provider("p", Arc::new(upstream.provider()), models.iter().copied())
            .provider("echo", Arc::new(Echo::new()), ["echo"])
            // The folder of a build may be open to a group; who may write there is not what is tested here.
            .plugins(PluginsConfig::default().with_allow_insecure_permissions(true));
        for spec in plugins {
            builder = builder.plugin(spec);
        }
        let client = builder.build().await.map_err(|error| error.to_string())?;
        Ok(Self { place: Place::Inside(client), upstream })
    }

    /// Returns the client in this process.
    ///
    /// # Panics
    ///
    /// If the host is a process of its own.
    pub fn client(&self) -> &Client {
        match &self.place {
            Place::Inside(client) => client,
            Place::Process(_) => panic!("a process shows no client"),
        }
    }

    /// Sends a request, reads the whole answer, and waits until the plugins have received the request's
    /// `on_complete`.
    pub async fn send(&self, ask: Ask) -> Answer {
        let answer = self.send_only(ask).await;
        self.settle().await;
        answer
    }

    /// Sends a request and reads the whole answer, without waiting for `on_complete`.
    pub async fn send_only(&self, ask: Ask) -> Answer {
        match &self.place {
            Place::Inside(client) => inside::send(client, ask).await,
            Place::Process(program) => program.send(ask).await,
        }
    }

    /// Sends a request and disconnects: from a stream after its first chunk, from a plain request once it is under
    /// way.
    pub async fn leave(&self, ask: Ask) {
        match &self.place {
            Place::Inside(client) => inside::leave(client, ask).await,
            Place::Process(program) => program.leave(ask, &self.upstream).await,
        }
        self.settle().await;
    }

    /// Waits until the plugins have received `on_complete` for every request. In this process, waits until every task
    /// that can continue without the clock moving has done so.
    pub async fn settle(&self) {
        match &self.place {
            Place::Inside(_) => settle().await,
            Place::Process(program) => program.settle().await,
        }
    }

    /// Returns the host's metrics in the Prometheus format.
    pub async fn metrics(&self) -> String {
        match &self.place {
            Place::Inside(client) => client.render_metrics(),
            Place::Process(program) => program.metrics().await,
        }
    }

    /// Returns the active instances in pipeline order.
    pub async fn plugins(&self) -> Vec<Listed> {
        match &self.place {
            Place::Inside(client) => inside::plugins(client),
            Place::Process(program) => program.plugins().await,
        }
    }

    /// Shuts the host down. Afterwards, the test's log holds all records of its plugins.
    ///
    /// # Panics
    ///
    /// If the cleanup of a plugin fails.
    pub async fn end(self) {
        match self.place {
            Place::Inside(client) => inside::end(&client).await,
            Place::Process(program) => program.end().await,
        }
    }
}
