//! The health of one deployment: its failures in a row, its rests, and the probe after each rest (rule F7).
//!
//! `selection` reads it to choose a deployment, and `lease` records the end of each request. It consists of atomics:
//! requests that race may see a state that is a moment old. Deliberately absent: counts for operators, which are `figures`.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::failure::Effect;

/// Failures in a row after which a deployment rests.
const FAILURES: u64 = 3;

/// The first rest. Each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(30);

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// State of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeploymentState {
    /// It serves requests.
    Active,
    /// It failed, and serves no request while another deployment of the model can.
    Resting,
    /// Its rest is over, and one request probes it.
    Probing,
}

impl DeploymentState {
    /// Every state.
    pub(super) const ALL: [Self; 3] = [Self::Active, Self::Resting, Self::Probing];

    /// The state's name in metrics and in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Resting => "resting",
            Self::Probing => "probing",
        }
    }
}

/// The reason for which a request was given to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The deployment is active.
    Usual,
    /// The request probes it after a rest.
    Probe,
    /// Every deployment of the model rests.
    LastResort,
}

/// A change of the state of a deployment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Rests(Duration),
    Recovered,
}

/// The health of one deployment.
#[derive(Debug)]
pub(super) struct Health {
    /// Start of the clock that `rests_until` counts on.
    epoch: Instant,
    row: AtomicU64,
    /// End of the rest, in milliseconds since `epoch`. 0: the deployment is active.
    rests_until: AtomicU64,
    /// Rests since the last success.
    rests: AtomicU32,
    /// True while a request probes it.
    probed: AtomicBool,
}

/// The failures in a row: their number, the client of the first one, and whether another client had one, too. Packed into
/// one number, so that it changes as a whole.
#[derive(Clone, Copy)]
struct Row(u64);

impl Row {
    const COUNT: u64 = 0xffff;
    const SEVERAL: u64 = 1 << 16;
    const CLIENT: u64 = !(Self::COUNT | Self::SEVERAL);

    fn count(self) -> u64 {
        self.0 & Self::COUNT
    }

    /// Adds a failure of a client. Without a client, no keys are configured, and clients do not matter.
    fn add(self, client: Option<u64>) -> Self {
        let client = client.map(|hash| hash & Self::CLIENT);
        let count = (self.count() + 1).min(Self::COUNT);
        let first = if self.count() == 0 { client.unwrap_or_default() } else { self.0 & Self::CLIENT };
        let several = client.is_none_or(|client| client != first) || self.0 & Self::SEVERAL != 0;
        Self(count | first | if several { Self::SEVERAL } else { 0 })
    }

    fn is_enough(self) -> bool {
        self.count() >= FAILURES && self.0 & Self::SEVERAL != 0
    }
}

/// Returns the hash of a client's id, as the health counts it.
pub(super) fn client(id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

impl Default for Health {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            row: AtomicU64::new(0),
            rests_until: AtomicU64::new(0),
            rests: AtomicU32::new(0),
            probed: AtomicBool::new(false),
        }
    }
}

impl Health {
    /// Returns the state at a time.
    pub(super) fn state(&self, now: Instant) -> DeploymentState {
        match self.rests_until.load(Acquire) {
            0 => DeploymentState::Active,
            until if self.millis(now) < until => DeploymentState::Resting,
            _ => DeploymentState::Probing,
        }
    }

