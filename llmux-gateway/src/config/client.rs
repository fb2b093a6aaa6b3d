//! Makes a client of a configuration: providers with their keys, fallbacks, plugins.
//!
//! `serve` and `chat` call it, so that both send requests the same way. Nothing is started where anything is wrong.

use std::{path::PathBuf, sync::Arc};

use llmux_core::{
    Client, ClientBuilder, PluginSpec,
    client::{BuildError, RetryConfig},
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::{Origin, PluginError, PluginsConfig, SandboxSettings, TrialProgram, TrustedKey, acting_as},
    provider::Echo,
};
use llmux_terminal::{CliError, Result};
use serde_json::Value;

use super::{
    file::{Instance, Loaded, UnknownText},
    hash,
    provider::{Providers, provider},
    sense,
};

/// The statuses whose `echo-error-NNN` models are listed where nothing is configured.
const ECHO_ERRORS: [u16; 14] = [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529];

/// A builder with everything that the configuration says, and the plugins of the command line; and its providers. Those of
/// `before` that have the same settings are used again.
pub(crate) fn client(
    loaded: &Loaded,
    more: Vec<PluginSpec>,
    before: &Providers,
) -> Result<(ClientBuilder, Providers)> {
    sense::check(loaded)?;
    let config = &loaded.config;
    loaded.unique("a provider", config.providers.iter().map(|provider| &provider.name))?;
    loaded.unique("a plugin instance", config.instances.iter().map(|instance| &instance.name))?;
    loaded.unique("a fallback for the model", config.fallbacks.iter().map(|fallback| &fallback.model))?;
    let mut builder =
        Client::builder().pipeline(pipeline(loaded)).plugins(folders(loaded)?).retry(retry(loaded));
    builder = builder.routing(config.routing.strategy.into());
    let mut providers = Providers::default();
    if config.providers.is_empty() {
        let errors = ECHO_ERRORS.iter().map(|status| format!("echo-error-{status}"));
        let models = ["echo", "echo-request"].map(str::to_owned).into_iter().chain(errors);
        builder = builder.provider("echo", Arc::new(Echo::new()), models);
    }
    for settings in &config.providers {
        builder = provider(loaded, settings, builder, before, &mut providers)?;
    }
    for fallback in &config.fallbacks {
        let models = fallback.to.as_slice().iter().map(String::as_str);
        builder = builder.fallbacks(fallback.model.get_ref(), models);
    }
    for instance in &config.instances {
        builder = builder.plugin(spec(loaded, instance)?);
    }
    Ok((more.into_iter().fold(builder, ClientBuilder::plugin), providers))
}

/// Builds the client; an error names the place in the file where it can.
pub(crate) async fn build(loaded: &Loaded, builder: ClientBuilder) -> Result<Client> {
    let client = acting_as("config", builder.build()).await.map_err(|error| match &error {
        BuildError::Plugin(error) => plugin_problem(loaded, error),
        _ => CliError::new(error),
    })?;
    warn_of_fallbacks(loaded, &client);
    Ok(client)
}

/// A refused plugin, with the place of its instance in the file if the file has one.
pub(crate) fn plugin_problem(loaded: &Loaded, error: &PluginError) -> CliError {
    let name = match error {
        PluginError::Config { name, .. }
        | PluginError::Construction { name, .. }
        | PluginError::Isolation { name, .. }
        | PluginError::Sandbox { name, .. }
        | PluginError::InstanceInUse { name, .. }
        | PluginError::InvalidName { name }
        | PluginError::DuplicatePlugin { name } => Some(name),
        _ => None,
    };
    let instances = &loaded.config.instances;
    let instance = name.and_then(|name| instances.iter().find(|instance| instance.name.get_ref() == name));
    match instance {
        Some(instance) => loaded.problem(Some(instance.name.span()), error),
        None => CliError::new(error),
    }
}

