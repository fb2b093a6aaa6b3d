//! How a pipeline treats its plugins.

use std::time::Duration;

/// The settings of a pipeline; the defaults are those of the configuration file.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// How long a hook before the provider may take, per call. Default 10 s.
    pub pre_hook_timeout: Duration,
    /// How long a hook on the way back may take, per call. Default 10 s.
    pub post_hook_timeout: Duration,
    /// Does a plugin's failure fail the request, where neither the instance nor its plugin says otherwise?
    /// Default `false`.
    pub propagate_errors: bool,
    /// The most instances. Default 100.
    pub max_plugins: usize,
    /// The largest body that a request, or an edit of a plugin, may make, in bytes. Default 32 MiB.
    pub max_body_bytes: usize,
    /// How many completed requests may wait for their `on_complete` hooks; more are dropped and counted.
    /// Default 10 000.
    pub max_waiting_completions: usize,
    /// How long a plugin's own stream may leave a client without a chunk. Default 300 s.
    pub stream_idle_timeout: Duration,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            pre_hook_timeout: Duration::from_secs(10),
            post_hook_timeout: Duration::from_secs(10),
            propagate_errors: false,
            max_plugins: 100,
            max_body_bytes: 32 * 1024 * 1024,
            max_waiting_completions: 10_000,
            stream_idle_timeout: Duration::from_secs(300),
        }
    }
}
