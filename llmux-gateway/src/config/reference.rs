//! Compares `docs/reference.md` and `llmux.example.toml` with the configuration's own types: every member, its default,
//! and whether a reload applies it.
//!
//! Tests only. The members are those that serde asks the file for, so a new member fails here until both name it.

use std::collections::{BTreeMap, BTreeSet};

use llmux_core::{
    client::RetryConfig,
    pipeline::PipelineConfig,
    plugins::{PluginsConfig, SandboxParts},
};
use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value},
    forward_to_deserialize_any,
};
use toml::{Table, Value};

use super::{diff, file, server};

/// Deserializer that reads nothing, and keeps the names of the members that a struct asks for.
struct Members<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Members<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        members: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, value::Error> {
        self.0.extend(members);
        Err(serde::de::Error::custom("its members are known"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn members<T: for<'de> Deserialize<'de>>() -> Vec<&'static str> {
    let mut names = Vec::new();
    let result = T::deserialize(Members(&mut names));
    assert!(result.is_err() && !names.is_empty(), "{} is not a struct", std::any::type_name::<T>());
    names
}

/// Sections of the file, each with its members.
fn sections() -> BTreeMap<&'static str, Vec<&'static str>> {
    let sections = BTreeMap::from([
        ("server", members::<server::Server>()),
        ("log", members::<file::Log>()),
        ("provider", members::<file::Provider>()),
        ("routing", members::<file::Routing>()),
        ("retry", members::<file::Retry>()),
        ("fallback", members::<file::Fallback>()),
        ("pipeline", members::<file::Pipeline>()),
        ("plugins", members::<file::Plugins>()),
        ("plugin", members::<file::Instance>()),
        ("api_key", members::<file::ApiKey>()),
        ("admin_token", members::<file::AdminToken>()),
    ]);
    let of_the_file: BTreeSet<_> = members::<file::Config>().into_iter().collect();
    assert_eq!(sections.keys().copied().collect::<BTreeSet<_>>(), of_the_file, "the sections");
    sections
}

/// Default of a provider's setting, which is a private field of its builder.
fn of_openai(setting: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../llmux-core/src/provider/openai/builder.rs");
    let source = std::fs::read_to_string(path).expect("the source of the provider");
    let start = format!("            {setting}: ");
    let line =
        source.lines().find_map(|line| line.strip_prefix(&start)).expect(setting).trim_end_matches(',');
    match line.strip_prefix("Duration::from_secs(") {
        Some(seconds) => format!("\"{}s\"", seconds.trim_end_matches(')')),
        None => {
            line.split(" * ").map(|factor| factor.parse::<u64>().expect(setting)).product::<u64>().to_string()
        }
    }
}

/// Default of `return_headers`, a constant of the provider.
fn returned_headers() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../llmux-core/src/provider/passed_headers.rs");
    let source = std::fs::read_to_string(path).expect("the source");
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, list) = source.split_once("const RETURNED: ").expect("the list");
    let list = list.split_once("= [").expect("its begin").1.split_once("];").expect("its end").0;
    let names = list.trim().replace("UPSTREAM_REQUEST_ID", "\"x-upstream-request-id\"");
    format!("[{}]", names.trim_end_matches(','))
}

