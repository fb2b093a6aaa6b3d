//! What an instance is made of: a plugin from somewhere, and the operator's settings.

use std::path::PathBuf;

use llmux_abi::{
    Host, Plugin,
    host::{self, Compiled, Exported},
    raw::plugin::PluginModuleRef,
};
use serde_json::{Map, Value};

use crate::{boundary::native_hooks::Make, plugins::library::manifest::OnError};

/// An instance to make.
pub struct PluginSpec {
    pub(crate) name: Option<String>,
    pub(crate) source: PluginSource,
    pub(crate) priority: Option<i32>,
    pub(crate) on_error: Option<OnError>,
    pub(crate) config: Value,
    pub(crate) sha256: Option<String>,
    /// Did it come because its library lies in a plugin folder?
    pub(crate) autoloaded: bool,
}

/// Where a plugin comes from.
pub enum PluginSource {
    /// The library in this file.
    Path(PathBuf),
    /// The plugin of this name: a library in the plugin folders, or one compiled into the host.
    Plugin(String),
    /// A plugin compiled into the host, with its manifest.
    Compiled(Compiled),
    /// A plugin compiled into the host, without a manifest.
    Module(PluginModuleRef),
    /// An instance made by hand.
    #[doc(hidden)]
    ByHand(ByHand),
}

/// The configuration where nothing else is asked for.
pub(crate) fn no_config() -> Value {
    Value::Object(Map::new())
}

/// How to make an instance by hand.
pub struct ByHand(pub(crate) Make);

impl PluginSpec {
    /// An instance of the plugin that this source gives, named as the plugin, with the configuration `{}`.
    pub fn new(source: PluginSource) -> Self {
        Self {
            name: None,
            source,
            priority: None,
            on_error: None,
            config: no_config(),
            sha256: None,
            autoloaded: false,
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
        Self::new(PluginSource::ByHand(ByHand(make))).with_name(name)
    }

    /// What it is about: the instance's name, or what it would be made of.
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

    pub(crate) fn autoloaded(mut self) -> Self {
        self.autoloaded = true;
        self
    }

    /// The instance's name. Default: the plugin's.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its priority. Default: its manifest's, or 100.
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// What becomes of a request when a hook fails. Default: its manifest's, or the pipeline's.
    pub fn with_on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }

    /// Its configuration, a JSON object.
    pub fn with_config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The SHA-256 that its library must have, in hexadecimal.
    pub fn with_sha256(mut self, sha256: impl Into<String>) -> Self {
        self.sha256 = Some(sha256.into());
        self
    }
}