    /// Returns the rest of the rest; `None` while the deployment does not rest.
    pub(super) fn rests_for(&self, now: Instant) -> Option<Duration> {
        let left = self.rests_until.load(Acquire).saturating_sub(self.millis(now));
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Returns the number of failures in a row.
    pub(super) fn failures_in_a_row(&self) -> u64 {
        Row(self.row.load(Relaxed)).count()
    }

    /// Takes the probe, if the rest is over and no other request has it. [`settle`](Self::settle) or
    /// [`abandon`](Self::abandon) gives it back.
    pub(super) fn take_probe(&self, now: Instant) -> bool {
        if self.state(now) != DeploymentState::Probing
            || self.probed.compare_exchange(false, true, AcqRel, Relaxed).is_err()
        {
            return false;
        }
        // The probe before may have ended meanwhile.
        let is_due = self.state(now) == DeploymentState::Probing;
        if !is_due {
            self.abandon();
        }
        is_due
    }

    /// Gives a probe back that has no result.
    pub(super) fn abandon(&self) {
        self.probed.store(false, Release);
    }

    /// Records the end of a request. With `can_rest` false, the model has no other deployment.
    pub(super) fn settle(
        &self,
        effect: Effect,
        turn: Turn,
        client: Option<u64>,
        can_rest: bool,
    ) -> Option<Change> {
        let change = match effect {
            Effect::Works | Effect::None => {
                if effect == Effect::Works && self.row.load(Relaxed) != 0 {
                    self.row.store(0, Relaxed);
                }
                // The answer to a request from before the rest says nothing about the time after it.
                (turn != Turn::Usual).then(|| self.recover(effect)).flatten()
            }
            Effect::Counts | Effect::Rests => match turn {
                Turn::Probe => Some(self.rest()),
                Turn::LastResort => None,
                Turn::Usual => {
                    let add = |row| Some(Row(row).add(client).0);
                    let before = self.row.fetch_update(Relaxed, Relaxed, add);
                    let row = Row(before.unwrap_or_else(|row| row)).add(client);
                    let is_enough = effect == Effect::Rests || row.is_enough();
                    // Other requests of that time may fail during the rest.
                    let begins = can_rest && is_enough && self.rests_until.load(Acquire) == 0;
                    begins.then(|| self.rest())
                }
            },
        };
        if turn == Turn::Probe {
            self.abandon();
        }
        change
    }

    fn rest(&self) -> Change {
        let rests = self.rests.fetch_add(1, Relaxed).min(16);
        let length = FIRST_REST.saturating_mul(1 << rests).min(LONGEST_REST);
        let until = self.millis(Instant::now() + length).max(1);
        self.row.store(0, Relaxed);
        self.rests_until.store(until, Release);
        Change::Rests(length)
    }

    fn recover(&self, effect: Effect) -> Option<Change> {
        if effect == Effect::Works {
            self.rests.store(0, Relaxed);
        }
        (self.rests_until.swap(0, AcqRel) != 0).then_some(Change::Recovered)
    }

    fn millis(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.epoch).as_millis().try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(health: &Health, seconds: u64) -> Instant {
        health.epoch + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn f7_three_failures_in_a_row_begin_a_rest_and_a_success_ends_the_row() {
        let health = Health::default();
        let fails = || health.settle(Effect::Counts, Turn::Usual, None, true);
        assert_eq!((fails(), fails()), (None, None));
        assert_eq!(health.settle(Effect::Works, Turn::Usual, None, true), None);
        assert_eq!((fails(), fails(), health.failures_in_a_row()), (None, None, 2));
        assert_eq!(health.settle(Effect::None, Turn::Usual, None, true), None, "ends no row");
        assert_eq!(fails(), Some(Change::Rests(Duration::from_secs(30))));
        assert_eq!(fails(), None, "it rests already");
        assert_eq!(health.state(after(&health, 29)), DeploymentState::Resting);
        assert_eq!(health.state(after(&health, 30)), DeploymentState::Probing);
    }

    #[tokio::test(start_paused = true)]
    async fn f7_with_keys_the_failures_are_those_of_two_clients() {
        let health = Health::default();
        let fails =
            |client| health.settle(Effect::Counts, Turn::Usual, Some(super::client(client)), true).is_some();
        assert!((0..9).all(|_| !fails("a")), "one client alone does not stop a deployment");
        assert!(fails("b"));
        let health = Health::default();
        let fails =
            |client| health.settle(Effect::Counts, Turn::Usual, Some(super::client(client)), true).is_some();
        assert_eq!([fails("a"), fails("b"), fails("a")], [false, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn f7_some_failures_count_at_once_and_an_only_deployment_never_rests() {
        let health = Health::default();
        assert!(health.settle(Effect::Rests, Turn::Usual, Some(1), true).is_some());
        let only = Health::default();
        assert!((0..9).all(|_| only.settle(Effect::Rests, Turn::Usual, None, false).is_none()));
        assert_eq!((only.state(Instant::now()), only.failures_in_a_row()), (DeploymentState::Active, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn f7_one_request_probes_and_each_failed_probe_doubles_the_rest() {
        let health = Health::default();
        health.settle(Effect::Rests, Turn::Usual, None, true);
        let mut lengths = Vec::new();
        for _ in 0..5 {
            let rest = health.rests_for(Instant::now()).expect("a rest");
            lengths.push(rest.as_secs());
            assert!(!health.take_probe(Instant::now()), "it rests");
            tokio::time::advance(rest).await;
            assert!(health.take_probe(Instant::now()));
            assert!(!health.take_probe(Instant::now()), "another request probes it");
            assert!(matches!(
                health.settle(Effect::Counts, Turn::Probe, Some(1), true),
                Some(Change::Rests(_))
            ));
        }
        assert_eq!(lengths, [30, 60, 120, 240, 300]);
        tokio::time::advance(LONGEST_REST).await;
        assert!(health.take_probe(Instant::now()));
        health.abandon();
        assert!(health.take_probe(Instant::now()), "the probe had no result");
        assert_eq!(health.settle(Effect::Works, Turn::Probe, None, true), Some(Change::Recovered));
        assert_eq!(health.state(Instant::now()), DeploymentState::Active);
        let again = health.settle(Effect::Rests, Turn::Usual, None, true);
        assert_eq!(again, Some(Change::Rests(FIRST_REST)), "a success ends the doubling");
    }
}
