//! Servers on free ports, the command line, and the example plugin as a library.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Timeout that is longer than any operation in these tests.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A running `llmux serve`. It ends when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) api: String,
    pub(crate) admin: String,
    /// Folder of the configuration and of the local token.
    pub(crate) folder: TempDir,
}

impl Server {
    /// Starts a server without a configuration.
    pub(crate) async fn start() -> Self {
        Self::with("", &[]).await
    }

    /// Starts a server with a configuration, unless it is empty, and more arguments.
    pub(crate) async fn with(configuration: &str, arguments: &[&str]) -> Self {
        Self::within(tempfile::tempdir().expect("a folder"), configuration, arguments).await
    }

    /// Starts a server in an existing folder, such as the folder of an earlier server.
    pub(crate) async fn within(folder: TempDir, configuration: &str, arguments: &[&str]) -> Self {
        let mut command = serve(&folder, configuration);
        command.args(arguments);
        Self::of(command, folder).await
    }

    /// Starts the server of a command, which was made for this folder.
    pub(crate) async fn of(mut command: Command, folder: TempDir) -> Self {
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
        let api = urls.next().expect("the address");
        Self { child, api, admin: urls.next().unwrap_or_default(), folder }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        http().get(format!("{}{path}", self.api))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        http().post(format!("{}{path}", self.api)).json(body)
    }

    /// Returns an instance, or a refused library, as the admin API lists it; `null` if it is not listed.
    pub(crate) async fn plugin(&self, name: &str) -> Value {
        let (_, list) = read(http().get(format!("{}/admin/plugins", self.admin))).await;
        let plugins = list["plugins"].as_array().expect("a list");
        plugins.iter().find(|plugin| plugin["name"] == name).cloned().unwrap_or_default()
    }

    /// Returns the request that the model `echo-request` received, with the changes of plugins.
    pub(crate) async fn upstream_body(&self) -> Value {
        let body = json!({"model": "echo-request", "messages": [{"role": "user", "content": "Hello"}]});
        let (status, answer) = read(self.post("/v1/chat/completions", &body)).await;
        assert_eq!(status, 200, "{answer}");
        let text = answer["choices"][0]["message"]["content"].as_str().expect("text");
        serde_json::from_str(text).expect("JSON")
    }

    /// Returns the edition that answers a plain request; `null` if no edition takes part.
    pub(crate) async fn answered_by(&self) -> Value {
        let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
        let (status, answer) = read(self.post("/v1/chat/completions", &body)).await;
        assert_eq!(status, 200, "{answer}");
        answer["edition"].clone()
    }

    /// Returns the path of the file with the token that the server wrote.
    pub(crate) fn token_file(&self) -> PathBuf {
        let port = self.admin.rsplit(':').next().expect("a port");
        self.folder.path().join(format!("llmux/admin-{port}.token"))
    }

    /// Returns a request to the admin API, with the local token.
    pub(crate) fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let token = std::fs::read_to_string(self.token_file()).expect("a token");
        http().request(method, format!("{}{path}", self.admin)).bearer_auth(token)
    }

    /// Runs a command against this server.
    pub(crate) async fn llmux(&self, arguments: &[&str]) -> Output {
        let mut command = llmux(self.folder.path());
        command.args(arguments).env("LLMUX_ADMIN", &self.admin);
        timeout(LONG, command.output()).await.expect("in time").expect("llmux runs")
    }

    /// Connects to the main listener. The test writes the bytes.
    pub(crate) async fn connect(&self) -> TcpStream {
        let address = self.api.strip_prefix("http://").expect("a URL");
        TcpStream::connect(address).await.expect("connected")
    }

    /// Sends text to the main listener, and reads until it closes the connection.
    pub(crate) async fn raw(&self, request: &str) -> String {
        answer(self.connect().await, request.as_bytes()).await
    }

    /// Sends bytes to the admin listener, and reads until it closes the connection.
    pub(crate) async fn admin_raw(&self, request: &[u8]) -> String {
        let address = self.admin.strip_prefix("http://").expect("a URL");
        answer(TcpStream::connect(address).await.expect("connected"), request).await
    }

    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("running").to_string();
        let status = Command::new("kill")
            .args([signal, &id])
            .status()
            .await
            .expect("kill runs (it is in the Debian package `procps`)");
        assert!(status.success());
    }

    /// Waits for the end of the process. Returns its exit code and its log.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let status = timeout(LONG, self.child.wait()).await.expect("in time").expect("ended");
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).await.expect("text");
        (status.code(), log)
    }
}