/// No error: a plugin may answer for such a model, or give it another name.
pub(crate) fn warn_of_fallbacks(loaded: &Loaded, client: &Client) {
    if client.serves_any_model() {
        return;
    }
    let served = client.models();
    for fallback in &loaded.config.fallbacks {
        let model = fallback.model.get_ref();
        if !served.iter().any(|(it, _)| it == model) {
            tracing::warn!("a fallback stands in for the model `{model}`, which no provider serves");
        }
        for model in fallback.to.as_slice().iter().filter(|model| !served.iter().any(|(it, _)| it == *model))
        {
            tracing::warn!(
                "the fallback of `{}` names the model `{model}`, which no provider serves",
                fallback.model.get_ref()
            );
        }
    }
}

fn pipeline(loaded: &Loaded) -> PipelineConfig {
    let settings = &loaded.config.pipeline;
    let default = PipelineConfig::default();
    PipelineConfig::default()
        .with_pre_hook_timeout(settings.pre_hook_timeout.unwrap_or(default.pre_hook_timeout))
        .with_post_hook_timeout(settings.post_hook_timeout.unwrap_or(default.post_hook_timeout))
        .with_propagate_errors(settings.propagate_errors.unwrap_or(default.propagate_errors))
        .with_max_plugins(settings.max_plugins.unwrap_or(default.max_plugins))
        .with_max_body_bytes(loaded.config.server.max_body_bytes)
        .with_max_waiting_completions(
            settings.max_waiting_completions.unwrap_or(default.max_waiting_completions),
        )
        .with_max_waiting_completion_bytes(
            settings.max_waiting_completion_bytes.unwrap_or(default.max_waiting_completion_bytes),
        )
        .with_stream_idle_timeout(settings.stream_idle_timeout.unwrap_or(default.stream_idle_timeout))
        .with_max_whole_stream_bytes(
            settings.max_whole_stream_bytes.unwrap_or(default.max_whole_stream_bytes),
        )
        .with_whole_stream_timeout(settings.whole_stream_timeout.unwrap_or(default.whole_stream_timeout))
        .with_refuse_unknown_text(settings.unknown_text == UnknownText::Refuse)
}

fn retry(loaded: &Loaded) -> RetryConfig {
    let settings = &loaded.config.retry;
    let default = RetryConfig::default();
    RetryConfig::default()
        .with_max_retries(settings.max_retries.unwrap_or(default.max_retries))
        .with_initial_backoff(settings.initial_backoff.unwrap_or(default.initial_backoff))
        .with_max_backoff(settings.max_backoff.unwrap_or(default.max_backoff))
        .with_sent(settings.sent)
        .with_other_deployment(settings.other_deployment.into())
        .with_deadline(settings.deadline.unwrap_or(default.deadline))
}

fn folders(loaded: &Loaded) -> Result<PluginsConfig> {
    let settings = &loaded.config.plugins;
    let dirs: Vec<PathBuf> = settings.dirs.iter().map(|dir| loaded.resolve(dir)).collect::<Result<_>>()?;
    for dir in &dirs {
        std::fs::read_dir(dir)
            .map_err(|error| CliError::new(format!("plugin folder {}: {error}", dir.display())))?;
    }
    let keys = settings.trusted_keys.iter().map(|key| {
        TrustedKey::parse(key.get_ref()).map_err(|message| loaded.problem(Some(key.span()), message))
    });
    let trusted_keys = keys.collect::<Result<_>>()?;
    let default = PluginsConfig::default();
    let copy_dir = settings.copy_dir.as_deref().map(|dir| loaded.resolve(dir)).transpose()?;
    let trial = settings.trial.unwrap_or(true).then(trial_program).transpose()?;
    let sandbox = SandboxSettings::default()
        .with_sandbox(settings.sandbox)
        .with_memory(settings.memory)
        .with_files(settings.files)
        .with_cpu(settings.cpu);
    Ok(PluginsConfig::default()
        .with_dirs(dirs)
        .with_trial(trial)
        .with_isolation(settings.isolation.unwrap_or(default.isolation))
        .with_sandbox(sandbox)
        .with_child(Some(child_program()?))
        .with_autoload(settings.autoload)
        .with_allow_insecure_permissions(settings.allow_insecure_permissions)
        .with_trusted_keys(trusted_keys)
        .with_require_signature(settings.require_signature)
        .with_required(settings.required.clone())
        .with_max_retired_images(settings.max_retired_images.unwrap_or(default.max_retired_images))
        .with_max_library_bytes(settings.max_library_bytes.unwrap_or(default.max_library_bytes))
        .with_copy_dir(copy_dir)
        .with_drain_timeout(settings.drain_timeout.unwrap_or(default.drain_timeout))
        .with_max_drain(settings.max_drain.unwrap_or(default.max_drain))
        .with_exclusive_wait(settings.exclusive_wait.unwrap_or(default.exclusive_wait)))
}

