//! A stream of chunks that a plugin produces in the child. Each chunk is asked for.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{
    call::{received, unsent_failure},
    connection::{Connection, KILLED},
};
use crate::{
    isolation::{
        apply,
        frame::Kind,
        protocol::{self as message, decode},
    },
    pipeline::{
        hook::{ChunkError, ChunkStream},
        kind::{Failure, HookKind},
    },
    provider::Event,
};

/// A stream of chunks that a plugin produces in the child.
pub(super) struct IsolatedStream {
    connection: Arc<Connection>,
    number: u64,
    is_over: bool,
}

impl IsolatedStream {
    /// The stream with which the call of this number was answered.
    pub(super) fn new(connection: Arc<Connection>, number: u64) -> Self {
        Self { connection, number, is_over: false }
    }

    async fn ask(&mut self) -> Result<Option<Event>, ChunkError> {
        let failed = ChunkError::Failed;
        let number = self.connection.number();
        let hook = Some(HookKind::PreStream);
        let receiver = self.connection.call((number, Kind::Next), hook, Vec::new(), &self.number);
        let receiver = receiver.map_err(|unsent| failed(unsent_failure(&self.connection, unsent)))?;
        let bytes =
            received(&self.connection, number, receiver, Duration::from_secs(10)).await.map_err(failed)?;
        match decode::<message::Next<'_>>(&bytes) {
            Ok(message::Next::Chunk(event)) => Ok(Some(apply::event(&event))),
            Ok(message::Next::End) => Ok(None),
            Ok(message::Next::Ended(json)) => {
                Err(apply::error(json).map_or_else(ChunkError::Failed, ChunkError::Ended))
            }
            Ok(message::Next::Failed(reported)) => Err(failed(apply::failure(&reported))),
            Err(_) => {
                self.connection.condemn(KILLED, "it sent a malformed reply");
                Err(failed(Failure::crashed("the child process sent a malformed reply")))
            }
        }
    }
}

impl ChunkStream for IsolatedStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, ChunkError>> {
        Box::pin(async move {
            if self.is_over {
                return Ok(None);
            }
            let next = self.ask().await;
            self.is_over = !matches!(next, Ok(Some(_)));
            next
        })
    }
}

impl Drop for IsolatedStream {
    fn drop(&mut self) {
        self.connection.tell(Kind::DropStream, self.number);
    }
}
