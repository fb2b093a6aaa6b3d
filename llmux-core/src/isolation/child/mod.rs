//! The child process of an instance: it loads the library, makes the instance, and runs the calls that the host sends.
//!
//! [`run_child`] is the whole life of the process. It restricts itself first. `reading` reads calls, `calls` runs them: a
//! hook is polled where it is read, and on the workers of a runtime if it waits or takes long. `to_host` sends what leaves
//! the process. The child ends when the host closes the socket, which the system does if the host dies. Deliberately absent: checks of what the host sends, which is the same program.

mod calls;
mod fetches;
mod forward;
mod frames;
mod reading;
mod to_host;
mod watch;

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{runtime::Runtime, time::Instant};

pub(super) use self::watch::WATCHES;
use self::{calls::Calls, fetches::Fetches, forward::Forward, frames::Frames, to_host::ToHost};
use super::{
    frame::{Frame, Kind},
    protocol::{self as message, decode},
};
use crate::{
    boundary::{
        NativeHooks,
        host::{HostServices, HostShared},
        host_memory,
        library::{self, Image, OpenError},
        paused::{Busy, Paused},
    },
    metrics::Metrics,
    pipeline::hook::Hooks,
    sandbox::{Policy, Report},
};
use llmux_abi::raw::plugin::PluginModuleRef;

/// Workers of the runtime, beside the reader. A hook that blocks one does not stop the others.
const WORKERS: usize = 3;

/// Runs this process as the child of a host, which has started it: with a socket as its standard input. Returns when the
/// host has ended or has closed the socket. The caller ends the process afterwards.
///
/// # Errors
///
/// If the standard input is not a socket, or the process lacks what it needs (a thread, a file descriptor).
pub fn run_child() -> io::Result<()> {
    if env::var_os(WATCHES).is_some() {
        return watch::run();
    }
    // A host that is killed leaves no child behind. If it died before this call, the socket is at its end.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // If the system lacks memory, it ends this process before the host. Without `/proc`, it chooses by size.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let mut frames = Frames::new(take_socket()?);
    // Before the first thread, and before any code of a library.
    let Some(Restricted { number, copy, report, is_paused }) = restrict(&mut frames)? else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    crate::boundary::crash::report_crashes();
    let to_host = Arc::new(ToHost::new(frames.socket.try_clone()?));
    if is_paused {
        to_host.pause();
    }
    let busy = to_host.paused().map(Paused::read);
    to_host.reply(number, &report);
    drop(busy);
    let fetches = Arc::new(Fetches::new(to_host.clone(), runtime.handle().clone()));
    let mut child = Child { to_host, fetches, runtime: &runtime, copy, module: None, calls: None };
    let read = child.read(frames);
    child.end();
    runtime.shutdown_background();
    read
}

/// Takes the socket from the standard input, and leaves an empty input in its place.
fn take_socket() -> io::Result<File> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let (empty, _) = io::pipe()?;
    rustix::stdio::dup2_stdin(OwnedFd::from(empty))?;
    Ok(File::from(socket))
}

/// The first frame, after it was obeyed.
struct Restricted {
    number: u64,
    /// The copy to map.
    copy: LibraryCopy,
    /// The parts of the sandbox that hold.
    report: Report,
    is_paused: bool,
}

/// Restricts this process, as the first frame says. Returns `None` if the host has closed the socket.
fn restrict(frames: &mut Frames) -> io::Result<Option<Restricted>> {
    let Some(frame) = frames.next()? else { return Ok(None) };
    let malformed = |_| io::Error::other("the host sent a malformed message");
    let restrict: message::Restrict<'_> = match frame.kind {
        Kind::Restrict => decode(&frame.message).map_err(malformed)?,
        kind => return Err(io::Error::other(format!("the host sent a frame {kind:?} before the sandbox"))),
    };
    let paths =
        |paths: &[&serde_bytes::Bytes]| paths.iter().map(|path| OsStr::from_bytes(path).into()).collect();
    let copy = LibraryCopy::new(Path::new(OsStr::from_bytes(restrict.copy)))?;
    if !restrict.bodies.is_empty() {
        host_memory::map(&File::open(Path::new(OsStr::from_bytes(restrict.bodies)))?)?;
    }
    let policy = Policy {
        read: paths(&restrict.read),
        write: paths(&restrict.write),
        env: Vec::new(),
        network: restrict.network,
        processes: restrict.processes,
        memory: restrict.memory,
        files: restrict.files,
    };
    let report = policy.apply();
    Ok(Some(Restricted { number: frame.number, copy, report, is_paused: restrict.is_paused }))
}

/// The copy of the library.
struct LibraryCopy {
    path: PathBuf,
    /// The descriptor of a copy in memory.
    _file: Option<File>,
}

impl LibraryCopy {
    /// Opens a copy in memory, which is a descriptor of the host. The sandbox denies its path.
    fn new(path: &Path) -> io::Result<Self> {
        if !path.starts_with("/proc") {
            return Ok(Self { path: path.to_owned(), _file: None });
        }
        let file = File::open(path)?;
        Ok(Self { path: format!("/proc/self/fd/{}", file.as_raw_fd()).into(), _file: Some(file) })
    }
}

