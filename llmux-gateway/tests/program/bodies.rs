//! Bodies of requests: compressed ones, and those of requests that are refused before their end.

use async_compression::futures::bufread::{GzipEncoder, ZstdEncoder};
use futures_util::AsyncReadExt;
use llmux_testing::{ScriptedResponse, ScriptedServer};
use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    api::sha256,
    support::{Server, error, http, send},
};

const CHAT: &str = "/v1/chat/completions";

/// Returns a text in gzip and in zstd.
async fn compressed(text: &str) -> [(&'static str, Vec<u8>); 2] {
    let (mut gzip, mut zstd) = (Vec::new(), Vec::new());
    GzipEncoder::new(text.as_bytes()).read_to_end(&mut gzip).await.expect("compressed");
    ZstdEncoder::new(text.as_bytes()).read_to_end(&mut zstd).await.expect("compressed");
    [("gzip", gzip), ("zstd", zstd)]
}

#[tokio::test]
async fn a_compressed_request_goes_to_the_provider_as_plain_json() {
    let upstream = ScriptedServer::start([(); 2].map(|()| ScriptedResponse::json(200, "{}"))).await;
    let provider = format!(
        "[[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n",
        upstream.base_url()
    );
    let server = Server::with(&format!("[server]\nmax_body_bytes = 100000\n{provider}"), &[]).await;
    let post = |encoding: &str, body: Vec<u8>| {
        let request = http().post(format!("{}{CHAT}", server.api)).body(body);
        request.header("content-type", "application/json").header("content-encoding", encoding)
    };
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    for (encoding, sent) in compressed(&body.to_string()).await {
        assert_eq!(send(post(encoding, sent)).await.status(), 200, "{encoding}");
    }
    for request in upstream.requests() {
        let received: Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!((&received, request.header("content-encoding")), (&body, None));
    }
    for (encoding, bomb) in compressed(&" ".repeat(10_000_000)).await {
        let (status, refused) = error(post(encoding, bomb)).await;
        assert_eq!((status, &refused["code"]), (413, &json!("request_too_large")), "{encoding}");
        assert_eq!(error(post(encoding, b"{}".to_vec())).await.0, 400, "{encoding}");
    }
    let refused = send(post("br", b"{}".to_vec())).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()[header::ACCEPT_ENCODING]),
        (415, &"gzip, zstd".parse().expect("a header"))
    );
}

#[tokio::test]
async fn a_refusal_arrives_although_the_client_is_still_writing() {
    let key = format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"));
    let server = Server::with(&key, &[]).await;
    let (json, form) = ("application/json", "multipart/form-data; boundary=b");
    for (method, path, kind, secret, expected) in [
        (Method::POST, "/v1/audio/transcriptions", form, "shop-secret", 404),
        (Method::POST, "/v1/files", form, "shop-secret", 404),
        (Method::PUT, CHAT, json, "shop-secret", 405),
        (Method::POST, "/v1/models", json, "shop-secret", 405),
        (Method::POST, CHAT, form, "shop-secret", 415),
        (Method::POST, CHAT, json, "shop-secret", 400),
        (Method::POST, CHAT, json, "wrong", 401),
        (Method::POST, "/v1/files", form, "wrong", 401),
    ] {
        for to_admin in [false, true] {
            let expected = if to_admin { 401 } else { expected };
            let url = if to_admin { &server.admin } else { &server.api };
            let request = http().request(method.clone(), format!("{url}{path}")).bearer_auth(secret);
            // More than the buffers of two sockets hold.
            let request = request.header("content-type", kind).body(vec![b'x'; 16 << 20]);
            assert_eq!(error(request).await.0, expected, "{method} {path} of {kind} with {secret}");
        }
    }
}
