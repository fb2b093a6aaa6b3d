//! Applies another configuration while requests run: all of it, or nothing.
//!
//! `SIGHUP` and `POST /admin/reload` end here, and the command `llmux reload` asks for it. Everything that can be refused
//! without the plugins is refused first; `Client::reconfigure` may still refuse a plugin; nothing after it can fail.

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use llmux_core::{
    Client,
    plugins::{Changed, Guards, PluginError, PluginInfo, Undone, acting_as},
};
use llmux_terminal::{CliError, Result};
use serde::Serialize;
use tokio::sync::watch;
use toml::Table;

use super::{local_token::LocalToken, tokens::AdminTokens};
use crate::{
    config::{
        client,
        diff::{self, Line},
        file::Loaded,
        overrides::Overrides,
        provider::Providers,
        server::Server,
    },
    http::auth::ApiKeys,
    terminal::logging::{self, Level},
};

/// Result of a reload.
#[derive(Debug, Serialize)]
pub(crate) struct Reloaded {
    /// Differences that took effect.
    changed: Vec<Line>,
    /// Changes of operators that the reload reverted.
    undone: Vec<Undone>,
    /// Members that take effect after a restart.
    needs_restart: Vec<String>,
    /// Instances that are new or changed.
    plugins: Vec<PluginInfo>,
}

/// The reason for which a reload was refused; everything is as it was.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The file is wrong.
    Wrong(CliError),
    /// The change removes protection, and is made only with force.
    NeedsForce(CliError),
}

impl From<CliError> for Refused {
    fn from(problem: CliError) -> Self {
        Refused::Wrong(problem)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refused::Wrong(problem) | Refused::NeedsForce(problem)) = self;
        problem.fmt(f)
    }
}

/// Error of a reload that removes the last API key.
const LAST_KEY: &str = "the file has no [[api_key]] any more, so every client would be served; to make this change, \
    repeat it with `--force` (`\"force\": true` in the admin API)";

/// Settings of the program itself that a reload replaces, each as a whole.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) keys: Arc<ArcSwap<ApiKeys>>,
    pub(crate) tokens: Arc<ArcSwap<AdminTokens>>,
    pub(crate) server: Arc<ArcSwap<Server>>,
    pub(crate) level: Level,
    /// The folders to watch; none if they are not watched.
    pub(crate) watched: watch::Sender<Vec<PathBuf>>,
}

/// The configuration that runs, and its replacement by another.
pub(crate) struct Reloader {
    pub(crate) client: Client,
    pub(crate) live: Live,
    overrides: Overrides,
    /// Address of the main listener.
    listen: SocketAddr,
    /// Address of the admin listener.
    address: Option<SocketAddr>,
    local_token: Mutex<Option<LocalToken>>,
    /// The configuration at the start.
    started: Table,
    /// Held for the length of a reload.
    current: tokio::sync::Mutex<Current>,
}

/// The configuration that runs, and the providers that were made of it.
pub(crate) struct Current {
    pub(crate) loaded: Loaded,
    pub(crate) providers: Providers,
}

/// Returns the folders to watch.
pub(crate) fn watched(loaded: &Loaded) -> Result<Vec<PathBuf>> {
    let plugins = &loaded.config.plugins;
    let dirs = plugins.dirs.iter().filter(|_| plugins.watch);
    dirs.map(|dir| loaded.resolve(dir)).collect()
}

impl Reloader {
    pub(crate) fn new(
        client: Client,
        live: Live,
        overrides: Overrides,
        current: Current,
        (listen, address): (SocketAddr, Option<SocketAddr>),
        local_token: Option<LocalToken>,
    ) -> Result<Self> {
        Ok(Self {
            client,
            live,
            overrides,
            listen,
            address,
            local_token: Mutex::new(local_token),
            started: current.loaded.table()?,
            current: tokio::sync::Mutex::new(current),
        })
    }

