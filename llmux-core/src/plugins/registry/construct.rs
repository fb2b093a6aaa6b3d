//! The construction of an instance: its host services, the check of its configuration, and the plugin's constructor.

use std::{sync::Arc, time::Duration};

use llmux_abi::raw::plugin::PluginModuleRef;
use serde_json::Value;
use tokio::{task::spawn_blocking, time::timeout};

use super::{instance::Home, schema::check, spec::ByHand};
use crate::{
    boundary::{
        NativeHooks,
        host::{HostServices, HostShared},
        process_state::ProcessState,
    },
    pipeline::{
        kind::{Failure, FailureKind},
        snapshot::Lease,
    },
    plugins::{library::load::LoadedLibrary, report::error::PluginError},
};

/// Time limit of a construction (rule E4).
const TIMEOUT: Duration = Duration::from_secs(10);

/// An instance to be made.
pub(super) struct Construction<'a> {
    pub(super) name: &'a str,
    pub(super) plugin: &'a str,
    pub(super) module: Option<PluginModuleRef>,
    pub(super) config: &'a Value,
    pub(super) library: Option<&'a LoadedLibrary>,
    pub(super) by_hand: Option<ByHand>,
    /// The instance of the same module that it takes the place of.
    pub(super) old: Option<Arc<Lease>>,
}

impl Construction<'_> {
    /// Checks the configuration against the schema, then runs the plugin's constructor, for a bounded time.
    pub(super) async fn run(self, shared: &Arc<HostShared>) -> Result<(Arc<Lease>, Home), PluginError> {
        let Self { name, plugin, module, config, library, by_hand, old } = self;
        let (name, plugin) = (name.to_owned(), plugin.to_owned());
        let host = HostServices::new(&name, library.map(|library| &*library.path), shared.clone());
        let half_made = HalfMade(Some(host.clone()));
        let (config, image) = (config.clone(), library.map(|library| library.image.clone()));
        let runtime = shared.runtime.clone();
        let by = plugin.clone();
        let made = spawn_blocking(move || {
            let _runtime = runtime.enter();
            let before = ProcessState::read();
            let made = match (module, by_hand) {
                (_, Some(by_hand)) => match by_hand.take() {
                    Some(make) => NativeHooks::by_hand(make, host),
                    None => Err(Failure::error("the program that embeds this host makes it only once")),
                },
                (Some(module), None) => {
                    let schema = NativeHooks::config_schema(module)?;
                    if let Err(message) = check(&schema, &config) {
                        return Ok(Err(message));
                    }
                    let old = old.as_deref().map(Lease::instance);
                    NativeHooks::create(module, &config.to_string(), host, image, old)
                }
                (None, None) => Err(Failure::error("there is no way to make it again")),
            };
            before.log_changes(&by);
            made.map(Ok)
        });
        let failure = |message: String| Failure { kind: FailureKind::Timeout, message };
        let made = match timeout(TIMEOUT, made).await {
            Ok(Ok(made)) => made,
            Ok(Err(_)) => Err(Failure::error("panicked")),
            Err(_) => Err(failure(format!("ran past its timeout of {TIMEOUT:?}"))),
        };
        match made {
            Ok(Ok(instance)) => {
                half_made.keep();
                let (lease, home) = Lease::new(Box::new(instance));
                Ok((lease, Home::new(home)))
            }
            Ok(Err(message)) => Err(PluginError::Config { name, plugin, message }),
            Err(Failure { message, .. }) => Err(PluginError::Construction { name, plugin, message }),
        }
    }
}

/// The host services of an instance under construction. If the construction fails or runs past its timeout, everything
/// that the instance registered or spawned is removed, and it can register and spawn nothing more.
struct HalfMade(Option<Arc<HostServices>>);

impl HalfMade {
    /// The instance is made: its own drop closes the services.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some(host) = self.0.take() {
            host.close();
        }
    }
}
