//! The command line: against a server, on files, and one request without a server.

use serde_json::Value;

use crate::support::{Server, example, llmux, system_prompt, text};

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = llmux(folder.path()).args(arguments).output().await.expect("llmux runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_plugin_is_loaded_shown_and_unloaded_with_nothing_to_set_up() {
    let server = Server::start().await;
    let config = r#"{"prompt": "Be brief."}"#;
    let load =
        ["plugin", "load", system_prompt(), "--name", "mine", "--priority", "-3", "--on-error", "fail"];
    let loaded = server.llmux(&[&load[..], &["--config", config]].concat()).await;
    assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    assert_eq!(
        text(&loaded.stdout),
        concat!(
            "loaded mine (system-prompt ",
            env!("CARGO_PKG_VERSION"),
            ", priority -3, generation 1, active)\n"
        )
    );
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Be brief.");

    let list = text(&server.llmux(&["plugin", "list"]).await.stdout);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with("NAME") && lines[1].starts_with("mine "), "{list}");
    assert!(!list.contains('\u{1b}'), "a pipe gets no colors: {list:?}");
    let json: Value =
        serde_json::from_slice(&server.llmux(&["plugin", "list", "--json"]).await.stdout).expect("JSON");
    assert_eq!(json["plugins"][0]["on_error"], "fail");

    for (command, said) in [("disable", "disabled"), ("enable", "active"), ("reload", "generation 2")] {
        let force: &[&str] = if command == "disable" { &["--force"] } else { &[] };
        let output = server.llmux(&[&["plugin", command, "mine"], force].concat()).await;
        assert!(text(&output.stdout).contains(said), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    let unloaded = server.llmux(&["plugin", "unload", "mine", "--force"]).await;
    assert_eq!(text(&unloaded.stdout), "unloaded mine\n");
    let again = server.llmux(&["plugin", "unload", "mine"]).await;
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again.stderr), "llmux: there is no instance named `mine`\n");
}

#[tokio::test]
async fn the_path_of_a_request_shows_what_each_instance_sees_and_where_requests_went_back() {
    let server = Server::start().await;
    let rules = server.folder.path().join("rules.json");
    std::fs::write(&rules, r#"[{"contains": "", "text": "from the file"}]"#).expect("written");
    let config = serde_json::json!({"file": rules}).to_string();
    let mock = example("llmux-abi", "mock");
    for arguments in [
        &["plugin", "load", &mock, "--name", "answers", "--priority", "10", "--config", &config][..],
        &["plugin", "load", &example("llmux-abi", "noop"), "--name", "guard", "--on-error", "fail"],
    ] {
        let loaded = server.llmux(arguments).await;
        assert!(loaded.status.success(), "{}", text(&loaded.stderr));
    }
    server.ask("echo").await;
    let path = text(&server.llmux(&["plugin", "list", "--path"]).await.stdout);
    let lines: Vec<Vec<_>> = path.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["request", "10", "answers", "request", "request", "1", "-"], "{path}");
    assert_eq!(lines[2], ["request", "100", "guard", "request", "request", "-", "1"], "{path}");
    assert_eq!(lines[3], ["provider"], "{path}");
    assert_eq!(lines[4], ["answer", "100", "guard", "answer", "chunks", "-", "1"], "{path}");
    assert_eq!(lines.len(), 6, "{path}");
    let guard = server.plugin("guard").await;
    let hooks = serde_json::json!(["pre_hook", "post_hook", "pre_stream_hook", "on_stream_chunk"]);
    assert_eq!((&guard["implements"], &guard["short_circuits"]), (&hooks, &Value::from(0)), "{guard}");
    assert_eq!(server.plugin("answers").await["short_circuits"], 1);
}

