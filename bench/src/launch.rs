//! Programs of other parties: where they are, their versions, and their configurations.
//!
//! The files below `peer` use it. Deliberately absent: the peers themselves.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Places of programs and files.
#[derive(Debug)]
pub(crate) struct Places {
    /// The mock provider.
    pub(crate) upstream: SocketAddr,
    /// Folder for configurations, logs and temporary files.
    pub(crate) folder: PathBuf,
    /// Folder of this program, in which cargo also places `llmux` and the plugins.
    pub(crate) programs: PathBuf,
    /// Envoy, if the operator names one.
    pub(crate) envoy: Option<PathBuf>,
}

/// A program that is ready to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// Starts the program.
    pub(crate) command: Command,
    /// Version of the program, as the program tells it; empty if it does not.
    pub(crate) version: String,
}

/// Reason why a program is not started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The program is not installed. The text says how to install it, and the benchmark goes on without the program.
    NotInstalled(String),
    /// The benchmark cannot go on.
    Failed(String),
}

/// Returns the file of a program in the folders that `PATH` names.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a program with an option that shows its version. Returns the first word of its output that begins like one.
pub(crate) fn version(program: &Path, option: &str) -> String {
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output();
    output.map_or_else(|_| String::new(), |output| version_in(&[output.stdout, output.stderr].concat()))
}

/// Returns the first number of three parts in a text.
fn version_in(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let mut words = words.map(|word| word.trim_matches('.'));
    words.find(|word| word.split('.').count() == 3).unwrap_or_default().to_owned()
}

/// Builds a package with cargo, always as a release. Returns the folder of the builds.
///
/// # Errors
///
/// If cargo does not start, or cannot build the package.
pub(crate) fn build(places: &Places, package: &[&str]) -> Result<PathBuf, Absent> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked"]).args(package);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).stdin(Stdio::null());
    let package = package.join(" ");
    match command.status() {
        Ok(status) if status.success() => {
            Ok(places.programs.parent().unwrap_or(&places.programs).join("release"))
        }
        Ok(status) => Err(Absent::Failed(format!("`cargo build {package}` failed ({status})"))),
        Err(error) => Err(Absent::Failed(format!("cannot start cargo for `{package}`: {error}"))),
    }
}

/// Writes a configuration. Returns its path.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write(places: &Places, name: &str, text: &str) -> Result<PathBuf, Absent> {
    let file = places.folder.join(name);
    match fs::write(&file, text) {
        Ok(()) => Ok(file),
        Err(error) => Err(Absent::Failed(format!("cannot write {}: {error}", file.display()))),
    }
}

/// Number of processors that a program of several threads or processes may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_the_words_around_it() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("envoy  version: 3f7fc3e/1.39.3/Clean/RELEASE/BoringSSL\n", "1.39.3"),
            ("version 2.\n", ""),
            ("", ""),
        ] {
            assert_eq!(version_in(text.as_bytes()), version, "{text}");
        }
    }
}
