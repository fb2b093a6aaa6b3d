//! The doors' keys: the local token and configured ones take each other's place by a reload of the configuration, and
//! what nobody should send is refused and not logged.

use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::json;

use crate::{
    api::sha256,
    support::{Server, error, http, read, text},
};

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n";

fn boss() -> String {
    format!("[[admin_token]]\nname = \"boss\"\nsha256 = \"{}\"\nrole = \"admin\"\n", sha256("boss-secret"))
}

fn write(server: &Server, configuration: &str) {
    std::fs::write(server.folder.path().join("llmux.toml"), configuration).expect("written");
}

/// The status of a reload with this token, and of reading without any.
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

    write(&server, &format!("{ECHO}{}", boss()));
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
