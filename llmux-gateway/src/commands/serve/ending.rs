//! The end of the server: its longest duration, and the cleanup of the plugins.
//!
//! `serve` cleans up with it, and `signals` ends the process if the end takes longer.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use llmux_core::Client;

use crate::config::server::Server;

/// Longest time to wait, after the last request, for the hooks that report how requests ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Time for everything that has no bound of its own.
const MARGIN: Duration = Duration::from_secs(5);

/// The parts of a running server that its end needs.
pub(super) struct Ending {
    pub(super) client: Client,
    pub(super) settings: Arc<ArcSwap<Server>>,
}

impl Ending {
    /// Returns the longest time that an end takes in which every part keeps its bound. Never waits.
    pub(super) fn bound(&self) -> Duration {
        let settings = self.settings.load();
        let plugins = self.client.plugins().shutdown_bound(LAST_WORDS);
        [settings.drain_timeout, plugins, MARGIN]
            .into_iter()
            .fold(settings.shutdown_delay, Duration::saturating_add)
    }

    /// Returns the names of the instances that are not cleaned up. Never waits.
    pub(super) fn unfinished(&self) -> Vec<String> {
        self.client.plugins().unfinished()
    }

    /// Cleans all plugins up, and reports the result in the log. `cut` is the number of requests that were cut.
    pub(super) async fn clean_up(&self, cut: usize) {
        let report = self.client.shutdown(LAST_WORDS).await;
        for (instance, error) in &report.errors {
            tracing::error!(instance, "cleanup: {error}");
        }
        match report.drained {
            true if cut > 0 => tracing::warn!("{cut} requests were cut; all plugins are cleaned up"),
            true => tracing::info!("all requests have ended, and all plugins are cleaned up"),
            false => tracing::warn!("some requests had not ended"),
        }
    }
}
