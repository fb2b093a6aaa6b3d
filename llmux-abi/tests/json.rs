//! The JSON that crosses between host and plugin: its members and their types, as they are frozen (`ABI.md`).
//!
//! If a test fails, the change is either a new member (extend the test) or not allowed. The host's side of the error document
//! is in `llmux-core`.

use std::collections::BTreeMap;

use llmux_abi::{
    Reload, Service, Streams,
    host::{Exported, PluginManifest, compiled},
    prelude::*,
};
use serde_json::Value as Json;

struct Everything;

impl Plugin for Everything {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }
}

export_plugin!(
    Everything,
    name: "everything",
    on_error: Some(OnError::Fail),
    reload: Reload::Exclusive,
    streams: Some(Streams::Unseen),
    needs: &[Service::Spawn, Service::Sleep, Service::Http, Service::Metric, Service::SpawnBlocking]
);

/// Returns the type of each member.
fn types(json: &Json) -> BTreeMap<&str, &'static str> {
    let kind = |value: &Json| match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    json.as_object().expect("an object").iter().map(|(name, value)| (name.as_str(), kind(value))).collect()
}

#[test]
fn the_manifest_has_these_members() {
    let manifest: Json = serde_json::from_str(&compiled::<Everything>().manifest).expect("JSON");
    let expected = [
        ("abi", "string"),
        ("abi_min", "string"),
        ("authors", "string"),
        ("description", "string"),
        ("entry", "string"),
        ("hooks", "array"),
        ("license", "string"),
        ("name", "string"),
        ("needs", "array"),
        ("on_error", "string"),
        ("panic", "string"),
        ("priority", "number"),
        ("reload", "string"),
        ("rustc", "string"),
        ("sdk", "string"),
        ("streams", "string"),
        ("target", "string"),
        ("version", "string"),
    ];
    assert_eq!(types(&manifest), BTreeMap::from(expected));
    assert_eq!(manifest["hooks"], serde_json::json!(["pre_hook", "pre_stream_hook"]));
    assert_eq!(manifest["needs"], serde_json::json!(["spawn", "sleep", "http", "metric", "spawn_blocking"]));
    assert_eq!((&manifest["on_error"], &manifest["reload"]), (&"fail".into(), &"exclusive".into()));
    assert_eq!((&manifest["streams"], &manifest["panic"]), (&"unseen".into(), &"unwind".into()));
}

#[test]
fn optional_members_are_absent_without_a_value() {
    let plain = PluginManifest {
        on_error: None,
        reload: Reload::Overlap,
        streams: None,
        needs: &[],
        ..<Everything as Exported>::MANIFEST
    };
    let manifest: Json = serde_json::from_str(&plain.json()).expect("JSON");
    for absent in ["on_error", "reload", "streams"] {
        assert!(manifest.get(absent).is_none(), "{absent}");
    }
}

#[test]
fn the_names_of_hooks_are_those_of_the_table() {
    let names = [
        "pre_hook",
        "post_hook",
        "pre_stream_hook",
        "on_stream_chunk",
        "post_stream_hook",
        "on_complete",
        "cleanup",
        "on_text",
        "on_tool_call",
        "beside",
    ];
    assert_eq!(PluginManifest::HOOKS, names);
}