/// Defaults that code decides. Members of `[section]`s are all here; of `[[section]]`s, those with a default.
fn defaults() -> BTreeMap<(&'static str, &'static str), String> {
    let time = |duration: std::time::Duration| match duration.subsec_millis() {
        0 => format!("\"{}s\"", duration.as_secs()),
        _ => format!("\"{}ms\"", duration.as_millis()),
    };
    let text = |text: &str| format!("{text:?}");
    let (server, plugins) = (server::Server::default(), file::Plugins::default());
    let (retry, pipeline, folders) =
        (RetryConfig::default(), PipelineConfig::default(), PluginsConfig::default());
    assert_eq!(server.max_body_bytes, pipeline.max_body_bytes, "the program's default and core's");
    BTreeMap::from([
        (("server", "listen"), text(&server.listen)),
        (("server", "admin"), text(&server.admin)),
        (("server", "cors"), format!("{:?}", server.cors)),
        (("server", "hosts"), format!("{:?}", server.hosts)),
        (("server", "admin_hosts"), format!("{:?}", server.admin_hosts)),
        (("server", "trusted_proxies"), format!("{:?}", server.trusted_proxies)),
        (("server", "open"), server.open.to_string()),
        (("server", "max_body_bytes"), server.max_body_bytes.to_string()),
        (("server", "max_inflight_bytes"), server.max_inflight_bytes.to_string()),
        (("server", "read_timeout"), time(server.read_timeout)),
        (("server", "write_timeout"), time(server.write_timeout)),
        (("server", "idle_timeout"), time(server.idle_timeout)),
        (("server", "client_fallbacks"), server.client_fallbacks.to_string()),
        (("server", "drain_timeout"), time(server.drain_timeout)),
        (("server", "shutdown_delay"), time(server.shutdown_delay)),
        (("server", "keep_alive"), time(server.keep_alive)),
        (("server", "early_head"), time(server.early_head.unwrap_or_default())),
        (("log", "level"), text("info")),
        (("log", "format"), text(&format!("{:?}", file::Log::default().format).to_lowercase())),
        (("provider", "headers"), "{}".to_owned()),
        (("provider", "forward_headers"), "[]".to_owned()),
        (("provider", "return_headers"), returned_headers()),
        (("provider", "forward_trace"), "true".to_owned()),
        (("provider", "connect_timeout"), of_openai("connect_timeout")),
        (("provider", "timeout"), of_openai("timeout")),
        (("provider", "idle_timeout"), of_openai("idle_timeout")),
        (("provider", "max_response_bytes"), of_openai("max_response_bytes")),
        (("provider", "stream_usage"), "true".to_owned()),
        (("provider", "chunk_delay"), text("0s")),
        (("retry", "max_retries"), retry.max_retries.to_string()),
        (("retry", "initial_backoff"), time(retry.initial_backoff)),
        (("retry", "max_backoff"), time(retry.max_backoff)),
        (("retry", "sent"), retry.sent.to_string()),
        (("retry", "other_deployment"), text("failed")),
        (("retry", "deadline"), time(retry.deadline)),
        (("routing", "strategy"), text("weighted")),
        (("provider", "weight"), "1".to_owned()),
        (("provider", "order"), "1".to_owned()),
        (("pipeline", "pre_hook_timeout"), time(pipeline.pre_hook_timeout)),
        (("pipeline", "post_hook_timeout"), time(pipeline.post_hook_timeout)),
        (("pipeline", "propagate_errors"), pipeline.propagate_errors.to_string()),
        (("pipeline", "max_plugins"), pipeline.max_plugins.to_string()),
        (("pipeline", "max_waiting_completions"), pipeline.max_waiting_completions.to_string()),
        (("pipeline", "max_waiting_completion_bytes"), pipeline.max_waiting_completion_bytes.to_string()),
        (("pipeline", "stream_idle_timeout"), time(pipeline.stream_idle_timeout)),
        (("pipeline", "max_whole_stream_bytes"), pipeline.max_whole_stream_bytes.to_string()),
        (("pipeline", "whole_stream_timeout"), time(pipeline.whole_stream_timeout)),
        (("pipeline", "unknown_text"), text("pass")),
        (("plugins", "dirs"), format!("{:?}", plugins.dirs)),
        (("plugins", "watch"), plugins.watch.to_string()),
        (("plugins", "autoload"), plugins.autoload.to_string()),
        (("plugins", "allow_insecure_permissions"), plugins.allow_insecure_permissions.to_string()),
        (("plugins", "trusted_keys"), format!("{:?}", plugins.trusted_keys)),
        (("plugins", "require_signature"), plugins.require_signature.to_string()),
        (("plugins", "required"), format!("{:?}", plugins.required)),
        (("plugins", "max_retired_images"), folders.max_retired_images.to_string()),
        (("plugins", "max_library_bytes"), folders.max_library_bytes.to_string()),
        (("plugins", "trial"), "true".to_owned()),
        (("plugins", "isolation"), format!("{:?}", folders.isolation.as_str())),
        (("plugins", "sandbox"), format!("{:?}", SandboxParts::default().as_str())),
        (("plugins", "drain_timeout"), time(folders.drain_timeout)),
        (("plugins", "max_drain"), time(folders.max_drain)),
        (("plugins", "exclusive_wait"), time(folders.exclusive_wait)),
        (("plugin", "enabled"), "true".to_owned()),
        (("plugin", "config"), "{}".to_owned()),
    ])
}

/// One row of a table of the reference.
struct Row {
    default: String,
    on_reload: String,
}

