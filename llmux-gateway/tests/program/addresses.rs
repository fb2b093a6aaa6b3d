//! Addresses of clients: in the log lines of refused requests, and in the bound on connections.

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    api::sha256,
    support::{LONG, Server, http, send, until},
};

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n";

#[tokio::test]
async fn the_line_of_a_refused_request_names_the_client_behind_a_trusted_proxy() {
    let key = format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"));
    let plain = format!("{ECHO}{key}[log]\nlevel = \"debug\"\n");
    let server = Server::with(&format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{plain}"), &[]).await;
    let ask = |client: &str, path: &str| {
        let request = http().get(format!("{}/v1/{path}", server.api));
        request.header("x-forwarded-for", format!("127.0.0.9, {client}"))
    };
    assert_eq!(send(ask("198.51.100.7", "refused")).await.status(), 401);
    let admin = http().delete(format!("{}/admin/plugins/x", server.admin));
    assert_eq!(send(admin.header("x-forwarded-for", "198.51.100.8")).await.status(), 401);
    // Without trust, the header is anybody's word.
    assert_eq!(server.reconfigure(&plain).await, 200);
    assert_eq!(send(ask("198.51.100.9", "other")).await.status(), 401);
    let log = server.stop().await;
    for (line, client) in [
        ("GET /v1/refused", "198.51.100.7"),
        ("the admin API refused DELETE /admin/plugins/x", "198.51.100.8"),
        ("GET /v1/other", "127.0.0.1"),
    ] {
        let line = log.lines().find(|it| it.contains(line)).unwrap_or_else(|| panic!("{line}: {log}"));
        assert!(line.contains("status=401") && line.contains(&format!("client={client}")), "{line}");
    }
    assert!(!log.contains("198.51.100.9"), "{log}");
}

/// Connects from this address, and returns the connection if it is served.
async fn connect(server: &Server, from: &str) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
    let address = server.api.strip_prefix("http://").expect("a URL");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("connected");
    // A connection beyond the bound may be closed before or after this.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = [0; 1024];
    let read = timeout(LONG, stream.read(&mut answer)).await.expect("in time");
    read.is_ok_and(|count| count > 0).then_some(stream)
}

#[tokio::test]
async fn an_address_has_a_bounded_number_of_connections_if_so_configured() {
    let bound = format!("[server]\nmax_connections_per_address = 2\n{ECHO}");
    let server = Server::with(&bound, &[]).await;
    let first = connect(&server, "127.0.0.1").await.expect("served");
    let _second = connect(&server, "127.0.0.1").await.expect("served");
    assert!(connect(&server, "127.0.0.1").await.is_none(), "a third connection");
    let _other = connect(&server, "127.0.0.2").await.expect("another address is served");
    drop(first);
    until("the place is free again", async || connect(&server, "127.0.0.1").await.is_some()).await;
    assert_eq!(server.admin(Method::GET, "/admin/plugins").send().await.expect("served").status(), 200);
    // All clients of a proxy share its address.
    assert_eq!(
        server.reconfigure(&bound.replace("\n[[", "\ntrusted_proxies = [\"127.0.0.1\"]\n[[")).await,
        200
    );
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(connect(&server, "127.0.0.1").await.expect("served"));
    }
    let log = server.stop().await;
    assert!(log.contains("the address has `max_connections_per_address`"), "{log}");
}

#[tokio::test]
async fn refusals_are_counted_by_reason_and_a_flood_of_them_does_not_fill_the_log() {
    let key = format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"));
    let server = Server::with(&format!("{ECHO}{key}"), &[]).await;
    for _ in 0..50 {
        assert_eq!(send(server.get("/v1/guess").bearer_auth("guess")).await.status(), 401);
        let admin = http().get(format!("{}/admin/guess", server.admin)).bearer_auth("guess");
        assert_eq!(send(admin).await.status(), 401);
    }
    let known = |request: reqwest::RequestBuilder| request.bearer_auth("shop-secret");
    assert_eq!(send(known(server.get("/v1/nothing"))).await.status(), 404);
    let post = || known(http().post(format!("{}/v1/chat/completions", server.api)));
    assert_eq!(send(post().body("{")).await.status(), 400);
    // An error of the pipeline is no refusal of the listener.
    assert_eq!(send(post().body("{\"model\": \"nobody\"}")).await.status(), 404);
    let metrics = send(known(server.get("/metrics"))).await.text().await.expect("text");
    let counts: Vec<_> = metrics.lines().filter(|line| line.starts_with("llmux_listener_")).collect();
    assert_eq!(
        counts,
        [
            "llmux_listener_refusals_total{listener=\"main\",reason=\"invalid_api_key\"} 50",
            "llmux_listener_refusals_total{listener=\"main\",reason=\"unknown_path\"} 1",
            "llmux_listener_refusals_total{listener=\"main\",reason=\"invalid_json\"} 1",
            "llmux_listener_refusals_total{listener=\"admin\",reason=\"invalid_admin_token\"} 50",
        ]
    );
    let log = server.stop().await;
    for what in [" refused GET /v1/guess", "the admin API refused GET /admin/guess"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(what)).collect();
        assert!((20..50).contains(&lines.len()), "{what}: {} lines", lines.len());
        assert!(lines.iter().all(|line| line.contains("WARN") && line.contains("client=127.0.0.1")), "{log}");
    }
}
