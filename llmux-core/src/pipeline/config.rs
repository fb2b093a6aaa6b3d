//! The settings of a pipeline.

use std::time::Duration;

use crate::setters::setters;

/// The settings of a pipeline. The defaults are those of the configuration file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// Longest duration of one call of a hook before the provider, or beside its call. Default 10 s.
    pub pre_hook_timeout: Duration,
    /// Longest duration of one call of a hook on the way back. Default 10 s.
    pub post_hook_timeout: Duration,
    /// Whether a plugin's failure fails the request, if neither the instance nor its plugin says. Default `false`.
    pub propagate_errors: bool,
    /// Largest number of instances. Default 100.
    pub max_plugins: usize,
    /// Largest body of a request, and largest body that an edit may produce, in bytes. Default 32 MiB.
    pub max_body_bytes: usize,
    /// Largest number of completed requests that wait for their `on_complete` hooks. Each instance may have a quarter of
    /// them. Further calls are dropped and counted. Default 10 000.
    pub max_waiting_completions: usize,
    /// Largest sum of the bodies of these requests, in bytes. Default 256 MiB.
    pub max_waiting_completion_bytes: usize,
    /// Longest wait for a chunk of a plugin's own stream. Default 300 s.
    pub stream_idle_timeout: Duration,
    /// Largest stream that an instance receives as one answer, in bytes of its chunks. Default 4 MiB.
    pub max_whole_stream_bytes: usize,
    /// Longest duration of such a stream. Default 300 s.
    pub whole_stream_timeout: Duration,
    /// Whether an answer is refused that has a string of more than 64 bytes in a member that no text hook receives. Without
    /// effect if no instance has a text hook. Default `false`.
    pub refuse_unknown_text: bool,
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
            max_waiting_completion_bytes: 256 * 1024 * 1024,
            stream_idle_timeout: Duration::from_secs(300),
            max_whole_stream_bytes: 4 * 1024 * 1024,
            whole_stream_timeout: Duration::from_secs(300),
            refuse_unknown_text: false,
        }
    }
}

setters! { PipelineConfig:
    /// Sets the timeout of hooks before the provider.
    with_pre_hook_timeout: pre_hook_timeout: Duration;
    /// Sets the timeout of hooks on the way back.
    with_post_hook_timeout: post_hook_timeout: Duration;
    /// Sets whether a plugin's failure fails the request.
    with_propagate_errors: propagate_errors: bool;
    /// Sets the largest number of instances.
    with_max_plugins: max_plugins: usize;
    /// Sets the largest body, in bytes.
    with_max_body_bytes: max_body_bytes: usize;
    /// Sets the largest number of completed requests that wait for their `on_complete` hooks.
    with_max_waiting_completions: max_waiting_completions: usize;
    /// Sets the largest sum of the bodies of these requests, in bytes.
    with_max_waiting_completion_bytes: max_waiting_completion_bytes: usize;
    /// Sets the longest wait for a chunk of a plugin's own stream.
    with_stream_idle_timeout: stream_idle_timeout: Duration;
    /// Sets the largest stream that an instance receives as one answer, in bytes of its chunks.
    with_max_whole_stream_bytes: max_whole_stream_bytes: usize;
    /// Sets the longest duration of such a stream.
    with_whole_stream_timeout: whole_stream_timeout: Duration;
    /// Sets whether an answer is refused that has a long string in a member that no text hook receives.
    with_refuse_unknown_text: refuse_unknown_text: bool;
}