/// Sends bytes, and reads until the other side closes the connection.
async fn answer(mut stream: TcpStream, request: &[u8]) -> String {
    // A server that has seen enough may close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A reset is an end too: what a server has not read when it closes is lost that way.
    let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8(answer).expect("text")
}

/// Returns a command `llmux` that uses this folder for every path that it chooses itself.
pub(crate) fn llmux(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmux"));
    for variable in ["LLMUX_ADMIN", "LLMUX_ADMIN_TOKEN", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.env("XDG_RUNTIME_DIR", folder).env("TMPDIR", folder).current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns a command `llmux serve` with this configuration, on free ports.
pub(crate) fn serve(folder: &TempDir, configuration: &str) -> Command {
    let mut command = llmux(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    if !configuration.contains("admin =") {
        command.args(["--admin-listen", "127.0.0.1:0"]);
    }
    if !configuration.is_empty() {
        std::fs::write(folder.path().join("llmux.toml"), configuration).expect("written");
    }
    command
}

pub(crate) fn http() -> &'static reqwest::Client {
    // A connection of one test's runtime must not be used in another's: none are kept.
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    HTTP.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LONG);
        builder.build().expect("a client")
    })
}

pub(crate) async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Sends a request. Returns the status and the JSON of the answer; `null` if the body is empty.
pub(crate) async fn read(request: RequestBuilder) -> (u16, Value) {
    let response = send(request).await;
    let status = response.status().as_u16();
    let text = response.text().await.expect("text");
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

/// Sends a request. Returns the status and the `error` object of the answer, which must have the shape of OpenAI's
/// errors.
pub(crate) async fn error(request: RequestBuilder) -> (u16, Value) {
    let (status, body) = read(request).await;
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
    assert!(error.get("param").is_some() && error.get("code").is_some(), "{body}");
    (status, error.clone())
}

/// Returns the path of the SDK's example plugin as a library, built once.
pub(crate) fn system_prompt() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| build("llmux-abi", "system_prompt"))
}

pub(crate) fn build(package: &str, example: &str) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let built = std::process::Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--package", package, "--example", example, "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success());
    let messages = built.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let built = messages.filter(|message| message["target"]["name"] == example);
    let files = built.filter_map(|message| message["filenames"].as_array().cloned()).flatten();
    let file = files.last().expect("a library");
    file.as_str().expect("a path").to_owned()
}

/// Returns an edition of the example `edition`, a plugin that reports which edition of it ran. The two editions are
/// one build with different markers and different versions in the manifest: `one` is 0.1.0, `two` is 0.2.0.
pub(crate) fn edition(which: &str) -> Vec<u8> {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    let one = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (built, small) = (build("llmux-gateway", "edition"), folder.path().join("small"));
        // Without what is for debuggers, which is most of it; a machine without the tool does without.
        let strip = std::process::Command::new("strip").arg("-o").arg(&small).arg(&built).status();
        let stripped = strip.is_ok_and(|status| status.success());
        let built = std::fs::read(if stripped { small } else { built.into() }).expect("the library");
        with_version(&built, env!("CARGO_PKG_VERSION"), "0.1.0")
    });
    match which {
        "one" => one.clone(),
        which => {
            let two = replaced(
                one,
                b"llmux-edition-marker-one",
                format!("llmux-edition-marker-{which}").as_bytes(),
            );
            with_version(&two, "0.1.0", "0.2.0")
        }
    }
}

/// Returns a library whose manifest has another version. JSON allows spaces after a value, so that the length does
/// not change.
fn with_version(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let from = format!("\"version\":\"{from}\"");
    let to = format!("{:width$}", format!("\"version\":\"{to}\""), width = from.len());
    replaced(bytes, from.as_bytes(), to.as_bytes())
}

/// Returns bytes in which every occurrence of a sequence is replaced by another of the same length.
pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, from).collect();
    assert!(!places.is_empty(), "{} is not there", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    bytes
}

/// Adds a library to a folder in the recommended way: writes it under another name, then renames it in one step.
pub(crate) fn drop_in(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(format!("{name}.{}", std::env::consts::DLL_EXTENSION));
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, bytes).expect("written");
    std::fs::rename(&new, &path).expect("renamed");
    path
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !is_so().await {
        assert!(std::time::Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Copies the library into a folder of its own, for `--plugin-dir`.
pub(crate) fn copy_of_system_prompt(folder: &Path) -> PathBuf {
    let copy = folder.join(format!("libsystem_prompt.{}", std::env::consts::DLL_EXTENSION));
    std::fs::copy(system_prompt(), &copy).expect("copied");
    copy
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
