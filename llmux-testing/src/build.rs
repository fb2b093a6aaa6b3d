//! Builds libraries and programs with cargo, beside the running test and in its profile: those of this repository, and
//! the library of the crate under test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use crate::blocks::root;

/// Folder of everything that cargo builds: the test itself is `target/PROFILE/deps/test-HASH`.
pub fn target() -> PathBuf {
    profile().parent().expect("a test lies in the target folder").to_owned()
}

fn profile() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    test.ancestors().nth(2).expect("a test lies in the target folder").to_owned()
}

/// Returns cargo, as [`without_package`] leaves it.
pub fn cargo() -> Command {
    without_package(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())))
}

/// Removes the variables in which cargo describes the package of the running test. Build scripts that read them would
/// run again each time, and everything above them would be built again.
pub fn without_package(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let of_package =
            |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the library of the crate under test, and builds it if necessary, once in each process.
///
/// The build has the features that a release build has: those of `dev-dependencies`, which cargo adds to the crates of a
/// test, are absent. Therefore it has a folder of its own in the target folder.
///
/// # Panics
///
/// If cargo did not start the test, if the build fails, or if the crate is not built as a library to load.
pub fn this_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = std::env::var_os("CARGO_MANIFEST_DIR")
            .expect("the test knows its crate only if cargo starts it: run it with `cargo test`");
        let folder = Path::new(&folder).canonicalize().expect("the crate's folder");
        let mut build = Build::new(&folder);
        build.command.arg("--lib");
        let is_ours = |artifact: &Artifact| {
            artifact.package.canonicalize().is_ok_and(|package| package == folder)
                && is_library(&artifact.path)
        };
        let library = build.apart("this-library").artifacts().into_iter().find(is_ours);
        let advice = "write `crate-type = [\"cdylib\", \"rlib\"]` below `[lib]` of Cargo.toml";
        library.unwrap_or_else(|| panic!("the crate has no library to load: {advice}")).path
    })
}

/// A build of packages.
pub struct Build {
    command: Command,
    target: PathBuf,
}

/// A file that a build made.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Name of its crate.
    pub name: String,
    /// Folder of its package.
    pub package: PathBuf,
    /// Its path.
    pub path: PathBuf,
}

impl Build {
    /// Returns a build of a package of this repository.
    pub fn package(package: &str) -> Self {
        Self::packages([package.to_owned()])
    }

    /// Returns a build of several packages of this repository.
    pub fn packages(packages: impl IntoIterator<Item = String>) -> Self {
        let mut build = Self::new(root());
        for package in packages {
            build.command.args(["--package", &package]);
        }
        build
    }

    /// Returns a build of all packages of this repository with all features.
    pub fn workspace() -> Self {
        let mut build = Self::new(root());
        build.command.args(["--workspace", "--all-features"]);
        build
    }

    /// Returns a build of the package in a folder, or of the default packages of a workspace.
    fn new(folder: &Path) -> Self {
        let mut command = cargo();
        command.args(["build", "--quiet", "--locked", "--message-format=json"]).current_dir(folder);
        Self { command, target: target() }
    }

    /// Builds an example instead of the packages' libraries and programs.
    #[must_use]
    pub fn example(mut self, name: &str) -> Self {
        self.command.args(["--example", name]);
        self
    }

    /// Builds in a subfolder of the target folder. A library's file has no hash in its name: with other features it
    /// would replace the one that the running test is linked to.
    #[must_use]
    pub fn apart(mut self, folder: &str) -> Self {
        self.target.push(folder);
        self
    }

    /// Builds, and returns all libraries of the C ABI and all programs.
    ///
    /// # Panics
    ///
    /// If the build fails. Cargo has then written the reason to standard error.
    pub fn artifacts(mut self) -> Vec<Artifact> {
        self.command.arg("--target-dir").arg(&self.target);
        if profile().ends_with("release") {
            self.command.arg("--release");
        }
        let output = self.command.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(output.status.success(), "the build fails: {:?}", self.command);
        let lines = output.stdout.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).flat_map(|line| artifact(&line)).collect()
    }

    /// Builds, and returns the last library. Procedural macros come before it.
    ///
    /// # Panics
    ///
    /// As [`artifacts`](Self::artifacts), and if there is no library.
    pub fn library(self) -> PathBuf {
        let mut libraries = self.artifacts().into_iter().filter(|artifact| is_library(&artifact.path));
        libraries.next_back().expect("a library").path
    }

    /// Builds, and returns the last program.
    ///
    /// # Panics
    ///
    /// As [`artifacts`](Self::artifacts), and if there is no program.
    pub fn program(self) -> PathBuf {
        let mut programs = self.artifacts().into_iter().filter(|artifact| !is_library(&artifact.path));
        programs.next_back().expect("a program").path
    }
}

/// Returns the library or program that a message of cargo reports.
fn artifact(message: &Value) -> Option<Artifact> {
    let name = message["target"]["name"].as_str()?.replace('-', "_");
    let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut libraries = files.map(PathBuf::from).filter(|path| is_library(path));
    let path = libraries.next().or_else(|| message["executable"].as_str().map(PathBuf::from))?;
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    Some(Artifact { name, package, path })
}

fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == std::env::consts::DLL_EXTENSION)
}

/// Builds an example as a library, with all features of its package.
pub fn example(package: &str, name: &str) -> PathBuf {
    let mut build = Build::package(package).example(name);
    build.command.arg("--all-features");
    build.library()
}

/// Copies a library without its debug information, which is most of it. On a machine without `strip` it is copied as it
/// is.
///
/// # Panics
///
/// If it cannot be copied.
pub fn copy_stripped(from: &Path, to: &Path) {
    let strip = Command::new("strip").arg("-o").arg(to).arg(from).status();
    if !strip.is_ok_and(|status| status.success()) {
        std::fs::copy(from, to).expect("a library is copied");
    }
}
