//! Trial load: a child process maps a library before the host does, so that a crash or a hang of its initializers does not
//! reach the host (rule I8).
//!
//! `load` calls [`TrialProgram::run`] in the host, and the child calls [`trial_load`]. The child has a process group of its
//! own, no input, and only the environment that the system's loader reads. Its sandbox permits nothing more than mapping the
//! library. Deliberately absent: protection from a library that passed. It runs in the host afterwards.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, task::spawn_blocking, time::timeout};

use super::{
    error::{LibraryError, escaped},
    lookup,
    manifest::Manifest,
    needs::LibraryNeeds,
    options::VerifyOptions,
    private_copy::Copies,
    segments,
    verify::{VerifiedLibrary, verify},
};
use crate::{
    boundary::{
        NativeHooks,
        library::{self, OpenError},
    },
    isolation::output::{ended, last_lines, read_last},
    sandbox::{self, Policy},
};

/// Time limit of the initializers of a library (rule E4).
pub(super) const INITIALIZERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the rest of a child's output after its end. A process that it started may hold the pipes.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Program that loads a library on trial, before the host loads it.
///
/// The host starts it with these arguments, and with one more: the file of a private copy. The program passes it to
/// [`trial_load`] before it starts a thread, and ends.
#[derive(Clone, Debug)]
pub struct TrialProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// True after missing parts of the sandbox were logged.
    told: Arc<AtomicBool>,
}

/// A library that passed a trial.
#[derive(Debug)]
#[non_exhaustive]
pub struct TriedLibrary {
    /// The library, as it was checked.
    pub library: VerifiedLibrary,
    /// Parts of the child's sandbox that this system lacks, one sentence for each. Empty if it had every part.
    pub missing_sandbox: Vec<String>,
}

/// The last line of a child's output.
#[derive(Serialize, Deserialize)]
struct Report {
    sandbox: sandbox::Report,
    outcome: Outcome,
}

/// Result of a trial.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Passed,
    Dlopen(String),
    NoEntry(String),
    Layout(String),
}

/// Loads a private copy in this process, which is the child of a host, and prints the result. It first restricts the process
/// for good: on Linux, the library reads only itself, the libraries that it needs, the system's libraries and time zones. It
/// starts no process, opens no socket, and changes no file. Then it runs the initializers, checks the entry and the layout,
/// and reads the schema.
///
/// The caller has started no thread, because other threads would not be restricted. It ends the process afterwards.
pub fn trial_load(copy: &Path) {
    // A host that is killed leaves no child behind.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let opened = File::open(copy).and_then(|mut file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| (file, bytes))
    });
    let (sandbox, outcome) = match opened {
        Ok((file, bytes)) => {
            let sandbox = Policy { read: readable(copy, &bytes), ..Policy::default() }.apply();
            let outcome = match Manifest::read(&bytes) {
                Ok(manifest) => load(&reachable(copy, &file), &manifest),
                // The host has read it.
                Err(error) => Outcome::Dlopen(error.to_string()),
            };
            (sandbox, outcome)
        }
        Err(error) => (sandbox::Report::default(), Outcome::Dlopen(error.to_string())),
    };
    let line = serde_json::to_string(&Report { sandbox, outcome }).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // The library may have begun a line. Without the line, the host refuses the library.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

/// Returns the paths that a child reads to map a copy: the copy, the libraries beside it, and those that it needs elsewhere.
pub(super) fn readable(copy: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    // A copy in memory has no place in a folder, and is always readable.
    let mut read: Vec<_> = (!is_in_memory(copy)).then(|| copy.to_owned()).into_iter().collect();
    let options = VerifyOptions::default().with_allow_insecure_permissions(true);
    let needs = segments::read_image(bytes).map(|image| LibraryNeeds::read(&image));
    // The host has checked the needs. A library that is not found here is an error of the loader.
    let needed = needs.and_then(|needs| lookup::check(copy, &needs, &options).ok());
    let needed = needed.unwrap_or_default();
    if !needed.beside.is_empty() {
        read.extend(copy.parent().map(Path::to_owned));
    }
    read.extend(needed.elsewhere);
    read
}

fn is_in_memory(copy: &Path) -> bool {
    copy.starts_with("/proc")
}

/// Returns the path of the copy in the sandbox. A copy in memory is a descriptor of the host, which the sandbox denies.
fn reachable(copy: &Path, file: &File) -> PathBuf {
    #[cfg(target_os = "linux")]
    if is_in_memory(copy) {
        return format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)).into();
    }
    let _ = file;
    copy.to_owned()
}

