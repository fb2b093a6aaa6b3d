//! Tokens of the listeners: a reload of the configuration replaces the local token by configured tokens and back.
//! Tokens that are not valid are refused and not logged.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    api::sha256,
    support::{LONG, Server, error, http, read, serve, system_prompt, text},
};

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n";

fn write(server: &Server, configuration: &str) {
    server.configure(configuration);
}

/// Returns the status of a reload with this token, and the status of a read without any token.
async fn doors(server: &Server, token: &str) -> (u16, u16) {
    let reload = http().post(format!("{}/admin/reload", server.admin)).bearer_auth(token);
    let (reload, _) = read(reload).await;
    (reload, read(http().get(format!("{}/admin/plugins", server.admin))).await.0)
}

#[tokio::test]
async fn local_and_configured_tokens_take_each_others_place_by_a_reload() {
    let server = Server::with(ECHO, &[]).await;
    let file = server.token_file();
    let first = std::fs::read_to_string(&file).expect("a token");
    assert_eq!(doors(&server, &first).await, (200, 200), "reading is free");

    write(&server, &format!("{ECHO}{}", token("boss", "admin")));
    assert_eq!(doors(&server, &first).await, (200, 401), "the reload asks for tokens from here on");
    assert!(!file.exists(), "the local token's file goes with it");
    assert_eq!(doors(&server, &first).await.0, 401, "and the token");
    // What a killed server left there is no token, and the command line says what to do.
    std::fs::write(&file, &first).expect("written");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("set");
    let asked = server.llmux(&["plugin", "list"]).await;
    assert!(text(&asked.stderr).contains("set LLMUX_ADMIN_TOKEN"), "{}", text(&asked.stderr));
    std::fs::remove_file(&file).expect("removed");

    // A reload that is refused changes no token, either way.
    let bad = "[[plugin]]\nname = \"x\"\npath = \"/nowhere/lib.so\"\n";
    write(&server, &format!("{ECHO}{bad}"));
    assert_eq!(doors(&server, "boss-secret").await, (422, 401));
    assert!(!file.exists(), "no local token was left by it");

    write(&server, ECHO);
    assert_eq!(doors(&server, "boss-secret").await, (200, 200), "the local token is back");
    let mode = std::fs::metadata(&file).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let second = std::fs::read_to_string(&file).expect("a token");
    assert_ne!(first, second, "another one");
    assert_eq!(doors(&server, "boss-secret").await.0, 401);
    assert_eq!(doors(&server, &first).await.0, 401);
    assert_eq!(doors(&server, &second).await.0, 200);
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    assert!(!file.exists(), "it goes with the server");
    for secret in [&*first, &*second, "boss-secret"] {
        assert!(!log.contains(secret), "the log holds {secret}: {log}");
    }
}

#[tokio::test]
async fn a_secret_where_it_does_not_belong_is_refused_and_not_logged() {
    let key = format!("[[api_key]]\nid = \"me\"\nsha256 = \"{}\"\n", sha256("key-secret"));
    let reader = format!(
        "[[admin_token]]\nname = \"reader\"\nsha256 = \"{}\"\nrole = \"read\"\n",
        sha256("read-secret")
    );
    let server = Server::with(&format!("{ECHO}{key}{reader}[log]\nlevel = \"debug\"\n"), &[]).await;
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    for path in ["/v1/chat/completions?api_key=key-secret", "/v1/chat/completions?key=key-secret"] {
        let (status, refused) = error(server.post(path, &body)).await;
        assert_eq!((status, &refused["code"]), (401, &json!("invalid_api_key")), "{path}: {refused}");
        assert!(!refused.to_string().contains("key-secret"), "{refused}");
    }
    assert_eq!(read(server.post("/v1/chat/completions", &body).bearer_auth("key-secret")).await.0, 200);
    let url = format!("{}/admin/plugins", server.admin);
    let load = json!({"path": "/nowhere/lib.so"});
    for (what, request, status) in [
        ("a wrong token", http().post(&url).bearer_auth("wrong-secret").json(&load), 401),
        ("no token", http().post(&url).json(&load), 401),
        ("a read token on a change", http().post(&url).bearer_auth("read-secret").json(&load), 403),
        ("a client's key", http().post(&url).bearer_auth("key-secret").json(&load), 401),
        (
            "a token in the query",
            http().request(Method::POST, format!("{url}?token=read-secret")).json(&load),
            403,
        ),
        (
            "a token as a password",
            http().post(&url).basic_auth("reader", Some("read-secret")).json(&load),
            401,
        ),
    ] {
        let (found, refused) = error(request).await;
        assert_eq!(found, status, "{what}: {refused}");
    }
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    assert_eq!(log.matches("the admin API refused POST /admin/plugins").count(), 6, "{log}");
    assert!(!log.contains("-secret"), "{log}");
}

/// Returns the configuration of a token; its secret is `NAME-secret`.
fn token(name: &str, role: &str) -> String {
    let hash = sha256(&format!("{name}-secret"));
    format!("[[admin_token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n")
}

fn key(id: &str) -> String {
    format!("[[api_key]]\nid = \"{id}\"\nsha256 = \"{}\"\n", sha256(&format!("{id}-secret")))
}

