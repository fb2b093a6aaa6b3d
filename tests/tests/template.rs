//! The template, as its users have it: the commands of the generated README, as printed, in a folder outside of the
//! repository, with the real `cargo-generate`, and a running `llmux` to load the result into.
#![cfg(unix)]

use std::{
    ffi::OsString,
    fs,
    path::Path,
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

/// Returns the search path of programs, with `cargo-generate` and `llmux` on it.
fn path_of_programs() -> OsString {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = [tools.join("bin"), program().parent().expect("a folder").to_owned()];
    let path = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path))).expect("a path");
    let found = Command::new("cargo-generate").env("PATH", &path).arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        run(cargo()
            .args([
                "install",
                "--quiet",
                "--debug",
                "--locked",
                "cargo-generate",
                "--version",
                VERSION,
                "--root",
            ])
            .arg(&tools));
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

#[tokio::test]
async fn every_command_of_a_generated_readme_works_as_printed_and_the_plugin_acts() {
    let path = path_of_programs();
    let first = tempfile::tempdir().expect("a folder");
    run(cargo()
        .env("PATH", &path)
        .current_dir(first.path())
        .args(["generate", "--name", "my-signer", "--vcs", "none", "--silent", "--path"])
        .arg(root().join("plugin-template"))
        .args(["-d", "description=Signs every answer", "-d"])
        .arg(format!("llmux={}", root().display())));
    let readme = first.path().join("my-signer/README.md");
    let commands = commands(&readme);
    let library =
        format!("target/release/{}my_signer{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let (try_it, load) = (format!("llmux plugin try {library}"), format!("llmux plugin load {library}"));
    assert!(commands[0].starts_with("cargo generate "), "{commands:?}");
    assert_eq!(commands[1..], ["cd my-signer", "cargo test", "cargo build --release", &try_it, &load]);

    // As printed, in an empty folder.
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start().await;
    let shell = |folder: &Path, command: &str| {
        let mut shell = without_package(Command::new("sh"));
        shell.args(["-c", command]).current_dir(folder).stdin(Stdio::null()).env("PATH", &path);
        shell.env("LLMUX_ADMIN", &server.admin).env("XDG_RUNTIME_DIR", server.folder.path());
        run(shell.env_remove("LLMUX_ADMIN_TOKEN").env_remove("CARGO_TARGET_DIR"))
    };
    shell(folder.path(), &commands[0]);
    let project = folder.path().join("my-signer");
    assert_eq!(
        fs::read_to_string(project.join("README.md")).expect("a README"),
        fs::read_to_string(&readme).expect("a README"),
        "the printed command generates the same again"
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
