//! The little world of one test: a file in which its plugins write down what they do, and a client to send requests
//! with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use llmux_core::{
    Client, ClientBuilder, Endpoint, PluginSpec, Reply, ReplyStream, Request, StreamReply,
    client::RetryConfig, plugins::ShutdownReport,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use llmux_testing::{ScriptedProvider, Turn};

use crate::Fixtures;

/// How the plugins of a test come into the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As parts of it.
    Compiled,
    /// As libraries.
    Loaded,
}

/// The world of one test.
pub struct World {
    /// How its plugins come into the host.
    pub kind: Kind,
    folder: TempDir,
}

impl World {
    /// A new one.
    pub fn new(kind: Kind) -> Self {
        if kind == Kind::Loaded {
            // Built before time is measured.
            Fixtures::get();
        }
        Self { kind, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A path in a folder that goes with the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same, as text for a script.
    pub fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path of UTF-8").to_owned()
    }

    /// A probe with this name and priority, that does what these scripts say.
    pub fn probe(&self, name: &str, priority: i32, scripts: Value) -> PluginSpec {
        let spec = match self.kind {
            Kind::Compiled => PluginSpec::compiled::<llmux_probe::Probe>(),
            Kind::Loaded => PluginSpec::path(Fixtures::get().probe()),
        };
        spec.with_name(name).with_priority(priority).with_config(self.scripts(scripts))
    }

    /// The configuration of a probe: its scripts, and the file to write to.
    pub fn scripts(&self, mut scripts: Value) -> Value {
        scripts["log"] = json!(self.log());
        scripts
    }

    /// A guard: a plugin with a pre hook alone, whose manifest says `on_error: fail`.
    pub fn guard(&self, config: Value) -> PluginSpec {
        let spec = match self.kind {
            Kind::Compiled => PluginSpec::compiled::<llmux_guard::Guard>(),
            Kind::Loaded => PluginSpec::path(Fixtures::get().guard()),
        };
        spec.with_config(config)
    }

    fn log(&self) -> PathBuf {
        self.path("lines")
    }

    /// What the probes have written so far.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What they have written of one hook, as `pre`: `a.pre model = m` gives `a model = m`.
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

    /// The calls of all hooks, in their order, without what they told.
    pub fn calls(&self) -> Vec<String> {
        let made = |line: &String| [".new", ".drop"].iter().any(|end| line.ends_with(end));
        self.lines().into_iter().filter(|line| !line.contains(' ') && !made(line)).collect()
    }

    /// The calls of the hooks of requests: without `complete` and `cleanup`.
    pub fn chain(&self) -> Vec<String> {
        let after = |line: &String| [".complete", ".cleanup"].iter().any(|end| line.ends_with(end));
        self.calls().into_iter().filter(|line| !after(line)).collect()
    }

    /// How often a line was written.
    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|written| *written == line).count()
    }

    /// Waits until a line is there so often.
    ///
    /// # Panics
    ///
    /// When it does not come.
    pub async fn wait_for(&self, line: &str, times: usize) {
        for _ in 0..5_000 {
            if self.count(line) >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("`{line}` was not written {times} times; what was: {:#?}", self.lines());
    }

    /// Waits until a line is there, while something blocks a thread: the clock stands then.
    pub async fn spin_for(&self, line: &str) {
        while self.count(line) == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Runs a request until a line is there, and leaves it.
    ///
    /// # Panics
    ///
    /// When the request ends before.
    pub async fn leave(&self, line: &str, request: impl Future) {
        tokio::select! {
            _ = request => panic!("the request ended before `{line}` was written: {:#?}", self.lines()),
            () = self.wait_for(line, 1) => {}
        }
    }

    /// A client of this provider, as `p`, which serves the models `m`, `n` and `o`, with these plugins.
    pub async fn client(
        &self,
        provider: &ScriptedProvider,
        plugins: impl IntoIterator<Item = PluginSpec>,
    ) -> Client {
        built(builder(provider), plugins).await
    }

    /// Shuts a client down, so that everything that is still to come has come.
    pub async fn finish(&self, client: &Client) -> ShutdownReport {
        client.shutdown(Duration::from_secs(60)).await
    }
}

/// Returns a provider with this script. After it, every answer is `again`.
pub fn scripted(turns: impl IntoIterator<Item = Turn>) -> ScriptedProvider {
    ScriptedProvider::new(turns).otherwise(Turn::text("again"))
}

/// A client's builder with this provider, as `p`, which serves the models `m`, `n` and `o`, without retries.
pub fn builder(provider: &ScriptedProvider) -> ClientBuilder {
    let retry = RetryConfig::default().with_max_retries(0);
    Client::builder().provider("p", Arc::new(provider.clone()), ["m", "n", "o"]).retry(retry)
}

/// The client of a builder and these plugins.
///
/// # Panics
///
/// When a plugin is refused.
pub async fn built(builder: ClientBuilder, plugins: impl IntoIterator<Item = PluginSpec>) -> Client {
    let builder = plugins.into_iter().fold(builder, ClientBuilder::plugin);
    builder.build().await.expect("a client")
}

/// A chat request to a model.
pub fn chat(model: &str) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    Request::of(Endpoint::ChatCompletions, &body).expect("a request")
}

/// The text of a reply's response, or its error as `!status type: message`.
pub fn said(reply: &Reply) -> String {
    match &reply.result {
        Ok(document) => document.get_str("/choices/0/message/content").unwrap_or("(no text)").to_owned(),
        Err(error) => told(error),
    }
}

/// An error as `!status type: message`.
pub fn told(error: &llmux_core::Error) -> String {
    format!("!{} {}: {}", error.status(), error.error_type(), error.message())
}

/// What is left of a stream: the text of each chunk (its data where it has none), and the error at its end as
/// `!status type: message`.
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

/// The text of a chunk, or its data where it has none.
pub fn text(chunk: &llmux_core::pipeline::Chunk) -> String {
    let text = chunk.document().and_then(|document| document.get_str("/choices/0/delta/content"));
    text.map(str::to_owned).unwrap_or_else(|| String::from_utf8_lossy(&chunk.data()).into_owned())
}

/// The whole of a stream, as [`read`] gives it; an error before the first chunk is `!!`.
pub async fn all(reply: StreamReply) -> Vec<String> {
    match reply.result {
        Ok(mut stream) => read(&mut stream).await,
        Err(error) => vec![format!("!{}", told(&error))],
    }
}

/// The header that a plugin set, if it did.
pub fn header<'r>(headers: &'r [(http::HeaderName, http::HeaderValue)], name: &str) -> Option<&'r str> {
    headers.iter().find(|(there, _)| there == name).and_then(|(_, value)| value.to_str().ok())
}

/// Does a path lie in a folder, for tests that read messages?
pub fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
