//! The spec of an instance: the plugin that it is made of, and its settings.
//!
//! Programs build it; `desired` keeps it, and `stage` makes the instance.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use llmux_abi::{
    Host, Plugin,
    host::{self, Compiled, Exported},
    raw::plugin::PluginModuleRef,
};
use serde_json::{Map, Value};

use crate::{
    boundary::native_hooks::Make,
    plugins::{
        library::{isolation::Isolation, manifest::OnError, sandbox::SandboxSettings},
        report::info::Origin,
    },
};

/// An instance to make: a plugin, and the settings of the instance.
#[derive(Clone)]
pub struct PluginSpec {
    pub(super) name: Option<String>,
    pub(super) source: PluginSource,
    pub(super) priority: Option<i32>,
    pub(super) on_error: Option<OnError>,
    pub(super) config: Option<Value>,
    pub(super) sha256: Option<String>,
    /// `None` is the registry's setting.
    pub(super) isolation: Option<Isolation>,
    pub(super) sandbox: SandboxSettings,
    pub(super) enabled: bool,
    pub(super) origin: Origin,
    /// Number among the specs of a registry; 0 outside of it.
    pub(super) id: u64,
}

/// The plugin that an instance is made of.
#[derive(Clone)]
#[non_exhaustive]
pub enum PluginSource {
    /// The library in this file.
    Path(PathBuf),
    /// The plugin of this name: a library in the plugin folders, or one compiled into the host.
    Plugin(String),
    /// A plugin compiled into the host, with its manifest.
    Compiled(Compiled),
    /// A plugin compiled into the host, without a manifest.
    Module(PluginModuleRef),
    /// A function that makes the instance ([`PluginSpec::by_hand`]).
    #[doc(hidden)]
    ByHand(ByHand),
}

/// The default configuration of an instance: `{}`.
pub(super) fn no_config() -> Value {
    Value::Object(Map::new())
}

/// A function that makes an instance once. Clones share it.
#[derive(Clone)]
pub struct ByHand(Arc<Mutex<Option<Make>>>);

impl ByHand {
    /// Takes the function; `None` if the instance was made before.
    pub(super) fn take(&self) -> Option<Make> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl PluginSpec {
    /// An instance of the plugin that this source gives, named as the plugin, with the configuration `{}`.
    pub fn new(source: PluginSource) -> Self {
        Self {
            name: None,
            source,
            priority: None,
            on_error: None,
            config: None,
            sha256: None,
            isolation: None,
            sandbox: SandboxSettings::default(),
            enabled: true,
            origin: Origin::Embedder,
            id: 0,
        }
    }

    /// An instance of the library in this file.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::new(PluginSource::Path(path.into()))
    }

    /// An instance of the plugin of this name, from the plugin folders or the host.
    pub fn plugin(name: impl Into<String>) -> Self {
        Self::new(PluginSource::Plugin(name.into()))
    }

    /// An instance of a plugin compiled into this program, which has a manifest (`export_plugin!`).
    pub fn compiled<P: Plugin + Exported>() -> Self {
        Self::new(PluginSource::Compiled(host::compiled::<P>()))
    }

    /// An instance of a plugin compiled into this program, which needs no manifest.
    pub fn of<P: Plugin>(name: impl Into<String>) -> Self {
        Self::new(PluginSource::Module(host::module::<P>())).with_name(name)
    }

    /// An instance that `make` makes, of a plugin compiled into this program: for plugins whose settings are
    /// more than a configuration can say (closures, handles).
    pub fn by_hand<P: Plugin>(
        name: impl Into<String>,
        make: impl FnOnce(Host) -> llmux_abi::Result<P> + Send + 'static,
    ) -> Self {
        let make: Make = Box::new(move |name, host| host::instance(name, host, make));
        Self::new(PluginSource::ByHand(ByHand(Arc::new(Mutex::new(Some(make)))))).with_name(name)
    }

    /// Returns the instance's name, or the plugin or file that it is made of.
    pub(super) fn title(&self) -> String {
        match (&self.name, &self.source) {
            (Some(name), _) => name.clone(),
            (None, PluginSource::Path(path)) => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            (None, PluginSource::Plugin(plugin)) => plugin.clone(),
            (None, _) => String::new(),
        }
    }

    /// Returns the checksum in lower case.
    pub(super) fn checksum(&self) -> Option<String> {
        self.sha256.as_ref().map(|sha256| sha256.to_ascii_lowercase())
    }

    /// True if an instance of this spec serves for the other one: only settings differ.
    pub(super) fn makes_the_same(&self, other: &PluginSpec) -> bool {
        let source = match (&self.source, &other.source) {
            (PluginSource::Path(own), PluginSource::Path(other)) => own == other,
            (PluginSource::Plugin(own), PluginSource::Plugin(other)) => own == other,
            _ => false,
        };
        source && self.checksum() == other.checksum()
    }

    /// Sets the origin. Default: [`Origin::Embedder`].
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// Sets whether the instance is enabled. Default: true. An instance that the configuration disables is not made, and
    /// its library is not opened; if it runs when the configuration changes, it is disabled and kept alive. An instance of
    /// another origin is made and then disabled.
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the instance's name. Default: the plugin's.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the priority. Default: the manifest's, or 100.
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets whether a failed hook fails the request. Default: the manifest's value, or the pipeline's.
    pub fn with_on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }

    /// Sets the configuration, a JSON object. Default: `{}`.
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// Sets where the code of the library runs. Default: [`PluginsConfig::isolation`](super::PluginsConfig). A compiled-in
    /// plugin cannot be isolated.
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Sets the rights and limits of the child process. Default: [`PluginsConfig::sandbox`](super::PluginsConfig). An instance
    /// that runs in the host has none, and any of them is refused.
    pub fn with_sandbox(mut self, sandbox: SandboxSettings) -> Self {
        self.sandbox = sandbox;
        self
    }

    /// Sets the SHA-256 that the library must have, in hexadecimal.
    pub fn with_sha256(mut self, sha256: impl Into<String>) -> Self {
        self.sha256 = Some(sha256.into());
        self
    }
}
