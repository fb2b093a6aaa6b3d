//! The metrics plugin: counts and times every request, by model and provider.
//!
//! A host loads it as a library or compiles it in. Loaded, the figures are the host's metrics and show on
//! its `/metrics`. Compiled in, the host also takes a [`Stats`] to read them from, and may have a closure
//! called for each request.
//!
//! Everything happens in `on_complete`, which runs once for every request whatever became of it, off its
//! path: a request is counted whether it was answered, refused, streamed or cancelled, and waits for none of it.
//! An answer from a cache counts as a request, but its tokens do not: nobody used them again.
//!
//! Deliberately absent: a history. Counts and histograms have a fixed size, whatever the traffic.
//!
//! * `request`: the figures of one request.
//! * `labels`: names in bounded number, since clients choose them.
//! * `stats`: the figures added up, and snapshots of them.
//! * `export`: the same through the host's metrics.

mod export;
mod labels;
mod request;
mod stats;

use std::sync::Arc;

use llmux_abi::prelude::*;

use self::{export::Export, labels::Labels};
pub use self::{
    request::{RequestMetrics, RequestOutcome},
    stats::{Percentiles, Snapshot, Stats, Summary},
};

/// The configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Put the figures into the host's metrics?
    pub export: bool,
    /// How many values a label may have: models, providers, endpoints and outcomes each. The rest is counted
    /// under `other`. 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub max_label_values: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { export: true, max_label_values: 1_000 }
    }
}

type Callback = Arc<dyn Fn(&RequestMetrics) + Send + Sync>;

/// The plugin.
pub struct Metrics {
    labels: Labels,
    stats: Stats,
    export: Option<Export>,
    callback: Option<Callback>,
}

impl Metrics {
    /// Builds the plugin for a host that compiles it in.
    ///
    /// ```
    /// use llmux_abi::prelude::*;
    /// use llmux_plugin_metrics::{Metrics, Stats};
    ///
    /// fn metrics(host: Host, stats: &Stats) -> Result<Metrics> {
    ///     Metrics::builder()
    ///         .stats(stats.clone())
    ///         .on_request(|request| println!("{} took {:?}", request.request_id, request.latency))
    ///         .build(host)
    /// }
    /// # let stats = Stats::default();
    /// // Later, wherever the other clone of the stats is:
    /// println!("{} ms", stats.snapshot().all.latency_ms.p99);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The figures so far.
    pub fn snapshot(&self) -> Snapshot {
        self.stats.snapshot()
    }

    /// Begins anew. The host's metrics, which only grow, are not affected.
    pub fn reset(&self) {
        self.stats.reset();
    }
}

impl Plugin for Metrics {
    type Config = Config;

    fn new(config: Config, host: Host) -> Result<Self> {
        Self::builder().config(config).build(host)
    }

    async fn on_complete(&self, ctx: &mut Context<'_>, completion: &Completion<'_>) {
        let request = RequestMetrics::of(ctx, completion);
        let bounded = self.labels.bound(&request);
        self.stats.record(&request, &bounded);
        if let Some(export) = &self.export {
            export.record(&request, &bounded);
        }
        if let Some(callback) = &self.callback {
            callback(&request);
        }
    }
}

export_plugin!(Metrics, name: "metrics", priority: 999);

/// Builds a [`Metrics`] with what a configuration file cannot say.
#[derive(Default)]
pub struct Builder {
    config: Config,
    stats: Stats,
    callback: Option<Callback>,
}

impl Builder {
    /// Starts from a whole configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds the figures up in these, which the host keeps a clone of to read them.
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = stats;
        self
    }

    /// Calls this for each request, after its caller has the answer. It delays no request, but the next
    /// plugin's `on_complete`.
    pub fn on_request(mut self, callback: impl Fn(&RequestMetrics) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// When `max_label_values` is not 1 to 1000.
    pub fn build(self, host: Host) -> Result<Metrics> {
        let most = self.config.max_label_values;
        if !(1..=1_000).contains(&most) {
            return Err(Error::new("`max_label_values` must be between 1 and 1000"));
        }
        Ok(Metrics {
            labels: Labels::new(most),
            stats: self.stats,
            export: self.config.export.then(|| Export::register(&host)),
            callback: self.callback,
        })
    }
}
