//! The child process of an instance: it loads the library, makes the instance, and runs the calls that the host sends.
//!
//! [`run_child`] is the whole life of the process. The main thread reads frames; hooks run on the workers of a runtime, many
//! at once. `calls` runs hooks, `to_host` sends what leaves the process. The child ends when the host closes the socket,
//! which the system does if the host dies. Deliberately absent: checks of what the host sends, which is the same program.

mod calls;
mod to_host;

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{runtime::Runtime, time::Instant};

use self::{
    calls::Calls,
    to_host::{Forward, ToHost},
};
use super::{
    frame::{self, Frame, Kind},
    protocol::{self as message, decode},
};
use crate::{
    boundary::{
        NativeHooks,
        host::{HostServices, HostShared},
        http,
        library::{self, Image, OpenError},
    },
    metrics::Metrics,
    pipeline::hook::Hooks,
};
use llmux_abi::raw::plugin::PluginModuleRef;

/// Workers of the runtime. A hook that blocks one does not stop the others.
const WORKERS: usize = 4;

/// Runs this process as the child of a host, which has started it: with a socket as its standard input. Returns when the
/// host has ended or has closed the socket. The caller ends the process afterwards.
///
/// # Errors
///
/// If the standard input is not a socket, or the process lacks what it needs (a thread, a file descriptor).
pub fn run_child() -> io::Result<()> {
    // A host that is killed leaves no child behind. If it died before this call, the socket is at its end.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let socket = take_socket()?;
    // The place of the sandbox of rule I5: before the first thread, and before any code of a library.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    crate::provider::install_tls();
    crate::boundary::crash::report_crashes();
    let to_host = Arc::new(ToHost::new(socket.try_clone()?));
    let mut child = Child { to_host, runtime: &runtime, module: None, calls: None };
    let read = child.read(socket);
    child.end();
    runtime.shutdown_background();
    read
}

/// Takes the socket from the standard input, and leaves an empty input in its place.
fn take_socket() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let (empty, _) = io::pipe()?;
    rustix::stdio::dup2_stdin(OwnedFd::from(empty))?;
    Ok(UnixStream::from(socket))
}

struct Child<'r> {
    to_host: Arc<ToHost>,
    runtime: &'r Runtime,
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
    /// Reads and handles frames until the host closes the socket.
    fn read(&mut self, socket: UnixStream) -> io::Result<()> {
        let mut socket = File::from(OwnedFd::from(socket));
        let mut buffer = BytesMut::new();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = match socket.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            buffer.extend_from_slice(&piece[..length]);
            while let Some(frame) = frame::take(&mut buffer).map_err(io::Error::other)? {
                self.handle(frame)?;
            }
        }
    }

    fn handle(&mut self, frame: Frame) -> io::Result<()> {
        let malformed = |_| io::Error::other("the host sent a malformed message");
        match (frame.kind, &self.calls) {
            (Kind::Load, _) => {
                let loaded = self.load(&decode(&frame.message).map_err(malformed)?);
                self.to_host.reply(frame.number, &loaded.as_message());
            }
            (Kind::Create, _) => {
                let created = self.create(decode(&frame.message).map_err(malformed)?);
                let created: message::Created<'_> = created.as_ref().copied().map_err(String::as_str);
                self.to_host.reply(frame.number, &created);
            }
            (Kind::Call, Some(calls)) => calls.call(frame),
            (Kind::Next, Some(calls)) => {
                calls.next(frame.number, decode(&frame.message).map_err(malformed)?);
            }
            (Kind::CleanUp, Some(calls)) => {
                let limit = decode(&frame.message).map_err(malformed)?;
                calls.clean_up(frame.number, Duration::from_millis(limit));
            }
            (Kind::Cancel, Some(calls)) => calls.cancel(frame.number),
            (Kind::Release, Some(calls)) => calls.release(frame.number),
            (Kind::DropStream, Some(calls)) => calls.drop_stream(frame.number),
            (kind, _) => return Err(io::Error::other(format!("the host sent a frame {kind:?} too early"))),
        }
        Ok(())
    }

    fn load(&mut self, load: &message::Load<'_>) -> LoadResult {
        let http = match http::client() {
            Ok(http) => http,
            Err(error) => return LoadResult::Dlopen(format!("no HTTP client can be made: {error}")),
        };
        let shared = Arc::new(HostShared {
            runtime: self.runtime.handle().clone(),
            http,
            metrics: Arc::new(Metrics::default()),
            epoch: Instant::now(),
            mirror: Some(Arc::new(Forward::new(self.to_host.clone(), load.log_level))),
        });
        let _runtime = self.runtime.enter();
        let opened = library::open(Path::new(load.copy), (load.entry, load.abi), 0, &Arc::default());
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

    fn create(&mut self, config: &str) -> Result<u16, String> {
        let Some(Module { module, image, host }) = &self.module else {
            return Err("the library is not loaded".to_owned());
        };
        let _runtime = self.runtime.enter();
        let made = NativeHooks::create(*module, config, host.clone(), Some(image.clone()), None);
        let instance = made.map_err(|failure| failure.message)?;
        let hooks = instance.hooks().bits();
        let runtime = self.runtime.handle().clone();
        self.calls = Some(Arc::new(Calls::new(instance, self.to_host.clone(), runtime)));
        Ok(hooks)
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
