//! The supervision of an instance's child: a dead child is replaced, after a delay that doubles; an instance that dies too
//! often is `failed` (rule I3).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    connection::Connection,
    process::{Death, Process},
};
use crate::{
    isolation::plan::{Facts, Plan, StartError, Supervised, Used},
    pipeline::{HookKind, kind::Failure},
};

/// The first delay of a restart. It doubles up to [`MAX_DELAY`].
const DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// Number of deaths within a minute after which the instance is failed.
const MAX_DEATHS: usize = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// The first delay of a try of a failed instance. It doubles up to [`MAX_FAILED_DELAY`].
const FAILED_DELAY: Duration = Duration::from_secs(30);
const MAX_FAILED_DELAY: Duration = Duration::from_secs(300);
/// Time that a call waits for a restart.
const PATIENCE: Duration = Duration::from_secs(1);

/// The state of an instance's child.
#[derive(Clone)]
enum Status {
    Active(Arc<Connection>),
    Restarting,
    /// As [`Restarting`](Self::Restarting), and the next child exists.
    Starting,
    /// Each call fails, for this reason.
    Failed(Arc<str>),
    /// The instance has been unloaded.
    Ended,
}

/// Supervises the child of an instance.
pub(crate) struct Supervisor {
    plan: Plan,
    config: String,
    status: watch::Sender<Status>,
    facts: Mutex<Facts>,
    generation: AtomicU32,
    is_ending: AtomicBool,
    /// Notified when the instance ends, to leave a delay.
    ending: Notify,
    /// Notified when the last process is over.
    over: watch::Sender<bool>,
}

impl Supervisor {
    /// Starts the first child. `check` receives the schema of the configuration. Returns the supervisor, with the hooks of
    /// the instance as bits.
    ///
    /// # Errors
    ///
    /// The reason for which the first child does not run.
    pub(crate) async fn start<E: From<StartError>>(
        plan: Plan,
        config: String,
        check: impl FnOnce(&str) -> Result<(), E> + Send,
    ) -> Result<(Arc<Self>, u16), E> {
        let mut process = Process::start(&plan, 1).await?;
        let missing_sandbox = process.restrict(&plan).await?;
        check(&process.load(&plan).await?)?;
        let hooks = process.create(&config).await?;
        let (status, _) = watch::channel(Status::Active(process.connection.clone()));
        if !missing_sandbox.is_empty() {
            let missing = missing_sandbox.join("; ");
            tracing::warn!(
                instance = plan.name,
                "the sandbox of a plugin is incomplete on this system: {missing}"
            );
        }
        let facts = Facts { pid: process.id(), missing_sandbox, ..Facts::default() };
        let supervisor = Arc::new(Self {
            plan,
            config,
            status,
            facts: Mutex::new(facts),
            generation: AtomicU32::new(1),
            is_ending: AtomicBool::new(false),
            ending: Notify::new(),
            over: watch::Sender::new(false),
        });
        let supervised = supervisor.clone();
        supervisor.plan.shared.runtime.spawn(async move {
            supervised.run(process).await;
            supervised.over.send_replace(true);
        });
        Ok((supervisor, hooks))
    }

    /// Loads the library in a child that then ends, and returns the schema of the configuration.
    pub(crate) async fn schema(plan: &Plan) -> Result<String, StartError> {
        let mut process = Process::start(plan, 0).await?;
        process.restrict(plan).await?;
        let schema = process.load(plan).await;
        process.connection.close();
        process.ended().await;
        schema
    }

