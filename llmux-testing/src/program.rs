//! A running `llmux`, on free ports, with the configuration that a test gives it; and its command line.
//!
//! Used by the tests of the program, of the built-in plugins and of the whole system.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    build::Build,
    http::{LONG, http, read},
};

/// Returns the path of the program. Cargo names it to the tests of the program's own package; for others it is built,
/// once for each test binary.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("CARGO_BIN_EXE_llmux") {
        Some(program) => program.into(),
        None => Build::package("llmux-gateway").program(),
    })
}

/// Returns a command `llmux` that uses this folder for every path that it chooses itself.
pub fn llmux(folder: &Path) -> Command {
    let mut command = Command::new(program());
    // Cargo sets LD_LIBRARY_PATH for its tests.
    for variable in ["LLMUX_ADMIN", "LLMUX_ADMIN_TOKEN", "RUST_LOG", "NO_COLOR", "LD_LIBRARY_PATH"] {
        command.env_remove(variable);
    }
    command.env("XDG_RUNTIME_DIR", folder).env("TMPDIR", folder).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns a configuration with a provider: the configuration's own, or else `echo` with its usual models.
pub fn with_provider(configuration: &str) -> String {
    let has_one = configuration.contains("[[provider]]");
    let statuses = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529];
    let errors: String = statuses.iter().map(|status| format!(", \"echo-error-{status}\"")).collect();
    let echo = format!(
        "\n[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\", \"echo-request\"{errors}]\n"
    );
    format!("{configuration}{}", if has_one { "" } else { &echo })
}

