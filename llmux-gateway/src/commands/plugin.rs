//! `llmux plugin …`: dispatches its subcommands, and runs those that change or list the plugins of a server.
//!
//! Deliberately absent: the subcommands that inspect files, which are in `plugin_files`, and `new`, `try` and `bench`, which
//! are `llmux-devtools`'.

use std::path::Path;

use llmux_devtools::{bench_plugin, new_plugin, try_plugin};
use llmux_terminal::{CliError, Result, Tone};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    admin_client::{AdminClient, absolute},
    cli::{Plugin, PluginCommand},
    plugin_files, plugin_path,
};
use crate::config::client::child_program;

/// Runs the command.
pub(crate) async fn run(options: Plugin) -> Result<()> {
    let admin = || {
        AdminClient::new(
            &options.server.admin,
            options.server.token_file.as_deref(),
            options.server.admin_timeout,
        )
    };
    match options.command {
        PluginCommand::List { dir, long, keys, json, .. } if !dir.is_empty() => {
            plugin_files::list(&dir, &keys, long, json)
        }
        PluginCommand::List { path: true, .. } => plugin_path::show(&admin()?).await,
        PluginCommand::List { json, .. } => list(&admin()?, json).await,
        PluginCommand::Inspect { file, keys, json } => plugin_files::inspect(&file, &keys, json),
        PluginCommand::Verify { file, sha256, keys, trial, json } => {
            plugin_files::verify(&file, sha256, &keys, trial, json).await
        }
        PluginCommand::New(options) => new_plugin(&options),
        PluginCommand::Try(options) => try_plugin(options, child_program()?).await,
        PluginCommand::Bench(options) => bench_plugin(options, child_program()?).await,
        PluginCommand::Load { what, name, priority, on_error, config, sha256, isolation, child } => {
            let mut body = Map::new();
            match is_file(&what) {
                // An absolute path, because the server may run in another folder.
                true => body.insert("path".into(), absolute(Path::new(&what))?.into()),
                false => body.insert("plugin".into(), what.into()),
            };
            let on_error = on_error.map(|on_error| Value::from(on_error.as_str()));
            let members = [
                ("name", name.map(Value::from)),
                ("priority", priority.map(Value::from)),
                ("on_error", on_error),
                ("config", config),
                ("sha256", sha256.map(Value::from)),
                ("isolation", isolation.map(|isolation| Value::from(isolation.as_str()))),
            ];
            let members = members.into_iter().chain(child.members()?);
            body.extend(members.filter_map(|(name, value)| Some((name.to_owned(), value?))));
            let (_, info) = admin()?.send(Method::POST, &[], Some(&body.into())).await?;
            print_change("loaded", &info)
        }
        PluginCommand::Reload { name } => change(&admin()?, &name, "reload", "reloaded", None).await,
        PluginCommand::Enable { name } => change(&admin()?, &name, "enable", "enabled", None).await,
        PluginCommand::Disable { name, force } => {
            change(&admin()?, &name, "disable", "disabled", forced(force.force)).await
        }
        PluginCommand::Set { name, priority, on_error, config, defaults, isolation, child, force } => {
            let on_error = on_error.map(|on_error| Value::from(on_error.as_str()));
            let settings = [
                ("priority", priority.map(Value::from)),
                ("on_error", on_error),
                ("config", config),
                ("isolation", isolation.map(|isolation| Value::from(isolation.as_str()))),
            ];
            let settings = settings.into_iter().chain(child.members()?);
            let given = settings.filter_map(|(name, value)| Some((name.to_owned(), value?)));
            let mut body: Map<_, _> = given.collect();
            for setting in defaults {
                if body.insert(setting.as_str().to_owned(), Value::Null).is_some_and(|it| !it.is_null()) {
                    return Err(CliError::new(format!(
                        "`{}` is both set and reset to its default",
                        setting.as_str()
                    )));
                }
            }
            if force.force {
                body.insert("force".to_owned(), Value::Bool(true));
            }
            let body = Value::Object(body);
            let (_, info) = admin()?.send(Method::PATCH, &[&name], Some(&body)).await?;
            print_change("changed", &info)
        }
        PluginCommand::Unload { name, force } => {
            let body = forced(force.force);
            let (status, _) = admin()?.send(Method::DELETE, &[&name], body.as_ref()).await?;
            match status {
                StatusCode::ACCEPTED => llmux_terminal::print(&format!(
                    "unloaded {name}: removed from the pipeline and draining; earlier requests still use it\n"
                )),
                _ => llmux_terminal::print(&format!("unloaded {name}\n")),
            }
        }
    }
}

/// Returns true if the argument is a library's file, and false if it is a plugin's name.
fn is_file(what: &str) -> bool {
    let extension = Path::new(what).extension();
    what.contains(std::path::is_separator)
        || extension.is_some_and(|it| it == std::env::consts::DLL_EXTENSION)
}

/// Returns the body of a change that is forced.
pub(super) fn forced(force: bool) -> Option<Value> {
    force.then(|| json!({"force": true}))
}

async fn change(admin: &AdminClient, name: &str, what: &str, done: &str, body: Option<Value>) -> Result<()> {
    let (_, info) = admin.send(Method::POST, &[name, what], body.as_ref()).await?;
    print_change(done, &info)
}

