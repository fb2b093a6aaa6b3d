//! Compares the option tables of `docs/plugins.md` with the plugins themselves: names, defaults and priorities.
//!
//! The README keeps one line for each plugin, and says the same priority.

use std::collections::BTreeMap;

use llmux_abi::host::Exported;
use llmux_plugin_cache::Cache;
use llmux_plugin_logging::Logging;
use llmux_plugin_metrics::Metrics;
use llmux_plugin_rate_limit::RateLimit;
use serde_json::Value;

/// Options of a section, each with its default: `null` where words describe the default.
fn documented(page: &str, title: &str) -> BTreeMap<String, Value> {
    let head = format!("\n## {title}\n");
    let (_, section) =
        page.split_once(&head).unwrap_or_else(|| panic!("docs/plugins.md has no section{head}"));
    let section = section.split("\n#").next().unwrap_or_default();
    let (_, options) = section.split_once("\n| option |").unwrap_or_default();
    let rows = options.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let option = cells.next()?.trim_end_matches('`');
        let default = cells.next()?;
        let code = default.strip_prefix('`').and_then(|code| code.strip_suffix('`'));
        let code =
            code.map(|code| serde_json::from_str(code).unwrap_or_else(|why| panic!("{option}: {why}")));
        Some((option.to_owned(), code.unwrap_or_default()))
    });
    rows.collect()
}

/// Compares the options of a section with a schema.
fn check(name: &str, title: &str, schema: &schemars::Schema) {
    let schema = schema.as_value();
    assert_eq!(schema["additionalProperties"], false, "{name} takes what it does not know");
    let members = schema["properties"].as_object().expect("members");
    for (option, member) in members {
        assert!(member["description"].is_string(), "{name}: {option} is not described");
    }
    let number = |value: &Value| value.as_f64().map_or(value.clone(), Value::from);
    let real: BTreeMap<_, _> =
        members.iter().map(|(option, member)| (option.clone(), number(&member["default"]))).collect();
    let told = documented(include_str!("../../../../docs/plugins.md"), title);
    let told: BTreeMap<_, _> =
        told.iter().map(|(option, default)| (option.clone(), number(default))).collect();
    assert_eq!(told, real, "the options of {name} in docs/plugins.md");
}

#[test]
fn the_redis_server() {
    check("redis", "Redis", &schemars::schema_for!(llmux_redis_link::RedisConfig));
}

macro_rules! the_page_has_the_options_of {
    ($($test:ident: $plugin:ident, $config:ty, $name:literal, $priority:literal;)*) => {
        $(
            #[test]
            fn $test() {
                let manifest = $plugin::MANIFEST;
                assert_eq!((manifest.name, manifest.priority), ($name, $priority));
                let title = format!("{} (priority {})", $name, $priority);
                check($name, &title, &schemars::schema_for!($config));
                let row = format!("\n| [`{0}`](docs/plugins.md#{0}-priority-{1}) | {1} | ", $name, $priority);
                assert!(include_str!("../../../../README.md").contains(&row), "the README has no row {row}");
            }
        )*
    };
}

the_page_has_the_options_of! {
    the_rate_limit: RateLimit, llmux_plugin_rate_limit::Config, "rate-limit", 5;
    the_cache: Cache, llmux_plugin_cache::Config, "cache", 10;
    the_metrics: Metrics, llmux_plugin_metrics::Config, "metrics", 999;
    the_logging: Logging, llmux_plugin_logging::Config, "logging", 1000;
}
