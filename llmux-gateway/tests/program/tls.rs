//! TLS to providers: the certificates of `[[provider]]`, each against a real server that accepts or refuses them.

use serde_json::json;

use crate::{
    support::{Server, read, serve},
    tls_server::{Authority, Settings, TlsServer},
};

const OK: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}"#;

/// A provider of the tests' authority, without client certificates.
const PLAIN: Settings = Settings { certificate: "host", clients: None, is_tls12: false, is_http2: false };
const MUTUAL: Settings = Settings { clients: Some("clients"), ..PLAIN };

const CA: &str = "ca_file = \"ca.pem\"";
const UNKNOWN: &str = "the provider's certificate is not signed by a trusted authority; set `ca_file`";
const REQUIRED: &str = "the provider requires a client certificate; set `client_cert_file`";

/// A row: its name, the server, further members of the provider, SSL_CERT_FILE, and the end of the error's message.
type Row = (&'static str, Settings, String, &'static str, Option<&'static str>);

fn rows() -> Vec<Row> {
    let client = |name| format!("{CA}\nclient_cert_file = \"{name}.pem\"\nclient_key_file = \"{name}.key\"");
    let of = |certificate| Settings { certificate, ..PLAIN };
    let (tls12, http2) = (Settings { is_tls12: true, ..MUTUAL }, Settings { is_http2: true, ..MUTUAL });
    vec![
        ("ca_file", PLAIN, CA.into(), "other.pem", None),
        ("the system's store", PLAIN, String::new(), "ca.pem", None),
        ("an unknown authority", PLAIN, String::new(), "other.pem", Some(UNKNOWN)),
        ("another ca_file", PLAIN, "ca_file = \"other.pem\"".into(), "ca.pem", Some(UNKNOWN)),
        ("an authority's namesake", PLAIN, "ca_file = \"namesake.pem\"".into(), "ca.pem", Some(UNKNOWN)),
        ("an expired certificate", of("expired"), CA.into(), "ca.pem", Some("certificate expired")),
        ("another host's", of("elsewhere"), CA.into(), "ca.pem", Some("not valid for name \"localhost\"")),
        ("a client certificate", MUTUAL, client("client"), "ca.pem", None),
        ("a client certificate in TLS 1.2", tls12, client("client"), "ca.pem", None),
        ("no client certificate", MUTUAL, CA.into(), "ca.pem", Some(REQUIRED)),
        ("no client certificate in TLS 1.2", tls12, CA.into(), "ca.pem", Some(REQUIRED)),
        ("no client certificate over HTTP/2", http2, CA.into(), "ca.pem", Some(REQUIRED)),
        (
            "a client certificate of another authority",
            MUTUAL,
            client("stranger"),
            "ca.pem",
            Some("the provider refused the client certificate (UnknownCA); check `client_cert_file`"),
        ),
    ]
}

#[tokio::test]
async fn f1_a_handshake_that_fails_over_a_certificate_is_retried_and_names_the_remedy() {
    let certificates = tempfile::tempdir().expect("a folder");
    let folder = certificates.path();
    let ca = Authority::new(folder, "ca", "ours");
    Authority::new(folder, "other", "another");
    Authority::new(folder, "namesake", "ours");
    ca.certify("host", "localhost", 2090);
    ca.certify("expired", "localhost", 2021);
    ca.certify("elsewhere", "elsewhere.example", 2090);
    Authority::new(folder, "clients", "clients").certify("client", "client", 2090);
    Authority::new(folder, "strangers", "strangers").certify("stranger", "stranger", 2090);
    for (row, settings, members, system, expected) in rows() {
        let provider = TlsServer::start(folder, settings, OK);
        let (status, message, log) = ask(&provider, folder, &members, system).await;
        match expected {
            None => {
                assert_eq!((status, provider.heads().len()), (200, 1), "{row}: {message}\n{log}");
            }
            Some(expected) => {
                assert_eq!(status, 502, "{row}");
                assert!(
                    message.starts_with("the provider could not be reached: ") && message.contains(expected),
                    "{row}: {message}"
                );
                assert!(log.contains(&format!("provider `east` failed: {message}")[..120]), "{row}: {log}");
                assert!(provider.heads().is_empty(), "{row}");
                // Two tries for each of two requests: a refused handshake has sent nothing.
                assert_eq!(provider.connections(), 4, "{row}");
            }
        }
    }
}

/// Asks twice through a provider `east`: for `m`, which it alone serves, and for `n`, which `echo` serves if nothing was sent to
/// `east`. Returns the status and the error's message of the first answer, and the log.
async fn ask(
    provider: &TlsServer,
    certificates: &std::path::Path,
    members: &str,
    system: &str,
) -> (u16, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(certificates).expect("a folder").flatten() {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).expect("copied");
    }
    let configuration = format!(
        "[retry]\nmax_retries = 1\ninitial_backoff = \"1ms\"\nother_deployment = \"unsent\"\n\
         [[provider]]\nname = \"east\"\ntype = \"openai\"\nmodels = [\"m\", \"n\"]\n\
         base_url = \"https://localhost:{}/v1\"\n{members}\n\
         [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"n\"]\norder = 2\n",
        provider.port
    );
    let mut command = serve(&folder, &configuration);
    command.env("SSL_CERT_FILE", folder.path().join(system)).env_remove("SSL_CERT_DIR");
    let server = Server::of(command, folder).await;
    let body = |model| json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let (status, answer) = read(server.post("/v1/chat/completions", &body("m"))).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    if status != 200 {
        assert_eq!(server.ask("n").await["choices"][0]["message"]["content"], "Hello");
    }
    (status, message, server.stop().await)
}

#[tokio::test]
async fn a_key_and_headers_are_sent_from_the_environment_and_from_files() {
    let certificates = tempfile::tempdir().expect("a folder");
    Authority::new(certificates.path(), "ca", "ours").certify("host", "localhost", 2090);
    let provider = TlsServer::start(certificates.path(), PLAIN, OK);
    for (file, text) in [("key", "sk-of-a-file\n"), ("header", "of-a-file\n")] {
        std::fs::write(certificates.path().join(file), text).expect("written");
    }
    let configuration = format!(
        "[[provider]]\nname = \"east\"\ntype = \"openai\"\nmodels = [\"m\"]\n{CA}\n\
         base_url = \"https://localhost:{}/v1\"\napi_key_header = \"api-key\"\napi_key_file = \"key\"\n\
         headers = {{ x-env = {{ env = \"LLMUX_TEST_HEADER\" }}, x-file = {{ file = \"header\" }}, x-text = \"text\" }}\n",
        provider.port
    );
    let mut command = serve(&certificates, &configuration);
    command.env("LLMUX_TEST_HEADER", "of-the-environment");
    let server = Server::of(command, certificates).await;
    server.ask("m").await;
    let head = provider.heads().remove(0);
    for line in ["api-key: sk-of-a-file", "x-env: of-the-environment", "x-file: of-a-file", "x-text: text"] {
        assert!(head.lines().any(|sent| sent == line), "{line}: {head}");
    }
    assert!(!head.contains("authorization:"), "{head}");
}