    /// Returns the child that takes calls. Waits for a restart, for a bounded time.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let now = |status: &Status| match status {
            Status::Active(connection) => Some(Ok(connection.clone())),
            Status::Failed(why) => Some(Err(Failure::crashed(&**why))),
            Status::Ended => Some(Err(Failure::crashed("the instance has ended"))),
            Status::Restarting | Status::Starting => None,
        };
        if let Some(result) = now(&self.status.borrow()) {
            return result;
        }
        let mut changes = self.status.subscribe();
        let changed = timeout(PATIENCE, changes.wait_for(|status| now(status).is_some())).await;
        let result = changed.ok().and_then(Result::ok).and_then(|status| now(&status));
        result.unwrap_or_else(|| Err(Failure::crashed("the child process is being restarted")))
    }

    /// Returns the child that takes calls now; `None` if there is none.
    pub(super) fn active(&self) -> Option<Arc<Connection>> {
        match &*self.status.borrow() {
            Status::Active(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    /// Ends the instance: its child has a second to end by itself.
    pub(super) fn end(&self) {
        self.is_ending.store(true, Relaxed);
        if let Status::Active(connection) = self.status.send_replace(Status::Ended) {
            connection.close();
        }
        self.ending.notify_one();
    }

    /// Waits until the last process is over.
    pub(super) async fn over(&self) {
        // The sender is in `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, mut process: Process) {
        let mut deaths = Deaths::default();
        loop {
            let death = process.ended().await;
            if self.is_ending.load(Relaxed) {
                process.connection.end(death.message.into());
                return;
            }
            // New calls wait, before the calls in flight fail and may be followed by others.
            let mut delay = self.died(&death, &mut deaths);
            let hooks = process.connection.end(death.message.as_str().into());
            self.log(&death, &hooks, delay);
            process = loop {
                select! {
                    () = sleep(delay) => {}
                    () = self.ending.notified() => return,
                }
                self.status.send_if_modified(|status| {
                    let is_waited_for = matches!(status, Status::Restarting);
                    if is_waited_for {
                        *status = Status::Starting;
                    }
                    is_waited_for
                });
                match self.restart().await {
                    Ok(process) => break process,
                    Err(death) => {
                        delay = self.died(&death, &mut deaths);
                        self.log(&death, &[], delay);
                    }
                }
            };
            if self.is_ending.load(Relaxed) {
                process.connection.close();
                continue;
            }
            let connection = process.connection.clone();
            self.lock().pid = process.id();
            self.status.send_if_modified(|status| {
                let goes_on = !matches!(status, Status::Ended);
                if goes_on {
                    *status = Status::Active(connection.clone());
                }
                goes_on
            });
            if self.is_ending.load(Relaxed) {
                connection.close();
            }
            tracing::info!(instance = self.plan.name, pid = process.id(), "the child process runs again");
        }
    }

    /// Counts a death, and returns the delay before the next child.
    fn died(&self, death: &Death, deaths: &mut Deaths) -> Duration {
        {
            let mut facts = self.lock();
            facts.pid = None;
            *facts.deaths.entry(death.reason).or_default() += 1;
            facts.last_death = Some(death.message.clone());
        }
        let (delay, is_failed) = deaths.add(Instant::now());
        let status = match is_failed {
            true => Status::Failed(death.message.as_str().into()),
            false => Status::Restarting,
        };
        self.status.send_if_modified(|there| {
            let goes_on = !matches!(there, Status::Ended);
            if goes_on {
                *there = status;
            }
            goes_on
        });
        delay
    }

    fn log(&self, death: &Death, hooks: &[HookKind], delay: Duration) {
        let mut names: Vec<_> = hooks.iter().map(|hook| hook.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let is_failed = matches!(*self.status.borrow(), Status::Failed(_));
        tracing::error!(
            instance = self.plan.name,
            hooks = (!names.is_empty()).then(|| names.join(",")),
            calls = hooks.len(),
            state = if is_failed { "failed" } else { "restarting" },
            next_start_ms = delay.as_millis() as u64,
            "a plugin's child process died: {}",
            death.message,
        );
    }

    async fn restart(&self) -> Result<Process, Death> {
        let generation = self.generation.fetch_add(1, Relaxed) + 1;
        let started = async {
            let mut process = Process::start(&self.plan, generation).await?;
            process.restrict(&self.plan).await?;
            process.load(&self.plan).await?;
            process.create(&self.config).await?;
            Ok(process)
        };
        started.await.map_err(|error| Death {
            reason: "start",
            message: match error {
                StartError::NoChild(why) => format!("no child process can be started: {why}"),
                StartError::Died(why) | StartError::Refused(why) => why,
                StartError::Sandbox(missing) => {
                    format!("parts of the sandbox are missing: {}", missing.join("; "))
                }
                StartError::Open(error) => format!("the library was refused: {error:?}"),
            },
        })
    }
}

impl Supervised for Supervisor {
    fn facts(&self) -> Facts {
        let state = match &*self.status.borrow() {
            Status::Active(_) => "active",
            Status::Restarting => "restarting",
            Status::Starting => "starting",
            Status::Failed(_) => "failed",
            Status::Ended => "ended",
        };
        let Used { memory, cpu_micros } = &*self.plan.used;
        let cpu = Duration::from_micros(cpu_micros.load(Relaxed));
        let facts = self.lock().clone();
        let memory = if facts.pid.is_some() { memory.load(Relaxed) } else { 0 };
        Facts { state, memory, cpu, ..facts }
    }
}

/// The deaths of the last minute, and the delays.
#[derive(Default)]
struct Deaths {
    last: VecDeque<Instant>,
    /// Number of delays since the instance was last quiet for a minute.
    delays: u32,
    /// Number of tries since the instance is failed; `None` if it is not.
    tries: Option<u32>,
}

impl Deaths {
    /// Adds a death. Returns the delay before the next child, and whether the instance is failed.
    fn add(&mut self, now: Instant) -> (Duration, bool) {
        let is_quiet = self.last.back().is_none_or(|last| now.duration_since(*last) > MAX_FAILED_DELAY);
        self.last.retain(|death| now.duration_since(*death) <= MINUTE);
        if self.last.is_empty() && (self.tries.is_none() || is_quiet) {
            (self.delays, self.tries) = (0, None);
        }
        self.last.push_back(now);
        if self.last.len() >= MAX_DEATHS || self.tries.is_some() {
            let tries = self.tries.map_or(0, |tries| tries + 1);
            self.tries = Some(tries);
            return (doubled(FAILED_DELAY, tries).min(MAX_FAILED_DELAY), true);
        }
        self.delays += 1;
        (doubled(DELAY, self.delays - 1).min(MAX_DELAY), false)
    }
}

fn doubled(delay: Duration, times: u32) -> Duration {
    delay.saturating_mul(2_u32.saturating_pow(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_the_delay_doubles_and_the_fifth_death_within_a_minute_fails_the_instance() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        let mut at = |millis| deaths.add(start + Duration::from_millis(millis));
        let restart = |millis| (Duration::from_millis(millis), false);
        assert_eq!(
            [at(0), at(100), at(300), at(700)],
            [restart(100), restart(200), restart(400), restart(800)]
        );
        let failed = |seconds| (Duration::from_secs(seconds), true);
        assert_eq!([at(1500), at(31_500), at(91_500)], [failed(30), failed(60), failed(120)]);
        assert_eq!([at(211_500), at(451_500), at(751_500)], [failed(240), failed(300), failed(300)]);
    }

    #[test]
    fn i3_an_instance_that_dies_rarely_is_restarted_at_once_each_time() {
        let (mut deaths, start) = (Deaths::default(), Instant::now());
        for minute in 0..20 {
            let death = deaths.add(start + 2 * minute * MINUTE);
            assert_eq!(death, (Duration::from_millis(100), false), "minute {minute}");
        }
    }
}
