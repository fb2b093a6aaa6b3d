//! Checks of the admin listener on each request, byte by byte: the `Host` header, the origin, and the token.
//!
//! Requests of a real browser are in `web_pages`; tokens by themselves are in `tokens`.

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, error, http, read};

const PLUGINS: &str = "/admin/plugins";

/// Sends a request with this head to the admin listener. Returns the status and the whole answer. In the head, `OWN`
/// stands for the listener's address and `PORT` for its port.
async fn status(server: &Server, head: &str) -> (u16, String) {
    let own = server.admin.strip_prefix("http://").expect("a URL");
    let head = head.replace("OWN", own).replace("PORT", own.rsplit(':').next().expect("a port"));
    let answer = server.admin_raw(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{head:?}: {answer:?}")), answer)
}

#[tokio::test]
async fn wherever_a_request_names_its_host_no_stranger_can_have_pointed_it_here() {
    let server = Server::start().await;
    for (line, hosts, expected) in [
        ("/admin/plugins", "Host: OWN\r\n", 200),
        ("/admin/plugins", "Host: 127.0.0.1\r\n", 200),
        ("/admin/plugins", "host:LOCALHOST:PORT\r\n", 200),
        // A port that is forwarded to the listener's.
        ("/admin/plugins", "Host: localhost:1\r\n", 200),
        ("http://OWN/admin/plugins", "Host: OWN\r\n", 200),
        // A browser always names a host.
        ("/admin/plugins", "", 200),
        // Nobody can point an address elsewhere.
        ("/admin/plugins", "Host: 10.0.0.1:PORT\r\n", 200),
        ("/admin/plugins", "Host: localhost.:PORT\r\n", 200),
        ("/admin/plugins", "Host:\r\n", 403),
        ("/admin/plugins", "Host: evil.example:PORT\r\n", 403),
        ("/admin/plugins", "Host: 127.0.0.1.evil.example\r\n", 403),
        ("/admin/plugins", "Host: localhost, evil.example\r\n", 403),
        // Several, of which one would do; and none that can be read, where the target has a name.
        ("/admin/plugins", "Host: OWN\r\nHost: evil.example\r\n", 403),
        ("/admin/plugins", "Host: evil.example\r\nHost: OWN\r\n", 403),
        ("http://OWN/admin/plugins", "Host: evil.example\r\n", 403),
        ("http://evil.example/admin/plugins", "Host: OWN\r\n", 403),
        ("http://OWN/admin/plugins", "Host: a b\r\n", 403),
    ] {
        let (found, answer) = status(&server, &format!("GET {line} HTTP/1.1\r\n{hosts}")).await;
        assert_eq!(found, expected, "{line} with {hosts:?}: {answer}");
        assert!(found == 200 || answer.contains("wrong_host"), "{line} with {hosts:?}: {answer}");
    }
    assert_eq!(status(&server, "GET /admin/plugins HTTP/1.0\r\n").await.0, 200, "HTTP/1.0 without a host");
}

#[tokio::test]
async fn http2_names_its_host_too() {
    let server = Server::start().await;
    let address: std::net::SocketAddr =
        server.admin.strip_prefix("http://").expect("a URL").parse().expect("an address");
    // Not for this client: it chooses the cryptography of all.
    http();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let client = client.resolve("evil.example", address).build().expect("a client");
    assert_eq!(read(client.get(format!("{}{PLUGINS}", server.admin))).await.0, 200);
    let (status, refused) =
        error(client.get(format!("http://evil.example:{}{PLUGINS}", address.port()))).await;
    assert_eq!((status, &refused["code"]), (403, &json!("wrong_host")));
}

#[tokio::test]
async fn whatever_a_browser_sends_for_a_page_is_refused_reading_too() {
    let server = Server::start().await;
    for (header, expected) in [
        ("Sec-Fetch-Site: none", 200),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: same-origin", 403),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", 403),
        ("Origin: null", 403),
        ("Origin:", 403),
        ("Origin: http://OWN", 403),
    ] {
        for method in ["GET", "HEAD"] {
            let head = format!("{method} /admin/plugins HTTP/1.1\r\nHost: OWN\r\n{header}\r\n");
            let (found, answer) = status(&server, &head).await;
            assert_eq!(found, expected, "{method} with {header:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_method_but_reading_needs_the_token_and_gets_no_permission_for_pages() {
    let server = Server::start().await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    assert_eq!(status(&server, "HEAD /admin/plugins HTTP/1.1\r\nHost: OWN\r\n").await.0, 200);
    for method in ["OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "POST", "get", "PROPFIND"] {
        let head = format!("{method} /admin/plugins HTTP/1.1\r\nHost: OWN\r\n");
        assert_eq!(status(&server, &head).await.0, 401, "{method} without a token");
        if method == "POST" {
            continue;
        }
        let (found, answer) = status(&server, &format!("{head}Authorization: Bearer {token}\r\n")).await;
        assert_eq!(found, 405, "{method}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{method}: {answer}");
    }
}

#[tokio::test]
async fn a_token_comes_in_one_header_of_one_form() {
    let server = Server::start().await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    let change = "DELETE /admin/plugins/x HTTP/1.1\r\nHost: OWN\r\n";
    for (headers, expected) in [
        ("Authorization: Bearer TOKEN", 404),
        ("authorization:   bearer   TOKEN  ", 404),
        ("Authorization: TOKEN", 401),
        ("Authorization: Basic TOKEN", 401),
        ("Authorization:", 401),
        ("Authorization: Bearer", 401),
        ("Authorization: Bearer TOKENx", 401),
        ("Authorization: Bearer \u{e9}", 401),
        ("Authorization: Bearer TOKEN\r\nAuthorization: Bearer TOKEN", 401),
        ("Proxy-Authorization: Bearer TOKEN", 401),
        ("X-Api-Key: TOKEN", 401),
        ("Cookie: token=TOKEN", 401),
    ] {
        let (found, answer) =
            status(&server, &format!("{change}{}\r\n", headers.replace("TOKEN", &token))).await;
        assert_eq!(found, expected, "{headers}: {answer}");
        assert!(!answer.contains(&token), "{headers}: {answer}");
    }
    // A wrong one is an error where none would do: whoever sends it means to be somebody.
    let wrong = "GET /admin/plugins HTTP/1.1\r\nHost: OWN\r\nAuthorization: Bearer wrong\r\n";
    assert_eq!(status(&server, wrong).await.0, 401);
}

#[tokio::test]
async fn every_change_takes_json_or_nothing() {
    let server = Server::start().await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    let one = "/admin/plugins/x";
    for (method, path, bare) in [
        // What has a body must say what it is; what has none may say nothing.
        (Method::POST, PLUGINS.to_owned(), 415),
        (Method::PATCH, one.to_owned(), 415),
        (Method::DELETE, one.to_owned(), 404),
        (Method::POST, format!("{one}/reload"), 404),
        (Method::POST, format!("{one}/enable"), 404),
        (Method::POST, format!("{one}/disable"), 404),
        (Method::POST, "/admin/reload".to_owned(), 200),
    ] {
        for (types, is_json) in [
            (&[][..], None),
            (&["application/json"], Some(true)),
            (&["APPLICATION/JSON ; charset=utf-8"], Some(true)),
            (&["text/plain"], Some(false)),
            (&["application/x-www-form-urlencoded"], Some(false)),
            (&["multipart/form-data; boundary=application/json"], Some(false)),
            (&["text/plain; application/json"], Some(false)),
            (&["application/jsonp"], Some(false)),
            (&["application/json, text/plain"], Some(false)),
            (&["application/json", "text/plain"], Some(false)),
            (&["text/plain", "application/json"], Some(false)),
            (&[""], Some(false)),
        ] {
            let mut head =
                format!("{method} {path} HTTP/1.1\r\nHost: OWN\r\nAuthorization: Bearer {token}\r\n");
            types.iter().for_each(|it| head += &format!("Content-Type: {it}\r\n"));
            let (found, answer) = status(&server, &head).await;
            match is_json {
                None => assert_eq!(found, bare, "{method} {path} without a type: {answer}"),
                Some(true) => assert_ne!(found, 415, "{method} {path} of {types:?}: {answer}"),
                Some(false) => assert_eq!(found, 415, "{method} {path} of {types:?}: {answer}"),
            }
        }
    }
}

#[tokio::test]
async fn a_body_or_a_head_that_is_too_large_or_does_not_end_is_refused() {
    let server = Server::with("[server]\nread_timeout = \"200ms\"", &[]).await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    let head = format!(
        "POST /admin/plugins HTTP/1.1\r\nHost: OWN\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    );
    for (what, rest, expected) in [
        ("announced", format!("Content-Length: {}\r\nExpect: 100-continue\r\n", 1 << 21), 413),
        ("that does not come", "Content-Length: 10\r\n".to_owned(), 408),
    ] {
        let (found, answer) = status(&server, &format!("{head}{rest}")).await;
        assert_eq!(found, expected, "a body {what}: {answer}");
    }
    let own = server.admin.strip_prefix("http://").expect("a URL");
    let pieces = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20)).repeat(2);
    let chunked = format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{pieces}0\r\n\r\n");
    let answer = server.admin_raw(chunked.replace("OWN", own).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "a body in pieces: {answer}");
    for begun in [
        "",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "GET /admin/plugins HT",
        "GET /admin/plugins HTTP/1.1\r\nHost: loc",
    ] {
        let answer = server.admin_raw(begun.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{begun:?}: {answer}");
    }
    let (found, _) = status(&server, &format!("{head}X: {}\r\n", "x".repeat(500_000))).await;
    assert_eq!(found, 431, "a head that is too large");
}

#[tokio::test]
async fn a_path_by_another_spelling_is_another_path_and_no_way_around_the_token() {
    let server = Server::start().await;
    let token = std::fs::read_to_string(server.token_file()).expect("a token");
    let long = format!("/admin/plugins/{}", "n".repeat(20_000));
    for path in [
        "//admin/plugins",
        "/admin//plugins",
        "/admin/plugins/",
        "/ADMIN/plugins",
        "/admin/%70lugins/%2e%2e/reload",
        "/admin/plugins/../reload",
        "/admin/plugins/%2e%2e%2freload",
        "/admin/plugins/x%00y",
        "/admin/plugins/%ff",
        "/admin/plugins/%",
        "/admin/plugins/x;y=z",
        "*",
        &long,
    ] {
        let head = format!("PATCH {path} HTTP/1.1\r\nHost: OWN\r\n");
        assert_eq!(status(&server, &head).await.0, 401, "{path} without a token");
        let head = format!(
            "{head}Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        );
        let (found, answer) = status(&server, &format!("{head}\r\n{{}}\r\n")).await;
        assert!(matches!(found, 400 | 404 | 405), "{path}: {answer}");
        let read = status(&server, &format!("GET {path} HTTP/1.1\r\nHost: OWN\r\n")).await;
        assert!(matches!(read.0, 400 | 404 | 405), "{path}: {}", read.1);
        let body = read.1.split_once("\r\n\r\n").expect("a body").1;
        let body: serde_json::Value =
            serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: {}", read.1));
        assert!(body["error"]["code"].is_string(), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_refused_path_writes_no_lines_and_no_commands_of_its_own_into_the_log() {
    let server = Server::start().await;
    let own = server.admin.strip_prefix("http://").expect("a URL");
    // C1 controls and a reversal of direction are bytes that a path may hold.
    let path = format!("/\u{9b}31m\u{202e}gol/%0aline/{}END", "n".repeat(20_000));
    let request = format!("POST {path} HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
    let answer = server.admin_raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    server.signal("-TERM").await;
    let (_, log) = server.end().await;
    let refused: Vec<_> = log.lines().filter(|line| line.contains("the admin API refused POST /")).collect();
    let [line] = refused[..] else { panic!("one line is logged: {log}") };
    assert!(!line.contains(['\u{9b}', '\u{202e}']), "{line}");
    assert!(line.len() < 1000 && !line.contains("END"), "as long as a line may be: {}", line.len());
    assert!(line.contains("%0aline"), "{line}");
}
