//! One child process: started, asked to load the library and to make the instance, and waited for.

use std::{
    io,
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    path::Path,
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::{
    net::unix::pipe,
    process::Child,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    connection::{Connection, KILLED, Unsent},
    meter::Meter,
    pause::Pause,
    services::Services,
    spawner::{Spawned, Start, Watcher, measure, spawn},
};
use crate::{
    boundary::{host::HostServices, library::OpenError, log},
    isolation::{
        frame::Kind,
        output::{ended, last_lines, read_last},
        plan::{Plan, StartError},
        protocol::{self as message, decode},
    },
    sandbox::{Policy, Report},
};

/// Time limit of the initializers, and of the constructor (rule E4).
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a child has to end by itself, and its last output to arrive.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The end of a process.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    /// `signal`, `exit`, `killed` (by the host), `memory` or `cpu` (killed at a limit), or `start`.
    pub(crate) reason: &'static str,
    /// One sentence, with the last lines of the output.
    pub(crate) message: String,
}

/// A process.
pub(super) struct Process {
    pub(super) connection: Arc<Connection>,
    child: Child,
    reader: JoinHandle<()>,
    output: JoinHandle<Vec<u8>>,
    watcher: Option<Watcher>,
    _meter: Arc<Meter>,
}

impl Process {
    /// Starts a process.
    pub(super) async fn start(plan: &Plan, generation: u32) -> Result<Self, StartError> {
        let no_child = |error: io::Error| StartError::NoChild(format!("{}: {error}", plan.program.display()));
        let start = Start {
            program: plan.program.clone(),
            variables: plan.policy.variables().map(|(name, value)| (name.to_owned(), value)).collect(),
            has_programs: plan.policy.processes,
        };
        // The start of the process is work.
        let pause = plan.program.is_paused.then(|| Pause::new(&plan.shared));
        let Spawned { process, socket, output, watcher } = spawn(start).await.map_err(no_child)?;
        // The type of a pipe watches one direction: a child that reads does not wake a thread of this process.
        let read = socket.try_clone().map_err(no_child)?;
        let read = pipe::Receiver::from_owned_fd_unchecked(read.into()).map_err(no_child)?;
        let host = HostServices::new(&plan.name, Some(&plan.library), plan.shared.clone());
        let connection = Arc::new(Connection::new(
            generation,
            Services::new(host, plan.shared.runtime.clone()),
            plan.shared.clone(),
            pause,
        ));
        let (reads, writes) = (connection.clone(), connection.clone());
        if plan.program.is_paused {
            let wakes = connection.clone();
            tokio::spawn(async move { wakes.wake().await });
        }
        let reader = tokio::spawn(async move { reads.read(read).await });
        tokio::spawn(async move { writes.write(Arc::new(socket)).await });
        let output = pipe::Receiver::from_owned_fd(output.into()).map_err(no_child)?;
        let output = tokio::spawn(read_last(output));
        let pid = process.id().unwrap_or_default();
        let meter = Meter::new(pid, plan.limits, plan.used.clone(), connection.clone());
        let meter = Arc::new(meter);
        measure(&meter).map_err(no_child)?;
        Ok(Self { connection, child: process, reader, output, watcher, _meter: meter })
    }

    /// Restricts the process. Returns the parts of the sandbox that this system lacks.
    pub(super) async fn restrict(&mut self, plan: &Plan) -> Result<Vec<String>, StartError> {
        let Policy { read, write, network, processes, memory, files, env: _ } = &plan.policy;
        let bodies = self.connection.bodies.path();
        let restrict = message::Restrict {
            copy: plan.copy.as_os_str().as_bytes(),
            bodies: bodies.as_os_str().as_bytes(),
            read: read.iter().map(|path| as_bytes(path)).collect(),
            write: write.iter().map(|path| as_bytes(path)).collect(),
            network: *network,
            processes: *processes,
            memory: *memory,
            files: *files,
            is_paused: plan.program.is_paused,
        };
        let reply = self.ask(Kind::Restrict, &restrict, "its sandbox ran").await?;
        // It has run no code of the library yet.
        let report: Report = decode(&reply).map_err(|_| malformed())?;
        let missing: Vec<_> = report.missing.iter().map(ToString::to_string).collect();
        match plan.needs_sandbox && !missing.is_empty() {
            true => Err(StartError::Sandbox(missing)),
            false => Ok(missing),
        }
    }

