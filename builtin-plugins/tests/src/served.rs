//! The upstream over HTTP, for a host in a process of its own.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt, stream};
use llmux_core::{
    Endpoint, Error,
    provider::{Call, Provider},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::Upstream;

/// The upstream on a free port. It ends when the value is dropped.
pub(crate) struct Served {
    address: std::net::SocketAddr,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(upstream: Arc<Upstream>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(upstream);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { address, serving }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete(State(upstream): State<Arc<Upstream>>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).expect("a host sends JSON");
    let call = Call::new(Endpoint::ChatCompletions, body, "r");
    if asked["stream"] != true {
        return match upstream.send(call).await {
            Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer.to_bytes()).into_response(),
            Err(error) => refusal(&error),
        };
    }
    let events = match upstream.stream(call).await {
        Ok(events) => events,
        Err(error) => return refusal(&error),
    };
    // An error here breaks the connection off.
    let written = events.map(|event| Ok([b"data: ", &event?.data[..], b"\n\n"].concat()));
    let done = stream::iter([Ok::<_, Error>(b"data: [DONE]\n\n".to_vec())]);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(written.chain(done))).into_response()
}

fn refusal(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.status()).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], error.body()).into_response()
}
