//! The entrance of the pipeline: each new request takes the present snapshot, and waits while an exclusive instance is
//! replaced (rule D4).
//!
//! `client` calls [`Registry::enter`]; `exclusive` holds the entrance. To hold it is to publish a snapshot without
//! instances. A request that has the snapshot before is a holder of it, and no request can come between.

use std::sync::Arc;

use tokio::time::timeout;

use super::Registry;
use crate::{
    error::Error,
    pipeline::snapshot::{Entrance, Snapshot},
    plugins::report::error::PluginError,
};

impl Registry {
    /// Takes the pipeline for a new request. Waits only while an exclusive instance is replaced.
    ///
    /// # Errors
    ///
    /// 503 after a shutdown, and after a wait of `exclusive_wait`.
    pub(crate) async fn enter(&self) -> Result<Arc<Snapshot>, Error> {
        let mut snapshot = self.snapshot();
        if snapshot.entrance == Entrance::Held {
            snapshot = Box::pin(self.wait_at_entrance()).await?;
        }
        match snapshot.entrance {
            Entrance::Closed => Err(Error::shutting_down()),
            Entrance::Open | Entrance::Held => Ok(snapshot),
        }
    }

    async fn wait_at_entrance(&self) -> Result<Arc<Snapshot>, Error> {
        let wait = self.settings.load().plugins.exclusive_wait;
        let mut turns = self.turns.subscribe();
        let next = async {
            loop {
                let snapshot = self.snapshot();
                if snapshot.entrance != Entrance::Held {
                    return snapshot;
                }
                // The registry keeps the sender.
                let _ = turns.changed().await;
            }
        };
        timeout(wait, next).await.map_err(|_| Error::replacing())
    }

    /// Holds new requests until the returned value is dropped.
    pub(super) fn hold(&self) -> Result<Hold<'_>, PluginError> {
        let alive = self.alive();
        if alive.is_none() {
            return Err(PluginError::PipelineClosed);
        }
        self.snapshot.store(Arc::new(Snapshot { entrance: Entrance::Held, ..Snapshot::default() }));
        Ok(Hold(self))
    }
}

/// A held entrance. When this is dropped, requests enter the pipeline that was published meanwhile, or that of the
/// registry's instances if none was.
pub(super) struct Hold<'r>(&'r Registry);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let Self(registry) = self;
        if let Some(alive) = &*registry.alive()
            && registry.snapshot.load().entrance == Entrance::Held
        {
            registry.show(alive, &registry.instances());
        }
        registry.turns.send_replace(());
    }
}
