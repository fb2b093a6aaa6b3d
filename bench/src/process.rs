//! A program that the benchmark starts and stops.
//!
//! `run` starts the mock provider and the peers with it. Each program leads a process group of its own, and the drop of
//! [`Process`] ends the whole group, so that an error, a panic and an interrupt leave no process behind. Deliberately
//! absent: the command lines, which are `peer`'s.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// Time that a program has to end after a signal, before it is killed.
const MAX_END: Duration = Duration::from_secs(5);

/// Environment variables that a program inherits. Proxies and keys of the environment do not reach it.
const INHERITED: [&str; 3] = ["PATH", "LANG", "TMPDIR"];

/// Characters of a log that an error quotes.
const MAX_QUOTE: usize = 600;

/// A started program. Its drop ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: File,
    log_path: PathBuf,
}

impl Process {
    /// Starts a program with `folder` as its working directory. Its output goes to the file `NAME.log` there.
    ///
    /// # Errors
    ///
    /// If the program does not start.
    pub(crate) fn start(mut command: Command, name: &str, folder: &Path) -> Result<Self, String> {
        let log_path = folder.join(format!("{name}.log"));
        // Appended to, so that `clear_log` works while the program writes.
        let log = OpenOptions::new().create(true).append(true).open(&log_path);
        let log = log.map_err(|error| format!("cannot write to {}: {error}", log_path.display()))?;
        let output = || log.try_clone().map(Stdio::from).map_err(|error| error.to_string());
        let set: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(set.into_iter().filter_map(|(name, value)| Some((name, value?))));
        command.env("HOME", folder).current_dir(folder).process_group(0);
        // A pipe that nothing is written to: it ends with this process, also if this process is killed.
        command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, log, log_path })
    }

    /// Process id of the program.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns an error with the end of the log if the program has ended.
    ///
    /// # Errors
    ///
    /// If the program has ended.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("the program ended with {status}: {}", self.log_end())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Empties the log, which a program under load may fill.
    pub(crate) fn clear_log(&self) {
        // A full log is no reason to stop.
        let _ = self.log.set_len(0);
    }

    /// The end of the program's output.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read(&self.log_path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(MAX_QUOTE)..]).into_owned();
        text.trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let signal = |signal| group.map(|group| kill_process_group(group, signal));
        signal(Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < MAX_END {
            sleep(Duration::from_millis(10));
        }
        // The members that have not ended; without any, the group is gone and the call has no effect.
        signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, "sh", folder).expect("a shell")
    }

    #[test]
    fn the_drop_ends_the_program_and_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let ready = folder.path().join("child");
        // The child ignores the signal; the shell ends by it.
        let process =
            shell("(trap '' TERM; echo > child; while :; do sleep 0.01; done) & wait", folder.path());
        while !ready.exists() {
            sleep(Duration::from_millis(1));
        }
        let members = crate::procfs::tree(process.id());
        assert!(members.len() > 1, "{members:?}");
        drop(process);
        let is_alive = |process: &&u32| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // An ended child waits for the system to collect it.
            !(stat.is_empty() || stat.contains(") Z ") || stat.contains(") X "))
        };
        // The system ends a killed process soon, and not at once.
        let mut tries = 2_000;
        while let Some(member) = members.iter().find(is_alive) {
            tries -= 1;
            assert_ne!(tries, 0, "process {member} of {members:?} is alive");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_error_of_an_ended_program_quotes_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = shell("echo no such option >&2; exit 3", folder.path());
        let error = loop {
            match process.check() {
                Ok(()) => sleep(Duration::from_millis(1)),
                Err(error) => break error,
            }
        };
        assert!(error.contains("3") && error.ends_with("no such option"), "{error}");
    }
}
