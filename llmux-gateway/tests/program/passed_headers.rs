//! Headers that pass between a client and a provider, as the configuration names them (rule F9).

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::json;
use tempfile::tempdir;

use crate::support::{Server, read, send, serve};

const CHAT: &str = "/v1/chat/completions";

fn configuration(upstream: &ScriptedServer, more: &str) -> String {
    format!(
        "[retry]\nmax_retries = 0\n[[provider]]\nname = \"up\"\ntype = \"openai\"\nmodels = [\"m\"]\nbase_url = \"{}\"\n{more}\n",
        upstream.base_url()
    )
}

#[tokio::test]
async fn f9_configured_headers_reach_the_provider_and_the_client() {
    let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let quota = |answer: ScriptedResponse| {
        answer
            .header("x-ratelimit-remaining-requests", "99")
            .header("x-request-id", "req_1")
            .header("set-cookie", "a=b")
            .header("retry-after", "9")
            .header("retry-after-ms", "8500")
    };
    let upstream = ScriptedServer::start([
        quota(ScriptedResponse::json(200, r#"{"id":"x","choices":[]}"#)),
        quota(ScriptedResponse::sse([chunk])),
        quota(ScriptedResponse::json(429, r#"{"error":{"message":"slow down"}}"#)),
    ])
    .await;
    let server = Server::with(&configuration(&upstream, "forward_headers = [\"openai-beta\"]"), &[]).await;
    for (stream, status) in [(false, 200), (true, 200), (false, 429)] {
        let body = json!({"model": "m", "messages": [], "stream": stream});
        let request = server.post(CHAT, &body).header("openai-beta", "b").header("tracestate", "t=1");
        let answer = send(request.header("x-request-id", "mine")).await;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(answer.status(), status);
        assert_eq!(header("x-ratelimit-remaining-requests"), Some("99"), "{stream} {status}");
        assert_eq!(header("x-upstream-request-id"), Some("req_1"), "{stream} {status}");
        assert_eq!(header("retry-after-ms"), Some("8500"), "{stream} {status}");
        assert_eq!(header("x-request-id"), Some("mine"), "the host's own");
        assert_eq!(header("retry-after"), (status == 429).then_some("9"), "the host's own");
        assert_eq!(header("set-cookie"), None);
        answer.bytes().await.expect("a body");
    }
    for sent in upstream.requests() {
        assert_eq!((sent.header("openai-beta"), sent.header("tracestate")), (Some("b"), Some("t=1")));
    }
    let off = configuration(&upstream, "forward_trace = false\nreturn_headers = []");
    assert_eq!(server.reconfigure(&off).await, 200);
    upstream.push(quota(ScriptedResponse::json(200, r#"{"id":"x","choices":[]}"#)));
    let request = server.post(CHAT, &json!({"model": "m", "messages": []})).header("tracestate", "t=1");
    let answer = send(request).await;
    assert_eq!(answer.headers().get("x-ratelimit-remaining-requests"), None);
    assert_eq!(upstream.requests().last().expect("a request").header("tracestate"), None);
    assert_eq!(read(server.get("/healthz")).await.0, 200);
}

#[tokio::test]
async fn f9_a_reserved_header_in_a_list_is_refused_at_the_start() {
    let upstream = ScriptedServer::start([]).await;
    for (list, name) in [
        ("forward_headers", "Authorization"),
        ("forward_headers", "transfer-encoding"),
        ("return_headers", "set-cookie"),
        ("return_headers", "access-control-allow-origin"),
    ] {
        let folder = tempdir().expect("a folder");
        let configuration = configuration(&upstream, &format!("{list} = [\"{name}\"]"));
        let output = serve(&folder, &configuration).output().await.expect("it ends");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("the header `{name}` in `{list}` of provider `up` is reserved");
        assert!(!output.status.success() && error.contains(&expected), "{error}");
    }
}