#[tokio::test]
async fn files_are_looked_at_without_a_server() {
    let (code, out, _) = run(&["plugin", "inspect", system_prompt()]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("system-prompt") && out.contains("loads here   yes"), "{out}");
    let (code, out, _) = run(&["plugin", "inspect", "--json", system_prompt()]).await;
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["manifest"]["name"]), (Some(0), &Value::from("system-prompt")));
    if cfg!(target_os = "linux") {
        let libraries = json["needs"]["libraries"].as_array().expect("a list");
        assert!(libraries.contains(&"libc.so.6".into()), "{json}");
        for command in ["inspect", "verify"] {
            let (_, out, _) = run(&["plugin", command, system_prompt()]).await;
            for shown in ["libc.so.6 (GLIBC_2.", "runpath", "static tls", "llmux_plugin_"] {
                assert!(out.contains(shown), "{command} does not show {shown}: {out}");
            }
        }
    }

    let (code, out, _) = run(&["plugin", "verify", system_prompt()]).await;
    assert_eq!(code, Some(0), "{out}");
    let wrong = "0".repeat(64);
    let (code, out, error) = run(&["plugin", "verify", "--json", "--sha256", &wrong, system_prompt()]).await;
    let json: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["error"]["code"]), (Some(1), &Value::from("wrong_checksum")));
    assert!(error.starts_with("llmux: ") && error.lines().count() == 1, "{error}");

    let folder = tempfile::tempdir().expect("a folder");
    crate::support::copy_of_system_prompt(folder.path());
    let (code, out, _) = run(&["plugin", "list", "--dir", &folder.path().to_string_lossy(), "--long"]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(!out.contains("not listed"), "{out}");
    std::fs::write(folder.path().join("liblogging.so.1"), "").expect("written");
    let (_, named, _) = run(&["plugin", "list", "--dir", &folder.path().to_string_lossy()]).await;
    let hint = format!("not listed: {}/liblogging.so.1 (the name", folder.path().display());
    assert!(named.contains(&hint), "{named}");
    std::fs::remove_file(folder.path().join("liblogging.so.1")).expect("removed");
    for shown in ["AUTHORS", "LICENSE", "SDK", "rustc 1.", "unwind"] {
        assert!(out.contains(shown), "no {shown}: {out}");
    }
    assert!(out.split_whitespace().any(|word| word.len() == 64), "no whole checksum: {out}");
    let (code, out, _) = run(&["plugin", "list", "--dir", &folder.path().to_string_lossy()]).await;
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[tokio::test]
async fn d1_the_tables_show_everything_that_a_library_says_and_what_this_host_makes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = crate::support::copy_of_system_prompt(folder.path());
    let (file, dir) = (path.to_string_lossy(), folder.path().to_string_lossy());
    let (_, json, _) = run(&["plugin", "inspect", "--json", &file]).await;
    let seen: Value = serde_json::from_str(&json).expect("JSON");
    let manifest = &seen["manifest"];
    let shown = |value: &Value| words(&value.as_str().map_or(value.to_string(), str::to_owned));
    let mut told: Vec<_> =
        ["name", "version", "description", "license", "abi", "sdk", "rustc", "target", "panic", "priority"]
            .map(|member| (member.to_owned(), shown(&manifest[member])))
            .into();
    told.push(("authors".to_owned(), shown(&manifest["authors"]).replace(':', ", ")));
    told.extend(["size", "sha256", "signature"].map(|member| (member.to_owned(), shown(&seen[member]))));
    assert!(told.iter().all(|(_, value)| !["", "null"].contains(&&**value)), "{told:?}");

    let (_, inspected, _) = run(&["plugin", "inspect", &file]).await;
    for (member, value) in &told {
        let line = inspected.lines().find(|line| line.starts_with(&**member)).map(words);
        let line = line.unwrap_or_else(|| panic!("no line `{member}` in {inspected}"));
        assert!(line.starts_with(&format!("{member} {value}")), "{line}: {value}");
    }
    assert!(words(&inspected).ends_with("loads here yes"), "{inspected}");

    let (_, list, _) = run(&["plugin", "list", "--long", "--dir", &dir]).await;
    let row = words(list.lines().nth(1).expect("a row"));
    for (member, value) in &told {
        assert!(row.contains(&**value), "{member} {value}: {row}");
    }
    assert!(row.ends_with(" yes"), "{row}");
    // The short form says why one is not loaded, too.
    std::fs::write(&path, "no library").expect("written");
    let (_, list, _) = run(&["plugin", "list", "--dir", &dir]).await;
    assert!(list.contains("no: is not a shared library: "), "{list}");
}

