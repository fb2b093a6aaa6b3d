//! The metrics plugin: counts and times every request, by model and provider.
//!
//! A host loads the plugin as a library or compiles it in. The figures are metrics of the host and appear on its
//! `/metrics`. A host that compiles the plugin in can also read the figures from a [`Stats`], and set a closure that
//! is called for each request.
//!
//! All work is done in `on_complete`, which runs once for every request, whether it was answered, refused, streamed or
//! cancelled. No request waits for it. An answer from a cache counts as a request, but its tokens do not count: they
//! were not used again.
//!
//! Deliberately absent: a history. Counts and histograms have a fixed size, independent of the traffic.
//!
//! * `request`: the figures of one request.
//! * `labels`: the bound on label values, since clients choose them.
//! * `stats`: the sums of the figures, and snapshots of them.
//! * `export`: the figures as metrics of the host.

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

/// The configuration of the plugin. `{}` exports the figures, with up to 1,000 values per label.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `true`: export the figures as metrics of the host.
    pub export: bool,
    /// Values kept for each of the labels model, provider, endpoint and outcome, 1 to 1,000. Further values are
    /// counted under `other`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_label_values: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { export: true, max_label_values: 1_000 }
    }
}

type Callback = Arc<dyn Fn(&RequestMetrics<'_>) + Send + Sync>;

/// The plugin.
pub struct Metrics {
    labels: Labels,
    /// `None` if the host reads no figures.
    stats: Option<Stats>,
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
    /// // Later, with the other clone of the stats:
    /// println!("{} ms", stats.snapshot().all.latency_ms.p99);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
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
        if let Some(stats) = &self.stats {
            stats.record(&request, &bounded);
        }
        if let Some(export) = &self.export {
            export.record(&request, &bounded);
        }
        if let Some(callback) = &self.callback {
            callback(&request);
        }
    }
}

export_plugin!(Metrics, name: "metrics", priority: 999);

/// Builds a [`Metrics`] in code, with options that a configuration file cannot express.
#[derive(Default)]
pub struct Builder {
    config: Config,
    stats: Option<Stats>,
    callback: Option<Callback>,
}

impl Builder {
    /// Replaces the whole configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the [`Stats`] that collect the figures. The host keeps a clone to read them.
    pub fn stats(mut self, stats: Stats) -> Self {
        self.stats = Some(stats);
        self
    }

    /// Sets a closure that is called for each request, after the caller has the answer. The closure does not delay
    /// the request, but it delays `on_complete` of the next plugin.
    pub fn on_request(mut self, callback: impl Fn(&RequestMetrics<'_>) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// Returns the plugin, for [`llmux_abi::host::instance`].
    ///
    /// # Errors
    ///
    /// If `max_label_values` is not between 1 and 1,000.
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
