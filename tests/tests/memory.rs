//! Memory: the life of a library (`examples/life.rs`) under valgrind's memcheck. The test refuses invalid accesses,
//! uses of uninitialized memory, and memory that can no longer be freed, in the host and in the library.
//!
//! A retired image stays mapped on purpose: memory that its statics point to can still be reached, and is not a leak.
//! `memory.supp` lists memory that is lost on purpose, each with its reason.

use std::{fs, process::Command};

use llmux_testing::{Build, blocks::root};
use llmux_tests::Fixtures;

/// Exit code of valgrind if it reports an error.
const FOUND: &str = "99";

#[test]
fn the_life_of_a_library_is_clean_under_valgrind() {
    let installed = Command::new("valgrind").arg("--version").output();
    assert!(
        installed.is_ok_and(|output| output.status.success()),
        "valgrind is not installed; `apt-get install valgrind`"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let library = Fixtures::get().probe();
    fs::copy(&library, folder.path().join(library.file_name().expect("a file"))).expect("copied");
    // With the features of the README's command: otherwise cargo would replace the fixtures that other tests are
    // linked to.
    let life = Build::workspace().example("life").program();
    let valgrind = Command::new("valgrind")
        .args([
            "--quiet",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite",
            "--show-leak-kinds=definite",
        ])
        .arg(format!("--error-exitcode={FOUND}"))
        .arg(format!("--suppressions={}", root().join("tests/memory.supp").display()))
        .arg(life)
        .arg(folder.path())
        // The stack of each of its panics is of no use, and takes a second to write.
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("valgrind runs");
    let (out, found) = (String::from_utf8_lossy(&valgrind.stdout), String::from_utf8_lossy(&valgrind.stderr));
    assert!(out.ends_with("lived\n"), "it did not live to its end: {out}\n{found}");
    assert!(valgrind.status.success(), "valgrind ended with {:?}:\n{found}", valgrind.status);
}
