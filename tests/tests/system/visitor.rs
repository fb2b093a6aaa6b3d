//! Builds the visitor's crate as its author would: in a folder outside of this workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use llmux_testing::build::cargo;

/// Returns the library, which is built once for each run.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<(PathBuf, tempfile::TempDir)> = OnceLock::new();
    &LIBRARY.get_or_init(build).0
}

fn build() -> (PathBuf, tempfile::TempDir) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = here.join("fixtures/visitor");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let root = elsewhere.path();
    fs::create_dir(root.join("src")).expect("a folder");
    fs::copy(source.join("src/lib.rs"), root.join("src/lib.rs")).expect("copied");
    let sdk = here.parent().expect("the workspace").join("llmux-abi");
    let manifest = fs::read_to_string(source.join("Cargo.toml")).expect("a manifest");
    let manifest = manifest.replace("../../../llmux-abi", &sdk.to_string_lossy());
    fs::write(root.join("Cargo.toml"), manifest).expect("written");
    // The versions that are here already, so that nothing has to be fetched; the author would have a lock file
    // of their own.
    fs::copy(here.join("../Cargo.lock"), root.join("Cargo.lock")).expect("copied");
    // What is built of its dependencies is kept for the next run.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("visitor");
    let built = cargo()
        .current_dir(root)
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--quiet"])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the visitor's crate builds");
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    (target.join(format!("debug/{prefix}visitor{suffix}")), elsewhere)
}