/// Rows of the reference by section and member.
fn documented() -> BTreeMap<(String, String), Row> {
    let page = include_str!("../../../docs/reference.md");
    let mut rows = BTreeMap::new();
    for part in page.split("\n### `[").skip(1) {
        let (head, text) = part.split_once('\n').expect("a heading");
        let section = head.trim_matches(['[', ']', '`']);
        let text = text.split("\n#").next().unwrap_or_default();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            // A bar within a cell is escaped.
            let line = line.replace("\\|", "\u{0}");
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim()).collect();
            let [member, kind, default, meaning, on_reload] = cells[..] else {
                panic!("the reference has a row of another shape: {line}");
            };
            assert!(!kind.is_empty() && !meaning.is_empty(), "the reference says nothing in: {line}");
            let row = Row { default: default.to_owned(), on_reload: on_reload.to_owned() };
            let is_new =
                rows.insert((section.to_owned(), member.trim_matches('`').to_owned()), row).is_none();
            assert!(is_new, "the reference has two rows of {section}.{member}");
        }
    }
    rows
}

/// The example with every member in it: a `#` before a member or a section is removed.
fn whole_example() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest,
        _ => line,
    };
    EXAMPLE.lines().map(|text| line(text).to_owned() + "\n").collect()
}

const EXAMPLE: &str = include_str!("../../../llmux.example.toml");

/// Tables of a section of a parsed file.
fn tables<'a>(file: &'a Table, section: &str) -> Vec<&'a Table> {
    match file.get(section) {
        Some(Value::Table(table)) => vec![table],
        Some(Value::Array(tables)) => tables.iter().filter_map(Value::as_table).collect(),
        _ => Vec::new(),
    }
}

/// Returns true if the file is refused without this member.
fn is_required(section: &str, member: &str) -> bool {
    let mut file: Table = whole_example().parse().expect("TOML");
    match file.get_mut(section) {
        Some(Value::Array(tables)) => {
            for table in tables {
                table.as_table_mut().expect("a table").remove(member);
            }
        }
        Some(Value::Table(table)) => drop(table.remove(member)),
        _ => panic!("the example has no section {section}"),
    }
    toml::from_str::<file::Config>(&file.to_string()).is_err()
}

#[test]
fn the_reference_has_every_member_with_its_default() {
    let (rows, defaults) = (documented(), defaults());
    for (section, members) in sections() {
        let of_the_page: BTreeSet<_> =
            rows.keys().filter(|(it, _)| it == section).map(|(_, member)| member.as_str()).collect();
        assert_eq!(of_the_page, members.iter().copied().collect(), "members of [{section}]");
        for member in members {
            let documented = &rows[&(section.to_owned(), member.to_owned())].default;
            let expected = match defaults.get(&(section, member)) {
                Some(default) => format!("`{default}`"),
                None if is_required(section, member) => "required".to_owned(),
                None => "none".to_owned(),
            };
            assert_eq!(*documented, expected, "default of {section}.{member}");
        }
    }
}

#[test]
fn the_reference_says_which_members_need_a_restart() {
    let rows = documented();
    for (section, members) in sections() {
        for member in members {
            let file = |value: &str| -> Table {
                let table = Table::from_iter([(member.to_owned(), Value::from(value))]);
                Table::from_iter([(section.to_owned(), Value::Table(table))])
            };
            let needs = diff::restart(&file("a"), &file("b"));
            let expected = if needs.is_empty() { "yes" } else { "restart" };
            let documented = &rows[&(section.to_owned(), member.to_owned())].on_reload;
            assert_eq!(documented, expected, "{section}.{member} on a reload");
        }
    }
}

#[test]
fn the_example_is_a_configuration_with_every_member() {
    let whole = whole_example();
    for text in [EXAMPLE, &whole] {
        let read = toml::from_str::<file::Config>(text);
        assert!(read.is_ok(), "{}", read.expect_err("wrong"));
    }
    let file: Table = whole.parse().expect("TOML");
    for (section, members) in sections() {
        for member in members {
            let has_it = tables(&file, section).iter().any(|table| table.contains_key(member));
            assert!(has_it, "the example lacks {section}.{member}");
        }
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let file: Table = whole_example().parse().expect("TOML");
    for ((section, member), default) in defaults() {
        // Tables are shown with a member, since an empty one shows nothing.
        if default == "{}" {
            continue;
        }
        let default = format!("it = {default}").parse::<Table>().expect("TOML")["it"].clone();
        for shown in tables(&file, section).iter().filter_map(|table| table.get(member)) {
            assert_eq!(*shown, default, "{section}.{member} in the example");
        }
    }
}
