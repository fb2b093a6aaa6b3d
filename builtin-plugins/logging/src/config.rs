//! The configuration of the logging plugin: its shape and its defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration. `{}` logs every request at `info`, without bodies.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The level of the events.
    pub level: Level,
    /// Log the bodies of requests?
    pub log_request_body: bool,
    /// Log the bodies of responses, and what streams say?
    pub log_response_body: bool,
    /// How many characters of a body are shown.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_body_chars: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: Level::Info, log_request_body: false, log_response_body: false, max_body_chars: 500 }
    }
}

/// A level of events, from the most talkative on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
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
