//! The frames that wait to be written to a child.
//!
//! `connection` and `fetches` add frames. A frame that comes alone is written at once, by the task that has it. Frames that
//! come together are written in one piece, by a task of the connection.

use std::{
    io::{self, Write},
    mem,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use tokio::{net::unix::pipe, sync::Notify, task::yield_now};

use super::pause::Pause;
use crate::isolation::frame::{self, Kind};

/// Bytes that may wait to be written. A child that is behind by more than that reads nothing.
const MAX_WAITING: usize = 512 * 1024 * 1024;

/// Frames to a child.
#[derive(Default)]
pub(super) struct Outgoing {
    waiting: Mutex<Waiting>,
    /// Notified when there is something to write.
    written: Notify,
    /// Set in tests that pause time.
    pub(super) pause: Option<Pause>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// `None` while the task of the connection writes.
    socket: Option<Arc<UnixStream>>,
    is_closed: bool,
}

impl Outgoing {
    pub(super) fn new(pause: Option<Pause>) -> Self {
        Self { pause, ..Self::default() }
    }

    /// Adds a frame. `is_alone` says that no other frame is expected soon.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be sent.
    pub(super) fn send(
        &self,
        kind: Kind,
        number: u64,
        message: &(impl Serialize + ?Sized),
        is_alone: bool,
    ) -> Result<(), &'static str> {
        let mut waiting = self.waiting();
        if waiting.bytes.len() > MAX_WAITING {
            return Err("the child process does not read");
        }
        let is_alone = is_alone && waiting.bytes.is_empty();
        self.add_time(&mut waiting);
        let written = frame::write(&mut waiting.bytes, kind, number, message);
        written.map_err(|_| "the call is larger than a message may be")?;
        self.pause.as_ref().inspect(|pause| pause.sent());
        if !(is_alone && waiting.write_now()) {
            drop(waiting);
            self.written.notify_one();
        }
        Ok(())
    }

    /// Adds a frame without a message.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        self.add_time(&mut waiting);
        frame::write_empty(&mut waiting.bytes, kind, number);
        self.pause.as_ref().inspect(|pause| pause.sent());
        drop(waiting);
        self.written.notify_one();
    }

    /// Sends the time each time that a sleep of the child is over, until the process is over. Only if time is paused.
    pub(super) async fn wake(&self) {
        let Some(pause) = &self.pause else { return };
        while pause.next().await.is_some() {
            self.add_time(&mut self.waiting());
            self.written.notify_one();
        }
    }

    fn add_time(&self, waiting: &mut Waiting) {
        if let Some(pause) = &self.pause {
            pause.add_time(&mut waiting.bytes);
        }
    }

    /// Closes the socket when all is written.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.pause.as_ref().inspect(|pause| pause.end());
        self.written.notify_one();
    }

    /// Writes what waits until it is closed. The socket does not block.
    pub(super) async fn write(&self, socket: Arc<UnixStream>) {
        let mut bytes = Vec::new();
        self.waiting().socket = Some(socket);
        loop {
            let taken = {
                let mut waiting = self.waiting();
                if waiting.bytes.is_empty() && waiting.is_closed {
                    let socket = waiting.socket.take();
                    let _ = socket.map(|socket| socket.shutdown(Shutdown::Write));
                    return;
                }
                mem::swap(&mut bytes, &mut waiting.bytes);
                waiting.socket.take_if(|_| !bytes.is_empty())
            };
            let Some(socket) = taken else {
                self.written.notified().await;
                // Tasks that are ready now add their frames first.
                yield_now().await;
                continue;
            };
            // If the child is gone, the reader says so.
            if write_all(&socket, &bytes).await.is_err() {
                return;
            }
            self.waiting().socket = Some(socket);
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

impl Waiting {
    /// Writes what waits, without waiting for the child. Returns false if something is left, or the socket is in use.
    fn write_now(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let Ok(written) = (&**socket).write(&self.bytes) else { return false };
        self.bytes.drain(..written);
        self.bytes.is_empty()
    }
}

/// Writes all bytes. The runtime watches the socket only while the child is behind: otherwise each read of the child would
/// wake a thread of the host.
async fn write_all(mut socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The type of a pipe watches one direction.
                let watched = pipe::Sender::from_owned_fd_unchecked(socket.try_clone()?.into())?;
                watched.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
