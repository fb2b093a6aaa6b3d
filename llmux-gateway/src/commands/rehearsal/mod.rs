//! A plugin on trial: a library in the real pipeline of `llmux-core`, between two bookends, with no server.
//!
//! ```text
//! sample ──► outer ──► the plugin ──► inner ──► echo, or the answer of a file
//!              │                        │
//!              └──── what they saw ─────┴──► run ──► layout, or JSON
//! ```
//!
//! `plugin_try` shows one run after the other, `plugin_bench` counts bytes with it. Deliberately absent: any way to see
//! into the pipeline. What plugins around it can see, and the client is told, is all there is to know.

mod bookend;
pub(crate) mod layout;
mod run;
mod sample;

use std::path::Path;

use llmux_core::{
    client::BuildError,
    pipeline::PipelineConfig,
    plugins::{HookInfo, LibraryError, PluginError, PluginInfo, VerifyOptions, inspect},
    testing::{Harness, HarnessBuilder, Log, Traffic},
};
use serde_json::Value;

use self::bookend::{Notes, Seen, Side};
pub(crate) use self::{
    run::{HookRun, Run},
    sample::{Sample, samples, texts},
};
use super::authors::{Library, Question};
use crate::terminal::cli_error::{CliError, Result};

/// What the provider answers instead of repeating the question.
enum Recorded {
    Response(Value),
    Chunks(Vec<Value>),
    Error(u16, String),
}

/// A plugin on trial.
pub(crate) struct Rehearsal {
    harness: Harness,
    notes: Notes,
    recorded: Option<Recorded>,
    /// The instance, as it was when it was made.
    pub(crate) plugin: PluginInfo,
    hooks: Vec<HookInfo>,
    logs: usize,
    failures: usize,
}

impl Rehearsal {
    /// Loads the library: every check of a load but one. Who may write its file is its author's business here, and a
    /// note ([`writable_by_others`]).
    pub(crate) async fn start(
        library: &Library,
        question: &Question,
        response: Option<&Path>,
    ) -> Result<Self> {
        let recorded = response.map(recorded).transpose()?;
        let notes = Notes::default();
        let [outer, inner] = notes.bookends();
        Traffic::count(true);
        let harness: HarnessBuilder = Harness::builder()
            .logs_of_every_thread()
            .pipeline(pipeline(library))
            .models(models(library, question)?)
            .spec(outer)
            .library(&library.file, &library.config)
            .spec(inner);
        let harness = harness.try_build().await.map_err(|error| refused(&error))?;
        let plugins = harness.client().plugins().list();
        let plugin = plugins.into_iter().find(|plugin| plugin.library.is_some());
        let plugin = plugin.ok_or_else(|| CliError::new("the plugin is gone"))?;
        Ok(Self { harness, notes, recorded, plugin, hooks: Vec::new(), logs: 0, failures: 0 })
    }

    /// Sends a request, and waits until the last hook has heard of it.
    pub(crate) async fn run(&mut self, sample: &Sample, stream: bool) -> Run {
        match &self.recorded {
            Some(Recorded::Response(response)) => drop(self.harness.respond(response.clone())),
            Some(Recorded::Chunks(chunks)) => drop(self.harness.stream(chunks.clone())),
            Some(Recorded::Error(status, message)) => drop(self.harness.fail(*status, message)),
            None => {}
        }
        let request = sample.request.clone();
        let reply = match stream {
            true => self.harness.stream_request(request).await,
            false => self.harness.send(request).await,
        };
        self.harness.completed().await;
        let looks = self.notes.take();
        let mut run = Run::of(&looks, &reply, stream);
        run.sample.clone_from(&sample.name);
        run.endpoint = sample.endpoint.path();
        run.logs = self.new_logs();
        run.failures = self.new_failures();
        run.hooks = self
            .new_calls()
            .into_iter()
            .map(|(hook, calls, nanos)| HookRun { hook, calls, nanos, traffic: run::traffic(&looks, hook) })
            .collect();
        let has_passed = looks
            .iter()
            .any(|look| (look.side, matches!(look.seen, Seen::Request(_))) == (Side::Inner, true));
        run.short_circuit = !has_passed && run.request.before.is_some() && !self.ended_by_failure(&run);
        run
    }

    /// Did the plugin's own failure end the request, and not an answer of the plugin's?
    fn ended_by_failure(&self, run: &Run) -> bool {
        run.error.as_ref().is_some_and(|error| error["error"]["type"] == "plugin_failure")
    }

    /// What the plugin logged since this was asked last.
    pub(crate) fn new_logs(&mut self) -> Vec<Log> {
        let logs = self.harness.logs().split_off(self.logs);
        self.logs += logs.len();
        logs
    }

