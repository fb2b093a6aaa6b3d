//! The host's end of the socket to a child: the calls that wait for a reply, and the frames that wait to be written.
//!
//! `process` runs its two tasks. Frames of calls that come together are written in one piece. A reply goes to the call of
//! its number; a frame that no child of this program would send condemns the child, which is then killed.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, oneshot},
};

use super::services::Services;
use crate::{
    isolation::frame::{self, Frame, Kind},
    pipeline::kind::{Failure, HookKind},
};

/// Bytes that may wait to be written. A child that is behind by more than that reads nothing.
const MAX_WAITING: usize = 512 * 1024 * 1024;

/// Reason of a death by the host, at no limit.
pub(super) const KILLED: &str = "killed";

/// A connection to one child.
pub(super) struct Connection {
    /// Number of the child among those of its instance. It is the upper part of the numbers of its calls.
    generation: u32,
    next: AtomicU64,
    calls: Mutex<Calls>,
    outgoing: Mutex<Outgoing>,
    /// Notified when there is something to write.
    written: Notify,
    /// The reason for which the child must be killed: a word, and a sentence.
    condemned: OnceLock<(&'static str, String)>,
    pub(super) kill: Notify,
    /// The reason of the end, once the process is over.
    death: OnceLock<Arc<str>>,
    pub(super) services: Services,
}

struct Calls {
    waiting: HashMap<u64, Waiting>,
    is_open: bool,
}

struct Waiting {
    /// `None` for a call that was cancelled and is not confirmed yet.
    reply: Option<oneshot::Sender<Bytes>>,
    hook: Option<HookKind>,
}

#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    is_closed: bool,
}

/// Bits of a call's number below the generation of the child.
const BITS: u32 = 40;

impl Connection {
    pub(super) fn new(generation: u32, services: Services) -> Self {
        Self {
            generation,
            next: AtomicU64::new(1),
            calls: Mutex::new(Calls { waiting: HashMap::new(), is_open: true }),
            outgoing: Mutex::default(),
            written: Notify::new(),
            condemned: OnceLock::new(),
            kill: Notify::new(),
            death: OnceLock::new(),
            services,
        }
    }

    /// Returns true if this child made the state of this number.
    pub(super) fn made(&self, state: u64) -> bool {
        state >> BITS == u64::from(self.generation)
    }

    /// Returns the number of a new call.
    pub(super) fn number(&self) -> u64 {
        u64::from(self.generation) << BITS | self.next.fetch_add(1, Relaxed)
    }

    /// Sends a call, and returns the receiver of its reply. The receiver fails when the child has died.
    ///
    /// # Errors
    ///
    /// [`Unsent::Dead`] if the child has died, [`Unsent::Refused`] if the message cannot be sent.
    pub(super) fn call(
        &self,
        (number, kind): (u64, Kind),
        hook: Option<HookKind>,
        message: &(impl Serialize + ?Sized),
    ) -> Result<oneshot::Receiver<Bytes>, Unsent> {
        let (reply, receiver) = oneshot::channel();
        {
            let mut calls = self.calls();
            if !calls.is_open {
                return Err(Unsent::Dead);
            }
            calls.waiting.insert(number, Waiting { reply: Some(reply), hook });
        }
        let mut outgoing = self.outgoing();
        let refused = match outgoing.bytes.len() > MAX_WAITING {
            true => Some("the child process does not read"),
            false => frame::write(&mut outgoing.bytes, kind, number, message)
                .err()
                .map(|_| "the call is larger than a message may be"),
        };
        drop(outgoing);
        if let Some(why) = refused {
            self.calls().waiting.remove(&number);
            return Err(Unsent::Refused(why));
        }
        self.written.notify_one();
        Ok(receiver)
    }

    /// Sends a frame that has neither a message nor a reply.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        let mut outgoing = self.outgoing();
        if outgoing.is_closed {
            return;
        }
        frame::write_empty(&mut outgoing.bytes, kind, number);
        drop(outgoing);
        self.written.notify_one();
    }

    /// Cancels a call. Returns false if it is over.
    pub(super) fn cancel(&self, number: u64) -> bool {
        match self.calls().waiting.get_mut(&number) {
            Some(waiting) => waiting.reply = None,
            None => return false,
        }
        self.tell(Kind::Cancel, number);
        true
    }

    /// Returns true if the call is not confirmed yet.
    pub(super) fn is_under_way(&self, number: u64) -> bool {
        self.calls().waiting.contains_key(&number)
    }

    /// Closes the socket when all is written: the child ends.
    pub(super) fn close(&self) {
        self.outgoing().is_closed = true;
        self.written.notify_one();
    }

    /// Has the child killed, for this reason: `killed`, or the limit that it is above.
    pub(super) fn condemn(&self, reason: &'static str, why: impl Into<String>) {
        let _ = self.condemned.set((reason, why.into()));
        self.kill.notify_one();
    }

    /// The reason for which the child was condemned.
    pub(super) fn condemned(&self) -> Option<&(&'static str, String)> {
        self.condemned.get()
    }

    /// Ends all calls: the child is dead, for this reason. Returns the hooks that were under way.
    pub(super) fn end(&self, why: Arc<str>) -> Vec<HookKind> {
        let _ = self.death.set(why);
        let waiting = {
            let mut calls = self.calls();
            calls.is_open = false;
            mem::take(&mut calls.waiting)
        };
        self.close();
        self.services.close();
        waiting.values().filter_map(|waiting| waiting.hook).collect()
    }

    /// The failure of a call whose child has died.
    pub(super) fn crashed(&self) -> Failure {
        let why = self.death.get().map_or("the child process has ended", |why| &**why);
        Failure::crashed(why)
    }

    /// Writes what waits until the connection is closed.
    pub(super) async fn write(&self, mut socket: OwnedWriteHalf) {
        let mut bytes = Vec::new();
        loop {
            let is_closed = {
                let mut outgoing = self.outgoing();
                mem::swap(&mut bytes, &mut outgoing.bytes);
                outgoing.is_closed
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

    /// Reads frames until the child closes the socket, or sends a frame that is not allowed.
    pub(super) async fn read(&self, mut socket: OwnedReadHalf) {
        let mut buffer = BytesMut::with_capacity(16 * 1024);
        loop {
            loop {
                match frame::take(&mut buffer) {
                    Ok(Some(frame)) => {
                        if let Err(why) = self.received(frame) {
                            return self.condemn(KILLED, why);
                        }
                    }
                    Ok(None) => break,
                    Err(why) => return self.condemn(KILLED, why),
                }
            }
            buffer.reserve(16 * 1024);
            match socket.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn received(&self, frame: Frame) -> Result<(), &'static str> {
        let Frame { kind, number, message } = frame;
        match kind {
            Kind::Reply => {
                let Some(waiting) = self.calls().waiting.remove(&number) else {
                    return Err("replied to a call that there is not");
                };
                match waiting.reply {
                    Some(reply) => drop(reply.send(message)),
                    // It ended before it was cancelled, and may have answered with a stream.
                    None if !message.is_empty() => self.tell(Kind::DropStream, number),
                    None => {}
                }
                Ok(())
            }
            Kind::Log => self.services.log(&message),
            Kind::Metric => self.services.register(&message),
            Kind::Record => self.services.record(&message),
            _ => Err("sent a frame that only the host sends"),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason for which a call was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The child has died.
    Dead,
    /// The message cannot be sent.
    Refused(&'static str),
}
