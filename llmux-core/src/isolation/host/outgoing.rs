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

/// Bytes of frames that may wait until another frame is written.
const MAX_LATER: usize = 4096;
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
    /// True if a frame waits that must be written now.
    is_due: bool,
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
        let is_alone = is_alone && !waiting.is_due;
        self.add_time(&mut waiting);
        let written = frame::write(&mut waiting.bytes, kind, number, message);
        written.map_err(|_| "the call is larger than a message may be")?;
        self.pause.as_ref().inspect(|pause| pause.sent());
        waiting.is_due = !(is_alone && waiting.write_now());
        if waiting.is_due {
            drop(waiting);
            self.written.notify_one();
        }
        Ok(())
    }

    /// Adds a frame without a message.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        self.add(kind, number, 0);
    }

    /// Adds a frame without a message. It may wait until another frame is written: the child is not woken for it alone.
    pub(super) fn tell_later(&self, kind: Kind, number: u64) {
        self.add(kind, number, MAX_LATER);
    }

    /// Adds a frame without a message, which must be written now if more than `max` bytes wait.
    fn add(&self, kind: Kind, number: u64, max: usize) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        self.add_time(&mut waiting);
        frame::write_empty(&mut waiting.bytes, kind, number);
        self.pause.as_ref().inspect(|pause| pause.sent());
        // If time is paused, the child says when it has read all frames.
        if waiting.bytes.len() > max || self.pause.is_some() {
            waiting.is_due = true;
            drop(waiting);
            self.written.notify_one();
        }
    }

    /// Sends the time each time that a sleep of the child is over, until the process is over. Only if time is paused.
    pub(super) async fn wake(&self) {
        let Some(pause) = &self.pause else { return };
        while pause.next().await.is_some() {
            let mut waiting = self.waiting();
            self.add_time(&mut waiting);
            waiting.is_due = true;
            drop(waiting);
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
                let is_due = mem::take(&mut waiting.is_due) || waiting.is_closed;
                let taken = waiting.socket.take_if(|_| is_due);
                taken.inspect(|_| mem::swap(&mut bytes, &mut waiting.bytes))
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Reads the numbers of the frames that were written.
    fn read(mut socket: &UnixStream) -> Vec<u64> {
        let (mut bytes, mut numbers) = (bytes::BytesMut::zeroed(64 * 1024), Vec::new());
        let length = socket.read(&mut bytes).unwrap_or_default();
        bytes.truncate(length);
        while let Ok(Some(frame)) = frame::take(&mut bytes) {
            numbers.push(frame.number);
        }
        numbers
    }

    async fn settle() {
        for _ in 0..10 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn i2_a_frame_that_can_wait_is_written_with_the_next_one_or_when_there_are_many() {
        let (socket, child) = UnixStream::pair().expect("a pair of sockets");
        for socket in [&socket, &child] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let outgoing = Arc::new(Outgoing::default());
        let writer = outgoing.clone();
        let writer = tokio::spawn(async move { writer.write(Arc::new(socket)).await });
        settle().await;
        outgoing.tell_later(Kind::Release, 1);
        settle().await;
        assert!(read(&child).is_empty(), "it waits");
        outgoing.send(Kind::Call, 2, "a call", true).expect("small");
        assert_eq!(read(&child), [1, 2], "a call that comes alone is written at once, and after it");
        outgoing.tell_later(Kind::Release, 3);
        outgoing.tell(Kind::Cancel, 4);
        settle().await;
        assert_eq!(read(&child), [3, 4]);
        let many = MAX_LATER / 13 + 1;
        (0..many as u64).for_each(|number| outgoing.tell_later(Kind::Release, number));
        settle().await;
        assert_eq!(read(&child).len(), many);
        outgoing.tell_later(Kind::Release, 5);
        outgoing.close();
        writer.await.expect("it ends");
        assert_eq!(read(&child), [5], "the end writes all");
    }
}
