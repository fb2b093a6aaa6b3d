//! A plugin on trial: a library in the real pipeline of `llmux-core`, between two observers, without a server.
//!
//! ```text
//! sample ──► outer observer ──► the plugin ──► inner observer ──► echo, or the answer of a file
//!                  │                                 │
//!                  └────────── observations ─────────┴──► run
//! ```
//!
//! `try_plugin` shows one run after the other. Deliberately absent: any way into the
//! pipeline. The observers see what plugins see, and the reply is what a client reads.

use std::path::Path;

use llmux_core::{
    client::BuildError,
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::{HookInfo, LibraryError, PluginError, PluginInfo, VerifyOptions, inspect},
};
use llmux_terminal::{CliError, Result};
use llmux_testing::{Harness, HarnessBuilder, Log};
use serde_json::Value;

use crate::{
    args::{LibraryArgs, RequestArgs},
    observer::{Event, Observations, Side},
    run::{HookRun, Run, Verdict, hooks_between},
    sample::{self, Sample, samples, texts},
};

/// Answer of the provider, instead of a repetition of the question.
pub(crate) enum Recorded {
    Response(Value),
    Chunks(Vec<Value>),
    Error(u16, String),
}

impl Recorded {
    /// Reads the file of `--response`.
    ///
    /// # Errors
    ///
    /// If it is no answer of a provider.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let failed = |why: &str| CliError::new(format!("--response {}: {why}", file.display()));
        let (text, _) = sample::read("--response", file)?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| failed(&error.to_string()))?;
        match value {
            Value::Array(chunks) => Ok(Self::Chunks(chunks)),
            Value::Object(error) if error.contains_key("error") => {
                let status = error.get("status").and_then(Value::as_u64).unwrap_or(500);
                let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
                let status = status.ok_or_else(|| failed("the `status` of an error is 400 to 599"))?;
                let message = error["error"]["message"].as_str();
                let message = message.ok_or_else(|| failed("an error has a string at `error.message`"))?;
                Ok(Self::Error(status, message.to_owned()))
            }
            Value::Object(_) => Ok(Self::Response(value)),
            _ => Err(failed("a response is a JSON object, and a stream is an array of chunks")),
        }
    }

    /// Makes it the provider's next answer.
    pub(crate) fn script(&self, harness: &Harness) {
        match self {
            Recorded::Response(response) => harness.respond(response.clone()),
            Recorded::Chunks(chunks) => harness.stream(chunks.clone()),
            Recorded::Error(status, message) => harness.fail(*status, message),
        };
    }
}

/// A plugin on trial.
pub(crate) struct Trial {
    harness: Harness,
    observations: Observations,
    recorded: Option<Recorded>,
    /// The instance, as it was after its construction.
    pub(crate) plugin: PluginInfo,
    hooks: Vec<HookInfo>,
    logs: usize,
    failures: usize,
}

impl Trial {
    /// Loads the library with every check of a load but one: its file may be writable by others, which
    /// [`writable_by_others`] reports.
    ///
    /// # Errors
    ///
    /// If the library is refused or its plugin cannot be constructed.
    pub(crate) async fn start(
        library: &LibraryArgs,
        args: &RequestArgs,
        response: Option<&Path>,
        child: ChildProgram,
    ) -> Result<Self> {
        let recorded = response.map(Recorded::read).transpose()?;
        let observations = Observations::default();
        let [outer, inner] = observations.observers();
        let harness = builder(library, args, child)?.spec(outer).spec(inner).try_build().await;
        let harness = harness.map_err(|error| refused(&error))?;
        let plugin = instance(&harness)?;
        Ok(Self { harness, observations, recorded, plugin, hooks: Vec::new(), logs: 0, failures: 0 })
    }

    /// Sends a request, and waits until its last hook has run.
    pub(crate) async fn run(&mut self, sample: &Sample, stream: bool) -> Run {
        if let Some(recorded) = &self.recorded {
            recorded.script(&self.harness);
        }
        let request = sample.request.clone();
        let reply = match stream {
            true => self.harness.stream_request(request).await,
            false => self.harness.send(request).await,
        };
        self.harness.completed().await;
        let observations = self.observations.take();
        let mut run = Run::of(&observations, &reply, stream);
        run.sample.clone_from(&sample.name);
        run.endpoint = sample.endpoint.path();
        run.logs = self.new_logs();
        run.failures = self.new_failures();
        run.hooks = self.new_calls();
        let has_passed = observations.iter().any(|observation| {
            (observation.side, matches!(observation.event, Event::Request(_))) == (Side::Inner, true)
        });
        let ended_by_failure = self.ended_by_failure(&run);
        run.short_circuit = !has_passed && run.request.before.is_some() && !ended_by_failure;
        let has_judged = has_passed && run.hooks.iter().any(|hook| hook.hook == "beside");
        let refused = observations.iter().any(|observation| observation.event == Event::Complete(true));
        run.verdict = match has_judged && !ended_by_failure {
            true if refused => Some(Verdict::Refused),
            true => Some(Verdict::Allowed),
            false => None,
        };
        run
    }

