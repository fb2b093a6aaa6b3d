//! The clock that hooks are timed with: one cheap reading a hook, and the runtime's own time where a timer may
//! need it.
//!
//! Reading the processor's counter costs a third of reading the system's clock. Timers are the runtime's,
//! which a test can hold; its time is read when a chain begins and after a hook has waited, and carried on by
//! the counter in between.

use std::time::Duration;

use tokio::time::Instant;

/// A clock, as last read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The runtime's time, and the counter's, at the same moment.
    runtime: Instant,
    counter: quanta::Instant,
    last: quanta::Instant,
}

impl Clock {
    /// Reads the time.
    pub(crate) fn start() -> Self {
        let counter = quanta::Instant::now();
        Self { runtime: Instant::now(), counter, last: counter }
    }

    /// Reads the time after a wait, which the runtime may have shortened.
    pub(crate) fn restart(&mut self) {
        *self = Self::start();
    }

    /// Reads the time again; gives how long it has been since the last reading.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = quanta::Instant::now();
        let lap = now.saturating_duration_since(self.last);
        self.last = now;
        lap
    }

    /// The runtime's time at the last reading.
    fn runtime(&self) -> Instant {
        self.runtime + self.last.saturating_duration_since(self.counter)
    }
}

/// How long a call may take. Most calls are over before anybody asks when that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) started: Clock,
    pub(crate) timeout: Duration,
}

impl Limit {
    /// When the call runs out of time.
    pub(crate) fn deadline(&self) -> Instant {
        self.started.runtime() + self.timeout
    }
}
