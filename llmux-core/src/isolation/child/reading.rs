//! The thread that reads frames in the child. It polls each hook once itself, so that a hook that does not wait costs no
//! other thread, and its reply is written with those of the calls that came together with it.
//!
//! A hook that blocks must not stop the reading of other calls and of cancellations (rule I4). The reader therefore lends
//! the frames away while it polls. The main thread watches: if a poll takes too long, another thread reads on, and the
//! first one ends after its poll. Meanwhile, hooks run in tasks of the runtime, as do hooks whose last poll was long.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    calls::{Calls, Work},
    fetches::Fetches,
    frames::Frames,
    to_host::ToHost,
};
use crate::{
    boundary::paused::Paused,
    isolation::{
        frame::{Frame, Kind},
        protocol::decode,
    },
};

/// Time between two looks at the reader. A poll that is there at two looks is too long.
const TICK: Duration = Duration::from_millis(5);
/// Number of looks without a poll after which nobody looks any more.
const QUIET: u32 = 20;

/// Starts a reader of frames.
///
/// # Errors
///
/// If no thread can be started.
pub(super) fn start(
    frames: Frames,
    calls: Arc<Calls>,
    to_host: Arc<ToHost>,
    fetches: Arc<Fetches>,
    runtime: Handle,
) -> io::Result<Watch> {
    let (events, happened) = channel();
    let (turn, is_stuck) = (Mutex::default(), AtomicBool::new(false));
    let reading = Arc::new(Reading { calls, to_host, fetches, runtime, turn, is_stuck, events });
    reading.start(frames)?;
    Ok(Watch { reading, happened })
}

/// The watch of the reader.
pub(super) struct Watch {
    reading: Arc<Reading>,
    happened: Receiver<Event>,
}

impl Watch {
    /// Watches until the host closes the socket.
    pub(super) fn run(self) -> io::Result<()> {
        self.reading.watch(&self.happened)
    }
}

/// The parts that all readers share.
struct Reading {
    calls: Arc<Calls>,
    to_host: Arc<ToHost>,
    fetches: Arc<Fetches>,
    runtime: Handle,
    turn: Mutex<Turn>,
    /// True while a thread that was the reader has not returned from a poll.
    is_stuck: AtomicBool,
    events: Sender<Event>,
}

/// The present poll of the reader.
#[derive(Default)]
struct Turn {
    /// Number of polls so far.
    polls: u64,
    /// The frames, while the reader polls.
    frames: Option<Frames>,
    is_watched: bool,
}

/// An event for the watching thread.
enum Event {
    /// Polls begin, after a time without any.
    Polls,
    /// The reader has ended.
    Ended(io::Result<()>),
}

impl Reading {
    /// Starts a reader.
    fn start(self: &Arc<Self>, frames: Frames) -> io::Result<()> {
        let reading = self.clone();
        let named = thread::Builder::new().name("llmux-reader".to_owned());
        named.spawn(move || {
            let _runtime = reading.runtime.enter();
            let ended = reading.run(frames);
            if let Some(result) = ended.transpose() {
                let _ = reading.events.send(Event::Ended(result));
            }
        })?;
        Ok(())
    }

    /// Reads until the host closes the socket; `None` if another thread reads on.
    fn run(&self, mut frames: Frames) -> io::Result<Option<()>> {
        loop {
            if !frames.has_next() {
                self.to_host.release();
            }
            let Some(frame) = frames.next()? else { return Ok(Some(())) };
            self.to_host.hold();
            let _busy = self.to_host.paused().map(Paused::read);
            let Some(work) = self.work(frame)? else { continue };
            if self.is_stuck.load(Relaxed) || self.calls.is_long(&work) {
                self.calls.start(work);
                continue;
            }
            let turn = self.lend(frames);
            self.calls.poll(work);
            match self.take_back(turn) {
                Some(back) => frames = back,
                None => return Ok(None),
            }
        }
    }

    /// Handles a frame. Returns the work of the plugin's that it asks for.
    fn work(&self, frame: Frame) -> io::Result<Option<Work>> {
        let malformed = |_| io::Error::other("the host sent a malformed message");
        let Frame { kind, number, .. } = frame;
        Ok(match kind {
            Kind::Call => self.calls.call(frame),
            Kind::Next => Some(self.calls.next(number, decode(&frame.message).map_err(malformed)?)),
            Kind::Release => self.calls.release(number),
            Kind::DropStream => self.calls.drop_stream(number),
            Kind::Cancel => self.calls.cancel(number),
            Kind::CleanUp => {
                let limit = decode(&frame.message).map_err(malformed)?;
                Some(self.calls.clean_up(number, Duration::from_millis(limit)))
            }
            Kind::Fetched => {
                self.fetches.received(number, frame.message);
                None
            }
            Kind::Now => {
                self.to_host.set_time(number)?;
                None
            }
            kind => return Err(io::Error::other(format!("the host sent a frame {kind:?} too late"))),
        })
    }

    /// Lends the frames away for a poll. Returns the number of the poll.
    fn lend(&self, frames: Frames) -> u64 {
        let mut turn = self.turn();
        turn.polls += 1;
        turn.frames = Some(frames);
        if !std::mem::replace(&mut turn.is_watched, true) {
            let _ = self.events.send(Event::Polls);
        }
        turn.polls
    }

    /// Takes the frames back after a poll; `None` if another thread has them.
    fn take_back(&self, poll: u64) -> Option<Frames> {
        let mut turn = self.turn();
        let frames = if turn.polls == poll { turn.frames.take() } else { None };
        if frames.is_none() {
            self.is_stuck.store(false, Relaxed);
        }
        frames
    }

    /// Looks at the reader while it polls. Returns when the host has closed the socket.
    fn watch(self: &Arc<Self>, happened: &Receiver<Event>) -> io::Result<()> {
        let (mut last, mut quiet) = (0, QUIET);
        loop {
            let event = match quiet < QUIET {
                true => happened.recv_timeout(TICK),
                false => happened.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Ended(result)) => return result,
                Ok(Event::Polls) => quiet = 0,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the reader has ended")),
            }
            let mut turn = self.turn();
            let is_the_same = std::mem::replace(&mut last, turn.polls) == turn.polls;
            quiet = if is_the_same { quiet + 1 } else { 0 };
            if let Some(frames) = turn.frames.take_if(|_| is_the_same) {
                self.is_stuck.store(true, Relaxed);
                drop(turn);
                self.to_host.release();
                self.start(frames)?;
                quiet = 0;
            } else if quiet == QUIET {
                turn.is_watched = false;
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
