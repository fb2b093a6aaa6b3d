//! The configuration file: its tables, their defaults, and errors that name the file, the line and the allowed values.
//!
//! `serve` and `chat` read it; `client` builds a client from it. Deliberately absent: environment variables and other
//! files, which `client` reads, and anything that runs.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use llmux_core::plugins::{Isolation, SandboxParts};
use llmux_terminal::{CliError, Result};
use serde::Deserialize;
use toml::Spanned;

use super::server::Server;
pub(crate) use super::{
    instance_table::Instance,
    provider_table::Provider,
    retry_table::{Retry, Routing},
};
use crate::terminal::logging::LogFormat;

/// The file that is used if it exists and no other is named.
pub(crate) const DEFAULT_FILE: &str = "llmux.toml";

/// Error of a file without a provider.
const NO_PROVIDER: &str = "the file has no [[provider]], so it serves no model; add one. To try llmux out, add the \
    offline provider: [[provider]] with name = \"echo\", type = \"echo\" and models = [\"echo\"]";

/// All tables of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) log: Log,
    #[serde(rename = "provider")]
    pub(crate) providers: Vec<Provider>,
    pub(crate) routing: Routing,
    pub(crate) retry: Retry,
    #[serde(rename = "fallback")]
    pub(crate) fallbacks: Vec<Fallback>,
    pub(crate) pipeline: Pipeline,
    pub(crate) plugins: Plugins,
    #[serde(rename = "plugin")]
    pub(crate) instances: Vec<Instance>,
    #[serde(rename = "api_key")]
    pub(crate) api_keys: Vec<ApiKey>,
    #[serde(rename = "admin_token")]
    pub(crate) admin_tokens: Vec<AdminToken>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Option<String>,
    pub(crate) format: LogFormat,
}

impl Log {
    /// Returns the level, `info` by default.
    pub(crate) fn level(&self) -> &str {
        self.level.as_deref().unwrap_or("info")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fallback {
    pub(crate) model: Spanned<String>,
    pub(crate) to: OneOrMany,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a model's name, or a list of them")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pipeline {
    #[serde(with = "humantime_serde")]
    pub(crate) pre_hook_timeout: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(crate) post_hook_timeout: Option<Duration>,
    pub(crate) propagate_errors: Option<bool>,
    pub(crate) max_plugins: Option<usize>,
    pub(crate) max_waiting_completions: Option<usize>,
    pub(crate) max_waiting_completion_bytes: Option<usize>,
    #[serde(with = "humantime_serde")]
    pub(crate) stream_idle_timeout: Option<Duration>,
    pub(crate) max_whole_stream_bytes: Option<usize>,
    #[serde(with = "humantime_serde")]
    pub(crate) whole_stream_timeout: Option<Duration>,
    pub(crate) unknown_text: UnknownText,
}

/// The treatment of answers with a long string in a member that no text hook receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownText {
    #[default]
    Pass,
    Refuse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plugins {
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) watch: bool,
    pub(crate) autoload: bool,
    pub(crate) allow_insecure_permissions: bool,
    /// Public keys of the minisign tool.
    pub(crate) trusted_keys: Vec<Spanned<String>>,
    pub(crate) require_signature: bool,
    /// Instances without which the server is not ready.
    pub(crate) required: Vec<String>,
    pub(crate) max_retired_images: Option<u64>,
    pub(crate) max_library_bytes: Option<u64>,
    /// Folder of the private copies of libraries.
    pub(crate) copy_dir: Option<PathBuf>,
    /// Whether each library is first loaded in a child process. Default: true.
    pub(crate) trial: Option<bool>,
    /// The place where the code of a library runs if its instance does not say. Default: in the host.
    pub(crate) isolation: Option<Isolation>,
    /// Limits of child processes, for instances that do not have their own.
    pub(crate) sandbox: Option<SandboxParts>,
    pub(crate) memory: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) cpu: Option<f64>,
    #[serde(with = "humantime_serde")]
    pub(crate) drain_timeout: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(crate) max_drain: Option<Duration>,
    #[serde(with = "humantime_serde")]
    pub(crate) exclusive_wait: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKey {
    pub(crate) id: Spanned<String>,
    pub(crate) sha256: Spanned<String>,
    pub(crate) user: Option<String>,
    pub(crate) team: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminToken {
    pub(crate) name: Spanned<String>,
    pub(crate) sha256: Spanned<String>,
    pub(crate) role: Role,
}

/// Rights of an admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Read,
    Admin,
}

/// A configuration, and the file that it was read from.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// `None` if there was no file.
    pub(crate) path: Option<PathBuf>,
    text: String,
}