#[tokio::test]
async fn two_of_one_name_or_of_one_hash_are_refused() {
    let renamed =
        |text: String, from: &str, to: &str| text.replacen(&format!("\"{from}\""), &format!("\"{to}\""), 1);
    for (configuration, expected) in [
        (
            token("a", "read") + &token("a", "admin"),
            "llmux.toml:6:8: an admin token named `a` already exists",
        ),
        // Whether it may change things would be a guess.
        (
            token("a", "read") + &renamed(token("a", "admin"), "a", "b"),
            "llmux.toml:7:10: another admin token has the same hash",
        ),
        (key("a") + &key("a"), "llmux.toml:5:6: an API key named `a` already exists"),
        (key("a") + &renamed(key("a"), "a", "b"), "llmux.toml:6:10: another API key has the same hash"),
        (token("", "read"), "llmux.toml:2:8: the name of an admin token is empty"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = timeout(LONG, serve(&folder, &configuration).output()).await;
        let output = output.unwrap_or_else(|_| panic!("it serves: {configuration}")).expect("llmux runs");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{configuration}\n{said}");
        assert!(!said.contains(&sha256("a-secret")), "{said}");
    }
}

#[tokio::test]
async fn a_listener_that_others_reach_asks_for_tokens_always() {
    let folder = tempfile::tempdir().expect("a folder");
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"] {
        let configuration = format!("[server]\nadmin = \"{address}\"");
        let output = timeout(LONG, serve(&folder, &configuration).output()).await;
        let output = output.unwrap_or_else(|_| panic!("it serves: {configuration}")).expect("llmux runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{address}: {said}");
        assert!(said.contains("so it needs a token: add an [[admin_token]]"), "{address}: {said}");
    }
    // With one it is served, reading is not free, and no reload takes the last token away.
    let open = "[server]\nadmin = \"0.0.0.0:0\"\n";
    let server = Server::with(&format!("{open}{}", token("boss", "admin")), &[]).await;
    let (_, port) = server.admin.rsplit_once(':').expect("a port");
    let admin = format!("http://127.0.0.1:{port}");
    let reload = || http().post(format!("{admin}/admin/reload"));
    assert_eq!(error(http().get(format!("{admin}/admin/plugins"))).await.0, 401);
    assert_eq!(error(http().get(format!("{admin}/metrics"))).await.0, 401);
    write(&server, open);
    let (status, refused) = error(reload().bearer_auth("boss-secret")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("configuration_refused")), "{refused}");
    assert_eq!(error(http().get(format!("{admin}/admin/plugins"))).await.0, 401);
    write(&server, &format!("{open}{}", token("heir", "admin")));
    assert_eq!(read(reload().bearer_auth("boss-secret")).await.0, 200);
    assert_eq!(error(reload().bearer_auth("boss-secret")).await.0, 401, "it was taken away");
    assert_eq!(read(reload().bearer_auth("heir-secret")).await.0, 200);
}

#[tokio::test]
async fn a_client_key_that_is_exchanged_by_a_reload_is_refused_at_once_on_kept_connections_too() {
    let server = Server::with(&format!("{ECHO}{}", key("old")), &[]).await;
    let mut kept = server.connect().await;
    let mut ask = async |key: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n");
        kept.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        // Each answer is one JSON object after a head.
        while answer
            .split_once("\r\n\r\n")
            .is_none_or(|(_, body)| serde_json::from_str::<serde_json::Value>(body).is_err())
        {
            let mut bytes = Vec::new();
            let count = timeout(LONG, kept.read_buf(&mut bytes)).await.expect("in time").expect("read");
            assert!(count > 0, "it ended: {answer}");
            answer += &text(&bytes);
        }
        answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
    };
    assert_eq!((ask("old-secret").await, ask("new-secret").await), (200, 401));
    write(&server, &format!("{ECHO}{}", key("new")));
    assert_eq!(read(server.admin(Method::POST, "/admin/reload")).await.0, 200);
    assert_eq!((ask("old-secret").await, ask("new-secret").await), (401, 200));
    // A reload that is refused exchanges nothing.
    write(&server, &format!("{ECHO}{}[[plugin]]\nname = \"x\"\n", key("third")));
    assert_eq!(error(server.admin(Method::POST, "/admin/reload")).await.0, 422);
    assert_eq!((ask("third-secret").await, ask("new-secret").await), (401, 200));
}

#[tokio::test]
async fn the_audit_log_names_the_token_of_each_change() {
    let configuration =
        format!("{ECHO}{}{}{}", token("ann", "admin"), token("bob", "admin"), token("eve", "read"));
    let server = Server::with(&configuration, &[]).await;
    let url = format!("{}/admin/plugins", server.admin);
    let load = json!({"path": system_prompt(), "config": {"prompt": "Be brief."}});
    assert_eq!(read(http().post(&url).bearer_auth("ann-secret").json(&load)).await.0, 201);
    let refused = http().post(&url).bearer_auth("bob-secret").json(&load);
    assert_eq!(error(refused).await.0, 409);
    let reload = http().post(format!("{}/admin/reload", server.admin));
    assert_eq!(read(reload.bearer_auth("bob-secret")).await.0, 200);
    let one = format!("{url}/system-prompt");
    assert_eq!(error(http().delete(&one).bearer_auth("eve-secret")).await.0, 403);
    assert_eq!(read(http().delete(&one).bearer_auth("ann-secret")).await.0, 204);
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    let audit: Vec<_> = log.lines().filter(|line| line.contains("llmux::audit: ")).collect();
    let expected = [
        ("plugin loaded", "ann"),
        ("refused: an instance named `system-prompt` is there already", "bob"),
        ("configuration reloaded: nothing is different", "bob"),
        ("plugin unloaded", "ann"),
    ];
    assert_eq!(audit.len(), expected.len(), "{log}");
    for (line, (what, who)) in audit.iter().zip(expected) {
        assert!(line.contains(what) && line.contains(&format!("who=\"{who}\"")), "{what} by {who}: {line}");
    }
}
