//! Takes over another configuration while requests run: all of it, or nothing.
//!
//! `SIGHUP` and `POST /admin/reload` end here, and the command `llmux reload` asks for it. Everything that can be refused is
//! refused first; the plugins follow as one change, which may still be refused; what comes after that cannot fail.
//! The folder watcher shares what is known of the configuration.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use llmux_core::{
    Client,
    plugins::{Change, InspectedLibrary, PluginInfo, PluginState, acting_as},
};
use llmux_terminal::Result;
use serde::Serialize;
use toml::Table;

use super::{local_token::LocalToken, tokens::AdminTokens};
use crate::{
    config::{
        client::{self, Configured},
        diff::{self, Line},
        file::Loaded,
        overrides::Overrides,
    },
    http::auth::ApiKeys,
};

/// What a reload came to.
#[derive(Debug, Serialize)]
pub(crate) struct Reloaded {
    /// What is different.
    changed: Vec<Line>,
    /// What stays as it is until the program is started again.
    needs_restart: Vec<String>,
    /// The instances that are new or changed.
    plugins: Vec<PluginInfo>,
}

/// Client keys and admin tokens. A reload replaces each list as a whole.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) keys: Arc<ArcSwap<ApiKeys>>,
    pub(crate) tokens: Arc<ArcSwap<AdminTokens>>,
}

/// The configuration that runs, and the way to another.
pub(crate) struct Reloader {
    pub(crate) client: Client,
    pub(crate) credentials: Credentials,
    overrides: Overrides,
    /// The admin listener's.
    address: Option<SocketAddr>,
    local_token: Mutex<Option<LocalToken>>,
    /// What the program was started with.
    started: Table,
    autoload: bool,
    /// Held for the length of a reload and of a look at the folders: what one decides by, the other may change.
    current: tokio::sync::Mutex<Current>,
}

struct Current {
    loaded: Loaded,
    configured: Configured,
}

impl Reloader {
    pub(crate) fn new(
        client: Client,
        credentials: Credentials,
        overrides: Overrides,
        loaded: Loaded,
        address: Option<SocketAddr>,
        local_token: Option<LocalToken>,
    ) -> Result<Self> {
        Ok(Self {
            client,
            credentials,
            overrides,
            address,
            local_token: Mutex::new(local_token),
            started: loaded.table()?,
            autoload: loaded.config.plugins.autoload,
            current: tokio::sync::Mutex::new(Current { configured: Configured::of(&loaded)?, loaded }),
        })
    }

    /// Reads the file again and takes it over, in somebody's name.
    ///
    /// # Errors
    ///
    /// What is wrong with it; everything is then as it was.
    pub(crate) async fn reload(&self, who: &str) -> Result<Reloaded> {
        let result = acting_as(who, self.take_over()).await;
        match &result {
            Ok(Reloaded { changed, needs_restart, .. }) => {
                let changed: Vec<_> = changed.iter().map(Line::to_string).collect();
                let changed =
                    if changed.is_empty() { "nothing is different".into() } else { changed.join("; ") };
                let needs_restart = (!needs_restart.is_empty()).then(|| needs_restart.join(", "));
                tracing::info!(target: "llmux::audit", who, what = "configuration", needs_restart, "configuration reloaded: {changed}");
            }
            Err(problem) => {
                tracing::warn!(target: "llmux::audit", who, what = "configuration", "configuration refused, everything is as it was: {problem}");
            }
        }
        result
    }

    async fn take_over(&self) -> Result<Reloaded> {
        let mut current = self.current.lock().await;
        let named = current.loaded.path.as_deref().or(self.overrides.file.as_deref());
        let mut new = Loaded::read(named)?;
        self.overrides.apply(&mut new)?;
        let (before, after) = (current.loaded.table()?, new.table()?);
        // Everything that can be refused.
        let builder = client::client(&new, Vec::new())?;
        let keys = ApiKeys::of(&new)?;
        let tokens = self.tokens(&new)?;
        let configured = Configured::of(&new)?;
        let mut running = self.client.plugins().list();
        running.retain(|info| matches!(info.state, PluginState::Active | PluginState::Disabled));
        let (displaced, running): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|info| configured.displaces(info));
        let runs = |name: &str| running.iter().any(|info| info.name == name);
        let mut changes: Vec<_> = displaced.into_iter().map(|info| Change::Unload(info.name)).collect();
        changes.extend(diff::changes(&current.loaded, &new, runs)?);
        let mut plugins = match changes.is_empty() {
            true => Vec::new(),
            false => {
                let changed = self.client.plugins().change(changes).await;
                changed.map_err(|error| client::plugin_problem(&new, &error))?
            }
        };
        // From here on nothing fails.
        self.client.reconfigure(builder);
        client::warn_of_fallbacks(&new, &self.client);
        self.credentials.keys.store(Arc::new(keys));
        if let Some((tokens, local_token)) = tokens {
            self.credentials.tokens.store(Arc::new(tokens));
            *self.local_token.lock().unwrap_or_else(PoisonError::into_inner) = local_token;
        }
        if self.autoload {
            // What the file names no more is another library of the folders.
            match client::autoload(&configured, &self.client).await {
                Ok(more) => plugins.extend(more),
                Err(problem) => tracing::warn!("{problem}"),
            }
        }
        *current = Current { loaded: new, configured };
        Ok(Reloaded {
            changed: diff::lines(&before, &after),
            needs_restart: diff::restart(&self.started, &after),
            plugins,
        })
    }

    /// The admin listener's tokens, where they change: the configured ones, or a local one where there are none.
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

    /// Looks at the plugin folders again, unless that has to wait.
    pub(crate) async fn rescan(&self) -> bool {
        let current = self.current.lock().await;
        let wanted = |found: &InspectedLibrary| !current.configured.contains(found);
        let rescan = self.client.plugins().rescan(self.autoload, wanted);
        let Ok(results) = acting_as("watcher", rescan).await else { return false };
        for rescanned in results {
            match rescanned.result {
                Ok(changed) => {
                    for info in changed {
                        let version = info.version.as_deref().unwrap_or("-");
                        tracing::info!("plugin folders: {} runs {} {version}", info.name, info.plugin);
                    }
                }
                Err(error) => tracing::warn!("plugin folders: {error}"),
            }
        }
        true
    }

    /// The end: the file of the local token goes.
    pub(crate) fn close(&self) {
        *self.local_token.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
