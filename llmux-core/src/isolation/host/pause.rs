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
