//! The end of the program while plugins block everything: signals and the deadline need no worker of the runtime.

use std::{fs, path::Path};

use llmux_testing::{
    Server,
    program::{serve, until},
};
use llmux_tests::Fixtures;
use serde_json::json;

use crate::configuration;

/// Short bounds of the end. The wait for `on_complete` has 5 s, and everything without a bound 5 s more.
const BOUNDS: &str = "[server]\ndrain_timeout = \"100ms\"\n[pipeline]\npost_hook_timeout = \"100ms\"\n";

/// Starts a server with one worker.
async fn with_one_worker(more: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = serve(&folder, &configuration(&format!("{BOUNDS}{more}")));
    command.env("TOKIO_WORKER_THREADS", "1");
    Server::of(command, folder).await
}

async fn load(server: &Server, library: &Path, config: serde_json::Value) {
    let body = json!({"path": library, "name": "a", "config": config});
    let (status, said) = server.call("POST", "/admin/plugins", Some(&body)).await;
    assert_eq!(status, 201, "{said}");
}

async fn has_line(file: &Path, line: &str) {
    until("the line is there", async || fs::read_to_string(file).unwrap_or_default().contains(line)).await;
}

#[tokio::test]
async fn l3_a_cleanup_that_holds_the_only_worker_is_ended_at_the_deadline() {
    let server = with_one_worker("").await;
    let (gate, log) = (server.folder.path().join("gate"), server.folder.path().join("lines"));
    let config = json!({"log": log, "cleanup": [{"do": "block_until", "path": gate}]});
    load(&server, &Fixtures::get().probe(), config).await;
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("llmux: SIGTERM: the end took longer than "), "{log}");
    assert!(log.contains("these instances are not cleaned up: a\n"), "the instance is named: {log}");
}

#[tokio::test]
async fn l3_a_second_signal_ends_the_program_while_a_hook_holds_the_only_worker() {
    let server = with_one_worker("").await;
    let (gate, log) = (server.folder.path().join("gate"), server.folder.path().join("lines"));
    let config = json!({"log": log, "pre": [{"do": "block_until", "path": gate}]});
    load(&server, &Fixtures::get().probe(), config).await;
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    let hanging = tokio::spawn(server.post("/v1/chat/completions", &body).send());
    has_line(&log, "a.pre").await;
    server.signal("-TERM").await;
    server.signal("-INT").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(" again: ended before everything was cleaned up"), "{log}");
    assert!(log.contains("these instances are not cleaned up: a\n"), "the instance is named: {log}");
    hanging.abort();
}

#[tokio::test]
async fn l3_a_second_signal_ends_the_program_while_a_library_holds_the_end_of_the_process() {
    let server = with_one_worker("").await;
    let (library, log) = (server.folder.path().join("libinitializer.so"), server.folder.path().join("log"));
    Fixtures::get().initializer(&library, &log);
    fs::write(log.with_extension("hold-end"), "").expect("written");
    load(&server, &library, json!({})).await;
    server.signal("-TERM").await;
    has_line(&log, "ends").await;
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("all plugins are cleaned up"), "the rest has ended: {log}");
    assert!(log.contains("llmux: SIGTERM again: "), "{log}");
}

#[tokio::test]
async fn l3_a_second_signal_ends_the_program_while_an_initializer_holds_the_systems_loader() {
    let server = with_one_worker("[plugins]\ntrial = false\n").await;
    let (library, log) = (server.folder.path().join("libinitializer.so"), server.folder.path().join("log"));
    Fixtures::get().initializer(&library, &log);
    fs::write(log.with_extension("hold"), "").expect("written");
    let body = json!({"path": library});
    let hanging = tokio::spawn(server.call("POST", "/admin/plugins", Some(&body)));
    has_line(&log, "ran").await;
    server.signal("-TERM").await;
    server.signal("-INT").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(" again: ended before everything was cleaned up"), "{log}");
    hanging.abort();
}

#[tokio::test]
async fn an_abort_from_outside_ends_the_program() {
    let server = Server::start().await;
    server.signal("-ABRT").await;
    let (code, log) = server.end().await;
    assert_eq!(code, None, "a signal ended it: {log}");
}

#[tokio::test]
async fn the_signals_of_log_rotators_are_ignored() {
    let server = Server::start().await;
    server.signal("-USR1").await;
    server.signal("-USR2").await;
    server.ask("echo").await;
    server.stop().await;
}

/// Makes a hook end the process in this way. Returns the log.
async fn crash(mode: &str) -> String {
    let server = Server::start().await;
    load(&server, &Fixtures::get().misbehaving(), json!({"mode": mode})).await;
    let messages = [json!({"role": "user", "content": "Hello"})];
    let body = json!({"model": "echo", "messages": messages, "metadata": {"mode": mode}});
    let broken = server.post("/v1/chat/completions", &body).send().await;
    assert!(broken.is_err(), "the process is gone");
    let (code, log) = server.end().await;
    assert_eq!(code, None, "a signal ended it: {log}");
    assert!(log.contains("llmux: SIGABRT in the code of the instance `a`\n"), "the instance is named: {log}");
    log
}

#[tokio::test]
async fn an_abort_names_the_instance_whose_code_ran() {
    crash("pre_aborts").await;
}

#[tokio::test]
async fn an_abort_is_explained_by_the_last_line_of_the_log() {
    let log = crash("pre_panics_while_it_panics").await;
    let is_named = |line: &str| line.contains("the second panic") && line.contains("instance=\"a\"");
    assert!(log.lines().any(is_named), "the panic is in the log: {log}");
}