impl Loaded {
    /// Reads the named file, or [`DEFAULT_FILE`] if it exists, or nothing.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a valid configuration, or has no provider: an empty or truncated file must not
    /// open the server.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None if Path::new(DEFAULT_FILE).exists() => DEFAULT_FILE.into(),
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::new(format!("configuration {}: {error}", path.display())))?;
        let mut loaded = Self { config: Config::default(), path: Some(path), text };
        match toml::from_str(&loaded.text) {
            Ok(config) => loaded.config = config,
            Err(error) => return Err(loaded.problem(error.span(), error.message())),
        }
        if loaded.config.providers.is_empty() {
            return Err(loaded.problem(None, NO_PROVIDER));
        }
        Ok(loaded)
    }

    /// Makes the path of the file absolute, because a plugin may change the working directory before the next reload.
    pub(crate) fn keep_path(&mut self) -> Result<()> {
        if let Some(path) = &mut self.path {
            *path = absolute(path)?;
        }
        Ok(())
    }

    /// Returns the file as it is written, without defaults.
    pub(crate) fn table(&self) -> Result<toml::Table> {
        self.text.parse().map_err(|error: toml::de::Error| self.problem(error.span(), error.message()))
    }

    /// Returns an error with a place in the file.
    pub(crate) fn problem(&self, place: Option<Range<usize>>, message: impl std::fmt::Display) -> CliError {
        let file = self.path.as_deref().unwrap_or(Path::new("configuration")).display();
        match place {
            Some(place) => {
                let before = &self.text[..self.text.floor_char_boundary(place.start)];
                let line = 1 + before.matches('\n').count();
                let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
                CliError::new(format!("{file}:{line}:{column}: {message}"))
            }
            None => CliError::new(format!("{file}: {message}")),
        }
    }

    /// Returns a path in the file as an absolute path. Relative paths start at the file's folder.
    pub(crate) fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let folder = self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        absolute(&folder.join(path))
    }

    /// Refuses an empty name, and a name that is there twice.
    pub(crate) fn unique<'a>(
        &self,
        what: &str,
        names: impl IntoIterator<Item = &'a Spanned<String>>,
    ) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        for name in names {
            if name.get_ref().is_empty() {
                return Err(self.problem(Some(name.span()), format!("the name of {what} is empty")));
            }
            if !seen.insert(name.get_ref()) {
                let message = format!("{what} named `{}` already exists", name.get_ref());
                return Err(self.problem(Some(name.span()), message));
            }
        }
        Ok(())
    }
}

