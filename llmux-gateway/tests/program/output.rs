//! Commands whose output is closed or full: one line on standard error and exit code 1, and never a panic.

use std::{fs::File, process::Stdio};

use tokio::time::timeout;

use crate::support::{LONG, Server, llmux, text};

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n";

/// Returns an output that is full, and one whose reader has ended.
fn outputs() -> [(&'static str, Stdio); 2] {
    let full = File::options().write(true).open("/dev/full").expect("a device that is full");
    let (_, closed) = std::io::pipe().expect("a pipe");
    [("No space left on device", full.into()), ("Broken pipe", closed.into())]
}

#[tokio::test]
async fn every_command_says_that_its_output_is_closed_or_full() {
    let server = Server::with(ECHO, &[]).await;
    let plugins = server.folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    std::fs::write(plugins.join("libnone.so"), "not a library").expect("written");
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["help", "plugin"],
        &["serve", "--help"],
        &["completions", "bash"],
        &["chat", "hi"],
        &["chat", "--stream", "hi"],
        &["plugin", "list"],
        &["plugin", "list", "--json"],
        &["plugin", "list", "--dir", "plugins"],
        &["reload"],
        &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    ] {
        for (why, output) in outputs() {
            let mut command = llmux(server.folder.path());
            command.args(arguments).env("LLMUX_ADMIN", &server.admin).stdout(output);
            // Unlike `output`, this keeps the standard output that was set.
            let ended = command.spawn().expect("llmux starts").wait_with_output();
            let ended = timeout(LONG, ended).await.expect("in time").expect("llmux runs");
            let said = text(&ended.stderr);
            assert_eq!(ended.status.code(), Some(1), "{arguments:?}, {why}: {said}");
            // The log of a server is on standard error, too.
            let lines: Vec<_> = said.lines().filter(|line| !line.contains(" INFO ")).collect();
            let [line] = lines[..] else { panic!("{arguments:?}, {why}: one line, not: {said}") };
            assert!(line.starts_with("llmux: cannot write to standard output: "), "{arguments:?}: {line}");
            assert!(line.contains(why), "{arguments:?}: {line}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_command_that_cannot_even_say_so_ends_in_the_same_way() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, code) in [(&["chat", "--config", "none.toml", "hi"][..], 1), (&["nonsense"], 2)] {
        for (why, output) in outputs() {
            let ended = llmux(folder.path()).args(arguments).stderr(output).status();
            let ended = timeout(LONG, ended).await.expect("in time").expect("llmux runs");
            assert_eq!(ended.code(), Some(code), "{arguments:?}, {why}");
        }
    }
}

#[tokio::test]
async fn with_json_logs_the_first_and_the_last_line_are_json_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let parse = |line: &str| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON, {error}: {line}"))
    };
    let run = async |arguments: &[&str]| {
        let mut command = llmux(folder.path());
        command.arg("serve").args(arguments).args(["--log-format", "json"]);
        command.spawn().expect("llmux starts")
    };
    let wrong = run(&["--config", "none.toml"]).await.wait_with_output();
    let ended = timeout(LONG, wrong).await.expect("in time").expect("llmux runs");
    let last = parse(&text(&ended.stderr));
    assert!(
        last["message"].as_str().is_some_and(|it| it.starts_with("llmux: configuration none.toml")),
        "{last}"
    );
    assert_eq!(last["level"], "ERROR");
    let mut server = run(&["--listen", "127.0.0.1:0", "--admin-listen", "off"]).await;
    let mut first = String::new();
    let mut out = tokio::io::BufReader::new(server.stdout.take().expect("piped"));
    let read = tokio::io::AsyncBufReadExt::read_line(&mut out, &mut first);
    timeout(LONG, read).await.expect("in time").expect("a line");
    let first = parse(&first);
    assert!(
        first["message"].as_str().is_some_and(|it| it.contains("listens on http://127.0.0.1:")),
        "{first}"
    );
    assert!(first["timestamp"].as_str().is_some_and(|it| it.contains('T')), "{first}");
}
