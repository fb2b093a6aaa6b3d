//! The configuration of the logging plugin: its shape and its defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of the plugin. `{}` logs every request at `info`, without bodies.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Level of the events.
    pub level: Level,
    /// `true`: log the bodies of requests.
    pub log_request_body: bool,
    /// `true`: log the bodies of responses; for a stream, the joined text.
    pub log_response_body: bool,
    /// Characters of a body that are logged, 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_body_chars: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Level::Info, log_request_body: false, log_response_body: false, max_body_chars: 500 }
    }
}

/// The level of an event, from the most to the least verbose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the levels of `tracing`")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_configuration_is_a_configuration() {
        let config: Config = serde_json::from_value(json!({})).expect("the defaults");
        assert_eq!((config.level, config.max_body_chars), (Level::Info, 500));
        assert!(!config.log_request_body && !config.log_response_body);
    }

    #[test]
    fn what_is_unknown_is_refused_by_name() {
        for (config, named) in [(json!({"level": "loud"}), "loud"), (json!({"levle": "info"}), "levle")] {
            let error = serde_json::from_value::<Config>(config).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
