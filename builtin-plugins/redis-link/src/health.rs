//! The health of a link, for a metric: degraded while the servers are away, and for a while after they refused a command.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use llmux_abi::Host;

/// Name of the gauge of [`gauge`].
pub const METRIC: &str = "llmux_redis_degraded";
const HELP: &str =
    "1 while Redis is unavailable, and for ten seconds after it refused a command; 0 otherwise";

/// Time for which a refused command counts. The next commands may be of another kind and succeed.
const REFUSAL_COUNTS: Duration = Duration::from_secs(10);

/// Function that a link calls at its beginning and whenever its health changes. True if the link is degraded.
pub type Report = Box<dyn Fn(bool) + Send + Sync>;

/// Returns a report that shows the health as a gauge of the host. If the host refuses the gauge, this is logged, and the
/// report does nothing.
pub fn gauge(host: &Host) -> Report {
    match host.gauge(METRIC, HELP, &[]) {
        Ok(gauge) => Box::new(move |is_degraded| gauge.set(&[], f64::from(u8::from(is_degraded)))),
        Err(error) => {
            tracing::warn!(%error, "the health of redis is not shown as a metric");
            Box::new(drop)
        }
    }
}

/// The health of a link.
pub(crate) struct Health {
    report: Report,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    refused: Option<Instant>,
    /// The last report.
    reported: Option<bool>,
}

impl Health {
    pub(crate) fn new(report: Report) -> Self {
        Self { report, state: Mutex::default() }
    }

    /// Notes that a server refused a command.
    pub(crate) fn refused(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused = Some(Instant::now());
        self.update(true);
    }

    /// Reports the health if it has changed.
    pub(crate) fn update(&self, is_up: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_refused = state.refused.is_some_and(|at| at.elapsed() < REFUSAL_COUNTS);
        let is_degraded = !is_up || was_refused;
        if state.reported.replace(is_degraded) != Some(is_degraded) {
            (self.report)(is_degraded);
        }
    }
}
