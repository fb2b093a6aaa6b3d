//! Starts the child processes of this program, and measures them, on one thread that lives as long as the program.
//!
//! A child is ended by the system when the thread that started it ends, so that a thread of a runtime cannot start one.
//! The child has a process group of its own, a socket as its standard input, and only the environment that its caller
//! passes. Its outputs are one pipe. All other descriptors of the host are closed in it (close-on-exec).
//!
//! The system ends only the child itself with the host. If the child may start programs, a watcher ends them: a second
//! process of the same program in the group of the child. Its standard input ends with the host, and it then kills the group.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    sync::{
        Arc, OnceLock, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use super::meter::Meter;
use crate::isolation::{child::WATCHES, program::ChildProgram};

/// A process that was started.
pub(super) struct Spawned {
    pub(super) process: Child,
    pub(super) socket: UnixStream,
    /// The standard output and the standard error of the process.
    pub(super) output: io::PipeReader,
    pub(super) watcher: Option<Watcher>,
}

/// The process that ends the programs of a child if the host dies.
pub(super) struct Watcher {
    pub(super) process: Child,
    /// Open for as long as the host lives.
    _host: io::PipeWriter,
}

/// The process to start.
pub(super) struct Start {
    pub(super) program: ChildProgram,
    pub(super) variables: Vec<(String, OsString)>,
    /// True if the child may start programs.
    pub(super) has_programs: bool,
}

type Answer = oneshot::Sender<io::Result<Spawned>>;
enum Job {
    Start(Start, Handle, Answer),
    /// Measures a child once a second, for as long as its meter is held.
    Measure(Weak<Meter>),
}

/// Time between two measurements.
const SECOND: Duration = Duration::from_secs(1);

/// Starts a child.
///
/// # Errors
///
/// If the program cannot be started, or the thread of this module cannot.
pub(super) async fn spawn(start: Start) -> io::Result<Spawned> {
    let (answer, started) = oneshot::channel();
    send(Job::Start(start, Handle::current(), answer))?;
    started.await.map_err(|_| no_thread())?
}

/// Has a child measured once a second, for as long as its meter is held.
pub(super) fn measure(meter: &Arc<Meter>) -> io::Result<()> {
    send(Job::Measure(Arc::downgrade(meter)))
}

fn no_thread() -> io::Error {
    io::Error::other("the thread that starts child processes cannot run")
}

/// Sends a job to the thread, which the first one starts.
fn send(job: Job) -> io::Result<()> {
    static THREAD: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, jobs) = channel();
        let named = thread::Builder::new().name("llmux-children".to_owned());
        named.spawn(move || run(&jobs)).ok().map(|_| sender)
    });
    thread.as_ref().ok_or_else(no_thread)?.send(job).map_err(|_| no_thread())
}

fn run(jobs: &Receiver<Job>) {
    let (mut meters, mut next) = (Vec::<Weak<Meter>>::new(), Instant::now());
    loop {
        // Without children, the thread sleeps.
        let job = match meters.is_empty() {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(next.saturating_duration_since(Instant::now())),
        };
        match job {
            // If nobody waits any more, the child is ended here.
            Ok(Job::Start(child, runtime, answer)) => drop(answer.send(start(&child, &runtime))),
            Ok(Job::Measure(meter)) => meters.push(meter),
            Err(RecvTimeoutError::Timeout) => {
                meters.retain(|meter| meter.upgrade().inspect(|meter| meter.measure()).is_some());
                next = Instant::now() + SECOND;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn start(child: &Start, runtime: &Handle) -> io::Result<Spawned> {
    // The runtime waits for the process.
    let _runtime = runtime.enter();
    let (socket, of_child) = UnixStream::pair()?;
    let (output, to_output) = io::pipe()?;
    let mut command = child.command();
    command.stdin(Stdio::from(OwnedFd::from(of_child)));
    command.stdout(Stdio::from(to_output.try_clone()?)).stderr(Stdio::from(to_output));
    let process = command.process_group(0).spawn()?;
    let watcher = match process.id().filter(|_| child.has_programs) {
        Some(group) => Some(watch(child, group)?),
        None => None,
    };
    socket.set_nonblocking(true)?;
    Ok(Spawned { process, socket, output, watcher })
}

/// Starts the watcher of a process group.
fn watch(child: &Start, group: u32) -> io::Result<Watcher> {
    let (of_watcher, _host) = io::pipe()?;
    let mut command = child.command();
    command.stdin(Stdio::from(of_watcher)).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.env(WATCHES, "1").process_group(group.cast_signed()).spawn()?;
    Ok(Watcher { process, _host })
}

impl Start {
    fn command(&self) -> Command {
        let ChildProgram { program, arguments, variables, is_paused: _ } = &self.program;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.envs(variables.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        command
    }
}
