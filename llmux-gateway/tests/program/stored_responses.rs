//! Stored responses: their ids belong to the client's key, and lead to the deployment that has the response.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::{Value, json};

use super::api::sha256;
use crate::support::{Server, error, http, read, send};

const RESPONSES: &str = "/v1/responses";

fn configuration(east: &ScriptedServer, west: &ScriptedServer) -> String {
    let provider = |name: &str, upstream: &ScriptedServer, models: &str| {
        let url = upstream.base_url();
        format!(
            "[[provider]]\nname = \"{name}\"\ntype = \"openai\"\nmodels = [{models}]\nbase_url = \"{url}\"\n"
        )
    };
    let key =
        |id: &str| format!("[[api_key]]\nid = \"{id}\"\nsha256 = \"{}\"\n", sha256(&format!("sk-{id}")));
    let providers = [
        provider("east", east, "\"m\", \"only-east\""),
        provider("west", west, "{ name = \"m\", upstream = \"m-west\" }, \"n\""),
    ];
    format!("[retry]\nmax_retries = 0\n{}{}{}", providers.concat(), key("ann"), key("bob"))
}

fn response(id: &str, previous: Option<&str>) -> String {
    json!({"id": id, "object": "response", "status": "completed", "previous_response_id": previous, "output": []})
        .to_string()
}

