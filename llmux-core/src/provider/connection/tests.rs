//! Exchanges through a proxy. The environment of the tests' process is not changed: each test makes a matcher of its own.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use llmux_testing::{ScriptedResponse, ScriptedServer};

use super::{
    dial::{DialError, Dialer, ProxyError},
    exchange::{Exchange, Failure, Outgoing},
};
use crate::{progress::Progress, provider::tls::Tls};

/// Sends a request to this origin through this proxy. Returns the status of the response, and the progress.
async fn send(origin: &str, proxy: String) -> (Result<u16, Failure>, Progress) {
    let origin: Uri = origin.parse().unwrap();
    let matcher = Matcher::builder().all(proxy).no("direct.example").build();
    let limit = Duration::from_secs(5);
    let dialer = Dialer::through(&origin, matcher.intercept(&origin), &Tls::default(), limit).unwrap();
    let mut headers = HeaderMap::new();
    let exchange = Exchange::new(dialer, &origin, &mut headers);
    let target = exchange.target(format!("{origin}v1/x?y=1").parse().unwrap());
    let (method, body) = (http::Method::POST, Bytes::new());
    let outgoing = Outgoing { target: &target, method, headers, body, new_connection: false };
    let mut progress = Progress::Answered;
    let sent = exchange.send(outgoing, &mut progress).await;
    (sent.map(|response| response.status().as_u16()), progress)
}

#[tokio::test]
async fn a_proxy_receives_a_request_in_plain_text_with_its_whole_url() {
    let proxy = ScriptedServer::start([ScriptedResponse::json(200, "{}")]).await;
    let url = format!("http://user:password@{}", proxy.address());
    let (status, progress) = send("http://models.example/", url).await;
    assert_eq!((status.ok(), progress), (Some(200), Progress::HeadReceived));
    let request = proxy.requests().remove(0);
    assert_eq!(request.path, "http://models.example/v1/x?y=1");
    assert_eq!(request.header("host"), Some("models.example"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
}

#[tokio::test]
async fn f1_a_tunnel_that_a_proxy_refuses_is_no_connection() {
    let refusal = || ScriptedResponse::json(407, "{}");
    let proxy = ScriptedServer::start([refusal()]).await;
    let (status, progress) = send("https://models.example/", format!("http://{}", proxy.address())).await;
    assert!(matches!(status, Err(Failure::Dial(DialError::Failed(_)))));
    assert_eq!(progress, Progress::NotSent);
    let request = proxy.requests().remove(0);
    assert_eq!((&*request.method, &*request.path), ("CONNECT", "models.example:443"));
}

#[test]
fn a_proxy_of_another_scheme_is_refused_and_an_exception_is_reached_directly() {
    let matcher = Matcher::builder().all("socks5://127.0.0.1:1").no("direct.example").build();
    let through = |origin: &str| {
        let origin: Uri = origin.parse().unwrap();
        Dialer::through(&origin, matcher.intercept(&origin), &Tls::default(), Duration::from_secs(1))
    };
    assert!(
        matches!(through("http://models.example/"), Err(ProxyError::Scheme(scheme)) if scheme == "socks5")
    );
    assert!(!through("http://direct.example/").unwrap().forwards());
}
