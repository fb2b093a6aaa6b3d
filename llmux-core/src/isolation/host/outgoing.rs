//! The frames that wait to be written to a child.
//!
//! `connection` and `fetches` add frames. Frames that come together are written in one piece.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::{io::AsyncWriteExt, net::unix::OwnedWriteHalf, sync::Notify};

use crate::isolation::frame::{self, Kind};

/// Bytes that may wait to be written. A child that is behind by more than that reads nothing.
const MAX_WAITING: usize = 512 * 1024 * 1024;

/// Frames to a child.
#[derive(Default)]
pub(super) struct Outgoing {
    waiting: Mutex<Waiting>,
    /// Notified when there is something to write.
    written: Notify,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_closed: bool,
}

impl Outgoing {
    /// Adds a frame.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be sent.
    pub(super) fn send(
        &self,
        kind: Kind,
        number: u64,
        message: &(impl Serialize + ?Sized),
    ) -> Result<(), &'static str> {
        let mut waiting = self.waiting();
        if waiting.bytes.len() > MAX_WAITING {
            return Err("the child process does not read");
        }
        let written = frame::write(&mut waiting.bytes, kind, number, message);
        drop(waiting);
        written.map_err(|_| "the call is larger than a message may be")?;
        self.written.notify_one();
        Ok(())
    }

    /// Adds a frame without a message.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        frame::write_empty(&mut waiting.bytes, kind, number);
        drop(waiting);
        self.written.notify_one();
    }

    /// Closes the socket when all is written.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.written.notify_one();
    }

    /// Writes what waits until it is closed.
    pub(super) async fn write(&self, mut socket: OwnedWriteHalf) {
        let mut bytes = Vec::new();
        loop {
            let is_closed = {
                let mut waiting = self.waiting();
                mem::swap(&mut bytes, &mut waiting.bytes);
                waiting.is_closed
            };
            // If the child is gone, the reader says so.
            if !bytes.is_empty() && socket.write_all(&bytes).await.is_err() {
                return;
            }
            if bytes.is_empty() {
                if is_closed {
                    return;
                }
                self.written.notified().await;
            }
            // A large body does not keep its memory.
            if bytes.capacity() > 1024 * 1024 {
                bytes = Vec::new();
            }
            bytes.clear();
        }
    }

    /// Returns true if no frame waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting().bytes.is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
