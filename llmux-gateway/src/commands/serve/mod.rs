//! `llmux serve`: starts everything or nothing, serves until a signal ends it, and completes the requests under way.
//!
//! Order of the end: `/readyz` responds with 503, the listeners close, requests end within a bound, plugins are cleaned up.
//! Deliberately absent: what the listeners serve (`http::api`, `admin::router`).

mod ending;
mod runtime_waker;
mod signals;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use llmux_core::{
    plugins::{Guards, PluginState},
    report_crashes,
};
use llmux_terminal::{CliError, Result};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};

use self::{
    ending::Ending,
    signals::{Signal, Signals},
};
use super::cli::Serve;
use crate::{
    admin::{
        local_token::LocalToken,
        reload::{self, Current, Live, Reloader},
        router as admin,
        state::Admin,
        tokens::AdminTokens,
    },
    config::{
        client,
        file::{Loaded, absolute},
        folder_watcher,
        overrides::Overrides,
        provider::Providers,
        response_id_secret::response_id_secret,
    },
    http::{
        api,
        auth::ApiKeys,
        connections,
        cuts::Cuts,
        refusals::Refusals,
        response_id::ResponseIds,
        server::{self, Phase, reached},
        state::Api,
    },
    terminal::{
        logging::{self, Level},
        outside,
    },
};

/// End of the start line if there is no configuration file.
const NO_FILE: &str = "; no configuration file: the model `echo` answers, for trying out";

/// Longest time in which requests that are cut write their error.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) async fn run(options: Serve) -> Result<()> {
    let overrides = Overrides {
        file: options.config,
        // A folder on the command line is relative to the working directory, which a plugin may change.
        plugin_dirs: options.plugin_dirs.iter().map(|dir| absolute(dir)).collect::<Result<_>>()?,
        listen: options.listen,
        admin_listen: options.admin_listen,
        log_format: options.log_format,
    };
    // Also for an error of the file.
    overrides.log_format.into_iter().for_each(outside::set_format);
    let mut loaded = Loaded::read(overrides.file.as_deref())?;
    loaded.keep_path()?;
    overrides.apply(&mut loaded);
    let config = &loaded.config;
    outside::set_format(config.log.format);
    let (log, level) = logging::start(config.log.level(), config.log.format)?;
    log.report_drops();
    let result = serve(loaded, overrides, level).await;
    log.end();
    result
}