    fn new_failures(&mut self) -> Vec<String> {
        let failures = self.harness.failures().split_off(self.failures);
        self.failures += failures.len();
        failures
    }

    /// The hooks that were called since this was asked last: how often, and how long in all, in nanoseconds.
    fn new_calls(&mut self) -> Vec<(&'static str, u64, f64)> {
        let plugins = self.harness.client().plugins().list();
        let plugin = plugins.into_iter().find(|plugin| plugin.name == self.plugin.name);
        let hooks = plugin.map(|plugin| plugin.hooks).unwrap_or_default();
        let calls = since(&self.hooks, &hooks);
        self.hooks = hooks;
        calls
    }

    /// The plugin's own metrics, a series a line.
    pub(crate) fn metrics(&self) -> Vec<String> {
        let label = format!("plugin={:?}", self.plugin.name);
        let text = self.harness.metrics();
        let own = text.lines().filter(|line| {
            let host = ["llmux_hook_failures_total", "llmux_hook_duration_seconds", "llmux_plugin_info"];
            line.contains(&label) && !line.starts_with('#') && !host.iter().any(|name| line.starts_with(name))
        });
        own.map(str::to_owned).collect()
    }

    /// Unloads the plugin. Gives what its cleanup failed with.
    pub(crate) async fn end(self) -> Vec<String> {
        let report = self.harness.client().shutdown(std::time::Duration::from_secs(60)).await;
        report.errors.iter().map(|(name, why)| format!("`{name}` in cleanup: {why}")).collect()
    }
}

/// The hooks that were called between two lists of them: how often, and how long in all, in nanoseconds.
pub(crate) fn since(before: &[HookInfo], after: &[HookInfo]) -> Vec<(&'static str, u64, f64)> {
    let hooks = after.iter().map(|hook| {
        let earlier = before.iter().find(|earlier| earlier.hook == hook.hook);
        let (calls, total) = earlier.map_or((0, 0.0), |earlier| (earlier.calls, earlier.total_us));
        (hook.hook, hook.calls - calls, ((hook.total_us - total) * 1e3).round())
    });
    hooks.filter(|(_, calls, _)| *calls > 0).collect()
}

/// Why a server would refuse the library though it ran here.
pub(crate) fn writable_by_others(file: &Path) -> Option<String> {
    match inspect(file, &VerifyOptions::default()).refused {
        Some(error @ LibraryError::Permissions(_)) => {
            Some(format!("a server would refuse {}: {error}", file.display()))
        }
        _ => None,
    }
}

/// A pipeline with the command line's timeout.
pub(crate) fn pipeline(library: &Library) -> PipelineConfig {
    let timeout = library.timeout;
    PipelineConfig {
        pre_hook_timeout: timeout,
        post_hook_timeout: timeout,
        // A plugin's own stream that stands still is as slow as a hook.
        stream_idle_timeout: timeout,
        ..PipelineConfig::default()
    }
}

/// Every name that may be a model's: the request's, those of the command line, and the texts of the configuration.
pub(crate) fn models(library: &Library, question: &Question) -> Result<Vec<String>> {
    let mut models = question.models.clone();
    texts(&library.config, &mut models);
    for sample in samples(question)? {
        models.extend(sample.request.body().get_str("/model").map(str::to_owned));
    }
    models.sort();
    models.dedup();
    // The harness serves its own.
    models.retain(|model| model != llmux_core::testing::harness::MODEL);
    Ok(models)
}

/// A library that was not loaded, and what its author can do about it.
pub(crate) fn refused(error: &BuildError) -> CliError {
    match error {
        BuildError::Plugin(PluginError::Config { message, plugin, .. }) => {
            CliError::new(format!("configuration of `{plugin}`: {message}; give it with --config JSON"))
        }
        _ => CliError::new(error),
    }
}

fn recorded(file: &Path) -> Result<Recorded> {
    let problem = |why: &str| CliError::new(format!("--response {}: {why}", file.display()));
    let (text, _) = sample::read("--response", file)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| problem(&error.to_string()))?;
    match value {
        Value::Array(chunks) => Ok(Recorded::Chunks(chunks)),
        Value::Object(error) if error.contains_key("error") => {
            let status = error.get("status").and_then(Value::as_u64).unwrap_or(500);
            let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
            let status = status.ok_or_else(|| problem("the `status` of an error is 400 to 599"))?;
            let message = error["error"]["message"].as_str();
            let message = message.ok_or_else(|| problem("an error has a text at `error.message`"))?;
            Ok(Recorded::Error(status, message.to_owned()))
        }
        Value::Object(_) => Ok(Recorded::Response(value)),
        _ => Err(problem("a response is a JSON object, a stream an array of chunks")),
    }
}
