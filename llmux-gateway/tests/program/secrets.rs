//! Places in which secrets must not appear: the log at its most verbose level (with the records of every dependency),
//! answers, metrics, the list of processes, requests to a provider, data that a plugin sees.

use std::fs::read_to_string;

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::{Value, json};

use crate::{
    api::sha256,
    support::{Server, http, read, send, serve, system_prompt},
};

/// Text that every secret contains. The end of each secret names it.
const MARK: &str = "hush-hush";

/// Returns the secret `hush-hush-NAME`.
fn secret(name: &str) -> String {
    format!("{MARK}-{name}")
}

/// Asserts that a text contains no secret.
#[track_caller]
fn nothing_in(what: &str, text: &str) {
    let at = text.find(MARK);
    assert!(
        at.is_none(),
        "{what} holds {}",
        &text[at.unwrap_or_default()..].lines().next().unwrap_or_default()
    );
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level_nor_answered_measured_shown_or_passed_on() {
    let answer = json!({"id": "1", "object": "chat.completion", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]});
    let refusal = json!({"error": {"message": format!("wrong key {}", secret("provider")), "type": "auth"}});
    let upstream = ScriptedServer::start([
        ScriptedResponse::json(200, answer.to_string()),
        ScriptedResponse::json(401, refusal.to_string()),
    ])
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = format!(
        "[[api_key]]\nid = \"me\"\nsha256 = \"{}\"\n[[admin_token]]\nname = \"boss\"\nsha256 = \"{}\"\nrole = \"admin\"\n\
         [[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n\
         api_key_env = \"LLMUX_TEST_KEY\"\nheaders = {{ x-extra = \"{}\" }}\n\
         [[plugin]]\nname = \"configured\"\npath = {:?}\nconfig = {{ prompt = \"{}\" }}\n",
        sha256(&secret("client")),
        sha256(&secret("admin")),
        upstream.base_url(),
        secret("header"),
        system_prompt(),
        secret("prompt"),
    );
    let mut command = serve(&folder, &configuration);
    command.env("LLMUX_TEST_KEY", secret("provider")).env("RUST_LOG", "trace").args(["--log-format", "json"]);
    let server = Server::of(command, folder).await;

    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    for status in [200, 502] {
        let chat = server.post("/v1/chat/completions", &body).bearer_auth(secret("client"));
        let (found, answer) = read(chat.header("cookie", secret("cookie"))).await;
        assert_eq!(found, status, "{answer}");
        nothing_in("an answer", &answer.to_string());
    }
    for request in upstream.requests() {
        assert_eq!(request.header("authorization"), Some(&*format!("Bearer {}", secret("provider"))));
        for (name, value) in &request.headers {
            assert!(
                !value.contains("client") && !value.contains("cookie"),
                "{name}: {value} is the client's"
            );
        }
    }
    // Both listeners, both protocols, the right secret and wrong ones, wherever somebody may put one.
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().expect("a client");
    let one = format!("{}/admin/plugins/configured", server.admin);
    let config = json!({"config": {"prompt": secret("patched")}});
    for client in [http(), &http2] {
        for (name, expected) in [("admin", 200), ("wrong", 401)] {
            let patch = client.patch(&one).bearer_auth(secret(name)).json(&config);
            assert_eq!(read(patch).await.0, expected, "{name}");
            let list = client.get(format!("{}/admin/plugins", server.admin)).bearer_auth(secret(name));
            let (status, list) = read(list).await;
            assert_eq!(status, expected, "{name}");
            nothing_in("the list", &list.to_string());
        }
        let broken = json!({"config": {"prompt": [secret("misplaced")]}});
        let (status, refused) = read(client.patch(&one).bearer_auth(secret("admin")).json(&broken)).await;
        assert_eq!(status, 422);
        nothing_in("a refusal", &refused.to_string());
        for (name, header, expected) in [
            ("wrong", "authorization", 401),
            ("wrong", "x-api-key", 401),
            ("client", "x-api-key", 200),
            ("client", "api-key", 200),
            ("client", "x-goog-api-key", 401),
        ] {
            let request = client.get(format!("{}/v1/models?api_key={}", server.api, secret("query")));
            let (status, answer) = read(request.header(header, secret(name))).await;
            assert_eq!(status, expected, "{name} in {header}");
            nothing_in("an answer", &answer.to_string());
        }
        let basic = client.post(&one).basic_auth("boss", Some(secret("admin"))).json(&config);
        assert_eq!(read(basic).await.0, 401);
        let query = client.post(format!("{one}?token={}", secret("query"))).json(&config);
        assert_eq!(read(query).await.0, 403);
    }
    for (base, token) in [(&server.api, "client"), (&server.admin, "admin")] {
        let metrics = send(http().get(format!("{base}/metrics")).bearer_auth(secret(token))).await;
        assert_eq!(metrics.status(), 200);
        nothing_in("the metrics", &metrics.text().await.expect("text"));
    }
    #[cfg(target_os = "linux")]
    {
        let id = server.child.id().expect("running");
        nothing_in(
            "the list of processes",
            &read_to_string(format!("/proc/{id}/cmdline")).expect("readable"),
        );
    }
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    for target in ["llmux", "hyper", "hyper_util::client", "h2"] {
        let said = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            event["target"].as_str().is_some_and(|it| it.starts_with(target))
        };
        assert!(log.lines().any(said), "the log is not as loud as it can be: {target} says nothing");
    }
    nothing_in("the log", &log);
    assert!(!log.contains("log lines were dropped"), "not all of the log was looked at");
}

#[tokio::test]
async fn the_command_line_takes_and_repeats_no_secret_of_a_url() {
    let server = Server::start().await;
    let admin = server.admin.replace("http://", &format!("http://boss:{}@", secret("password")));
    let said = server.llmux(&["plugin", "list", "--admin", &admin]).await;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("--admin holds a user or a password; put a token into LLMUX_ADMIN_TOKEN"),
        "{said}"
    );
    nothing_in("the refusal", &said);
    let file = server.folder.path().join("token");
    for content in [secret("one\nline"), secret("\u{e9}")] {
        std::fs::write(&file, content).expect("written");
        let said = server.llmux(&["plugin", "unload", "x", "--token-file", &file.to_string_lossy()]).await;
        assert!(!said.status.success());
        nothing_in("the refusal", &String::from_utf8_lossy(&said.stderr));
    }
    // The other file of a pair of keys, taken for the public one.
    std::fs::write(&file, format!("untrusted comment: minisign encrypted secret key\n{}\n", secret("key")))
        .expect("written");
    let said = server.llmux(&["plugin", "verify", "x.so", "--key", &file.to_string_lossy()]).await;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("no minisign public key"), "{said}");
    nothing_in("the refusal", &said);
    let help = server.llmux(&["plugin", "list", "--help"]).await;
    assert!(
        !String::from_utf8_lossy(&help.stdout).contains("--token "),
        "a token on a command line is everybody's"
    );
}
