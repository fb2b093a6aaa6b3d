//! Requests that a web page in a browser on the same machine can send to both listeners: Chromium 156 sent them to the
//! admin listener, and the tests replay them byte for byte (`tests/web_pages`).
//!
//! The recording has pages of another origin (a form in both of its encodings, `fetch` of text, `fetch` of JSON with
//! its preflight and the requests that follow an answered preflight, an image, a frame, `fetch` for reading) and a
//! page whose name resolved to this address (DNS rebinding). A listener of the test stood in the place of the admin
//! listener.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{LONG, Server, edition, read};

const PAGES: [(&str, &[u8], &str); 10] = [
    ("a form", include_bytes!("../web_pages/form.http"), "origin_refused"),
    ("a form as text", include_bytes!("../web_pages/form-as-text.http"), "origin_refused"),
    ("fetch of text", include_bytes!("../web_pages/fetch-as-text.http"), "origin_refused"),
    // Reads for a page that may not see the answer bear no origin.
    ("an image", include_bytes!("../web_pages/image.http"), "origin_refused"),
    ("a frame", include_bytes!("../web_pages/frame.http"), "origin_refused"),
    ("fetch for reading", include_bytes!("../web_pages/fetch-read.http"), "origin_refused"),
    ("a preflight", include_bytes!("../web_pages/preflight.http"), "origin_refused"),
    ("fetch of JSON", include_bytes!("../web_pages/fetch-after-preflight.http"), "origin_refused"),
    ("a rebound page's change", include_bytes!("../web_pages/rebound-change.http"), "origin_refused"),
    // A page reads its own origin without saying where it is from: the name it was reached by tells.
    ("a rebound page's read", include_bytes!("../web_pages/rebound-read.http"), "wrong_host"),
];

/// Sends bytes to a listener. Returns the head of the answer and its JSON.
async fn send(listener: &str, request: &[u8]) -> (String, Value) {
    let address = listener.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (head.to_owned(), body);
        }
        let count = timeout(LONG, stream.read_buf(&mut answer)).await.expect("in time").expect("read");
        assert!(count > 0, "it ended: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn what_chromium_sends_for_a_web_page_is_refused_and_logged_without_secrets() {
    let server = Server::start().await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    for (what, request, code) in PAGES {
        // The page may even have got hold of the token.
        let right = String::from_utf8_lossy(request).replace("guessed-secret", &token);
        for request in [request, right.as_bytes()] {
            let (head, body) = send(&server.admin, request).await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{what}: {head}");
            assert_eq!(body["error"]["code"], code, "{what}: {body}");
            assert!(!head.to_ascii_lowercase().contains("access-control"), "{what}: no permission: {head}");
        }
    }
    assert_eq!(read(server.admin(Method::GET, "/admin/plugins")).await.1["plugins"], json!([]));
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    for (refused, times) in [("POST", 10), ("OPTIONS", 2), ("GET", 8)] {
        let line = format!("the admin API refused {refused} /admin/plugins");
        assert_eq!(log.matches(&line).count(), times, "{line}: {log}");
    }
    for secret in ["guessed-secret", &token, "evil"] {
        assert!(!log.contains(secret), "the log holds {secret}: {log}");
    }
}

#[tokio::test]
async fn what_chromium_sends_for_a_web_page_is_refused_at_the_main_listener_without_a_key() {
    let server = Server::start().await;
    for (what, request, code) in PAGES {
        let request = String::from_utf8_lossy(request).replace("/admin/plugins", "/v1/chat/completions");
        let (head, body) = send(&server.api, request.as_bytes()).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{what}: {head}");
        assert_eq!(body["error"]["code"], code, "{what}: {body}");
        assert!(!head.to_ascii_lowercase().contains("access-control"), "{what}: no permission: {head}");
    }
}

#[tokio::test]
async fn the_same_bytes_without_the_pages_headers_would_do_what_they_ask() {
    let server = Server::start().await;
    let library = server.folder.path().join("libedition.so");
    std::fs::write(&library, edition("one")).expect("written");
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    let (_, request, _) = PAGES[7];
    let request = String::from_utf8_lossy(request).replace("guessed-secret", &token);
    let (head, _) = request.split_once("\r\n\r\n").expect("a head");
    let own = |line: &&str| {
        !["Origin:", "Sec-Fetch-Site:", "Content-Length:"].iter().any(|name| line.starts_with(name))
    };
    let head: Vec<_> = head.split("\r\n").filter(own).collect();
    let body = json!({"path": library}).to_string();
    let request = format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len());
    let (head, info) = send(&server.admin, request.as_bytes()).await;
    assert!(
        head.starts_with("HTTP/1.1 201 "),
        "the headers `Origin` and `Sec-Fetch-Site` make the difference: {head} {info}"
    );
}
