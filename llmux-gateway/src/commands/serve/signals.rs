//! Signals of the operating system, on a thread of their own: it ends the process although plugins block every worker
//! of the runtime.
//!
//! The first signal that ends the program begins the graceful end, and sets its deadline. At the deadline, or at a second
//! signal, the thread ends the process without `atexit` handlers. It runs until the process is gone, so that also a
//! handler that never returns is ended. Deliberately absent: the graceful end, which is in `serve`.

use std::sync::{Arc, OnceLock};

use llmux_terminal::{CliError, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ending::Ending;

/// The signals that arrived.
pub(super) struct Signals {
    ends: UnboundedReceiver<&'static str>,
    reloads: UnboundedReceiver<()>,
    ending: Arc<OnceLock<Ending>>,
}

/// The other side of [`Signals`], for the thread.
struct Senders {
    ends: UnboundedSender<&'static str>,
    reloads: UnboundedSender<()>,
    ending: Arc<OnceLock<Ending>>,
}

/// A signal that arrived.
pub(super) enum Signal {
    /// Ends the program. It arrives at most once.
    End(&'static str),
    /// Reloads the configuration.
    Reload,
}

impl Signals {
    /// Starts to take signals.
    ///
    /// # Errors
    ///
    /// If the system refuses the handlers or the thread.
    pub(super) fn start() -> Result<Self> {
        let ((ends, end_list), (reloads, reload_list)) = (unbounded_channel(), unbounded_channel());
        let ending = Arc::default();
        let senders = Senders { ends, reloads, ending: Arc::clone(&ending) };
        system::start(senders).map_err(|error| CliError::new(format!("signals: {error}")))?;
        Ok(Self { ends: end_list, reloads: reload_list, ending })
    }

    /// Sets the server whose end has a deadline. Until then, the start has a short one.
    pub(super) fn serve(&self, ending: Ending) {
        // It is set once.
        let _ = self.ending.set(ending);
    }

    /// Returns the name of the signal that ends the program.
    pub(super) async fn end(&mut self) -> &'static str {
        match self.ends.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }

    /// Returns the next signal.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(name) = self.ends.recv() => Signal::End(name),
            Some(()) = self.reloads.recv() => Signal::Reload,
            else => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
mod system {
    use std::{
        io::{Error, Read},
        os::unix::net::UnixStream,
        thread,
        time::{Duration, Instant},
    };

    use arc_swap::ArcSwap;
    use signal_hook::{
        consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
        iterator::{backend::SignalDelivery, exfiltrator::SignalOnly},
        low_level::exit,
    };
    use tokio::runtime::Handle;

    use super::Senders;
    use crate::terminal::{outside, urgent};

    /// Deadline of an end during the start, when little is there to be cleaned up.
    const WHILE_STARTING: Duration = Duration::from_secs(10);

    type Delivery = SignalDelivery<UnixStream, SignalOnly>;

    /// SIGUSR1 and SIGUSR2 are taken and ignored: some rotators of logs send them, and their default is to kill.
    const TAKEN: [i32; 5] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];

    pub(super) fn start(senders: Senders) -> Result<(), Error> {
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, TAKEN)?;
        let runtime = Handle::current();
        let run = move || {
            // The values of this thread are made here. An initializer of a library may hold the lock of the system's
            // loader later, and the first use of a thread-local value takes that lock.
            let _runtime = runtime.enter();
            drop(ArcSwap::from_pointee(()).load());
            run(delivery, &senders);
        };
        thread::Builder::new().name("llmux-signals".to_owned()).spawn(run).map(drop)
    }

    fn run(mut delivery: Delivery, senders: &Senders) {
        let mut end: Option<(&str, Duration, Instant)> = None;
        loop {
            let left = end.map(|(.., deadline)| deadline.saturating_duration_since(Instant::now()));
            if let Some((name, bound, _)) = end.filter(|_| left == Some(Duration::ZERO)) {
                end_now(senders, &format!("{name}: the end took longer than {bound:?}"));
            }
            // A timeout, or an interruption, is one more turn.
            let _ = delivery.get_read().set_read_timeout(left);
            let _ = delivery.get_read_mut().read(&mut [0]);
            for signal in delivery.pending() {
                match (signal, end) {
                    (SIGHUP, _) => drop(senders.reloads.send(())),
                    (SIGTERM | SIGINT, Some(_)) => end_now(senders, &format!("{} again", name(signal))),
                    (SIGTERM | SIGINT, None) => {
                        let bound = senders.ending.get().map_or(WHILE_STARTING, |ending| ending.bound());
                        let deadline = Instant::now().checked_add(bound);
                        end = deadline.map(|deadline| (name(signal), bound, deadline));
                        let _ = senders.ends.send(name(signal));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Ends the process at once. The line is written past the log, whose thread may wait.
    fn end_now(senders: &Senders, why: &str) -> ! {
        let unfinished = senders.ending.get().map(|ending| ending.unfinished()).unwrap_or_default();
        let instances = match &*unfinished {
            [] => String::new(),
            names => format!("; these instances are not cleaned up: {}", names.join(", ")),
        };
        let line = format!("llmux: {why}: ended before everything was cleaned up{instances}");
        urgent::write(outside::line("ERROR", &line).as_bytes());
        exit(1)
    }

    fn name(signal: i32) -> &'static str {
        if signal == SIGINT { "SIGINT" } else { "SIGTERM" }
    }
}

/// On this system, only Ctrl-C ends the program, and only `llmux reload` reloads the configuration.
#[cfg(not(unix))]
mod system {
    use std::io::Error;

    use super::Senders;

    pub(super) fn start(senders: Senders) -> Result<(), Error> {
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            let _ = senders.ends.send("Ctrl-C");
            let _ = tokio::signal::ctrl_c().await;
            let names = senders.ending.get().map(|ending| (ending.bound(), ending.unfinished()));
            eprintln!("llmux: Ctrl-C again: ended before everything was cleaned up: {names:?}");
            // Keeps the list of reloads open until here.
            drop(senders.reloads);
            std::process::exit(1)
        });
        Ok(())
    }
}