/// The program itself, as the child process of a trial load.
pub(crate) fn trial_program() -> Result<TrialProgram> {
    Ok(TrialProgram::new(this_program()?, ["trial-load"]).with_variable(ALLOCATOR.0, ALLOCATOR.1))
}

/// The program itself, as the child process of an isolated plugin.
pub(crate) fn child_program() -> Result<ChildProgram> {
    Ok(ChildProgram::new(this_program()?, ["plugin-host"]).with_variable(ALLOCATOR.0, ALLOCATOR.1))
}

/// The setting of the program's allocator in a child process: its threads would run before the sandbox.
const ALLOCATOR: (&str, &str) = ("_RJEM_MALLOC_CONF", "background_thread:false");

/// The path of the running program.
fn this_program() -> Result<PathBuf> {
    // On Linux, this is the running program, also after another version took its place.
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe()
            .map_err(|error| CliError::new(format!("the path of this program: {error}"))),
    }
}

/// The instance that a table of the file asks for.
fn spec(loaded: &Loaded, instance: &Instance) -> Result<PluginSpec> {
    let name = instance.name.get_ref();
    let mut spec = match (&instance.path, &instance.plugin) {
        (Some(_), Some(plugin)) => {
            let message = format!(
                "the instance `{name}` has both `path` and `plugin`; a library is found by one of them"
            );
            return Err(loaded.problem(Some(plugin.span()), message));
        }
        (Some(path), None) => PluginSpec::path(loaded.resolve(path)?),
        (None, plugin) => {
            PluginSpec::plugin(plugin.as_ref().map_or(name.as_str(), |plugin| plugin.get_ref().as_str()))
        }
    };
    let enabled = instance.enabled != Some(false);
    spec = spec.with_name(name).with_origin(Origin::Config).with_enabled(enabled);
    if let Some(priority) = instance.priority {
        spec = spec.with_priority(priority);
    }
    if let Some(on_error) = instance.on_error {
        spec = spec.with_on_error(on_error);
    }
    if let Some(sha256) = &instance.sha256 {
        hash::check(loaded, sha256)?;
        spec = spec.with_sha256(sha256.get_ref());
    }
    if let Some(isolation) = instance.isolation {
        spec = spec.with_isolation(isolation);
    }
    spec = spec.with_sandbox(instance.sandbox(|path| loaded.resolve(path))?);
    Ok(spec.with_config(instance_config(loaded, instance)?))
}

/// The configuration of an instance: `{}` where the file gives none.
fn instance_config(loaded: &Loaded, instance: &Instance) -> Result<Value> {
    match &instance.config {
        Some(config) => to_json(toml::Value::Table(config.get_ref().clone()))
            .map_err(|message| loaded.problem(Some(config.span()), message)),
        None => Ok(Value::Object(serde_json::Map::new())),
    }
}

/// TOML as JSON: dates become strings, and numbers that JSON does not have are refused.
fn to_json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("a configuration is handed over as JSON, which has no number {number}"))?,
        toml::Value::Array(items) => items.into_iter().map(to_json).collect::<Result<_, _>>()?,
        toml::Value::Table(members) => members
            .into_iter()
            .map(|(name, member)| Ok((name, to_json(member)?)))
            .collect::<Result<_, String>>()?,
    })
}
