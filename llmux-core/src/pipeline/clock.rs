//! The clock that hooks are timed with: one cheap reading a hook.
//!
//! Reading the processor's counter costs a third of reading the system's clock. Deliberately apart from the
//! runtime's time, which timers use and a test can hold.

use std::time::Duration;

/// A clock, as last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(quanta::Instant);

impl Clock {
    /// Reads the time.
    pub(crate) fn start() -> Self {
        Self(quanta::Instant::now())
    }

    /// Reads the time again; gives how long it has been since the last reading.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = quanta::Instant::now();
        now.saturating_duration_since(std::mem::replace(&mut self.0, now))
    }

    /// How long it has been, leaving the clock as it was.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) started: Clock,
    pub(crate) timeout: Duration,
}

impl Limit {
    /// How long the call may still take.
    pub(crate) fn remaining(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}
