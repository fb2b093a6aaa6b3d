//! Providers that fail: the answers to clients, the figures for operators, and reloads that keep connections.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api::sha256,
    support::{Server, error, http, read, send, text, until},
};

const CHAT: &str = "/v1/chat/completions";

const OK: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}"#;

fn refusal(status: u16) -> ScriptedResponse {
    ScriptedResponse::json(status, r#"{"error":{"message":"no","type":"t","code":"invalid_api_key"}}"#)
}

fn provider(name: &str, upstream: &ScriptedServer, rest: &str) -> String {
    format!(
        "[[provider]]\nname = \"{name}\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n{rest}\n",
        upstream.base_url()
    )
}

fn ask() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
}

#[tokio::test]
async fn f7_provider_list_shows_states_failures_failovers_and_latency() {
    let broken = ScriptedServer::start([refusal(401)]).await;
    let works = ScriptedServer::start(vec![ScriptedResponse::json(200, OK); 2]).await;
    let configuration =
        format!("{}{}", provider("east", &broken, "weight = 7"), provider("west", &works, "order = 2"));
    let server = Server::with(&configuration, &[]).await;
    for _ in 0..2 {
        assert_eq!(read(server.post(CHAT, &ask())).await.0, 200);
    }
    assert_eq!((broken.requests().len(), works.requests().len()), (1, 2), "east rests");

    let (status, list) = server.call("GET", "/admin/providers", None).await;
    let (east, west) = (&list["providers"][0], &list["providers"][1]);
    assert_eq!((status, &east["name"], &west["name"]), (200, &json!("east"), &json!("west")));
    let (east, west) = (&east["deployments"][0], &west["deployments"][0]);
    assert_eq!(
        (&east["state"], &east["tries"], &east["failovers"]),
        (&json!("resting"), &json!(1), &json!(1))
    );
    assert_eq!(east["failures"], json!({"authentication": 1}));
    assert_eq!(east["models"], json!([{"model": "m", "weight": 7, "order": 1}]));
    assert_eq!((&west["state"], &west["tries"]), (&json!("active"), &json!(2)));
    assert_eq!((&west["latency"]["count"], &west["in_flight"]), (&json!(2), &json!(0)));

    let shown = server.llmux(&["provider", "list", "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["providers"][0]["deployments"][0]["failures"], json!({"authentication": 1}));
    let table = server.llmux(&["provider", "list"]).await;
    assert!(table.status.success(), "{}", text(&table.stderr));
    let table = text(&table.stdout);
    let line = |of: &str| table.lines().find(|line| line.starts_with(of)).expect("a line").to_owned();
    assert!(line("PROVIDER").contains("FAILOVERS"), "{table}");
    assert!(line("east").contains("resting (") && line("east").contains("authentication 1"), "{table}");
    assert!(line("west").contains("active"), "{table}");

    let metrics = send(server.get("/metrics")).await.text().await.expect("text");
    assert!(
        metrics
            .contains("llmux_deployment_state{deployment=\"east/m\",provider=\"east\",state=\"resting\"} 1")
    );
    let log = server.stop().await;
    assert!(log.contains("WARN") && log.contains("provider `east` failed: no"), "{log}");
}

#[tokio::test]
async fn f6_a_client_can_tell_the_providers_401_from_its_own() {
    let upstream = ScriptedServer::start([refusal(401)]).await;
    let configuration = format!(
        "{}[[api_key]]\nid = \"a\"\nsha256 = \"{}\"\n",
        provider("east", &upstream, ""),
        sha256("secret")
    );
    let server = Server::with(&configuration, &[]).await;
    let (status, theirs) = error(server.post(CHAT, &ask()).bearer_auth("secret")).await;
    assert_eq!((status, &theirs["code"]), (502, &json!("provider_authentication")), "{theirs}");
    let (status, ours) = error(server.post(CHAT, &ask()).bearer_auth("wrong")).await;
    assert_eq!((status, &ours["code"]), (401, &json!("invalid_api_key")));
}

#[tokio::test]
async fn requests_in_flight_are_bounded_until_the_end_of_their_streams() {
    let chunk = r#"data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let open = || ScriptedResponse::sse([format!("{chunk}\n\n")]).then_hang();
    let upstream = ScriptedServer::start(vec![open(), open()]).await;
    let key = |id: &str| format!("[[api_key]]\nid = \"{id}\"\nsha256 = \"{}\"\n", sha256(id));
    let configuration = format!(
        "[server]\nmax_inflight_requests = 2\nmax_inflight_requests_per_key = 1\n{}{}{}",
        provider("east", &upstream, ""),
        key("a"),
        key("b")
    );
    let server = Server::with(&configuration, &[]).await;
    let mut streamed = ask();
    streamed["stream"] = json!(true);
    let stream = async |key: &str| {
        let response = send(server.post(CHAT, &streamed).bearer_auth(key)).await;
        assert_eq!(response.status(), 200);
        response
    };
    let first = stream("a").await;
    let refused = send(server.post(CHAT, &ask()).bearer_auth("a")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1".parse().expect("a value"))
    );
    let (_, refused) = error(server.post(CHAT, &ask()).bearer_auth("a")).await;
    assert_eq!(refused["code"], "too_many_requests_of_key");
    let _second = stream("b").await;
    let (status, refused) = error(server.post(CHAT, &ask()).bearer_auth("b")).await;
    assert_eq!((status, &refused["code"]), (503, &json!("too_many_requests")));
    let stored = http().get(format!("{}/v1/responses/resp_x", server.api)).bearer_auth("b");
    assert_eq!(error(stored).await.0, 503, "a request for a stored response needs a place, too");
    let metrics = send(server.get("/metrics").bearer_auth("a")).await.text().await.expect("text");
    for (reason, count) in [("too_many_requests_of_key", 2), ("too_many_requests", 2)] {
        let line = format!("llmux_listener_refusals_total{{listener=\"main\",reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    upstream.push(ScriptedResponse::json(200, OK));
    drop(first);
    until("the place is free", async || read(server.post(CHAT, &ask()).bearer_auth("a")).await.0 == 200)
        .await;
}

#[tokio::test]
async fn a_reload_keeps_connections_and_figures_until_a_setting_or_a_key_changes() {
    let upstream = ScriptedServer::start(vec![ScriptedResponse::json(200, OK); 5]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-first-key").expect("written");
    let of = |rest: &str| provider("east", &upstream, &format!("api_key_file = {key:?}\n{rest}"));
    let server = Server::with(&of(""), &[]).await;
    let asked = async || assert_eq!(read(server.post(CHAT, &ask())).await.0, 200);
    let reload = async || {
        let (status, answer) = read(server.admin(Method::POST, "/admin/reload")).await;
        assert_eq!(status, 200, "{answer}");
        answer["changed"].clone()
    };
    let tries = async || {
        let (_, list) = server.call("GET", "/admin/providers", None).await;
        list["providers"][0]["deployments"][0]["tries"].clone()
    };
    asked().await;
    assert_eq!(reload().await, json!([]));
    asked().await;
    server.configure(&of("weight = 3"));
    let changed = json!([{"what": "provider", "name": "east", "change": "changed", "members": ["weight"]}]);
    assert_eq!(reload().await, changed);
    asked().await;
    assert_eq!(
        (upstream.connections(), tries().await),
        (1, json!(3)),
        "nothing that a connection depends on"
    );

    std::fs::write(&key, "sk-second-key").expect("written");
    let changed =
        json!([{"what": "provider", "name": "east", "change": "changed", "members": ["api_key_file"]}]);
    assert_eq!(reload().await, changed);
    asked().await;
    assert_eq!((upstream.connections(), tries().await), (2, json!(1)));
    let sent = upstream.requests();
    assert_eq!(sent[2].header("authorization"), Some("Bearer sk-first-key"));
    assert_eq!(sent[3].header("authorization"), Some("Bearer sk-second-key"));
}