    /// Returns true if a failure of the plugin ended the request, instead of an answer of the plugin.
    fn ended_by_failure(&self, run: &Run) -> bool {
        run.error.as_ref().is_some_and(|error| error["error"]["type"] == "plugin_failure")
    }

    /// Returns the lines that the plugin logged since the last call.
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

    /// Returns the hooks that were called since the last call.
    fn new_calls(&mut self) -> Vec<HookRun> {
        let plugins = self.harness.client().plugins().list();
        let plugin = plugins.into_iter().find(|plugin| plugin.name == self.plugin.name);
        let hooks = plugin.map(|plugin| plugin.hooks).unwrap_or_default();
        let calls = hooks_between(&self.hooks, &hooks);
        self.hooks = hooks;
        calls
    }

    /// Returns the plugin's own metrics, one line for each series.
    pub(crate) fn metrics(&self) -> Vec<String> {
        let label = format!("plugin={:?}", self.plugin.name);
        let text = self.harness.metrics();
        let own = text.lines().filter(|line| {
            let host = ["llmux_hook_failures_total", "llmux_hook_duration_seconds", "llmux_plugin_"];
            line.contains(&label) && !line.starts_with('#') && !host.iter().any(|name| line.starts_with(name))
        });
        own.map(str::to_owned).collect()
    }

    /// Unloads the plugin, and returns the failures of its cleanup.
    pub(crate) async fn end(self) -> Vec<String> {
        unload(&self.harness).await
    }
}

/// Returns a harness with the library, and with the models of the requests.
pub(crate) fn builder(
    library: &LibraryArgs,
    args: &RequestArgs,
    child: ChildProgram,
) -> Result<HarnessBuilder> {
    let harness = Harness::builder()
        .logs_of_every_thread()
        .pipeline(pipeline(library))
        .models(models(library, args)?)
        .library(&library.file, &library.config);
    Ok(if library.isolated { harness.isolated(child) } else { harness })
}

/// Returns the instance of the library.
pub(crate) fn instance(harness: &Harness) -> Result<PluginInfo> {
    let plugins = harness.client().plugins().list();
    let plugin = plugins.into_iter().find(|plugin| plugin.library.is_some());
    plugin.ok_or_else(|| CliError::new("the plugin is gone"))
}

/// Unloads every plugin, and returns the failures of their cleanup.
pub(crate) async fn unload(harness: &Harness) -> Vec<String> {
    let report = harness.client().shutdown(std::time::Duration::from_secs(60)).await;
    report.errors.iter().map(|(name, why)| format!("`{name}` in cleanup: {why}")).collect()
}

/// Returns the reason why a server would refuse the library, though it ran here.
pub(crate) fn writable_by_others(file: &Path) -> Option<String> {
    match inspect(file, &VerifyOptions::default()).refused {
        Some(error @ LibraryError::Permissions(_)) => {
            Some(format!("a server would refuse {}: {error}", file.display()))
        }
        _ => None,
    }
}

/// Returns the settings of a pipeline with the timeout of the arguments.
pub(crate) fn pipeline(library: &LibraryArgs) -> PipelineConfig {
    let timeout = library.timeout;
    PipelineConfig::default()
        .with_pre_hook_timeout(timeout)
        .with_post_hook_timeout(timeout)
        .with_stream_idle_timeout(timeout)
}

/// Returns every name that may be a model's: those of the requests and of the arguments, and each text of the
/// configuration.
pub(crate) fn models(library: &LibraryArgs, args: &RequestArgs) -> Result<Vec<String>> {
    let mut models = args.models.clone();
    texts(&library.config, &mut models);
    for sample in samples(args)? {
        models.extend(sample.request.body().get_str("/model").map(str::to_owned));
    }
    models.sort();
    models.dedup();
    // The harness serves this model itself.
    models.retain(|model| model != llmux_testing::harness::MODEL);
    Ok(models)
}

/// Returns the error of a library that was not loaded, with a remedy if there is one.
pub(crate) fn refused(error: &BuildError) -> CliError {
    match error {
        BuildError::Plugin(PluginError::Config { message, plugin, .. }) => {
            CliError::new(format!("configuration of `{plugin}`: {message}; give it with --config JSON"))
        }
        _ => CliError::new(error),
    }
}
