//! Starts the child processes of this program, on one thread that lives as long as the program.
//!
//! A child is ended by the system when the thread that started it ends, so that a thread of a runtime cannot start one.
//! The child has a process group of its own, a socket as its standard input, and only the environment that its caller
//! passes. Its outputs are one pipe. All other descriptors of the host are closed in it (close-on-exec).

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
    thread,
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use crate::isolation::program::ChildProgram;

/// A process that was started.
pub(super) struct Spawned {
    pub(super) process: Child,
    pub(super) socket: UnixStream,
    /// The standard output and the standard error of the process.
    pub(super) output: io::PipeReader,
}

type Answer = oneshot::Sender<io::Result<Spawned>>;
type Job = (ChildProgram, Vec<(String, OsString)>, Handle, Answer);

/// Starts a child with these environment variables.
///
/// # Errors
///
/// If the program cannot be started, or the thread of this module cannot.
pub(super) async fn spawn(program: ChildProgram, variables: Vec<(String, OsString)>) -> io::Result<Spawned> {
    static THREAD: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        let run = move || {
            for (program, variables, runtime, answer) in jobs {
                // If nobody waits any more, the child is ended here.
                let _ = answer.send(start(&program, variables, &runtime));
            }
        };
        thread::Builder::new().name("llmux-children".to_owned()).spawn(run).ok().map(|_| sender)
    });
    let no_thread = || io::Error::other("the thread that starts child processes cannot run");
    let (answer, started) = oneshot::channel();
    let job = (program, variables, Handle::current(), answer);
    thread.as_ref().ok_or_else(no_thread)?.send(job).map_err(|_| no_thread())?;
    started.await.map_err(|_| no_thread())?
}

fn start(
    ChildProgram { program, arguments }: &ChildProgram,
    variables: Vec<(String, OsString)>,
    runtime: &Handle,
) -> io::Result<Spawned> {
    // The runtime waits for the process.
    let _runtime = runtime.enter();
    let (socket, of_child) = UnixStream::pair()?;
    let (output, to_output) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(variables);
    command.stdin(Stdio::from(OwnedFd::from(of_child)));
    command.stdout(Stdio::from(to_output.try_clone()?)).stderr(Stdio::from(to_output));
    command.process_group(0).kill_on_drop(true);
    let process = command.spawn()?;
    socket.set_nonblocking(true)?;
    Ok(Spawned { process, socket, output })
}
