//! C libraries, and plugins that are linked with them, for tests of the needs of libraries.
//!
//! The C compiler builds them in the folder of the test. The plugin is `Fixtures::needy`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use llmux_core::plugins::{TrustedKey, VerifyOptions};

use crate::Fixtures;

/// Builds a C library in a folder, from a source, with more arguments for the C compiler. The name of its file is the name
/// by which others need it.
///
/// # Panics
///
/// If the C compiler refuses it.
pub fn c_library(folder: &Path, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder");
    let (code, library) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&code, source).expect("written");
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", &format!("-Wl,-soname,{name}")])
        .arg("-o")
        .arg(&library)
        .arg(&code)
        .args(arguments);
    run(command);
    fs::remove_file(code).expect("removed");
    library
}

/// Returns the source of the function that the plugin calls.
pub fn answers(number: u32) -> String {
    format!("unsigned llmux_dep(void) {{ return {number}; }}\n")
}

/// Links the plugin as a library at this path, with these arguments for the C compiler: the needed libraries, and the
/// folders in which the system's loader looks for them.
///
/// # Panics
///
/// If the C compiler refuses it.
pub fn link(path: &Path, arguments: &[&str]) -> PathBuf {
    let mut command = Command::new("cc");
    command
        .args([
            "-shared",
            "-s",
            "-Wl,-u,llmux_plugin_llmux_needy",
            "-Wl,-z,noexecstack",
            "-Wl,--no-as-needed",
            "-o",
        ])
        .arg(path);
    command.arg(Fixtures::get().needy()).args(arguments).args(["-lgcc_s", "-lm"]);
    run(command);
    path.to_owned()
}

/// Makes a key in a folder, signs the libraries with it, and returns options that require a signature by it.
///
/// # Panics
///
/// If the tool `minisign` is missing.
pub fn signed(folder: &Path, libraries: &[&Path]) -> VerifyOptions {
    let minisign = || {
        let mut command = Command::new("minisign");
        command.current_dir(folder);
        command
    };
    let mut key = minisign();
    key.args(["-G", "-W", "-p", "key.pub", "-s", "key.sec"]);
    run(key);
    for library in libraries {
        let mut sign = minisign();
        sign.args(["-S", "-W", "-s", "key.sec", "-m"]).arg(library);
        run(sign);
    }
    let key = fs::read_to_string(folder.join("key.pub")).expect("a key");
    let key = TrustedKey::parse(&key).expect("a key");
    VerifyOptions::default().with_trusted_keys(vec![key]).with_require_signature(true)
}

fn run(mut command: Command) {
    let output = command.output().expect("the tool is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
