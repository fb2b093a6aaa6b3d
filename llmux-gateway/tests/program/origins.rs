//! Web pages and names of the server at the main listener: refused while no key is configured, unless the configuration
//! names them.
//!
//! Requests of a real browser are in `web_pages`; the admin listener's checks are in `doors`.

use reqwest::{Method, Response};
use serde_json::json;

use crate::{
    api::sha256,
    support::{Server, error, http, llmux, read, send},
};

const ECHO: &str = "[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n";
const NAMED: &str = "[server]\ncors = [\"https://app.example\"]\nhosts = [\"llmux.internal\"]\n";
const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

fn key() -> String {
    format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"))
}

/// Sends a request with these lines after its first one. Returns the status, the head and the body.
async fn ask(server: &Server, first: &str, lines: &str) -> (u16, String, String) {
    let own = server.api.strip_prefix("http://").expect("a URL");
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    let lines = lines.replace("OWN", own).replace("PORT", own.rsplit(':').next().expect("a port"));
    let length = if first.starts_with("POST") { body.len() } else { 0 };
    let request = format!(
        "{first} HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: {length}\r\n\r\n{}",
        &body[..length]
    );
    let answer = server.raw(&request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

const CHAT: &str = "POST /v1/chat/completions";

#[tokio::test]
async fn without_a_key_a_page_is_refused_unless_its_origin_is_named() {
    let server = Server::with(&format!("{NAMED}{ECHO}"), &[]).await;
    for (lines, expected) in [
        ("", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        // The `fetch` of Node sends it, and no other header of a browser.
        ("Sec-Fetch-Mode: cors\r\n", 200),
        ("Origin: https://app.example\r\n", 200),
        ("Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n", 200),
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: https://app.example.evil.example\r\n", 403),
        ("Origin: http://app.example\r\n", 403),
        ("Origin: https://app.example:8443\r\n", 403),
        ("Origin: http://OWN\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin:\r\n", 403),
        ("Origin: https://app.example\r\nOrigin: https://evil.example\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 403),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", 403),
    ] {
        for first in [CHAT, "GET /v1/models", "GET /metrics"] {
            let (status, head, body) = ask(&server, first, &format!("Host: OWN\r\n{lines}")).await;
            assert_eq!(status, expected, "{first} with {lines:?}: {body}");
            assert!(status == 200 || body.contains("\"code\":\"origin_refused\""), "{lines:?}: {body}");
            let permits = head.contains("access-control-allow-origin: https://app.example");
            assert_eq!(permits, status == 200 && lines.contains("Origin"), "{first} with {lines:?}: {head}");
        }
    }
    let (_, _, body) = ask(&server, CHAT, "Host: OWN\r\nOrigin: https://evil.example\r\n").await;
    assert!(
        body.contains("name the page's origin in `[server] cors`, or configure an [[api_key]]"),
        "{body}"
    );
}

#[tokio::test]
async fn without_a_key_loopback_is_reached_by_an_address_or_a_known_name_only() {
    let server = Server::with(&format!("{NAMED}{ECHO}"), &[]).await;
    for (lines, expected) in [
        ("Host: OWN\r\n", 200),
        ("Host: localhost:PORT\r\n", 200),
        ("Host: LOCALHOST\r\n", 200),
        ("Host: localhost.\r\n", 200),
        ("Host: [::1]:PORT\r\n", 200),
        ("Host: 10.0.0.1\r\n", 200),
        ("Host: llmux.internal:PORT\r\n", 200),
        ("Host: LLMux.Internal.\r\n", 200),
        // Health checks of HTTP/1.0 name no host; a browser always does.
        ("", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: evil.example:PORT\r\n", 403),
        ("Host: llmux.internal.evil.example\r\n", 403),
        ("Host: OWN\r\nHost: evil.example\r\n", 403),
        ("Host:\r\n", 403),
    ] {
        let (status, _, body) = ask(&server, CHAT, lines).await;
        assert_eq!(status, expected, "{lines:?}: {body}");
        assert!(status == 200 || body.contains("\"code\":\"wrong_host\""), "{lines:?}: {body}");
    }
    // A reload names others.
    assert_eq!(server.reconfigure(ECHO).await, 200);
    assert_eq!(ask(&server, CHAT, "Host: llmux.internal\r\n").await.0, 403);
    assert_eq!(ask(&server, CHAT, "Host: OWN\r\nOrigin: https://app.example\r\n").await.0, 403);
    // A key makes both checks needless: neither a page nor a stranger's name has one.
    assert_eq!(server.reconfigure(&format!("{ECHO}{}", key())).await, 200);
    assert_eq!(ask(&server, CHAT, "Host: evil.example\r\n").await.0, 401);
    let with_key =
        "Host: evil.example\r\nOrigin: https://evil.example\r\nAuthorization: Bearer shop-secret\r\n";
    assert_eq!(ask(&server, CHAT, with_key).await.0, 200);
}

#[tokio::test]
async fn a_listener_that_others_reach_has_names_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("[server]\nopen = true\n{ECHO}");
    std::fs::write(folder.path().join("llmux.toml"), file).expect("written");
    let mut command = llmux(folder.path());
    command.args(["serve", "--listen", "0.0.0.0:0", "--admin-listen", "off"]);
    let server = Server::of(command, folder).await;
    let (_, port) = server.api.rsplit_once(':').expect("a port");
    let api = format!("http://127.0.0.1:{port}/v1/models");
    assert_eq!(read(http().get(&api).header("host", "llmux.example")).await.0, 200);
    assert_eq!(error(http().get(&api).header("origin", EVIL)).await.0, 403);
}

/// Returns a header of an answer.
fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn a_page_of_a_named_origin_may_ask_and_read_also_with_a_key() {
    for configuration in [format!("{NAMED}{ECHO}"), format!("{NAMED}{ECHO}{}", key())] {
        let needs_key = configuration.contains("api_key");
        let server = Server::with(&configuration, &[]).await;
        let url = format!("{}/v1/chat/completions", server.api);
        // The browser's question has no key.
        let preflight = |origin: &str| {
            http()
                .request(Method::OPTIONS, &url)
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,content-type")
        };
        let permitted = send(preflight(APP)).await;
        assert_eq!(permitted.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-methods", "GET, POST, DELETE"),
            ("access-control-allow-headers", "authorization,content-type"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(header(&permitted, name), Some(value), "{name}");
        }
        let refused = send(preflight(EVIL)).await;
        assert_eq!(refused.status(), if needs_key { 401 } else { 403 });
        assert_eq!(header(&refused, "access-control-allow-origin"), None);

        let body = json!({"model": "echo", "stream": true, "messages": [{"role": "user", "content": "Hi"}]});
        let ask = |origin| http().post(&url).json(&body).header("origin", origin);
        for (request, status, origin) in [
            (ask(APP).bearer_auth("shop-secret"), 200, Some(APP)),
            // The page reads why it was refused.
            (ask(APP).bearer_auth("wrong"), if needs_key { 401 } else { 200 }, Some(APP)),
            (ask(EVIL).bearer_auth("shop-secret"), if needs_key { 200 } else { 403 }, None),
        ] {
            let answer = send(request).await;
            assert_eq!(answer.status(), status, "{origin:?}");
            assert_eq!(header(&answer, "access-control-allow-origin"), origin);
            assert_eq!(header(&answer, "vary"), Some("origin"));
        }
    }
    let server = Server::with(ECHO, &[]).await;
    assert_eq!(header(&send(server.get("/v1/models")).await, "vary"), None);
}

#[tokio::test]
async fn the_admin_listener_has_the_names_of_the_configuration_and_no_pages() {
    let server = Server::with(&format!("{NAMED}{ECHO}"), &[]).await;
    let list = |host: &str| server.admin(Method::GET, "/admin/plugins").header("host", host);
    for (host, expected) in [("llmux.internal", 200), ("LLMUX.internal.:8081", 200), ("evil.example", 403)] {
        assert_eq!(read(list(host)).await.0, expected, "{host}");
    }
    let named = format!("[server]\nadmin_hosts = [\"llmux-admin.ns.svc\"]\n{ECHO}");
    assert_eq!(server.reconfigure(&named).await, 200);
    assert_eq!(read(list("llmux-admin.ns.svc:8081")).await.0, 200);
    let main = server.get("/v1/models").header("host", "llmux-admin.ns.svc");
    assert_eq!(error(main).await.1["code"], json!("wrong_host"), "a name of the admin listener alone");
    assert_eq!(server.reconfigure(&format!("{NAMED}{ECHO}")).await, 200);
    let page = list("llmux.internal").header("origin", APP);
    assert_eq!(error(page).await.1["code"], json!("origin_refused"));
    assert_eq!(server.reconfigure(ECHO).await, 200);
    assert_eq!(error(list("llmux.internal")).await.1["code"], json!("wrong_host"));
}
