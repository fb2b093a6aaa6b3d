//! The layers of ARCHITECTURE.md hold: every path in every crate of the workspace (`use` lines, inline paths, re-exports) leads
//! downwards, no two files import each other, and the pipeline knows nothing of the raw contract.
//!
//! `sources` reads the files, `names` resolves the paths, `rules` judges them; `table` shows each rule broken.

mod items;
mod layers;
mod names;
mod rules;
mod sources;
mod table;

use std::fs;

use llmux_testing::{blocks::root, build::cargo};

use self::{
    layers::Layers,
    names::Workspace,
    rules::{Allowed, broken},
    sources::Target,
};

/// Files that may import each other.
const ALLOWED: &[Allowed] = &[
    Allowed {
        one: "llmux-core/src/document/",
        other: "llmux-core/src/document/",
        reason: "a document's node, its opening and its edits are one recursive structure, split for reading",
    },
    Allowed {
        one: "llmux-abi/src/raw/flow.rs",
        other: "llmux-abi/src/raw/stream.rs",
        reason: "an answer may hold a stream, and a stream answers",
    },
    Allowed {
        one: "llmux-core/src/boundary/reply.rs",
        other: "llmux-core/src/boundary/stream.rs",
        reason: "a reply may hold a stream, and a stream replies",
    },
    Allowed {
        one: "builtin-plugins/tests/src/world.rs",
        other: "builtin-plugins/tests/src/",
        reason: "a world has one of two places, and a place lists the world's models",
    },
    Allowed {
        one: "llmux-testing/src/harness/builder.rs",
        other: "llmux-testing/src/harness/mod.rs",
        reason: "a harness and its builder have one script",
    },
    Allowed {
        one: "tests/src/contract.rs",
        other: "tests/src/fixtures.rs",
        reason: "fixtures are built against versions of the contract, which are written like fixtures",
    },
];

/// Every target of every crate.
fn workspace() -> Workspace {
    let output = cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo's metadata");
    let below_root = |path: &str| path.strip_prefix(root().to_str()?)?.strip_prefix('/').map(str::to_owned);
    let read = |path: &str| fs::read_to_string(root().join(path)).ok();
    let mut targets = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a package's name");
        for target in package["targets"].as_array().expect("targets") {
            let file = target["src_path"].as_str().and_then(below_root).expect("a file of the workspace");
            let kinds = target["kind"].as_array().expect("the target's kinds");
            let is_library =
                kinds.iter().any(|kind| matches!(kind.as_str(), Some("lib" | "rlib" | "cdylib")));
            // An example may be a cdylib, too.
            let is_library =
                is_library && !kinds.iter().any(|kind| kind == "example") && file.contains("/src/");
            targets.push(Target::read(name, is_library, &file, &read));
        }
    }
    Workspace { targets }
}

#[test]
fn every_path_leads_downwards() {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    let layers = Layers::read(&document).expect("the layers");
    let workspace = workspace();
    let paths: usize =
        workspace.targets.iter().flat_map(|target| &target.modules).map(|module| module.paths.len()).sum();
    assert!(paths > 10_000, "only {paths} paths were found");
    let broken = broken(&workspace, &layers, ALLOWED);
    assert!(broken.is_empty(), "{} broken rules:\n{}", broken.len(), broken.join("\n"));
}