fn load(copy: &Path, manifest: &Manifest) -> Outcome {
    match library::open(copy, (&manifest.entry, &manifest.abi.to_string()), 0, &Arc::default()) {
        Ok((module, _)) => {
            // The host reports the error of a schema. Only a crash counts here.
            let _ = NativeHooks::config_schema(module);
            Outcome::Passed
        }
        Err(OpenError::Dlopen(message)) => Outcome::Dlopen(message),
        Err(OpenError::NoEntry(message)) => Outcome::NoEntry(message),
        Err(OpenError::Layout(message)) => Outcome::Layout(message),
    }
}

impl TrialProgram {
    /// Names a program, and its first arguments.
    pub fn new(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, variables: Vec::new(), told: Arc::default() }
    }

    /// Adds an environment variable of the program, as
    /// [`ChildProgram::with_variable`](crate::isolation::ChildProgram::with_variable) does.
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Checks a library, and loads a private copy of it on trial. Runs code of the library, in a child process.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub async fn verify(&self, path: &Path, options: &VerifyOptions) -> Result<TriedLibrary, LibraryError> {
        let (path, options) = (path.to_owned(), options.clone());
        let checked = spawn_blocking(move || {
            let library = verify(&path, &options)?;
            let mut copies = Copies::default();
            let copy = copies.write(&library, None).map_err(LibraryError::Copy)?;
            Ok((library, copies, copy))
        });
        let (library, _copies, copy) = checked.await.map_err(|_| failed("the check panicked"))??;
        let missing_sandbox = self.start(copy.path(), &library.manifest.entry).await?;
        Ok(TriedLibrary { library, missing_sandbox })
    }

    /// Loads a copy on trial. Logs the missing parts of the sandbox, once for each program.
    ///
    /// # Errors
    ///
    /// If the library is refused, crashes the child or never returns, or if no child can be started.
    pub(super) async fn run(&self, copy: &Path, entry: &str) -> Result<(), LibraryError> {
        let missing = self.start(copy, entry).await?;
        if !missing.is_empty() && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the sandbox of trial loads is incomplete on this system; during a trial: {}",
                missing.join("; ")
            );
        }
        Ok(())
    }

    /// Runs the child, and returns the missing parts of its sandbox.
    async fn start(&self, copy: &Path, entry: &str) -> Result<Vec<String>, LibraryError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(copy).env_clear();
        command.envs(Policy::default().variables());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // A pipe that ends at once, and not `/dev/null`, which an empty root does not have.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let no_child = |error| LibraryError::NoTrial(format!("{}: {error}", self.program.display()));
        // The signal of the parent's death belongs to this thread. Workers live as long as their runtime.
        let mut child = command.spawn().map_err(no_child)?;
        drop(child.stdin.take());
        let id = child.id();
        let (Some(out), Some(error)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed("the child process has no output"));
        };
        let (out, error) = (tokio::spawn(read_last(out)), tokio::spawn(read_last(error)));
        let waited = timeout(INITIALIZERS_TIMEOUT, child.wait()).await;
        // Also the processes that the library started.
        kill(id);
        let last = async |output| {
            let read = timeout(LAST_OUTPUT, output).await;
            read.ok().and_then(Result::ok).unwrap_or_default()
        };
        let (out, error): (Vec<u8>, Vec<u8>) = (last(out).await, last(error).await);
        let status = match waited {
            Ok(status) => status.map_err(no_child)?,
            Err(_) => {
                return Err(failed(&format!(
                    "its initializers ran past the timeout of {INITIALIZERS_TIMEOUT:?}"
                )));
            }
        };
        let report = out.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        let report = report.map(serde_json::from_slice::<Report>);
        match report {
            Some(Ok(Report { outcome: Outcome::Passed, sandbox })) if status.success() => {
                // The library may have written the line.
                Ok(sandbox.missing.iter().map(|part| escaped(&part.to_string(), 300)).collect())
            }
            Some(Ok(Report { outcome: Outcome::Dlopen(message), .. })) => Err(LibraryError::Dlopen(message)),
            Some(Ok(Report { outcome: Outcome::NoEntry(message), .. })) => {
                Err(LibraryError::NoEntry { entry: entry.to_owned(), message })
            }
            Some(Ok(Report { outcome: Outcome::Layout(message), .. })) => Err(LibraryError::Layout(message)),
            _ => {
                let (end, lines) = (ended(status), last_lines(&error));
                let before = if status.code().is_some() { " before the library was loaded" } else { "" };
                let lines = match lines.is_empty() {
                    true => String::new(),
                    false => format!("; its standard error ends with: {lines}"),
                };
                Err(failed(&format!("the child process {end}{before}{lines}")))
            }
        }
    }
}

fn failed(why: &str) -> LibraryError {
    LibraryError::Trial(why.to_owned())
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
