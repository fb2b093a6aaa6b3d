//! The surroundings of one test: a file in which its plugins record their actions, and a client that sends requests.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use llmux_abi::{Plugin, host::Exported};
use llmux_core::{
    Client, ClientBuilder, Endpoint, PluginSpec, Reply, ReplyStream, Request, StreamReply,
    client::RetryConfig,
    isolation::ChildProgram,
    plugins::{Isolation, PluginsConfig, SandboxSettings, ShutdownReport},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use llmux_testing::{ScriptedProvider, Turn};

use crate::Fixtures;

/// Kind of a test's plugins: compiled in, loaded, or loaded in a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plugins that are compiled into the test.
    Compiled,
    /// Plugins that are loaded from libraries.
    Loaded,
    /// Plugins that are loaded from libraries, each in a child process of its own.
    Isolated,
}

impl Kind {
    /// Returns the spec of a fixture plugin: of the one that is compiled in, or of its library.
    pub fn spec<P: Plugin + Exported>(self, library: impl Fn(&Fixtures) -> PathBuf) -> PluginSpec {
        match self {
            Kind::Compiled => PluginSpec::compiled::<P>(),
            Kind::Loaded => PluginSpec::path(library(Fixtures::get())),
            Kind::Isolated => PluginSpec::path(library(Fixtures::get())).with_isolation(Isolation::Process),
        }
    }
}

/// Returns the program of the child processes: the one of this crate, beside the tests. If time is paused here, it is paused in
/// the children.
pub fn child_program() -> ChildProgram {
    let program = child_program_with([""; 0]);
    if is_paused() { program.with_paused_time() } else { program }
}

/// Returns true if the clock of this runtime stands.
fn is_paused() -> bool {
    let (system, clock) = (std::time::Instant::now(), tokio::time::Instant::now());
    while system.elapsed().is_zero() {}
    clock.elapsed().is_zero()
}

/// Returns the program of the child processes with these arguments.
pub fn child_program_with(arguments: impl IntoIterator<Item = &'static str>) -> ChildProgram {
    let test = std::env::current_exe().expect("the path of the test");
    let folder = test.parent().and_then(Path::parent).expect("the folder of the programs");
    ChildProgram::new(folder.join("llmux-tests-child"), arguments)
}

/// Surroundings of one test.
pub struct World {
    /// Kind of its plugins.
    pub kind: Kind,
    folder: TempDir,
}

