//! The clock that times hooks: one cheap reading for each hook.
//!
//! Reading the processor's counter costs a third of reading the system's clock. Deliberately apart from the runtime's
//! time, which timers use and a test can pause.

use std::time::Duration;

/// A clock, as last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(quanta::Instant);

impl Clock {
    /// Reads the time.
    pub(crate) fn start() -> Self {
        Self(quanta::Instant::now())
    }

    /// Reads the time again and returns the time since the last reading.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = quanta::Instant::now();
        now.saturating_duration_since(std::mem::replace(&mut self.0, now))
    }

    /// Returns the time since the last reading, and leaves the clock as it is.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The time limit of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) started: Clock,
    pub(crate) timeout: Duration,
}

impl Limit {
    /// Returns the time that the call has left.
    pub(crate) fn remaining(&self) -> Duration {
        self.timeout.saturating_sub(self.started.elapsed())
    }
}
