//! What every file of the repository keeps to.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && !matches!(&*name, "target" | "ui") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_file_says_what_it_is() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
    }
}

#[test]
fn unsafe_code_stands_only_where_the_architecture_says() {
    let places = [
        "llmux-abi/src/raw/",
        "llmux-abi/src/sdk/handle/",
        "llmux-abi/src/sdk/shim/",
        "llmux-core/src/boundary/",
    ];
    let files =
        ["llmux-abi/src/sdk/absent.rs", "llmux-abi/src/sdk/contain.rs", "llmux-abi/src/sdk/export.rs"];
    for path in sources() {
        let name = path.strip_prefix(root()).expect("below the workspace").to_string_lossy().into_owned();
        let is_source = name.contains("/src/") && !name.starts_with("tests/");
        if !is_source || files.contains(&&*name) || places.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        for line in code {
            assert!(!line.contains("unsafe {") && !line.contains("unsafe fn"), "{name}: {line}");
        }
    }
}

#[test]
fn ci_runs_the_readmes_test_command() {
    let readme = fs::read_to_string(root().join("README.md")).expect("text");
    let ci = fs::read_to_string(root().join(".ci/run")).expect("text");
    let command = "\ncargo test --workspace --all-features --locked\n";
    assert!(readme.contains(command) && ci.contains(command), "both say {command}");
}
