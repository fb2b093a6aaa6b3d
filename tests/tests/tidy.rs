//! Rules for every file of the repository: its head, its length, its name, unsafe code, and names of one machine.

use std::fs;

use llmux_testing::{blocks::root, files::files};

/// Maximum number of lines of a Rust file.
const MAX_LINES: usize = 400;

/// Rust files that are longer, each with the reason.
const LONG: &[(&str, &str)] = &[];

/// Folders and files that may hold unsafe code.
const UNSAFE: [&str; 10] = [
    "bench/envoy-module/src/",
    "llmux-abi/src/raw/",
    "llmux-abi/src/sdk/absent.rs",
    "llmux-abi/src/sdk/contain.rs",
    "llmux-abi/src/sdk/parameters.rs",
    "llmux-abi/src/sdk/work.rs",
    "llmux-abi/src/sdk/handle/",
    "llmux-abi/src/sdk/shim/",
    "llmux-abi/src/sdk/export.rs",
    "llmux-core/src/boundary/",
];

/// Names of files that say nothing about their content.
const VAGUE: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "stuff", "shared"];

/// Extensions of the files whose text is checked.
const TEXTS: [&str; 10] = ["rs", "md", "toml", "yml", "json", "supp", "http", "h", "c", "cpp"];

/// Scripts whose text is checked.
const SCRIPTS: [&str; 4] = [".ci/run", ".ci/full", ".ci/compilers", ".ci/aarch64"];

/// The text of a file.
fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_file_says_what_it_is() {
    for file in files("rs") {
        assert!(text(&file).starts_with("//!"), "{file} does not open with //!");
    }
}

#[test]
fn no_file_is_long_without_a_reason() {
    for file in files("rs") {
        let lines = text(&file).lines().count();
        let is_listed = LONG.iter().any(|(long, _)| *long == file);
        assert!(lines <= MAX_LINES || is_listed, "{file} has {lines} lines, more than {MAX_LINES}");
        assert!(
            lines > MAX_LINES || !is_listed,
            "{file} is in the list of long files, and has {lines} lines"
        );
    }
    for (file, _) in LONG {
        assert!(root().join(file).is_file(), "{file} is in the list of long files, and is not there");
    }
}

#[test]
fn every_file_is_named_for_its_content() {
    for file in files("rs") {
        let vague = file.split(['/', '.']).find(|part| VAGUE.contains(part));
        assert_eq!(vague, None, "{file}");
    }
}

#[test]
fn unsafe_code_stands_only_where_the_architecture_says() {
    for file in files("rs") {
        let is_source = file.contains("/src/") && !file.starts_with("tests/");
        if !is_source || UNSAFE.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        let text = text(&file);
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        for line in code {
            assert!(!line.contains("unsafe {") && !line.contains("unsafe fn"), "{file}: {line}");
        }
    }
}

#[test]
fn nothing_names_the_machine_that_it_was_written_on() {
    // In parts, so that this file does not name them itself.
    let refused = [
        ["/wo", "rk/"],
        ["static.", "crates.io"],
        ["index.", "crates.io"],
        ["deb.", "debian.org"],
        ["files.", "pythonhosted.org"],
        ["pypi", ".org"],
        ["registry.", "npmjs.org"],
    ]
    .map(|parts| parts.concat());
    let all = TEXTS.iter().flat_map(|extension| files(extension)).chain(SCRIPTS.map(str::to_owned));
    for file in all {
        for (at, line) in text(&file).lines().enumerate() {
            let named = refused.iter().find(|name| line.contains(&***name));
            assert_eq!(named, None, "{file}:{}", at + 1);
        }
    }
}

#[test]
fn ci_runs_the_readmes_test_command() {
    let (readme, ci) = (text("README.md"), text(".ci/run"));
    let command = "\ncargo test --workspace --all-features --locked\n";
    assert!(readme.contains(command) && ci.contains(command), "both say {command}");
}

#[test]
fn every_published_package_has_what_a_registry_asks_for() {
    let release = text("CONTRIBUTING.md");
    let mut published = 0;
    for manifest in files("toml") {
        let content = text(&manifest);
        let is_member = manifest.ends_with("/Cargo.toml") && content.contains("\nversion.workspace = true\n");
        if !is_member || content.contains("\npublish = false\n") {
            continue;
        }
        for key in [
            "description = ",
            "readme = ",
            "keywords = ",
            "categories = ",
            "license.workspace = ",
            "rust-version.workspace = ",
        ] {
            assert!(content.contains(&format!("\n{key}")), "{manifest} lacks `{key}`");
        }
        let folder = manifest.trim_end_matches("Cargo.toml");
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let theirs = fs::read_to_string(root().join(folder).join(license)).ok();
            assert_eq!(theirs.as_deref(), Some(&*text(license)), "{folder}{license} is the text at the root");
        }
        let name = content.split("name = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a name");
        assert!(text(&format!("{folder}README.md")).starts_with(&format!("# {name}\n")), "{folder}README.md");
        assert!(release.contains(&format!("`{name}`")), "CONTRIBUTING.md lists {name}");
        published += 1;
    }
    assert!(published > 10, "only {published} packages were found");
}
