//! The frames from the child to the host: replies, log records, metrics.
//!
//! A thread that has a frame writes it itself. Frames that come while another thread writes are written by that thread, in
//! one piece. The reader holds the frames of calls that came together. A host that does not read stops the writers; beyond a bound, log records and metrics are dropped instead.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde::Serialize;

use crate::{
    boundary::paused::Paused,
    isolation::frame::{self, Kind},
};

/// Bytes that may wait before log records and metrics are dropped.
const MAX_WAITING: usize = 1024 * 1024;

/// The writing half of the socket.
pub(super) struct ToHost {
    socket: File,
    waiting: Mutex<Waiting>,
    paused: OnceLock<Arc<Paused>>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
    /// True while the reader handles calls that came together.
    is_held: bool,
}

impl ToHost {
    pub(super) fn new(socket: File) -> Self {
        Self { socket, waiting: Mutex::default(), paused: OnceLock::new() }
    }

    /// Pauses the time of this process: the host learns when nothing can run.
    pub(super) fn pause(self: &Arc<Self>) {
        let to_host = Arc::downgrade(self);
        let _ = self.paused.set(Paused::new(move |read, next| {
            if let Some(to_host) = to_host.upgrade() {
                to_host.request(Kind::Idle, read, &next);
            }
        }));
    }

    /// Returns the clock of this process, if its time is paused.
    pub(super) fn paused(&self) -> Option<&Arc<Paused>> {
        self.paused.get()
    }

    /// Sends a reply. The messages of this function are small.
    pub(super) fn reply(&self, number: u64, message: &impl Serialize) {
        let mut waiting = self.waiting();
        if frame::write(&mut waiting.bytes, Kind::Reply, number, message).is_err() {
            frame::write_empty(&mut waiting.bytes, Kind::Reply, number);
        }
        self.flush(waiting);
    }

    /// Sends the confirmation of a cancelled call.
    pub(super) fn confirm(&self, number: u64) {
        self.tell(Kind::Reply, number);
    }

    /// Sends a frame without a message.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        let mut waiting = self.waiting();
        frame::write_empty(&mut waiting.bytes, kind, number);
        self.flush(waiting);
    }

    /// Sends a frame. Returns false if it is too large.
    pub(super) fn request(&self, kind: Kind, number: u64, message: &impl Serialize) -> bool {
        let mut waiting = self.waiting();
        let is_written = frame::write(&mut waiting.bytes, kind, number, message).is_ok();
        self.flush(waiting);
        is_written
    }

    /// Sends a frame that `write` appends. `None` if it appends none.
    pub(super) fn send(&self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let mut waiting = self.waiting();
        let written = write(&mut waiting.bytes);
        self.flush(waiting);
        written
    }

    /// Sends a message, unless the host reads too slowly. Returns false if it was dropped.
    pub(super) fn offer(&self, kind: Kind, message: &impl Serialize) -> bool {
        let mut waiting = self.waiting();
        if waiting.bytes.len() > MAX_WAITING || frame::write(&mut waiting.bytes, kind, 0, message).is_err() {
            return false;
        }
        self.flush(waiting);
        true
    }

    /// Lets frames wait for each other, unless another thread writes now.
    pub(super) fn hold(&self) {
        let mut waiting = self.waiting();
        if !waiting.is_writing {
            (waiting.is_writing, waiting.is_held) = (true, true);
        }
    }

    /// Writes the frames that wait for each other.
    pub(super) fn release(&self) {
        let mut waiting = self.waiting();
        if mem::take(&mut waiting.is_held) {
            waiting.is_writing = false;
            self.flush(waiting);
        }
    }

    /// Sets the clock of this process.
    ///
    /// # Errors
    ///
    /// If its time is not paused.
    pub(super) fn set_time(&self, now: u64) -> io::Result<()> {
        let paused = self
            .paused()
            .ok_or_else(|| io::Error::other("the host sent its time to a child with its own"))?;
        paused.set(now);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush<'w>(&'w self, mut waiting: MutexGuard<'w, Waiting>) {
        if mem::replace(&mut waiting.is_writing, true) {
            return;
        }
        while !waiting.bytes.is_empty() {
            let bytes = mem::take(&mut waiting.bytes);
            drop(waiting);
            // If the host is gone, the reader ends the process.
            let _ = (&self.socket).write_all(&bytes);
            waiting = self.waiting();
        }
        waiting.is_writing = false;
    }
}
