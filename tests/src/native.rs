//! C libraries, and plugins that are linked with them, for tests of the needs of libraries.
//!
//! The C compiler builds them in the folder of the test. The plugin is `Fixtures::needy`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

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
    compile(command);
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
    command.args(["-shared", "-s", "-Wl,-u,llmux_plugin_llmux_needy", "-Wl,-z,noexecstack", "-o"]).arg(path);
    command.arg(Fixtures::get().needy()).args(arguments).args(["-lgcc_s", "-lm"]);
    compile(command);
    path.to_owned()
}

fn compile(mut command: Command) {
    let output = command.output().expect("a C compiler");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
