//! The host's end of the socket to a child: the calls that wait for a reply.
//!
//! `process` runs its two tasks. A reply goes to the call of
//! its number; a frame that no child of this program would send condemns the child, which is then killed.

use std::{
    collections::HashMap,
    mem,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{Notify, oneshot},
};

use super::{
    announced::Announced,
    bodies::{Bodies, Placed},
    fetches::Fetches,
    outgoing::Outgoing,
    pause::Pause,
    services::Services,
};
use crate::{
    boundary::host::HostShared,
    isolation::{
        frame::{self, Frame, Kind},
        protocol as message,
    },
    pipeline::kind::{Failure, HookKind},
};

/// Reason of a death by the host, at no limit.
pub(super) const KILLED: &str = "killed";

/// A connection to one child.
pub(super) struct Connection {
    /// Number of the child among those of its instance. It is the upper part of the numbers of its calls.
    generation: u32,
    next: AtomicU64,
    calls: Mutex<Calls>,
    outgoing: Arc<Outgoing>,
    /// The reason for which the child must be killed: a word, and a sentence.
    condemned: OnceLock<(&'static str, String)>,
    pub(super) kill: Notify,
    /// The reason of the end, once the process is over.
    death: OnceLock<Arc<str>>,
    pub(super) services: Services,
    pub(super) bodies: Bodies,
    pub(super) announced: Announced,
    fetches: Arc<Fetches>,
}

struct Calls {
    waiting: HashMap<u64, Waiting>,
    is_open: bool,
}

struct Waiting {
    /// `None` for a call that was cancelled and is not confirmed yet.
    reply: Option<oneshot::Sender<Bytes>>,
    hook: Option<HookKind>,
    /// The bodies that the child reads until it replies.
    _bodies: Vec<Arc<Placed>>,
}

/// Bits of a call's number below the generation of the child.
const BITS: u32 = 40;
/// The highest of these bits, which no number has.
pub(super) const FREE_BIT: u64 = 1 << (BITS - 1);

impl Connection {
    pub(super) fn new(
        generation: u32,
        services: Services,
        shared: Arc<HostShared>,
        pause: Option<Pause>,
    ) -> Self {
        let outgoing = Arc::new(Outgoing::new(pause));
        let fetches = Arc::new(Fetches::new(shared, outgoing.clone()));
        Self {
            fetches,
            generation,
            next: AtomicU64::new(1),
            calls: Mutex::new(Calls { waiting: HashMap::new(), is_open: true }),
            outgoing,
            condemned: OnceLock::new(),
            kill: Notify::new(),
            death: OnceLock::new(),
            services,
            bodies: Bodies::new(),
            announced: Announced::default(),
        }
    }

    /// Returns true if this child made the state of this number.
    pub(super) fn made(&self, state: u64) -> bool {
        state >> BITS == u64::from(self.generation)
    }

    /// Returns the number of a new call.
    pub(super) fn number(&self) -> u64 {
        (u64::from(self.generation) << BITS) | (self.next.fetch_add(1, Relaxed) % FREE_BIT)
    }

    /// Sends a call, and returns the receiver of its reply. The receiver fails when the child has died.
    ///
    /// # Errors
    ///
    /// [`Unsent::Dead`] if the child has died, [`Unsent::Refused`] if the message cannot be sent.
    pub(super) fn call(
        &self,
        call: (u64, Kind),
        hook: Option<HookKind>,
        bodies: Vec<Arc<Placed>>,
        message: &(impl Serialize + ?Sized),
    ) -> Result<oneshot::Receiver<Bytes>, Unsent> {
        self.send(call, hook, bodies, message, Others::NotNow)
    }

    /// Sends a call for a chunk before its turn. It is written together with those that follow.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub(super) fn announce(
        &self,
        number: u64,
        message: &message::Call<'_>,
    ) -> Result<oneshot::Receiver<Bytes>, Unsent> {
        self.send((number, Kind::Call), Some(HookKind::Chunk), Vec::new(), message, Others::Follow)
    }

    fn send(
        &self,
        (number, kind): (u64, Kind),
        hook: Option<HookKind>,
        bodies: Vec<Arc<Placed>>,
        message: &(impl Serialize + ?Sized),
        others: Others,
    ) -> Result<oneshot::Receiver<Bytes>, Unsent> {
        let (reply, receiver) = oneshot::channel();
        let is_alone = {
            let mut calls = self.calls();
            if !calls.is_open {
                return Err(Unsent::Dead);
            }
            calls.waiting.insert(number, Waiting { reply: Some(reply), hook, _bodies: bodies });
            calls.waiting.len() == 1 && others == Others::NotNow
        };
        if let Err(why) = self.outgoing.send(kind, number, message, is_alone) {
            self.calls().waiting.remove(&number);
            return Err(Unsent::Refused(why));
        }
        Ok(receiver)
    }

    /// Sends a frame that has neither a message nor a reply.
    pub(super) fn tell(&self, kind: Kind, number: u64) {
        self.outgoing.tell(kind, number);
    }

    /// As [`tell`](Self::tell). The frame may wait until another one is sent.
    pub(super) fn tell_later(&self, kind: Kind, number: u64) {
        self.outgoing.tell_later(kind, number);
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
        self.outgoing.close();
    }

    /// Has the child killed, for this reason: `killed`, or the limit that it is above.
    pub(super) fn condemn(&self, reason: &'static str, why: impl Into<String>) {
        let _ = self.condemned.set((reason, why.into()));
        self.outgoing.pause.as_ref().inspect(|pause| pause.end());
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
        self.fetches.close();
        self.outgoing.pause.as_ref().inspect(|pause| pause.over());
        waiting.values().filter_map(|waiting| waiting.hook).collect()
    }

    /// The failure of a call whose child has died.
    pub(super) fn crashed(&self) -> Failure {
        let why = self.death.get().map_or("the child process has ended", |why| &**why);
        Failure::crashed(why)
    }

    /// Writes what waits until the connection is closed.
    pub(super) async fn write(&self, socket: Arc<UnixStream>) {
        self.outgoing.write(socket).await;
    }

    /// Wakes the sleeps of the child, if time is paused.
    pub(super) async fn wake(&self) {
        self.outgoing.wake().await;
    }

    /// Reads frames until the child closes the socket, or sends a frame that is not allowed.
    pub(super) async fn read(&self, mut socket: pipe::Receiver) {
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
                Ok(0) | Err(_) => {
                    self.outgoing.pause.as_ref().inspect(|pause| pause.end());
                    return;
                }
            }
        }
    }

    pub(super) fn received(&self, frame: Frame) -> Result<(), &'static str> {
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
            Kind::Fetch => self.fetches.start(number, &message),
            Kind::Idle => match &self.outgoing.pause {
                Some(pause) => pause.idle(number, &message),
                None => Err("sent a frame of paused time, and time is not paused"),
            },
            Kind::More => {
                self.fetches.more(number);
                Ok(())
            }
            Kind::DropFetch => {
                self.fetches.end(number);
                Ok(())
            }
            _ => Err("sent a frame that only the host sends"),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the caller sends other calls next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    NotNow,
    Follow,
}

/// The reason for which a call was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The child has died.
    Dead,
    /// The message cannot be sent.
    Refused(&'static str),
}
