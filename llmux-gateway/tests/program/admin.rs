//! The admin API: it loads, changes and unloads plugins, and refuses callers without the right to change them.

use reqwest::Method;
use serde_json::json;

use crate::{
    api::sha256,
    support::{LONG, Server, error, http, llmux, read, system_prompt, text},
};

const PLUGINS: &str = "/admin/plugins";

#[tokio::test]
async fn a_library_acts_while_it_is_loaded_and_not_after() {
    let server = Server::start().await;
    let load = json!({"path": system_prompt(), "config": {"prompt": "Be brief."}, "priority": 7});
    let (status, info) = read(server.admin(Method::POST, PLUGINS).json(&load)).await;
    assert_eq!(status, 201, "{info}");
    assert_eq!(info["name"], "system-prompt");
    assert_eq!((&info["priority"], &info["generation"]), (&json!(7), &json!(1)));
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Be brief.");

    let one = "/admin/plugins/system-prompt";
    let (status, _) = read(server.admin(Method::POST, &format!("{one}/disable"))).await;
    assert_eq!(status, 200);
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Hello");
    read(server.admin(Method::POST, &format!("{one}/enable"))).await;
    let change = json!({"config": {"prompt": "Be long."}, "priority": 9});
    let (status, info) = read(server.admin(Method::PATCH, one).json(&change)).await;
    assert_eq!((status, &info["priority"]), (200, &json!(9)), "{info}");
    let (status, info) = read(server.admin(Method::POST, &format!("{one}/reload"))).await;
    assert_eq!((status, &info["generation"]), (200, &json!(2)), "{info}");
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Be long.");

    let (status, list) = read(http().get(format!("{}{PLUGINS}", server.admin))).await;
    assert_eq!((status, &list["plugins"][0]["state"]), (200, &json!("active")));
    assert_eq!(list["plugins"][0]["kind"], "library");
    assert_eq!(read(server.admin(Method::DELETE, one)).await, (204, json!(null)));
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Hello");
    assert_eq!(error(server.admin(Method::DELETE, one)).await.0, 404);
}