    /// Loads the library. Returns the schema of the configuration.
    pub(super) async fn load(&mut self, plan: &Plan) -> Result<String, StartError> {
        let library = plan.library.to_string_lossy();
        let load = message::Load {
            name: &plan.name,
            library: &library,
            entry: &plan.entry,
            abi: &plan.abi,
            log_level: log::highest_level(),
        };
        let reply = self.ask(Kind::Load, &load, "its initializers ran").await?;
        match decode(&reply).map_err(|_| malformed())? {
            message::Loaded::Schema(Ok(schema)) => Ok(schema.to_owned()),
            message::Loaded::Schema(Err(why)) => Err(StartError::Refused(why.to_owned())),
            message::Loaded::Dlopen(why) => Err(StartError::Open(OpenError::Dlopen(why.to_owned()))),
            message::Loaded::NoEntry(why) => Err(StartError::Open(OpenError::NoEntry(why.to_owned()))),
            message::Loaded::Layout(why) => Err(StartError::Open(OpenError::Layout(why.to_owned()))),
        }
    }

    /// Makes the instance. Returns its hooks, as bits.
    pub(super) async fn create(&mut self, config: &str) -> Result<u16, StartError> {
        let reply = self.ask(Kind::Create, config, "the constructor ran").await?;
        let created: message::Created<'_> = decode(&reply).map_err(|_| malformed())?;
        created.map_err(|why| StartError::Refused(why.to_owned()))
    }

    async fn ask(
        &mut self,
        kind: Kind,
        message: &(impl Serialize + ?Sized),
        what: &str,
    ) -> Result<Bytes, StartError> {
        let connection = self.connection.clone();
        let reply = match connection.call((connection.number(), kind), None, Vec::new(), message) {
            Ok(reply) => reply,
            Err(Unsent::Refused(why)) => return Err(StartError::Refused(why.to_owned())),
            Err(Unsent::Dead) => return Err(StartError::Died(self.ended().await.message)),
        };
        tokio::select! {
            Ok(reply) = reply => Ok(reply),
            death = self.ended() => Err(StartError::Died(death.message)),
            () = sleep(START_TIMEOUT) => {
                connection.condemn(KILLED, format!("{what} past the timeout of {START_TIMEOUT:?}"));
                Err(StartError::Died(self.ended().await.message))
            }
        }
    }

    /// Returns the id of the process.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process is over, and kills it if it must end. May be called again if it was not polled to its end.
    pub(super) async fn ended(&mut self) -> Death {
        let id = self.child.id();
        tokio::select! {
            biased;
            _ = self.child.wait() => {}
            _ = &mut self.reader, if !self.reader.is_finished() => {}
            () = self.connection.kill.notified() => kill(id),
            () = over(&mut self.watcher) => {
                self.connection.condemn(KILLED, "the process that ends its programs has died");
                kill(id);
            }
        }
        let status = match timeout(END_TIMEOUT, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.connection
                    .condemn(KILLED, "it did not end within a second after its connection was closed");
                kill(id);
                self.child.wait().await
            }
        };
        // Also the processes that it started, and their watcher. None of them can leave the group.
        kill(id);
        if self.watcher.is_some() {
            over(&mut self.watcher).await;
        }
        if !self.reader.is_finished() {
            // What it sent before its end counts.
            let _ = timeout(END_TIMEOUT, &mut self.reader).await;
            self.reader.abort();
        }
        let output =
            timeout(END_TIMEOUT, &mut self.output).await.ok().and_then(Result::ok).unwrap_or_default();
        death(status, self.connection.condemned(), &last_lines(&output))
    }
}

/// A process that is not waited for is killed, and its services are closed.
impl Drop for Process {
    fn drop(&mut self) {
        self.reader.abort();
        self.connection.end("the child process was not needed any more".into());
    }
}

/// Waits until the watcher of a child is over; for ever if it has none.
async fn over(watcher: &mut Option<Watcher>) {
    match watcher {
        Some(watcher) => drop(watcher.process.wait().await),
        None => std::future::pending().await,
    }
}

fn as_bytes(path: &Path) -> &serde_bytes::Bytes {
    serde_bytes::Bytes::new(path.as_os_str().as_bytes())
}

fn malformed() -> StartError {
    StartError::Died("the child process sent a malformed message".to_owned())
}

/// Kills the process group of a child. If nothing is left of it, there is no such group.
fn kill(id: Option<u32>) {
    let group = id.and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn death(status: io::Result<ExitStatus>, condemned: Option<&(&'static str, String)>, output: &str) -> Death {
    let (reason, why) = match (condemned, status) {
        (Some((reason, why)), _) => (*reason, format!("was killed: {why}")),
        (None, Ok(status)) if status.signal().is_some() => ("signal", ended(status)),
        (None, Ok(status)) => ("exit", ended(status)),
        (None, Err(error)) => ("exit", format!("ended, and its status is unknown: {error}")),
    };
    let output = if output.is_empty() { String::new() } else { format!("; its last output: {output}") };
    Death { reason, message: format!("the child process {why}{output}") }
}
