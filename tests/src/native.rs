//! Builds plugins in C and C++: the examples, with the commands of their pages, and a fixture. Each is built in a copy of its
//! folder, below the target folder.
//!
//! Deliberately absent: a search for compilers. The commands name `cc` and `c++`, and a test fails if one is missing.

use std::{
    fs,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use llmux_testing::{blocks::root, build::target};

use crate::fixtures::{read, write};

/// Returns the library of the example in C.
pub fn c_guard() -> PathBuf {
    build("llmux-abi/examples/c", &command("llmux-abi/examples/c"))
}

/// Returns the library of the example in C, from which the linker has removed all sections that no code uses.
pub fn c_guard_without_unused_sections() -> PathBuf {
    let command =
        command("llmux-abi/examples/c").replace(" -o libguard", " -Wl,--gc-sections -o libguard-small");
    build("llmux-abi/examples/c", &command)
}

/// Returns the library of the plugin in C that was built with the header of ABI 0.2.0.
pub fn frozen_0_2_c() -> PathBuf {
    let command = "cc -std=c11 -O2 -fPIC -shared -fvisibility=hidden -I . -o libfrozen.so guard.c";
    build("tests/fixtures/frozen-0.2-c", command)
}

/// Returns the library of the example in C++.
pub fn cpp_lines() -> PathBuf {
    build("llmux-abi/examples/cpp", &command("llmux-abi/examples/cpp"))
}

/// Returns the library of the fixture in C++ whose hook throws an exception.
pub fn throws() -> PathBuf {
    let command = command("llmux-abi/examples/cpp").replace("lines", "throws");
    build("tests/fixtures/throws", &command)
}

/// Returns the command of an example's page.
fn command(folder: &str) -> String {
    let page = read(&root().join(folder).join("README.md"));
    let block = page.split("```sh\n").nth(1).and_then(|rest| rest.split("\n```").next());
    block.unwrap_or_else(|| panic!("{folder}/README.md has no block `sh`")).to_owned()
}

/// Copies a folder, runs the command there, and returns the library that the command makes. Nothing is built if the copy is
/// of the same files.
///
/// # Panics
///
/// If the command fails, with its output.
fn build(source: &str, command: &str) -> PathBuf {
    let copies = target().join("native");
    fs::create_dir_all(&copies).expect("a folder for the copies");
    // Other runs of the tests wait here.
    let lock = File::create(copies.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    // As deep as an example, so that the command finds the header.
    let folder = copies.join("llmux-abi/examples").join(source.replace('/', "-"));
    let header = copy(&root().join("llmux-abi/include"), &copies.join("llmux-abi/include"));
    let sources = copy(&root().join(source), &folder);
    let name = command.split(" -o ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a library");
    let (library, stamp) = (folder.join(name), folder.join(format!("{name}.stamp")));
    let built_of = format!("{command}\n{header}\n{sources}");
    if library.exists() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == built_of) {
        return library;
    }
    let output = Command::new("sh").args(["-c", command]).current_dir(&folder).output().expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "this test needs the compilers `cc` and `c++` (Debian: `gcc` and `g++`); {source}: {command}\n{errors}"
    );
    write(&stamp, &built_of);
    library
}

/// Copies the files of a folder, and returns their text.
fn copy(from: &Path, to: &Path) -> String {
    let files = fs::read_dir(from).expect("a folder of sources");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let texts = files.into_iter().map(|file| {
        let text = read(&file);
        write(&to.join(file.file_name().expect("a name")), &text);
        text
    });
    texts.collect()
}