#[tokio::test]
async fn d3_a_refused_change_names_its_cause_and_leaves_the_pipeline_as_it_was() {
    let server = Server::with("[pipeline]\nmax_plugins = 2", &[]).await;
    let good = json!({"path": system_prompt(), "config": {"prompt": "one"}});
    let (status, _) = read(server.admin(Method::POST, PLUGINS).json(&good)).await;
    assert_eq!(status, 201);
    let no_plugin = env!("CARGO_BIN_EXE_llmux");
    let cases = [
        (good.clone(), 409, "duplicate_plugin"),
        (json!({"path": system_prompt(), "name": "b", "config": {"prompt": 5}}), 422, "invalid_config"),
        (json!({"path": system_prompt(), "name": "b", "sha256": "00"}), 422, "wrong_checksum"),
        (json!({"path": "/nowhere/lib.so"}), 422, "unreadable"),
        (json!({"path": "/"}), 422, "not_a_file"),
        (json!({"path": no_plugin}), 422, "no_manifest"),
        (json!({"path": "lib.so"}), 422, "invalid_path"),
        (json!({"plugin": "nobody"}), 404, "unknown_plugin"),
        (json!({"name": "b"}), 422, "invalid_body"),
        (json!({"path": system_prompt(), "name": "No Name"}), 422, "invalid_name"),
        (json!({"path": system_prompt(), "nmae": "b"}), 400, "invalid_body"),
    ];
    for (body, status, code) in cases {
        let (found, refused) = error(server.admin(Method::POST, PLUGINS).json(&body)).await;
        assert_eq!((found, &refused["code"]), (status, &json!(code)), "{body}: {refused}");
    }
    let another = json!({"path": system_prompt(), "name": "b", "config": {"prompt": "two"}});
    assert_eq!(read(server.admin(Method::POST, PLUGINS).json(&another)).await.0, 201);
    let third = json!({"path": system_prompt(), "name": "c", "config": {"prompt": "three"}});
    let (status, refused) = error(server.admin(Method::POST, PLUGINS).json(&third)).await;
    assert_eq!((status, &refused["code"]), (409, &json!("too_many_plugins")));
    assert_eq!(server.upstream_body().await["messages"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn changes_need_the_token_and_web_pages_are_kept_out() {
    let server = Server::start().await;
    let url = format!("{}{PLUGINS}", server.admin);
    let load = json!({"path": system_prompt()});
    assert_eq!(error(http().post(&url).json(&load)).await.0, 401);
    assert_eq!(error(http().post(&url).bearer_auth("guess-me").json(&load)).await.0, 401);
    assert_eq!(error(http().delete(format!("{url}/x"))).await.0, 401);
    assert_eq!(read(http().get(&url)).await.0, 200, "reading is free");
    assert_eq!(error(http().get(&url).header("host", "evil.example:8081")).await.0, 403);
    assert_eq!(error(http().get(&url).header("origin", "http://127.0.0.1")).await.0, 403);
    assert_eq!(error(http().get(format!("{url}?token=guess-me"))).await.0, 403);
    let form =
        server.admin(Method::POST, PLUGINS).header("content-type", "text/plain").body(load.to_string());
    assert_eq!(error(form).await.0, 415);
    assert_eq!(error(server.admin(Method::PUT, PLUGINS).json(&load)).await.0, 405);
    assert_eq!(error(server.admin(Method::GET, "/admin/nothing")).await.0, 404);
    server.signal("-TERM").await;
    let token = std::fs::read_to_string(server.token_file());
    let (_, log) = server.end().await;
    assert!(log.contains("the admin API refused"), "{log}");
    assert!(!log.contains("guess-me"), "{log}");
    assert!(token.map_or(true, |token| !log.contains(&token)), "{log}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_local_token_is_its_users_alone_and_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start().await;
    let file = server.token_file();
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a folder")), 0o700);
    assert_eq!(std::fs::read_to_string(&file).expect("a token").len(), 64);

    // A folder that others reach is not trusted, by neither side.
    std::fs::set_permissions(file.parent().expect("a folder"), PermissionsExt::from_mode(0o755))
        .expect("set");
    let refused = server.llmux(&["plugin", "unload", "x"]).await;
    assert!(text(&refused.stderr).contains("other users can access it"), "{}", text(&refused.stderr));
    let folder = server.folder.path().to_owned();
    let mut other = llmux(&folder);
    other.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let other = tokio::time::timeout(LONG, other.output()).await.expect("it is refused").expect("llmux runs");
    assert!(text(&other.stderr).contains("other users can access it"), "{}", text(&other.stderr));
    std::fs::set_permissions(file.parent().expect("a folder"), PermissionsExt::from_mode(0o700))
        .expect("set");

    let mut child = server;
    child.signal("-INT").await;
    child.child.wait().await.expect("ended");
    assert!(!file.exists());
}

#[tokio::test]
async fn configured_tokens_have_roles_and_are_asked_for_reading_too() {
    let token = |name: &str, role: &str| {
        format!("[[admin_token]]\nname = \"{name}\"\nsha256 = \"{}\"\nrole = \"{role}\"\n", sha256(name))
    };
    let server = Server::with(&(token("reader", "read") + &token("boss", "admin")), &[]).await;
    assert!(!server.token_file().exists());
    let url = format!("{}{PLUGINS}", server.admin);
    assert_eq!(error(http().get(&url)).await.0, 401);
    assert_eq!(error(http().get(&url).bearer_auth("nobody")).await.0, 401);
    assert_eq!(read(http().get(&url).bearer_auth("reader")).await.0, 200);
    let (status, refused) = error(http().delete(format!("{url}/x")).bearer_auth("reader")).await;
    assert_eq!((status, &refused["code"]), (403, &json!("read_only_token")));
    assert_eq!(error(http().delete(format!("{url}/x")).bearer_auth("boss")).await.0, 404);

    let refused = server.llmux(&["plugin", "list"]).await;
    assert!(text(&refused.stderr).contains("LLMUX_ADMIN_TOKEN"), "{}", text(&refused.stderr));
    let file = server.folder.path().join("token");
    std::fs::write(&file, "reader\n").expect("written");
    let list = server.llmux(&["plugin", "list", "--token-file", &file.to_string_lossy()]).await;
    assert!(list.status.success(), "{}", text(&list.stderr));
}

#[tokio::test]
async fn d5_an_unload_answers_draining_while_a_stream_still_uses_the_instance() {
    let configuration = "[plugins]\ndrain_timeout = \"50ms\"\n[[provider]]\nname = \"slow\"\ntype = \"echo\"\nmodels = [\"slow\", \"echo-request\"]\nchunk_delay = \"100ms\"";
    let server = Server::with(configuration, &[]).await;
    let load = json!({"path": system_prompt(), "config": {"prompt": "Be brief."}});
    assert_eq!(read(server.admin(Method::POST, PLUGINS).json(&load)).await.0, 201);
    let body =
        json!({"model": "slow", "stream": true, "messages": [{"role": "user", "content": "a b c d e f"}]});
    let mut stream = server.post("/v1/chat/completions", &body).send().await.expect("an answer");
    stream.chunk().await.expect("a chunk");

    let one = "/admin/plugins/system-prompt";
    assert_eq!(read(server.admin(Method::DELETE, one)).await, (202, json!({"state": "draining"})));
    let (_, list) = read(http().get(format!("{}{PLUGINS}", server.admin))).await;
    assert_eq!(list["plugins"][0]["state"], "draining");
    assert_eq!(server.upstream_body().await["messages"][0]["content"], "Hello", "out for new requests");
    assert!(stream.text().await.expect("the rest").ends_with("data: [DONE]\n\n"));
    for _ in 0..200 {
        let (_, list) = read(http().get(format!("{}{PLUGINS}", server.admin))).await;
        if list["plugins"] == json!([]) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never went");
}
