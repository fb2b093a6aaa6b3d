//! The paused time of tests on the host's side: the clock of the runtime stands while a child works (rule I1).
//!
//! A runtime of tokio whose time is paused advances to the next timer when nothing is left to do. It does not while a blocking
//! task runs. So one such task waits here for as long as the child has frames that it has not handled, or work of its own. The
//! child says when it is idle. `outgoing` counts the frames, and writes the time before each of them.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use tokio::{runtime::Handle, select, sync::Notify, time::Instant};

use crate::{
    boundary::host::HostShared,
    isolation::{
        frame::{self, Kind},
        protocol::decode,
    },
};

/// The hold on the clock of the host's runtime, for one child.
pub(super) struct Pause {
    runtime: Handle,
    epoch: Instant,
    state: Mutex<State>,
    /// Notified when [`State::next`] changes, and at the end.
    changed: Notify,
}

struct State {
    /// Number of frames to the child.
    sent: u64,
    hold: Hold,
    /// Time at which the first sleep of the child ends.
    next: Option<Instant>,
}

enum Hold {
    /// The child waits.
    None,
    /// The child works. The blocking task ends when the sender is dropped.
    Working(Sender<()>),
    /// As [`Working`](Self::Working), to the end of the process.
    Ending(Sender<()>),
    /// The process is over.
    Over,
}

impl Pause {
    /// Stops the clock of this runtime until the child is idle.
    pub(super) fn new(shared: &HostShared) -> Self {
        let runtime = shared.runtime.clone();
        let hold = Hold::Working(stop(&runtime));
        let state = Mutex::new(State { sent: 0, hold, next: None });
        Self { runtime, epoch: shared.epoch, state, changed: Notify::new() }
    }

    /// Counts a frame that was added to the frames of the child. The child works from now on.
    pub(super) fn sent(&self) {
        let mut state = self.state();
        state.sent += 1;
        if matches!(state.hold, Hold::None) {
            state.hold = Hold::Working(stop(&self.runtime));
        }
    }

    /// Adds a frame with the time, except before the first frame, which restricts the child.
    pub(super) fn add_time(&self, frames: &mut Vec<u8>) {
        if self.state().sent == 0 {
            return;
        }
        // Another thread than those of the runtime has another clock.
        let _runtime = self.runtime.enter();
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        frame::write_empty(frames, Kind::Now, now);
        self.sent();
    }

    /// The child has nothing to do after this number of frames.
    ///
    /// # Errors
    ///
    /// If the message is malformed.
    pub(super) fn idle(&self, read: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let next: Option<u64> = decode(bytes).map_err(|_| "sent a malformed message")?;
        let mut state = self.state();
        if state.sent == read {
            state.next = next.and_then(|next| self.epoch.checked_add(Duration::from_nanos(next)));
            self.changed.notify_one();
            if matches!(state.hold, Hold::Working(_)) {
                state.hold = Hold::None;
            }
        }
        Ok(())
    }

    /// Stops the clock until the process is over: it was told to end, or its end was seen.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.hold = match mem::replace(&mut state.hold, Hold::Over) {
            Hold::None => Hold::Ending(stop(&self.runtime)),
            Hold::Working(stopped) | Hold::Ending(stopped) => Hold::Ending(stopped),
            Hold::Over => Hold::Over,
        };
    }

    /// The process is over.
    pub(super) fn over(&self) {
        self.state().hold = Hold::Over;
        self.changed.notify_one();
    }

    /// Waits until a sleep of the child is over; `None` at the end of the process.
    pub(super) async fn next(&self) -> Option<()> {
        loop {
            let next = {
                let state = self.state();
                if matches!(state.hold, Hold::Over) {
                    return None;
                }
                state.next
            };
            let Some(next) = next else {
                self.changed.notified().await;
                continue;
            };
            select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(next) => {
                    self.state().next = None;
                    return Some(());
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the clock of a runtime until the sender is dropped.
fn stop(runtime: &Handle) -> Sender<()> {
    let (sender, receiver) = channel::<()>();
    runtime.spawn_blocking(move || receiver.recv().is_ok());
    sender
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use bytes::BytesMut;

    use super::*;
    use crate::{
        boundary::host::HostServices,
        isolation::host::{connection::Connection, services::Services},
    };

    fn shared() -> Arc<HostShared> {
        let (runtime, epoch) = (Handle::current(), Instant::now());
        Arc::new(HostShared { runtime, http: None, metrics: Arc::default(), epoch, mirror: None })
    }

    /// Returns the message of a child whose first sleep ends after this time.
    fn message(seconds: Option<u64>) -> Vec<u8> {
        postcard::to_stdvec(&seconds.map(|seconds| seconds * 1_000_000_000)).expect("small")
    }

    #[tokio::test(start_paused = true)]
    async fn i1_the_clock_stands_until_the_child_has_handled_all_frames_and_is_idle() {
        let pause = Arc::new(Pause::new(&shared()));
        for read in [1, 2] {
            pause.sent();
            assert_eq!(pause.idle(read - 1, &message(None)), Ok(()), "one frame is under way");
            let (is_idle, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
            let (child, told) = (pause.clone(), is_idle.clone());
            std::thread::spawn(move || {
                (0..1000).for_each(|_| std::thread::yield_now());
                told.store(true, SeqCst);
                child.idle(read, &message(None)).expect("a message of a child");
            });
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(is_idle.load(SeqCst), "the clock moved while the child worked");
            assert_eq!(begun.elapsed().as_secs(), 5);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn i1_the_host_wakes_a_child_when_its_first_sleep_is_over() {
        let (pause, begun) = (Pause::new(&shared()), Instant::now());
        pause.sent();
        for (read, seconds) in [(1, 7), (2, 9)] {
            pause.idle(read, &message(Some(seconds))).expect("a message of a child");
            assert_eq!(pause.next().await, Some(()));
            assert_eq!(begun.elapsed().as_secs(), seconds);
            let mut frames = Vec::new();
            pause.add_time(&mut frames);
            let frame = frame::take(&mut BytesMut::from(&frames[..])).expect("a frame").expect("as a whole");
            assert_eq!((frame.kind, frame.number / 1_000_000_000), (Kind::Now, seconds));
        }
        pause.over();
        assert_eq!(pause.next().await, None);
    }

    #[tokio::test]
    async fn i1_a_frame_of_paused_time_condemns_a_child_with_its_own_time() {
        let shared = shared();
        let services = Services::new(HostServices::new("a", None, shared.clone()), shared.runtime.clone());
        let connection = Connection::new(1, services, shared, None);
        let frame = frame::Frame { kind: Kind::Idle, number: 0, message: message(None).into() };
        assert_eq!(connection.received(frame), Err("sent a frame of paused time, and time is not paused"));
    }
}
