//! Trial load: a child process maps a library before the host does, so that a crash or a hang of its initializers does not
//! reach the host (rule I8).
//!
//! `load` calls [`TrialProgram::run`] in the host, and the child calls [`trial_load`]. The child has a process group of its
//! own, no input, and only the environment that the system's loader reads. Deliberately absent: a sandbox. A library that
//! passed runs in the host afterwards.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    task::spawn_blocking,
    time::timeout,
};

use super::{
    error::{LibraryError, escaped},
    manifest::Manifest,
    options::VerifyOptions,
    private_copy::Copies,
    verify::{VerifiedLibrary, verify},
};
use crate::boundary::{
    NativeHooks,
    library::{self, OpenError},
};

/// Time limit of the initializers of a library (rule E4).
pub(super) const INITIALIZERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the rest of a child's output after its end. A process that it started may hold the pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// Kept output of a child, in bytes.
const MAX_OUTPUT: usize = 8 * 1024;

/// Variables that the system's loader reads. Without them, it would find other libraries than in the host.
const OF_THE_LOADER: [&str; 8] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_BIND_NOW",
    "GLIBC_TUNABLES",
    "DYLD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "PATH",
    "SystemRoot",
];

/// Program that loads a library on trial, before the host loads it.
///
/// The host starts it with these arguments, and with two more: the file, and the name of the library's entry. The program
/// passes both to [`trial_load`] and ends.
#[derive(Clone, Debug)]
pub struct TrialProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// Result of a trial, as the last line of the child's output.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Passed,
    Dlopen(String),
    NoEntry(String),
    Layout(String),
}

/// Loads a private copy in this process, which is the child of a host, and prints the result. It runs the initializers,
/// checks the entry and the layout, and reads the schema. The caller ends the process afterwards.
pub fn trial_load(copy: &Path) {
    // A host that is killed leaves no child behind.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let report = match std::fs::read(copy).map(|bytes| Manifest::read(&bytes)) {
        Ok(Ok(manifest)) => load(copy, &manifest),
        // The host has read both.
        Ok(Err(error)) => Report::Dlopen(error.to_string()),
        Err(error) => Report::Dlopen(error.to_string()),
    };
    let line = serde_json::to_string(&report).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // The library may have begun a line. Without the line, the host refuses the library.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

fn load(copy: &Path, manifest: &Manifest) -> Report {
    match library::open(copy, (&manifest.entry, &manifest.abi.to_string()), 0, &Arc::default()) {
        Ok((module, _)) => {
            // The host reports the error of a schema. Only a crash counts here.
            let _ = NativeHooks::config_schema(module);
            Report::Passed
        }
        Err(OpenError::Dlopen(message)) => Report::Dlopen(message),
        Err(OpenError::NoEntry(message)) => Report::NoEntry(message),
        Err(OpenError::Layout(message)) => Report::Layout(message),
    }
}

impl TrialProgram {
    /// Names a program, and its first arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        Self { program: program.into(), arguments: arguments.into_iter().map(Into::into).collect() }
    }

    /// Checks a library, and loads a private copy of it on trial. Runs code of the library, in a child process.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub async fn verify(
        &self,
        path: &Path,
        options: &VerifyOptions,
    ) -> Result<VerifiedLibrary, LibraryError> {
        let (path, options) = (path.to_owned(), options.clone());
        let checked = spawn_blocking(move || {
            let library = verify(&path, &options)?;
            let mut copies = Copies::default();
            let copy = copies.write(&library, None).map_err(LibraryError::Copy)?;
            Ok((library, copies, copy))
        });
        let (library, _copies, copy) = checked.await.map_err(|_| failed("the check panicked"))??;
        self.run(copy.path(), &library.manifest.entry).await?;
        Ok(library)
    }

    /// Loads a copy on trial.
    ///
    /// # Errors
    ///
    /// If the library is refused, crashes the child or never returns, or if no child can be started.
    pub(super) async fn run(&self, copy: &Path, entry: &str) -> Result<(), LibraryError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(copy).env_clear();
        command.envs(OF_THE_LOADER.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // A pipe that ends at once, and not `/dev/null`, which an empty root does not have.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let no_child = |error| LibraryError::NoTrial(format!("{}: {error}", self.program.display()));
        // The signal of the parent's death belongs to this thread. Workers live as long as their runtime.
        let mut child = command.spawn().map_err(no_child)?;
        drop(child.stdin.take());
        let id = child.id();
        let out = tokio::spawn(read(child.stdout.take(), |kept| {
            let from = kept.len().saturating_sub(MAX_OUTPUT);
            kept.drain(..from);
        }));
        let error = tokio::spawn(read(child.stderr.take(), |kept| kept.truncate(MAX_OUTPUT)));
        let ended = timeout(INITIALIZERS_TIMEOUT, child.wait()).await;
        // Also the processes that the library started.
        kill(id);
        let text = async |output| {
            let read = timeout(LAST_OUTPUT, output).await;
            read.ok().and_then(Result::ok).map(|bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (out, error) = (text(out).await.unwrap_or_default(), text(error).await.unwrap_or_default());
        let status = match ended {
            Ok(status) => status.map_err(no_child)?,
            Err(_) => {
                return Err(failed(&format!(
                    "its initializers ran past the timeout of {INITIALIZERS_TIMEOUT:?}"
                )));
            }
        };
        let report = out.lines().rfind(|line| !line.is_empty()).map(serde_json::from_str::<Report>);
        match report {
            Some(Ok(Report::Passed)) if status.success() => Ok(()),
            Some(Ok(Report::Dlopen(message))) => Err(LibraryError::Dlopen(message)),
            Some(Ok(Report::NoEntry(message))) => {
                Err(LibraryError::NoEntry { entry: entry.to_owned(), message })
            }
            Some(Ok(Report::Layout(message))) => Err(LibraryError::Layout(message)),
            _ => Err(failed(&format!("the child process {}{}", end(status), first_lines(&error)))),
        }
    }
}

fn failed(why: &str) -> LibraryError {
    LibraryError::Trial(why.to_owned())
}

/// Reads to the end, and keeps a part.
async fn read(from: Option<impl AsyncRead + Unpin>, keep: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    let Some(mut from) = from else { return kept };
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        keep(&mut kept);
    }
    kept
}

/// Kills the process group of a child.
#[cfg(unix)]
fn kill(id: Option<u32>) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = id.and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(group) = group {
        // If nothing is left of it, there is no such group.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill(_: Option<u32>) {}

/// Returns the end of a child in words.
fn end(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            libc::SIGABRT => " (SIGABRT)",
            libc::SIGBUS => " (SIGBUS)",
            libc::SIGFPE => " (SIGFPE)",
            libc::SIGILL => " (SIGILL)",
            libc::SIGKILL => " (SIGKILL)",
            libc::SIGSEGV => " (SIGSEGV)",
            _ => "",
        };
        return format!("was ended by the signal {signal}{name}");
    }
    match status.code() {
        Some(code) => format!("ended with the exit code {code} before the library was loaded"),
        None => "ended before the library was loaded".to_owned(),
    }
}

/// Returns the first lines of a child's standard error as one.
fn first_lines(error: &str) -> String {
    let lines: Vec<_> = error.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("; its standard error begins with: {}", escaped(&lines.join(" | "), 400)),
    }
}