struct Child<'r> {
    to_host: Arc<ToHost>,
    fetches: Arc<Fetches>,
    runtime: &'r Runtime,
    copy: LibraryCopy,
    module: Option<Module>,
    /// Set once the instance is made.
    calls: Option<Arc<Calls>>,
}

/// A library that is mapped.
struct Module {
    module: PluginModuleRef,
    image: Arc<Image>,
    host: Arc<HostServices>,
}

impl Child<'_> {
    /// Loads the library, makes the instance, and runs its calls until the host closes the socket.
    fn read(&mut self, mut frames: Frames) -> io::Result<()> {
        let malformed = |_| io::Error::other("the host sent a malformed message");
        while let Some(Frame { kind, number, message }) = frames.next()? {
            let busy = self.to_host.paused().map(Paused::read);
            match kind {
                Kind::Load => {
                    let loaded = self.load(&decode(&message).map_err(malformed)?);
                    self.to_host.reply(number, &loaded.as_message());
                }
                Kind::Create => match self.create(decode(&message).map_err(malformed)?) {
                    Ok((calls, hooks)) => return self.run(frames, calls, (number, hooks), busy),
                    Err(why) => self.to_host.reply(number, &message::Created::Err(&why)),
                },
                Kind::Fetched => self.fetches.received(number, message),
                Kind::Now => self.to_host.set_time(number)?,
                kind => return Err(io::Error::other(format!("the host sent a frame {kind:?} too early"))),
            }
        }
        Ok(())
    }

    /// Runs calls until the host closes the socket. An instance for which no thread can be started has not been made.
    /// `busy` is the work that ends with the reply.
    fn run(
        &mut self,
        frames: Frames,
        calls: Arc<Calls>,
        (number, hooks): (u64, u16),
        busy: Option<Busy>,
    ) -> io::Result<()> {
        self.calls = Some(calls.clone());
        let runtime = self.runtime.handle().clone();
        let watch = reading::start(frames, calls, self.to_host.clone(), self.fetches.clone(), runtime)?;
        self.to_host.reply(number, &message::Created::Ok(hooks));
        drop(busy);
        watch.run()
    }

    fn load(&mut self, load: &message::Load<'_>) -> LoadResult {
        let forward = Forward::new(self.to_host.clone(), self.fetches.clone(), load.log_level);
        let shared = Arc::new(HostShared {
            runtime: self.runtime.handle().clone(),
            http: None,
            metrics: Arc::new(Metrics::default()),
            epoch: Instant::now(),
            mirror: Some(Arc::new(forward)),
        });
        let _runtime = self.runtime.enter();
        let opened = library::open(&self.copy.path, (load.entry, load.abi), 0, &Arc::default());
        let (module, image) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Dlopen(message)) => return LoadResult::Dlopen(message),
            Err(OpenError::NoEntry(message)) => return LoadResult::NoEntry(message),
            Err(OpenError::Layout(message)) => return LoadResult::Layout(message),
        };
        let host = HostServices::new(load.name, Some(Path::new(load.library)), shared);
        library::attach(module, host.raw());
        self.module = Some(Module { module, image, host });
        LoadResult::Schema(NativeHooks::config_schema(module).map_err(|failure| failure.message))
    }

    fn create(&mut self, config: &str) -> Result<(Arc<Calls>, u16), String> {
        let Some(Module { module, image, host }) = &self.module else {
            return Err("the library is not loaded".to_owned());
        };
        let _runtime = self.runtime.enter();
        let made = NativeHooks::create(*module, config, host.clone(), Some(image.clone()), None);
        let instance = made.map_err(|failure| failure.message)?;
        let hooks = instance.hooks().bits();
        let runtime = self.runtime.handle().clone();
        Ok((Arc::new(Calls::new(instance, self.to_host.clone(), runtime)), hooks))
    }

    /// Cancels the calls, and drops the instance when the last of them has released it. The host ends a process whose calls
    /// do not end.
    fn end(&mut self) {
        let _runtime = self.runtime.enter();
        let Some(mut calls) = self.calls.take() else { return };
        calls.abort();
        while let Err(used) = Arc::try_unwrap(calls) {
            calls = used;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The result of loading the library.
enum LoadResult {
    Schema(Result<String, String>),
    Dlopen(String),
    NoEntry(String),
    Layout(String),
}

impl LoadResult {
    fn as_message(&self) -> message::Loaded<'_> {
        match self {
            Self::Schema(schema) => {
                message::Loaded::Schema(schema.as_deref().map_err(|failure| failure.as_str()))
            }
            Self::Dlopen(message) => message::Loaded::Dlopen(message),
            Self::NoEntry(message) => message::Loaded::NoEntry(message),
            Self::Layout(message) => message::Loaded::Layout(message),
        }
    }
}