fn print_change(done: &str, info: &Value) -> Result<()> {
    let version = info["version"].as_str().map(|version| format!(" {version}")).unwrap_or_default();
    let text = |member: &str| info[member].as_str().unwrap_or_default().to_owned();
    llmux_terminal::print(&format!(
        "{done} {} ({}{version}, priority {}, generation {}, {})\n",
        text("name"),
        text("plugin"),
        info["priority"],
        info["generation"],
        text("state")
    ))
}

async fn list(admin: &AdminClient, json: bool) -> Result<()> {
    let (_, value) = admin.send(Method::GET, &[], None).await?;
    if json {
        return llmux_terminal::print_json(&value);
    }
    let plugins = value["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = plugins.iter().map(row).collect();
    let header = [
        "NAME",
        "PLUGIN",
        "VERSION",
        "KIND",
        "STATE",
        "PRIORITY",
        "ON ERROR",
        "GENERATION",
        "SINCE",
        "CALLS",
        "FAILURES",
        "TIMEOUTS",
        "PANICS",
        "P50/P99 US",
        "LIBRARY",
        "ERROR",
    ];
    llmux_terminal::print_table(&header, rows)?;
    for plugin in plugins {
        let missing = plugin["process"]["missing_sandbox"].as_array().map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<_> = missing.iter().filter_map(Value::as_str).collect();
        if let (Some(name), false) = (plugin["name"].as_str(), missing.is_empty()) {
            let missing = missing.join("; ");
            llmux_terminal::print(&format!("incomplete sandbox of {name}: {missing}\n"))?;
        }
    }
    let retired = &value["retired"];
    if retired["count"] != json!(0) {
        llmux_terminal::print(&format!(
            "retired images: {} ({} bytes)\n",
            retired["count"], retired["bytes"]
        ))?;
    }
    if let Some(refused) = value["refused"].as_u64().filter(|refused| *refused > 0) {
        llmux_terminal::print(&format!("refused loads and reloads: {refused}\n"))?;
    }
    let inactive = value["inactive"].as_array().map(Vec::as_slice).unwrap_or_default();
    let inactive: Vec<_> = inactive.iter().filter_map(Value::as_str).collect();
    if !inactive.is_empty() {
        let names = inactive.join(", ");
        llmux_terminal::print(&format!("not ready: required instances are not active: {names}\n"))?;
    }
    Ok(())
}

/// Returns a cell with a number that should be 0.
fn count(number: u64) -> (String, Tone) {
    (number.to_string(), if number > 0 { Tone::Bad } else { Tone::Plain })
}

/// Returns the 50th and the 99th percentile of each hook's durations, in microseconds.
fn latencies(hooks: &[Value]) -> String {
    let latency = |hook: &Value| {
        let time = |member: &str| hook[member].as_f64().unwrap_or_default();
        Some(format!("{} {:.1}/{:.1}", hook["hook"].as_str()?, time("p50_us"), time("p99_us")))
    };
    let latencies = hooks.iter().filter_map(latency).collect::<Vec<_>>().join(", ");
    if latencies.is_empty() { "-".to_owned() } else { latencies }
}

fn row(plugin: &Value) -> Vec<(String, Tone)> {
    let text = |member: &str| match &plugin[member] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let hooks = plugin["hooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |member: &str| hooks.iter().filter_map(|hook| hook[member].as_u64()).sum::<u64>();
    let (missing, failures) = (plugin["file_missing"] == json!(true), sum("failures"));
    let in_memory = plugin["copy_in_memory"] == json!(true);
    let unseen = if plugin["misses_streams"] == json!(true) { " (streams not seen)" } else { "" };
    let process = &plugin["process"];
    let child = match process["state"].as_str() {
        None => String::new(),
        Some("active") => format!(" (process {})", process["pid"]),
        Some(state) => format!(" (process {state})"),
    };
    let is_bad = missing || !matches!(process["state"].as_str(), None | Some("active"));
    let error = match (&plugin["error"], &process["last_death"]) {
        (Value::Null, Value::String(death)) => death.clone(),
        _ => text("error"),
    };
    let state = match plugin["state"].as_str() {
        Some("active") if !is_bad => Tone::Good,
        Some("disabled") => Tone::Muted,
        _ => Tone::Bad,
    };
    vec![
        (text("name"), Tone::Plain),
        (text("plugin"), Tone::Plain),
        (text("version"), Tone::Plain),
        (text("kind"), Tone::Muted),
        (text("state") + if missing { " (file missing)" } else { "" } + unseen + &child, state),
        (text("priority"), Tone::Plain),
        (text("on_error"), Tone::Plain),
        (text("generation"), Tone::Plain),
        (plugin["loaded_at"].as_u64().map(llmux_terminal::utc_time).unwrap_or_default(), Tone::Muted),
        (sum("calls").to_string(), Tone::Plain),
        count(failures),
        count(sum("timeouts")),
        count(sum("panics")),
        (latencies(hooks), Tone::Muted),
        (text("library") + if in_memory { " (copy in memory)" } else { "" }, Tone::Muted),
        (error.clone(), if error == "-" { Tone::Muted } else { Tone::Bad }),
    ]
}
