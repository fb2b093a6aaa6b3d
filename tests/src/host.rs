//! A running `llmux`, on free ports, with the configuration that a test gives it.
//!
//! Used by the whole-system tests here and by the tests of the built-in plugins. The tests themselves send other
//! requests than those of the admin API, and interpret the answers.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Timeout that is longer than any operation in these tests.
const LONG: Duration = Duration::from_secs(60);

/// A running `llmux serve`. It is killed when this is dropped.
pub struct Host {
    child: Child,
    /// URL of the main listener.
    pub api: String,
    admin: String,
    token: String,
    folder: tempfile::TempDir,
}

impl Host {
    /// Starts a server with these arguments and this configuration, which must not set the listeners.
    ///
    /// # Panics
    ///
    /// If the server does not start, with its output.
    pub async fn start(configuration: &str, arguments: &[&str]) -> Self {
        // For the clients: theirs is built without a choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("llmux.toml"), configuration).expect("written");
        let mut child = Command::new(program())
            .args(["serve", "--config", "llmux.toml"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(folder.path())
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("TMPDIR", folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("llmux starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
        if line.is_empty() {
            let mut error = String::new();
            let stderr = child.stderr.as_mut().expect("piped");
            stderr.read_to_string(&mut error).await.expect("text");
            panic!("llmux did not start: {error}");
        }
        let mut urls = line.split([' ', ',']).filter(|word| word.starts_with("http://")).map(str::to_owned);
        let (api, admin) = (urls.next().expect("an address"), urls.next().expect("another"));
        let port = admin.rsplit(':').next().expect("a port");
        let token = folder.path().join(format!("llmux/admin-{port}.token"));
        let token = std::fs::read_to_string(token).expect("a token");
        Self { child, api, admin, token, folder }
    }

    /// Sends a request to the admin API. Returns the status and the JSON of the answer.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        timeout(LONG, self.admin_request(method, path, body)).await.expect("in time")
    }

    /// Returns a future that sends a request to the admin API and does not borrow this host.
    pub fn admin_request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> impl Future<Output = (u16, Value)> + Send + 'static {
        let method = method.parse::<Method>().expect("a method");
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.admin));
        request = request.bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        async move {
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            let text = response.text().await.expect("text");
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        }
    }

    /// Reads a stream over a connection of its own. Returns the head and the events.
    pub async fn raw_stream(&self, model: &str, text: &str) -> (String, String) {
        let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": text}]});
        let body = body.to_string();
        let address = self.api.strip_prefix("http://").expect("a URL");
        let mut connection = TcpStream::connect(address).await.expect("connected");
        let request = format!(
            "POST /v1/chat/completions HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        timeout(LONG, connection.read_to_string(&mut answer)).await.expect("in time").expect("text");
        let (head, events) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), events.to_owned())
    }

    /// Waits until a condition holds.
    pub async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let asked = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, asked).await.expect("in time");
    }

    /// Writes another configuration and reloads it. Returns the status.
    ///
    /// # Panics
    ///
    /// If the file cannot be written, or the admin listener does not answer.
    pub async fn reconfigure(&self, configuration: &str) -> u16 {
        std::fs::write(self.folder.path().join("llmux.toml"), configuration).expect("written");
        self.admin("POST", "/admin/reload", None).await.0
    }

    /// Stops the server gracefully. Returns its log.
    pub async fn stop(mut self) -> String {
        let id = self.child.id().expect("running").to_string();
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .await
            .expect("kill runs (it is in the Debian package `procps`)");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        timeout(LONG, stderr.read_to_string(&mut log)).await.expect("in time").expect("text");
        let status = timeout(LONG, self.child.wait()).await.expect("in time").expect("ended");
        assert!(status.success(), "{log}");
        log
    }
}

/// Runs a command that needs no server. Returns true if it succeeded, and its output.
///
/// # Panics
///
/// If the command does not run, or does not end in time.
pub async fn llmux(arguments: &[&str]) -> (bool, String) {
    let ran = timeout(LONG, Command::new(program()).args(arguments).output()).await.expect("in time");
    let ran = ran.expect("llmux runs");
    (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

/// Returns the path of the program, which is built once for each run.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let arguments = ["build", "--quiet", "--locked", "-p", "llmux-gateway", "--message-format=json"];
        let mut build = std::process::Command::new(cargo);
        build.current_dir(workspace).args(arguments);
        // What cargo says to this test of its own package is no business of the build: some build scripts look at
        // it, and everything above them would be built again each time.
        for (name, _) in std::env::vars_os() {
            let is_of_package =
                |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
            if name.to_str().is_some_and(is_of_package) {
                build.env_remove(name);
            }
        }
        let built = build.output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let lines = built.stdout.split(|byte| *byte == b'\n');
        let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        programs.next_back().expect("the program")
    })
}
