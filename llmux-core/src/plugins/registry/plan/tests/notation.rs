//! The notation of the table: texts for files, specs, changes and plans.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{super::*, FOLDER};
use crate::plugins::library::{
    isolation::Isolation,
    manifest::{Manifest, OnError},
    sandbox::SandboxSettings,
};

pub(super) fn path(file: &str) -> PathBuf {
    Path::new(FOLDER).join(file)
}

/// Returns the manifest of a plugin. A `!` after the name stands for `on_error = "fail"`.
pub(super) fn manifest(name: &str) -> Manifest {
    let on_error = name.ends_with('!').then_some("fail");
    let json = json!({
        "name": name.trim_end_matches('!'), "on_error": on_error, "version": "1.0.0", "description": "", "authors": "", "license": "", "abi": "0.2.0", "sdk": "",
        "rustc": "", "target": "", "panic": "unwind", "entry": "llmux_plugin_it", "priority": 100,
    });
    Manifest::parse(json.to_string().as_bytes()).expect("a manifest")
}

/// Reads a spec: `NAME`, `NAME=PLUGIN` or `NAME=FILE.so`, then settings: `:off`, `:fail`, `:continue`, `:prio=5`,
/// `:config=1`, `:sha=1`, `:isolated`, `:memory=5`. The name `?` stands for a spec without one.
pub(super) fn spec(text: &str, origin: Origin) -> PluginSpec {
    let mut parts = text.split(':');
    let head = parts.next().unwrap_or_default();
    let (name, source) = head.split_once('=').unwrap_or((head, head));
    let spec = match source.ends_with(".so") {
        true => PluginSpec::path(path(source)),
        false => PluginSpec::plugin(source),
    };
    let spec = if name == "?" { spec } else { spec.with_name(name) };
    parts.fold(spec.with_origin(origin), |spec, setting| match setting.split_once('=') {
        None if setting == "off" => spec.with_enabled(false),
        None if setting == "fail" => spec.with_on_error(OnError::Fail),
        None if setting == "isolated" => spec.with_isolation(Isolation::Process),
        None if setting == "continue" => spec.with_on_error(OnError::Continue),
        Some(("prio", value)) => spec.with_priority(value.parse().expect("a number")),
        Some(("config", value)) => spec.with_config(json!({ "value": value })),
        Some(("memory", value)) => {
            spec.with_sandbox(SandboxSettings::default().with_memory(Some(value.parse().expect("a number"))))
        }
        Some(("sha", value)) => spec.with_sha256(value),
        _ => panic!("unknown setting `{setting}`"),
    })
}

/// Reads a change: `load SPEC`, `unload NAME`, `enable NAME`, `disable NAME`, `reload NAME`, `set NAME` with `prio=5`,
/// `on_error=fail`, `config=1`, or `isolate NAME` with `isolation=process`, `memory=5`; `-` is the default.
pub(super) fn change(text: &str, origin: Origin) -> Change {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["load", text] => Change::Load(spec(text, origin)),
        ["unload", name] => Change::Unload((*name).to_owned()),
        ["enable", name] => Change::Enable((*name).to_owned()),
        ["disable", name] => Change::Disable((*name).to_owned()),
        ["reload", name] => Change::Reload((*name).to_owned()),
        [verb @ ("set" | "isolate"), name, members @ ..] => {
            let get = |member: &str| {
                members.iter().find_map(|it| it.strip_prefix(member)?.strip_prefix('=')).map(str::to_owned)
            };
            fn setting<T>(value: Option<String>, of: impl Fn(String) -> T) -> Setting<T> {
                value.map_or(Setting::Keep, |value| Setting::of((value != "-").then(|| of(value))))
            }
            let name = (*name).to_owned();
            if *verb == "isolate" {
                let isolation = setting(get("isolation"), |value| value.parse().expect("an isolation"));
                let memory = setting(get("memory"), |value| value.parse().expect("a number"));
                return Change::Isolate {
                    name,
                    isolation,
                    sandbox: SandboxChange { memory, ..<_>::default() },
                };
            }
            let on_error = |value: String| serde_json::from_value(json!(value)).expect("on_error");
            Change::Update {
                name,
                priority: setting(get("prio"), |value| value.parse().expect("a number")),
                on_error: setting(get("on_error"), on_error),
                config: setting(get("config"), |value| json!({ "value": value })),
            }
        }
        _ => panic!("unknown change `{text}`"),
    }
}

/// Shows a plan: its changes, attempts (`try`), refused files, sound files, and the changes of operators it reverts.
pub(super) fn shown(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.changes.iter().map(shown_change).collect();
    for Attempt { change, replaces, undoes, .. } in &plan.attempts {
        let replaces = replaces.iter().map(|name| format!(" in place of {name}"));
        let undoes = undoes.iter().map(|undone| format!(" ({})", shown_undone(undone)));
        lines.push(format!("try {}{}", shown_change(change), replaces.chain(undoes).collect::<String>()));
    }
    let name = |file: &InspectedLibrary| {
        file.path.strip_prefix(FOLDER).unwrap_or(&file.path).to_string_lossy().into_owned()
    };
    lines.extend(plan.refused.iter().map(|it| {
        let user = it.user.iter().map(|user| format!(" used by {user}"));
        format!("refuse {}{}", name(&it.file), user.collect::<String>())
    }));
    lines.extend(plan.sound.iter().map(|file| format!("sound {}", name(file))));
    lines.extend(plan.undone.iter().map(shown_undone));
    lines.join("; ")
}

fn shown_change(change: &Change) -> String {
    let (verb, name) = change.title();
    match change {
        Change::Load(spec) => {
            let settings = [
                spec.priority.map(|priority| format!(":prio={priority}")),
                spec.config.as_ref().map(|config| format!(":config={}", value(config))),
                spec.isolation.map(|isolation| format!(":{}", isolation.as_str())),
                spec.sandbox.memory.map(|memory| format!(":memory={memory}")),
                (spec.origin != Origin::Config).then(|| format!(" ({:?})", spec.origin).to_lowercase()),
            ];
            format!("{verb} {name}{}", settings.into_iter().flatten().collect::<String>())
        }
        Change::Update { priority, on_error, config, .. } => {
            let settings = [
                shown_setting("prio", priority, i32::to_string),
                shown_setting("on_error", on_error, |it| format!("{it:?}").to_lowercase()),
                shown_setting("config", config, value),
            ];
            format!("set {name}{}", settings.concat())
        }
        Change::Isolate { isolation, sandbox, .. } => {
            let settings = [
                shown_setting("isolation", isolation, |it| it.as_str().to_owned()),
                shown_setting("memory", &sandbox.memory, u64::to_string),
            ];
            format!("{verb} {name}{}", settings.concat())
        }
        _ => format!("{verb} {name}"),
    }
}

fn shown_setting<T>(member: &str, setting: &Setting<T>, shown: impl Fn(&T) -> String) -> String {
    match setting {
        Setting::Keep => String::new(),
        Setting::Clear => format!(" {member}=-"),
        Setting::Set(value) => format!(" {member}={}", shown(value)),
    }
}

fn value(config: &serde_json::Value) -> String {
    config["value"].as_str().unwrap_or("-").to_owned()
}

fn shown_undone(Undone { name, change }: &Undone) -> String {
    match change {
        UndoneChange::Set(members) => format!("undone {name}: set {}", members.join(" ")),
        _ => format!("undone {name}: {}", change.as_str()),
    }
}

/// Names the kind of an error.
pub(super) fn shown_error(error: &PluginError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}
