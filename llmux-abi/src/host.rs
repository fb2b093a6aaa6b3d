//! The part of the SDK that only a host uses: plugins compiled into it, their manifests, and the guard of its tables.
//!
//! A host that loads libraries finds manifests and modules through [`raw::entry`](crate::raw::entry). Plugin authors
//! need nothing from this module: [`export_plugin!`](crate::export_plugin) uses it for them.

pub use crate::sdk::{
    Compiled, Exported, Parameters, PluginManifest, compiled, guarded, guarded_or, instance, module,
    panic_message,
};