/// Returns a path as an absolute path. Relative paths start at the working directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("llmux.toml");
        std::fs::write(&path, text).expect("written");
        let problem = Loaded::read(Some(&path)).expect_err("refused").to_string();
        problem.replace(&*folder.path().to_string_lossy(), "")
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_place_and_what_is_allowed() {
        let cases = [
            ("[server]\nlisten = 5", "/llmux.toml:2:10: invalid type: integer `5`, expected a string"),
            ("\n[servers]", "/llmux.toml:2:2: unknown field `servers`, expected one of `server`, `log`"),
            ("[log]\nformat = \"xml\"", "/llmux.toml:2:10: unknown variant `xml`, expected `text` or `json`"),
            ("[pipeline]\npre_hook_timeout = \"soon\"", "/llmux.toml:2:20: "),
            ("[[provider]]\nname = \"a\"", "/llmux.toml:1:1: missing field"),
            ("[server", "/llmux.toml:1:8: "),
            ("", "/llmux.toml: the file has no [[provider]]"),
            ("[[api_key]]\nid='a'\nsha256='b'", "/llmux.toml: the file has no [[provider]]"),
            (
                "[server]\ncors = [\"*\"]",
                "/llmux.toml:2:8: `*` is no origin of a web page: it would let every",
            ),
            ("[server]\ntrusted_proxies = [\"10/8\"]", "/llmux.toml:2:19: `10/8` is no IP address and no"),
            ("[server]\nmax_connections_per_address = 0", "/llmux.toml:2:31: invalid value: integer `0`, "),
            ("[server]\nhosts = [\"a:80\"]", "/llmux.toml:2:9: `a:80` is no name of a host"),
            ("[server]\nmax_inflight_requests = 0", "/llmux.toml:2:25: invalid value: integer `0`, "),
            ("[retry]\ndeadline = \"0s\"", "/llmux.toml:2:12: `deadline` is at least 1s"),
            ("[retry]\nmax_retries = 1000000", "/llmux.toml:2:15: `max_retries` is a number from 0 to 100"),
            (
                "[retry]\nother_deployment = \"x\"",
                "/llmux.toml:2:20: unknown variant `x`, expected `failed` or",
            ),
            (
                "[routing]\nstrategy = \"x\"",
                "/llmux.toml:2:12: unknown variant `x`, expected one of `weighted`",
            ),
            (
                "[[provider]]\nname='a'\ntype='echo'\nmodels=['a']\nweight=0",
                "/llmux.toml:5:8: `weight` is a number from 1 to 100",
            ),
            (
                "[[provider]]\nname='a'\ntype='echo'\nmodels=['a']\norder=-1",
                "/llmux.toml:5:7: `order` is a number from 1 to 1000",
            ),
            (
                "[[provider]]\nname='a'\ntype='echo'\nmodels=[{name='a',weight=101}]",
                "/llmux.toml:4:8: a model is a string, or a table",
            ),
            (
                "[[provider]]\nname='a'\ntype='echo'\nmodels=[1]",
                "/llmux.toml:4:8: a model is a string, or a table",
            ),
        ];
        for (text, expected) in cases {
            let problem = problem(text);
            assert!(problem.starts_with(expected), "{text:?}: {problem}");
        }
    }

    #[test]
    fn every_table_of_the_reference_is_read() {
        let text = r#"
            [server]
            listen = "127.0.0.1:0"
            keep_alive = "0s"
            [[provider]]
            name = "openai"
            type = "openai"
            api_key_env = "KEY"
            models = ["gpt-4o", { name = "fast", upstream = "gpt-4o-mini", order = 1 }]
            weight = 3
            order = 2
            timeout = "1m 30s"
            [retry]
            max_retries = 1
            [[fallback]]
            model = "gpt-4o"
            to = ["fast"]
            [pipeline]
            propagate_errors = true
            [plugins]
            dirs = ["plugins"]
            [[plugin]]
            name = "tag"
            plugin = "system-prompt"
            config = { prompt = "Be brief." }
        "#;
        let config: Config = toml::from_str(text).expect("read");
        let deployments: Vec<_> = config.providers[0].deployments().collect();
        assert_eq!((&*deployments[1].model, &*deployments[1].upstream_model), ("fast", "gpt-4o-mini"));
        assert_eq!((deployments[0].weight, deployments[0].order), (3, 2), "the provider's");
        assert_eq!((deployments[1].weight, deployments[1].order), (3, 1), "the model's own");
        assert_eq!(config.providers[0].timeout, Some(Duration::from_secs(90)));
        assert_eq!(config.fallbacks[0].to.as_slice(), ["fast"]);
    }

    #[test]
    fn every_toml_block_of_the_documents_is_a_configuration() {
        let blocks = llmux_testing::blocks::blocks(&["toml"]);
        assert!(!blocks.is_empty(), "the documents show no configuration");
        for block in blocks.iter().filter(|block| !block.text.starts_with("# Cargo.toml\n")) {
            let read = toml::from_str::<Config>(&block.text);
            assert!(read.is_ok(), "{block}: {}", read.expect_err("wrong"));
        }
    }
}