/// Starts a server whose first request was answered by `west`. Returns also the id that the client received.
async fn begun() -> (ScriptedServer, ScriptedServer, Server, String) {
    let fails = ScriptedResponse::json(503, r#"{"error":{"message":"down"}}"#);
    let east = ScriptedServer::start([fails]).await;
    let west = ScriptedServer::start([ScriptedResponse::json(200, response("resp_w", None))]).await;
    let server = Server::with(&configuration(&east, &west), &[]).await;
    let body = json!({"model": "m", "input": "hi"});
    let (status, first) = read(server.post(RESPONSES, &body).bearer_auth("sk-ann")).await;
    assert_eq!(status, 200, "{first}");
    let id = first["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("resp_") && id != "resp_w" && first["previous_response_id"].is_null(), "{first}");
    (east, west, server, id)
}

#[tokio::test]
async fn f11_a_response_is_continued_where_it_is_stored() {
    let (east, west, server, id) = begun().await;
    for (model, sent) in [("m", "m-west"), ("n", "n"), ("only-east", "m-west")] {
        west.push(ScriptedResponse::json(200, response("resp_2", Some("resp_w"))));
        let body = json!({"model": model, "input": "go on", "previous_response_id": id});
        let (status, second) = read(server.post(RESPONSES, &body).bearer_auth("sk-ann")).await;
        assert_eq!((status, &second["previous_response_id"]), (200, &json!(id)), "{second}");
        let request = west.requests().pop().expect("a request");
        let arrived: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(arrived["previous_response_id"], "resp_w", "{arrived}");
        assert_eq!(arrived["model"], sent, "{model}");
    }
    assert_eq!(east.requests().len(), 1, "only the first request");
    for (key, id) in [("bob", &*id), ("ann", "resp_w"), ("ann", "resp_AAAA")] {
        let body = json!({"model": "m", "input": "go on", "previous_response_id": id});
        let (status, unknown) = error(server.post(RESPONSES, &body).bearer_auth(format!("sk-{key}"))).await;
        assert_eq!((status, &unknown["code"]), (404, &json!("previous_response_not_found")), "{key} {id}");
    }
    assert_eq!(west.requests().len(), 4, "a refused request reaches no provider");
}

#[tokio::test]
async fn f11_a_response_is_retrieved_cancelled_and_deleted_where_it_is_stored() {
    let (east, west, server, id) = begun().await;
    let gone = r#"{"error":{"message":"gone","type":"invalid_request_error","param":null,"code":null}}"#;
    let url = format!("{}{RESPONSES}/{id}", server.api);
    for (request, line, answer) in [
        (
            http().get(format!("{url}?include=x")),
            "GET /v1/responses/resp_w?include=x",
            response("resp_w", None),
        ),
        (http().post(format!("{url}/cancel")), "POST /v1/responses/resp_w/cancel", response("resp_w", None)),
        (
            http().delete(&url),
            "DELETE /v1/responses/resp_w",
            r#"{"id":"resp_w","object":"response","deleted":true}"#.to_owned(),
        ),
    ] {
        west.push(ScriptedResponse::json(200, answer));
        let (status, answered) = read(request.bearer_auth("sk-ann")).await;
        assert_eq!((status, &answered["id"]), (200, &json!(id)), "{answered}");
        let arrived = west.requests().pop().expect("a request");
        assert_eq!(
            (format!("{} {}", arrived.method, arrived.path), arrived.body.len()),
            (line.to_owned(), 0)
        );
        assert_eq!(arrived.header("content-type"), None);
    }
    west.push(ScriptedResponse::json(404, gone));
    let (status, unknown) = error(http().get(&url).bearer_auth("sk-ann")).await;
    assert_eq!((status, &unknown["message"]), (404, &json!("gone")), "the provider's own 404");
    assert_eq!((east.requests().len(), west.requests().len()), (1, 5));
    let forged = format!("{}{RESPONSES}/{id}x", server.api);
    let raw = format!("{}{RESPONSES}/resp_w", server.api);
    for (url, key) in [(&url, "sk-bob"), (&forged, "sk-ann"), (&raw, "sk-ann")] {
        for request in [http().get(url), http().delete(url), http().post(format!("{url}/cancel"))] {
            let (status, unknown) = error(request.bearer_auth(key)).await;
            assert_eq!((status, &unknown["type"]), (404, &json!("invalid_request_error")), "{url} {key}");
        }
    }
    assert_eq!(west.requests().len(), 5, "a refused request reaches no provider");
    let streams = http().get(format!("{url}?stream=true")).bearer_auth("sk-ann");
    assert_eq!(error(streams).await.0, 400);
    assert_eq!(error(http().put(&url).bearer_auth("sk-ann")).await.0, 405);
    assert_eq!(error(http().get(&url)).await.0, 401);
}

#[tokio::test]
async fn f11_the_ids_in_the_events_of_a_stream_are_known() {
    let (_east, west, server, id) = begun().await;
    let event = |kind: &str| {
        let response: Value = serde_json::from_str(&response("resp_s", Some("resp_w"))).expect("JSON");
        format!("event: {kind}\ndata: {}\n\n", json!({"type": kind, "response": response}))
    };
    let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"delta\":\"hi\"}\n\n";
    west.push(ScriptedResponse::sse([
        event("response.created"),
        delta.to_owned(),
        event("response.completed"),
    ]));
    let body = json!({"model": "m", "input": "hi", "stream": true, "previous_response_id": id});
    let text = send(server.post(RESPONSES, &body).bearer_auth("sk-ann")).await.text().await.expect("text");
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).expect("JSON")).collect();
    assert_eq!((events.len(), &events[1]["item_id"]), (3, &json!("msg_1")), "{text}");
    assert_eq!(events[0]["response"], events[2]["response"]);
    assert_eq!(events[0]["response"]["previous_response_id"], json!(id));
    let streamed = events[0]["response"]["id"].as_str().expect("an id");
    west.push(ScriptedResponse::json(200, response("resp_s", None)));
    let request = http().get(format!("{}{RESPONSES}/{streamed}", server.api));
    assert_eq!(read(request.bearer_auth("sk-ann")).await.0, 200);
    assert_eq!(west.requests().pop().expect("a request").path, "/v1/responses/resp_s");
}

#[tokio::test]
async fn f11_hosts_with_one_secret_know_each_others_ids() {
    let east = ScriptedServer::start([ScriptedResponse::json(200, response("resp_e", None))]).await;
    let west = ScriptedServer::start([]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    let setting = format!("[server]\nresponse_id_secret = {{ file = {secret:?} }}\n");
    let configuration = setting + &configuration(&east, &west);
    std::fs::write(&secret, "too short").expect("written");
    let refused = crate::support::serve(&folder, &configuration).output().await.expect("it ends");
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("`response_id_secret` has fewer than 32 bytes"), "{refused}");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").expect("written");
    let (one, two) = (Server::with(&configuration, &[]).await, Server::with(&configuration, &[]).await);
    let body = json!({"model": "m", "input": "hi"});
    let (_, first) = read(one.post(RESPONSES, &body).bearer_auth("sk-ann")).await;
    east.push(ScriptedResponse::json(200, response("resp_e", None)));
    let url = format!("{}{RESPONSES}/{}", two.api, first["id"].as_str().expect("an id"));
    let (status, again) = read(http().get(url).bearer_auth("sk-ann")).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
}
