//! Requests that are cut at the end of a drain.
//!
//! `api` ends requests in flight with an error when the phase is `Cutting`; `commands::serve` reports them. Deliberately
//! absent: connections, which `server` drops later.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::server::{Phase, reached};

/// Largest number of ids in the report.
const MOST_IDS: usize = 100;

/// Ends when a request is to be cut.
pub(crate) type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The ids of the requests that were cut. Only the end of a drain contends for the lock.
#[derive(Default)]
pub(crate) struct Cuts(Mutex<Vec<Arc<str>>>);

impl Cuts {
    /// Waits until a request is to be cut, and notes its id.
    pub(crate) async fn wait(&self, mut phase: watch::Receiver<Phase>, request_id: &Arc<str>) {
        reached(&mut phase, Phase::Cutting).await;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request_id.clone());
    }

    /// Returns the number of requests that were cut, and their ids.
    pub(crate) fn report(&self) -> (usize, String) {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = ids.iter().take(MOST_IDS).map(|id| &**id).collect::<Vec<_>>().join(", ");
        let more = if ids.len() > MOST_IDS { ", …" } else { "" };
        (ids.len(), format!("{shown}{more}"))
    }
}