async fn serve(loaded: Loaded, overrides: Overrides, level: Level) -> Result<()> {
    runtime_waker::start(tokio::runtime::Handle::current())?;
    let config = &loaded.config;
    // Everything that can be refused is refused before a plugin runs.
    let (builder, providers) = client::client(&loaded, Vec::new(), &Providers::default())?;
    let keys = ApiKeys::of(&loaded)?;
    let tokens = AdminTokens::of(&loaded)?;
    let listener = server::bind(&config.server.listen, "--listen", "listen").await?;
    let address = server::address(&listener)?;
    keys.check_listener(address, config.server.open)?;
    let admin = match &*config.server.admin {
        "off" => None,
        admin => Some(guarded(admin, tokens).await?),
    };
    let mut signals = Signals::start()?;
    report_crashes();
    let client = tokio::select! {
        client = client::build(&loaded, builder) => client?,
        signal = signals.end() => return Err(CliError::new(format!("{signal} during the start"))),
    };
    match &loaded.path {
        Some(path) => tracing::info!("configuration: {}", path.display()),
        None => tracing::info!("no configuration file: the offline provider `echo` answers"),
    }
    let note = if loaded.path.is_some() { "" } else { NO_FILE };
    let (admin_listener, tokens, local_token) = match admin {
        Some(Guarded { listener, address, tokens, local_token }) => {
            (Some((listener, address)), tokens, local_token)
        }
        None => (None, AdminTokens::of(&loaded)?, None),
    };
    let admin_address = admin_listener.as_ref().map(|(_, address)| *address);
    let settings = share(config.server.clone());
    let ids = response_ids(&loaded)?;
    let (watched, mut dirs) = watch::channel(reload::watched(&loaded)?);
    let live = Live { keys: share(keys), tokens: share(tokens), server: settings.clone(), level, watched };
    let reloader = Reloader::new(
        client.clone(),
        live.clone(),
        overrides,
        Current { loaded, providers },
        (address, admin_address),
        local_token,
    )?;
    let reloader = Arc::new(reloader);

    let (phase, phases) = watch::channel(Phase::Running);
    let (alive, mut all_gone) = mpsc::channel(1);
    tokio::spawn({
        let (reloader, mut phases) = (reloader.clone(), phases.clone());
        async move {
            loop {
                let now = dirs.borrow_and_update().clone();
                let watched = async {
                    if now.is_empty() {
                        return std::future::pending().await;
                    }
                    folder_watcher::run(now, reloader.client.plugins(), || reloader.rescan()).await;
                };
                tokio::select! {
                    () = watched => return,
                    // A reload of the configuration names other folders.
                    changed = dirs.changed() => if changed.is_err() { return },
                    () = reached(&mut phases, Phase::Draining) => return,
                }
            }
        }
    });
    let (refusals, cuts) = (Arc::new(Refusals::new()), Arc::<Cuts>::default());
    let api = Api {
        ids,
        client: client.clone(),
        is_loopback: address.ip().to_canonical().is_loopback(),
        keys: live.keys,
        phase: phases.clone(),
        settings: settings.clone(),
        held: Arc::default(),
        refusals: refusals.clone(),
        cuts: cuts.clone(),
        inflight: Arc::default(),
    };
    let router = api::router(Arc::new(api));
    let main = connections::main_listener();
    let served = server::run((listener, main), router, settings.clone(), phases.clone(), alive.clone());
    let mut listeners = vec![tokio::spawn(served)];
    let mut at = format!("http://{address}");
    if let Some((listener, address)) = admin_listener {
        let (tokens, reloader) = (live.tokens, reloader.clone());
        let router = admin::router(Arc::new(Admin {
            client: client.clone(),
            tokens,
            refusals,
            reloader,
            settings: settings.clone(),
        }));
        let served =
            server::run((listener, connections::ADMIN), router, settings.clone(), phases, alive.clone());
        listeners.push(tokio::spawn(served));
        at += &format!(", admin API on http://{address}");
    }
    drop(alive);
    signals.serve(Ending { client: client.clone(), settings: settings.clone() });
    let list = client.plugins().list();
    let count = list.iter().filter(|plugin| plugin.state == PluginState::Active).count();
    let plugins = if count == 1 { "plugin" } else { "plugins" };
    let line = format!("llmux {} listens on {at}, {count} {plugins}{note}", env!("CARGO_PKG_VERSION"));
    if let Err(error) = llmux_terminal::print(&outside::line("INFO", &line)) {
        Ending { client, settings }.clean_up(0).await;
        reloader.close();
        return Err(error);
    }

    let signal = loop {
        match signals.next().await {
            Signal::End(name) => break name,
            Signal::Reload => {
                // The log reports the result.
                let reloader = reloader.clone();
                tokio::spawn(async move { reloader.reload("config", Guards::Keep).await });
            }
        }
    };
    tracing::info!("{signal}: shutting down; a second signal ends the process at once");
    let (delay, drain) = (settings.load().shutdown_delay, settings.load().drain_timeout);
    let _ = phase.send(Phase::Leaving);
    tokio::time::sleep(delay).await;
    let _ = phase.send(Phase::Draining);
    for listener in listeners {
        let _ = listener.await;
    }
    if timeout(drain, all_gone.recv()).await.is_err() {
        let _ = phase.send(Phase::Cutting);
        // Until the errors are written.
        let _ = timeout(LAST_BYTES, all_gone.recv()).await;
    }
    let _ = phase.send(Phase::Over);
    let (cut, request_ids) = cuts.report();
    if cut > 0 {
        tracing::warn!(requests = cut, request_ids, "requests did not end within {drain:?}, and were cut");
    }
    Ending { client, settings }.clean_up(cut).await;
    reloader.close();
    Ok(())
}

fn share<T>(value: T) -> Arc<ArcSwap<T>> {
    Arc::new(ArcSwap::from_pointee(value))
}

/// The admin listener with its tokens.
struct Guarded {
    listener: TcpListener,
    address: SocketAddr,
    tokens: AdminTokens,
    /// The local token, if no token is configured.
    local_token: Option<LocalToken>,
}

async fn guarded(admin: &str, tokens: AdminTokens) -> Result<Guarded> {
    let listener = server::bind(admin, "--admin-listen", "admin").await?;
    let address = server::address(&listener)?;
    tokens.check_listener(address)?;
    if !tokens.is_empty() {
        return Ok(Guarded { listener, address, tokens, local_token: None });
    }
    let local_token = LocalToken::create(address)?;
    let tokens = AdminTokens::local(local_token.token());
    Ok(Guarded { listener, address, tokens, local_token: Some(local_token) })
}

/// Returns the ids of stored responses, with the configured secret or a random one.
fn response_ids(loaded: &Loaded) -> Result<Arc<ResponseIds>> {
    let made = match response_id_secret(loaded)? {
        Some(secret) => ResponseIds::new(secret.expose().as_bytes()),
        None => ResponseIds::random(),
    };
    made.map(Arc::new).map_err(|error| CliError::new(format!("the secret of the ids of responses: {error}")))
}