impl World {
    /// Creates a world.
    pub fn new(kind: Kind) -> Self {
        if kind != Kind::Compiled {
            // Built before time is measured.
            Fixtures::get();
        }
        Self { kind, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Returns a path in the world's folder, which is removed with the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a path in the world's folder as text for a script.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path of UTF-8").to_owned()
    }

    /// Returns a probe with this name, this priority and these scripts.
    pub fn probe(&self, name: &str, priority: i32, scripts: Value) -> PluginSpec {
        let spec = self.kind.spec::<llmux_probe::Probe>(Fixtures::probe);
        self.writable(spec).with_name(name).with_priority(priority).with_config(self.scripts(scripts))
    }

    /// Lets an isolated instance write into the world's folder.
    pub fn writable(&self, spec: PluginSpec) -> PluginSpec {
        match self.kind {
            Kind::Isolated => spec.with_sandbox(self.sandbox()),
            Kind::Compiled | Kind::Loaded => spec,
        }
    }

    /// Returns the rights of an isolated probe: to write into the world's folder.
    pub fn sandbox(&self) -> SandboxSettings {
        SandboxSettings::default().with_write(Some(vec![self.folder.path().to_owned()]))
    }

    /// Returns the configuration of a probe: its scripts, and the file for its record.
    pub fn scripts(&self, mut scripts: Value) -> Value {
        scripts["log"] = json!(self.log());
        scripts
    }

    /// Returns a guard: a plugin with a pre hook only, whose manifest says `on_error: fail`.
    pub fn guard(&self, config: Value) -> PluginSpec {
        let spec = self.kind.spec::<llmux_guard::Guard>(Fixtures::guard);
        self.writable(spec).with_config(config)
    }

    /// Returns a plugin with a text hook, which records its calls.
    pub fn texts(&self, name: &str, priority: i32, mut config: Value) -> PluginSpec {
        config["log"] = json!(self.log());
        let spec = self.kind.spec::<llmux_texts::Texts>(Fixtures::texts);
        self.writable(spec).with_name(name).with_priority(priority).with_config(config)
    }

    /// Returns a plugin with a hook beside the call, which records its calls.
    pub fn beside(&self, name: &str, priority: i32, mut config: Value) -> PluginSpec {
        config["log"] = json!(self.log());
        let spec = self.kind.spec::<llmux_beside::Beside>(|built| built.library("llmux-beside"));
        self.writable(spec).with_name(name).with_priority(priority).with_config(config)
    }

    /// Returns a plugin with a tool call hook, which records its calls.
    pub fn tool_calls(&self, name: &str, priority: i32, mut config: Value) -> PluginSpec {
        config["log"] = json!(self.log());
        let spec = self.kind.spec::<llmux_tool_calls::ToolCalls>(Fixtures::tool_calls);
        self.writable(spec).with_name(name).with_priority(priority).with_config(config)
    }

    /// Returns a plugin that receives streams as one answer.
    pub fn reviewer(&self, config: Value) -> PluginSpec {
        let spec = self.kind.spec::<llmux_reviewer::Reviewer>(Fixtures::reviewer);
        spec.with_config(config)
    }

    fn log(&self) -> PathBuf {
        self.path("lines")
    }

    /// Returns the lines that the probes have written so far.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Returns the lines of one hook. For the hook `pre`, the line `a.pre model = m` gives `a model = m`.
    pub fn of(&self, hook: &str) -> Vec<String> {
        let dotted = format!(".{hook}");
        self.lines()
            .iter()
            .filter_map(|line| {
                let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
                let name = head.strip_suffix(&dotted)?;
                Some(if rest.is_empty() { name.to_owned() } else { format!("{name} {rest}") })
            })
            .collect()
    }

    /// Returns the calls of all hooks in order, without the texts that the probes recorded.
    pub fn calls(&self) -> Vec<String> {
        let made = |line: &String| [".new", ".drop"].iter().any(|end| line.ends_with(end));
        self.lines().into_iter().filter(|line| !line.contains(' ') && !made(line)).collect()
    }

    /// Returns the calls of the hooks of requests: without `complete` and `cleanup`.
    pub fn chain(&self) -> Vec<String> {
        let after = |line: &String| [".complete", ".cleanup"].iter().any(|end| line.ends_with(end));
        self.calls().into_iter().filter(|line| !after(line)).collect()
    }

    /// Returns the number of times that a line was written.
    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|written| *written == line).count()
    }

    /// Waits until a line was written this many times.
    ///
    /// # Panics
    ///
    /// If the line is not written in time.
    pub async fn wait_for(&self, line: &str, times: usize) {
        if self.kind == Kind::Isolated {
            // A child writes while its host runs on. When paused time has passed, the child waits.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for _ in 0..5_000 {
            if self.count(line) >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("`{line}` was not written {times} times; what was: {:#?}", self.lines());
    }

    /// Waits until a line was written, while something blocks a thread and the paused clock does not move.
    pub async fn spin_for(&self, line: &str) {
        while self.count(line) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Runs a request until a line was written, and drops it.
    ///
    /// # Panics
    ///
    /// If the request ends before the line was written.
    pub async fn leave(&self, line: &str, request: impl Future) {
        tokio::select! {
            _ = request => panic!("the request ended before `{line}` was written: {:#?}", self.lines()),
            () = self.wait_for(line, 1) => {}
        }
    }

    /// Returns a client with these plugins and this provider, named `p`, which serves the models `m`, `n` and `o`.
    pub async fn client(
        &self,
        provider: &ScriptedProvider,
        plugins: impl IntoIterator<Item = PluginSpec>,
    ) -> Client {
        built(builder(provider), plugins).await
    }

    /// Shuts a client down. Afterwards, the plugins have recorded everything.
    pub async fn finish(&self, client: &Client) -> ShutdownReport {
        client.shutdown(Duration::from_secs(60)).await
    }
}

/// Returns a provider with this script. After it, every answer is `again`.
pub fn scripted(turns: impl IntoIterator<Item = Turn>) -> ScriptedProvider {
    ScriptedProvider::new(turns).otherwise(Turn::text("again"))
}

/// Returns a client's builder with this provider, named `p`, which serves the models `m`, `n` and `o`, without
/// retries.
pub fn builder(provider: &ScriptedProvider) -> ClientBuilder {
    let retry = RetryConfig::default().with_max_retries(0);
    Client::builder()
        .provider("p", Arc::new(provider.clone()), ["m", "n", "o"])
        .retry(retry)
        .plugins(plugins())
}

/// Returns the default settings of plugins, with the program of the child processes.
pub fn plugins() -> PluginsConfig {
    PluginsConfig::default().with_child(Some(child_program()))
}

/// Returns the client of a builder and these plugins.
///
/// # Panics
///
/// If a plugin is refused.
pub async fn built(builder: ClientBuilder, plugins: impl IntoIterator<Item = PluginSpec>) -> Client {
    let builder = plugins.into_iter().fold(builder, ClientBuilder::plugin);
    builder.build().await.expect("a client")
}

/// Returns a chat request to a model.
pub fn chat(model: &str) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    Request::of(Endpoint::ChatCompletions, &body).expect("a request")
}

/// Returns the text of a reply's response, or its error as `!status type: message`.
pub fn said(reply: &Reply) -> String {
    match &reply.result {
        Ok(document) => document.get_str("/choices/0/message/content").unwrap_or("(no text)").to_owned(),
        Err(error) => told(error),
    }
}

/// Returns an error as `!status type: message`.
pub fn told(error: &llmux_core::Error) -> String {
    format!("!{} {}: {}", error.status(), error.error_type(), error.message())
}

/// Reads the rest of a stream. Returns the text of each chunk (its data if it has no text), and the error at the end
/// as `!status type: message`.
pub async fn read(stream: &mut ReplyStream) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(item) = stream.next().await {
        read.push(match item {
            Ok(chunk) => text(&chunk),
            Err(error) => told(&error),
        });
    }
    read
}

/// Returns the text of a chunk, or its data if it has no text.
pub fn text(chunk: &llmux_core::pipeline::Chunk) -> String {
    let text = chunk.document().and_then(|document| document.get_str("/choices/0/delta/content"));
    text.map(str::to_owned).unwrap_or_else(|| String::from_utf8_lossy(&chunk.data()).into_owned())
}

/// Reads a whole stream, as [`read`] does. An error before the first chunk begins with `!!`.
pub async fn all(reply: StreamReply) -> Vec<String> {
    match reply.result {
        Ok(mut stream) => read(&mut stream).await,
        Err(error) => vec![format!("!{}", told(&error))],
    }
}

/// Returns the header that a plugin set; `None` if no plugin set it.
pub fn header<'r>(headers: &'r [(http::HeaderName, http::HeaderValue)], name: &str) -> Option<&'r str> {
    headers.iter().find(|(there, _)| there == name).and_then(|(_, value)| value.to_str().ok())
}

/// Returns the name of a path's file, for tests that read messages.
pub fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