    /// Reads the file again and applies it, in the name of `who`. With [`Guards::Keep`], the last API key stays, too.
    ///
    /// # Errors
    ///
    /// The first problem of the file; everything is then as it was.
    pub(crate) async fn reload(&self, who: &str, guards: Guards) -> Result<Reloaded, Refused> {
        let result = acting_as(who, self.apply(who, guards)).await;
        match &result {
            Ok(Reloaded { changed, undone, needs_restart, .. }) => {
                let changed = changed.iter().map(Line::to_string);
                let lines: Vec<_> = changed.chain(undone.iter().map(Undone::to_string)).collect();
                let lines = if lines.is_empty() { "nothing is different".into() } else { lines.join("; ") };
                let needs_restart = (!needs_restart.is_empty()).then(|| needs_restart.join(", "));
                tracing::info!(target: "llmux::audit", who, what = "configuration", needs_restart, "configuration reloaded: {lines}");
            }
            Err(problem) => {
                tracing::error!(target: "llmux::audit", who, what = "configuration", "configuration refused, everything is as it was: {problem}");
            }
        }
        result
    }

    async fn apply(&self, who: &str, guards: Guards) -> Result<Reloaded, Refused> {
        let mut current = self.current.lock().await;
        let named = current.loaded.path.as_deref().or(self.overrides.file.as_deref());
        let mut new = Loaded::read(named)?;
        self.overrides.apply(&mut new);
        let (before, after) = (current.loaded.table()?, new.table()?);
        // Everything that can be refused.
        let (builder, providers) = client::client(&new, Vec::new(), &current.providers)?;
        let keys = ApiKeys::of(&new)?;
        keys.check_listener(self.listen, new.config.server.open)?;
        let opens = keys.is_empty() && !self.live.keys.load().is_empty();
        if opens && guards == Guards::Keep {
            return Err(Refused::NeedsForce(CliError::new(LAST_KEY)));
        }
        let tokens = self.tokens(&new)?;
        let filter = logging::filter(new.config.log.level())?;
        let watched = watched(&new)?;
        let changed = self.client.reconfigure(builder, guards).await;
        // A refused file hinders nothing. The audit log has it.
        let Changed { plugins, undone, .. } = changed.map_err(|error| match error {
            PluginError::Weakens { .. } => Refused::NeedsForce(CliError::new(error)),
            error => client::plugin_problem(&new, &error).into(),
        })?;
        // From here on nothing fails.
        client::warn_of_fallbacks(&new, &self.client);
        if opens {
            tracing::warn!(target: "llmux::audit", who, what = "configuration", "the last API key is removed: every client is served");
        }
        self.live.keys.store(Arc::new(keys));
        if let Some((tokens, local_token)) = tokens {
            self.live.tokens.store(Arc::new(tokens));
            *self.local_token.lock().unwrap_or_else(PoisonError::into_inner) = local_token;
        }
        self.live.server.store(Arc::new(new.config.server.clone()));
        self.live.level.set(filter);
        self.live.watched.send_if_modified(|dirs| {
            let differs = *dirs != watched;
            *dirs = watched;
            differs
        });
        let mut changed = diff::lines(&before, &after);
        for (provider, files) in providers.changed_files(&current.providers) {
            diff::add_files(&mut changed, provider, files);
        }
        *current = Current { loaded: new, providers };
        Ok(Reloaded { changed, undone, needs_restart: diff::restart(&self.started, &after), plugins })
    }

    /// Returns the new tokens of the admin listener if they change: the configured tokens, or a local token if none is
    /// configured.
    fn tokens(&self, new: &Loaded) -> Result<Option<(AdminTokens, Option<LocalToken>)>> {
        let tokens = AdminTokens::of(new)?;
        let Some(address) = self.address else { return Ok(None) };
        tokens.check_listener(address)?;
        if !tokens.is_empty() {
            return Ok(Some((tokens, None)));
        }
        let is_local = self.local_token.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_local {
            return Ok(None);
        }
        let local_token = LocalToken::create(address)?;
        Ok(Some((AdminTokens::local(local_token.token()), Some(local_token))))
    }

    /// Looks at the plugin folders again. Returns false if nothing can be loaded now, so that it has to be repeated.
    pub(crate) async fn rescan(&self) -> bool {
        // One at a time with a reload: both may load the same library.
        let _current = self.current.lock().await;
        let rescan = self.client.plugins().rescan();
        // The audit log has the files that are refused.
        let Ok(Changed { plugins, .. }) = acting_as("watcher", rescan).await else { return false };
        for info in plugins {
            let version = info.version.as_deref().unwrap_or("-");
            tracing::info!("plugin folders: {} runs {} {version}", info.name, info.plugin);
        }
        true
    }

    /// The end: the file of the local token goes.
    pub(crate) fn close(&self) {
        *self.local_token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
