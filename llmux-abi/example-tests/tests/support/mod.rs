//! Builds an example as a library, as its author would.

use std::{env::consts, path::PathBuf, process::Command};

/// The library that an example becomes.
pub(crate) fn library(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    // target/PROFILE/deps/test-HASH
    let profile = test.ancestors().nth(2).expect("tests lie in the target folder").to_owned();
    let target = profile.parent().expect("tests lie in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "llmux-abi", "--example", example]);
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "the example `{example}` does not build");
    let file = format!("{}{example}{}", consts::DLL_PREFIX, consts::DLL_SUFFIX);
    profile.join("examples").join(file)
}
