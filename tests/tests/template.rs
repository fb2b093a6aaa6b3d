//! The template, as its users have it: the commands of the README that `llmux plugin new` writes, as printed, in a folder
//! outside of the repository, and a running `llmux` to load the result into. The real `cargo-generate` writes the same.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use llmux_testing::{
    Server,
    blocks::root,
    build::{cargo, without_package},
    http::read,
    program::program,
};
use serde_json::json;

/// Version of `cargo-generate` that works with the template. The test installs it in the target folder if it is
/// missing.
const VERSION: &str = "0.23.7";

/// Runs a command and returns its output.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    let said = [&*output.stdout, &*output.stderr].concat();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the search path of programs, with these folders first.
fn search_path(folders: &[&Path]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().map(|folder| folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("a path")
}

/// Returns the search path of programs, with `cargo-generate` on it.
fn path_of_programs() -> OsString {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    let path = search_path(&[&tools.join("bin")]);
    let found = Command::new("cargo-generate").env("PATH", &path).arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        let arguments =
            ["install", "--quiet", "--debug", "--locked", "cargo-generate", "--version", VERSION, "--root"];
        run(cargo().args(arguments).arg(&tools));
    }
    path
}

/// Returns the text of the answer to a question.
async fn ask(server: &Server, question: &str) -> String {
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": question}]});
    let (status, answer) = read(server.post("/v1/chat/completions", &body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

/// Returns the commands in the first block of a README.
fn commands(readme: &Path) -> Vec<String> {
    let text = fs::read_to_string(readme).expect("a README");
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("commands");
    block.lines().map(str::to_owned).collect()
}

/// Returns the text of every file below a folder, by its name.
fn texts(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).expect("text");
                found.insert(path.strip_prefix(folder).expect("below it").to_owned(), text);
            }
        }
    }
    found
}

/// Runs `llmux plugin new` in a folder. Returns its output.
fn new_plugin(folder: &Path, arguments: &[&str]) -> String {
    let mut llmux = Command::new(program());
    run(llmux.args(["plugin", "new"]).args(arguments).current_dir(folder))
}

#[test]
fn cargo_generate_writes_the_files_that_plugin_new_writes() {
    let path = path_of_programs();
    let places = [root().to_str().expect("UTF-8"), "https://example.com/llmux", "0.2"];
    for llmux in places {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        run(cargo()
            .env("PATH", &path)
            .current_dir(one.path())
            .args(["generate", "--name", "my-2nd-signer", "--vcs", "none", "--silent", "--path"])
            .arg(root().join("plugin-template"))
            .args(["-d", "description=Signs everything", "-d"])
            .arg(format!("llmux={llmux}")));
        new_plugin(other.path(), &["my-2nd-signer", "--description", "Signs everything", "--llmux", llmux]);
        assert_eq!(texts(one.path()), texts(other.path()));
    }
}

#[tokio::test]
async fn every_command_of_a_new_readme_works_as_printed_and_the_plugin_acts() {
    let first = tempfile::tempdir().expect("a folder");
    let llmux = root().to_str().expect("UTF-8");
    let next = new_plugin(first.path(), &["my-signer", "--llmux", llmux]);
    let readme = first.path().join("my-signer/README.md");
    let commands = commands(&readme);
    let library =
        format!("target/release/{}my_signer{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let (try_it, load) = (format!("llmux plugin try {library}"), format!("llmux plugin load {library}"));
    assert!(commands[0].starts_with("llmux plugin new my-signer "), "{commands:?}");
    assert_eq!(commands[1..], ["cd my-signer", "cargo test", "cargo build --release", &try_it, &load]);
    let printed: Vec<_> = next.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(printed, commands[1..], "{next}");

    // As printed, in an empty folder.
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start().await;
    let path = search_path(&[program().parent().expect("a folder")]);
    let shell = |folder: &Path, command: &str| {
        let mut shell = without_package(Command::new("sh"));
        shell.args(["-c", command]).current_dir(folder).stdin(Stdio::null()).env("PATH", &path);
        shell.env("LLMUX_ADMIN", &server.admin).env("XDG_RUNTIME_DIR", server.folder.path());
        run(shell.env_remove("LLMUX_ADMIN_TOKEN").env_remove("CARGO_TARGET_DIR"))
    };
    shell(folder.path(), &commands[0]);
    let project = folder.path().join("my-signer");
    assert_eq!(
        texts(&project),
        texts(&first.path().join("my-signer")),
        "the printed command writes the same again"
    );
    let code = fs::read_to_string(project.join("src/lib.rs")).expect("a file");
    assert!(code.lines().count() <= 40 && !code.contains("{{"), "{code}");
    // The versions that are here already, and what was built of them for the next run.
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).expect("copied");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("template");
    fs::create_dir_all(&target).expect("a folder");
    std::os::unix::fs::symlink(&target, project.join("target")).expect("a link");
    shell(&project, &commands[2]);
    shell(&project, &commands[3]);
    let shown = shell(&project, &commands[4]);
    assert!(shown.starts_with("my-signer 0.1.0, priority 100, "), "{shown}");
    let (before, after) = ("\"Why is the sky blue?\"", "\"Why is the sky blue? (signed by my-signer)\"");
    for (sign, content) in [('-', before), ('+', after)] {
        let is_shown =
            shown.lines().any(|line| line.trim_start().starts_with(sign) && line.contains(content));
        assert!(is_shown, "no line `{sign}` shows {content}: {shown}");
    }
    assert_eq!(ask(&server, "Hi").await, "Hi");
    let loaded = shell(&project, &commands[5]);
    assert_eq!(loaded, "loaded my-signer (my-signer 0.1.0, priority 100, generation 1, active)\n");
    assert_eq!(ask(&server, "Hi").await, "Hi (signed by my-signer)");
    shell(&project, "llmux plugin unload my-signer");
    assert_eq!(ask(&server, "Hi").await, "Hi", "after it is unloaded");

    shell(&project, "cargo clippy --quiet --all-targets -- -D warnings");
    shell(&project, "cargo fmt --check");
}