#[tokio::test]
async fn what_strangers_named_cannot_command_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("lib\u{1b}[2J\nx.so"), "no library").expect("written");
    let (_, out, _) = run(&["plugin", "list", "--dir", &folder.path().to_string_lossy()]).await;
    assert!(out.contains("lib\\u{1b}[2J\\u{a}x.so") && out.lines().count() == 2, "{out:?}");
    let file = folder.path().join("lib\u{1b}[2J\nx.so");
    let (_, _, error) = run(&["plugin", "inspect", &file.to_string_lossy()]).await;
    assert!(!error.contains('\u{1b}') && error.lines().count() == 1, "{error:?}");
}

/// Returns the words of a line, separated by one space.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_cannot_be_done_is_one_line() {
    let (code, _, error) = run(&["plugin", "list", "--admin", "http://127.0.0.1:1"]).await;
    assert_eq!(code, Some(1));
    assert!(error.starts_with("llmux: no server answers at http://127.0.0.1:1 ("), "{error}");
    let (code, _, error) = run(&["plugin", "list", "--admin", "nowhere"]).await;
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    let (code, _, error) = run(&["plugin", "inspect", "/"]).await;
    assert_eq!((code, &*error), (Some(1), "llmux: /: is not a regular file\n"));
    assert_eq!(run(&["plugin", "load", "x", "--config", "5"]).await.0, Some(2));
    assert_eq!(run(&["nothing"]).await.0, Some(2));
    let (code, out, _) = run(&["--version"]).await;
    assert_eq!((code, out.trim()), (Some(0), concat!("llmux ", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn chat_sends_one_request_through_the_same_pipeline() {
    let (code, out, error) = run(&["chat", "Hello there"]).await;
    assert_eq!((code, &*out, &*error), (Some(0), "Hello there\n", ""));
    assert_eq!(run(&["chat", "--stream", "Hello there"]).await.1, "Hello there\n");
    let plugin = format!("{}={{\"prompt\": \"Be brief.\"}}", system_prompt());
    let (_, out, _) =
        run(&["chat", "--model", "echo-request", "--plugin", &plugin, "--system", "Be kind.", "Hi"]).await;
    let body: Value = serde_json::from_str(&out).expect("JSON");
    let contents: Vec<_> =
        body["messages"].as_array().expect("messages").iter().map(|it| &it["content"]).collect();
    assert_eq!(contents, ["Be brief.", "Be kind.", "Hi"]);
    let (code, _, error) = run(&["chat", "--model", "echo-error-403", "Hi"]).await;
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
}

#[tokio::test]
async fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = run(&["completions", shell]).await;
        assert_eq!(code, Some(0));
        assert!(out.contains("llmux"), "{shell}");
    }
}

#[tokio::test]
async fn a_command_waits_for_a_server_for_a_bounded_time() {
    // Connections are accepted by the system, and nobody reads.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let admin = format!("http://{}", silent.local_addr().expect("an address"));
    for command in [&["plugin", "load", "mine"][..], &["plugin", "list"], &["reload"]] {
        let (code, _, error) = run(&[command, &["--admin", &admin, "--admin-timeout", "1"]].concat()).await;
        assert_eq!(code, Some(1), "{error}");
        assert!(error.starts_with(&format!("llmux: {admin} did not answer within 1s; ")), "{error}");
        assert!(error.contains("--admin-timeout SECONDS"), "{error}");
    }
}
