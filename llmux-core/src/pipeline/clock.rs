//! The clock that times hooks: one cheap reading for each hook.
//!
//! Reading the processor's counter costs a third of reading the system's clock. Deliberately apart from the runtime's
//! time, which timers use and a test can pause.

use std::{sync::LazyLock, time::Duration};

/// The processor's counter, calibrated once.
static COUNTER: LazyLock<quanta::Clock> = LazyLock::new(quanta::Clock::new);

/// A clock, as last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    counter: &'static quanta::Clock,
    read: u64,
}

impl Clock {
    /// Reads the time.
    #[inline]
    pub(crate) fn start() -> Self {
        let counter = &*COUNTER;
        Self { counter, read: counter.raw() }
    }

    /// Reads the time again.
    #[inline]
    pub(crate) fn restart(&mut self) {
        self.read = self.counter.raw();
    }

    /// Reads the time again and returns the nanoseconds since the last reading.
    #[inline]
    pub(crate) fn lap(&mut self) -> u64 {
        let now = self.counter.raw();
        self.counter.delta_as_nanos(std::mem::replace(&mut self.read, now), now)
    }

    /// Returns the time since the last reading, and leaves the clock as it is.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos({ *self }.lap())
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
