//! The trial load in the program: a library that crashes or never returns is refused, and the server serves on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use llmux_testing::{
    Server,
    http::http,
    program::{llmux, until},
};
use llmux_tests::Fixtures;
use serde_json::{Value, json};

use crate::configuration;

/// Puts the library with the initializer into the folder of a server. Returns it, and the file to which it writes.
fn trap(server: &Server) -> (PathBuf, PathBuf) {
    let (library, log) = (server.folder.path().join("libinitializer.so"), server.folder.path().join("log"));
    Fixtures::get().initializer(&library, &log);
    (library, log)
}

fn runs(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

/// Lines that the initializer writes on trial. The sandbox of Linux refuses to write.
const ON_TRIAL: usize = if cfg!(target_os = "linux") { 0 } else { 1 };

fn load(server: &Server, library: &Path, name: &str) -> impl Future<Output = (u16, Value)> + Send + use<> {
    server.call("POST", "/admin/plugins", Some(&json!({"path": library, "name": name})))
}

/// Returns the number of processes that load this library on trial.
#[cfg(target_os = "linux")]
fn children(folder: &Path) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let commands = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    let folder = folder.to_str().expect("text");
    commands.filter(|command| command.contains("trial-load") && command.contains(folder)).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn i8_an_initializer_that_never_returns_is_refused_and_a_fresh_server_serves_meanwhile() {
    let server = Server::with(&configuration(""), &[]).await;
    let (library, log) = trap(&server);
    let hold = log.with_extension("hold");
    fs::write(&hold, "").expect("written");
    let refused = tokio::spawn(load(&server, &library, "a"));
    until("a child runs the initializer", async || children(server.folder.path()) == 1).await;
    let healthy = http().get(format!("{}/healthz", server.api)).send().await.expect("an answer");
    assert_eq!(healthy.status(), 200);
    server.ask("echo").await;
    assert!(!refused.is_finished(), "the load waits");
    let (status, said) = refused.await.expect("an answer");
    assert_eq!((status, &said["error"]["code"]), (422, &json!("trial_failed")), "{said}");
    assert!(said.to_string().contains("its initializers ran past the timeout of 10s"), "{said}");
    assert_eq!(
        (runs(&log), children(server.folder.path())),
        (0, 0),
        "it never ran here, it wrote nothing on trial, and no child is left"
    );

    fs::remove_file(&hold).expect("removed");
    assert_eq!(load(&server, &library, "a").await.0, 201);
    assert_eq!(runs(&log), 1, "on trial it wrote nothing");
    let (status, said) = server.call("POST", "/admin/plugins/a/reload", None).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(runs(&log), 2, "once for each image");
    server.stop().await;
}

#[tokio::test]
async fn i8_a_library_that_crashes_is_refused_and_the_signal_is_named() {
    let server = Server::with(&configuration(""), &[]).await;
    let (library, log) = trap(&server);
    fs::write(log.with_extension("panic"), "").expect("written");
    let (status, said) = load(&server, &library, "a").await;
    assert_eq!((status, &said["error"]["code"]), (422, &json!("trial_failed")), "{said}");
    let message = said["error"]["message"].as_str().expect("a message");
    assert!(message.contains("was ended by the signal 6 (SIGABRT)"), "{message}");
    assert!(message.contains("the initializer panics"), "{message}");
    assert_eq!(runs(&log), ON_TRIAL, "only in the child");
    server.ask("echo").await;
    let verify = ["plugin", "verify", "--trial", library.to_str().expect("text")];
    let output = llmux(server.folder.path()).args(verify).output().await.expect("llmux runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("runs code of the library") && said.contains("SIGABRT"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn i8_without_a_trial_the_log_names_the_library_that_ends_the_process() {
    let server =
        Server::with(&configuration("[log]\nlevel = \"error\"\n[plugins]\ntrial = false\n"), &[]).await;
    let (library, log) = trap(&server);
    fs::write(log.with_extension("panic"), "").expect("written");
    let request = load(&server, &library, "a");
    let broken = tokio::spawn(request);
    let (code, log) = server.end().await;
    assert_eq!(code, None, "a signal ended it: {log}");
    let line = log.lines().find(|line| line.contains("llmux::loading: loading a library")).expect("a line");
    for part in [library.to_str().expect("text"), "plugin=\"initializer\"", "sha256=\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(broken.await.is_err(), "no answer comes");
}