/// Returns a command `llmux serve` with this configuration, on free ports. An empty configuration is not written, and one
/// without a provider gets one ([`with_provider`]).
pub fn serve(folder: &TempDir, configuration: &str) -> Command {
    let mut command = llmux(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    if !configuration.contains("admin =") {
        command.args(["--admin-listen", "127.0.0.1:0"]);
    }
    if !configuration.is_empty() {
        std::fs::write(folder.path().join("llmux.toml"), with_provider(configuration)).expect("written");
    }
    command
}

/// A running `llmux serve`. It is killed when this is dropped.
pub struct Server {
    /// The process. Its standard error is piped.
    pub child: Child,
    /// URL of the main listener.
    pub api: String,
    /// URL of the admin listener; empty if there is none.
    pub admin: String,
    /// Folder of the configuration and of the local token.
    pub folder: TempDir,
}

impl Server {
    /// Starts a server without a configuration.
    pub async fn start() -> Self {
        Self::with("", &[]).await
    }

    /// Starts a server with a configuration and more arguments.
    pub async fn with(configuration: &str, arguments: &[&str]) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), configuration, arguments).await
    }

    /// Starts a server in the folder of an earlier one.
    pub async fn within(folder: TempDir, configuration: &str, arguments: &[&str]) -> Self {
        let mut command = serve(&folder, configuration);
        command.args(arguments);
        Self::of(command, folder).await
    }

    /// Starts the server of a command, which was made for this folder.
    ///
    /// # Panics
    ///
    /// If it does not start, with its standard error.
    pub async fn of(mut command: Command, folder: TempDir) -> Self {
        // Clients of other crates need the TLS provider that this one installs.
        http();
        let mut child = command.spawn().expect("llmux starts");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
        if line.is_empty() {
            let mut error = String::new();
            let stderr = child.stderr.as_mut().expect("piped");
            stderr.read_to_string(&mut error).await.expect("text");
            panic!("the server did not start: {error}");
        }
        let mut urls = line.split([' ', ',']).filter(|word| word.starts_with("http://")).map(str::to_owned);
        let api = urls.next().expect("an address");
        Self { child, api, admin: urls.next().unwrap_or_default(), folder }
    }

    /// Returns a `GET` of the main listener.
    pub fn get(&self, path: &str) -> RequestBuilder {
        http().get(format!("{}{path}", self.api))
    }

    /// Returns a `POST` of JSON to the main listener.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        http().post(format!("{}{path}", self.api)).json(body)
    }

    /// Returns the body of the answer of a model to `Hello`.
    ///
    /// # Panics
    ///
    /// If the status is not 200.
    pub async fn ask(&self, model: &str) -> Value {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
        let (status, answer) = read(self.post("/v1/chat/completions", &body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Returns the body that the provider `echo` gets for a request, with the changes of plugins.
    pub async fn upstream_body(&self) -> Value {
        let answer = self.ask("echo-request").await;
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
        serde_json::from_str(text).expect("JSON")
    }

    /// Returns an instance, or a refused library, as the admin API lists it; `null` if it is not listed.
    pub async fn plugin(&self, name: &str) -> Value {
        let (_, list) = self.call("GET", "/admin/plugins", None).await;
        let plugins = list["plugins"].as_array().expect("a list");
        plugins.iter().find(|plugin| plugin["name"] == name).cloned().unwrap_or_default()
    }

    /// Path of the file with the local token.
    pub fn token_file(&self) -> PathBuf {
        let port = self.admin.rsplit(':').next().expect("a port");
        self.folder.path().join(format!("llmux/admin-{port}.token"))
    }

    /// Returns a request to the admin API, with the local token.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let token = std::fs::read_to_string(self.token_file()).expect("a token");
        http().request(method, format!("{}{path}", self.admin)).bearer_auth(token)
    }

    /// Calls the admin API; returns the status and the JSON of the answer. The future does not borrow this server.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> impl Future<Output = (u16, Value)> + Send + use<> {
        let request = self.admin(method.parse().expect("a method"), path);
        read(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// Writes another configuration, as [`serve`] does.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn configure(&self, configuration: &str) {
        let file = self.folder.path().join("llmux.toml");
        std::fs::write(file, with_provider(configuration)).expect("written");
    }

    /// Writes another configuration and reloads it; returns the status.
    pub async fn reconfigure(&self, configuration: &str) -> u16 {
        self.configure(configuration);
        self.call("POST", "/admin/reload", None).await.0
    }

    /// Runs a command against this server.
    pub async fn llmux(&self, arguments: &[&str]) -> Output {
        let mut command = llmux(self.folder.path());
        command.args(arguments).env("LLMUX_ADMIN", &self.admin);
        timeout(LONG, command.output()).await.expect("in time").expect("llmux runs")
    }

    /// Connects to the main listener.
    pub async fn connect(&self) -> TcpStream {
        let address = self.api.strip_prefix("http://").expect("a URL");
        TcpStream::connect(address).await.expect("connected")
    }

    /// Sends text to the main listener, and reads until it closes the connection.
    pub async fn raw(&self, request: &str) -> String {
        exchange(self.connect().await, request.as_bytes()).await
    }

    /// Sends bytes to the admin listener, and reads until it closes the connection.
    pub async fn admin_raw(&self, request: &[u8]) -> String {
        let address = self.admin.strip_prefix("http://").expect("a URL");
        exchange(TcpStream::connect(address).await.expect("connected"), request).await
    }

    /// Sends a signal, as `-TERM`.
    pub async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("running").to_string();
        let mut kill = Command::new("kill");
        let status = kill.args([signal, &id]).status().await;
        assert!(status.expect("kill runs (it is in the Debian package `procps`)").success());
    }

    /// Waits for the end of the process; returns its exit code and its log.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        timeout(LONG, stderr.read_to_string(&mut log)).await.expect("in time").expect("text");
        let status = timeout(LONG, self.child.wait()).await.expect("in time").expect("ended");
        (status.code(), log)
    }

    /// Stops the server gracefully; returns its log.
    ///
    /// # Panics
    ///
    /// If the exit code is not 0.
    pub async fn stop(self) -> String {
        self.signal("-TERM").await;
        let (code, log) = self.end().await;
        assert_eq!(code, Some(0), "{log}");
        log
    }
}

/// Sends bytes, and reads until the other side closes the connection.
async fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    // A server may close the connection before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A reset is an end, too: a server that closes with unread bytes resets the connection.
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8(answer).expect("text")
}

/// Waits until a condition holds.
///
/// # Panics
///
/// If it does not hold in time.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + LONG;
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
