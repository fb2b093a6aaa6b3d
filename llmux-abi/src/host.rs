//! The part of the SDK that only a host uses: plugins compiled into it, and their manifests.
//!
//! A host that loads libraries finds manifests and modules through [`raw::entry`](crate::raw::entry). Plugin authors
//! need nothing from this module: [`export_plugin!`](crate::export_plugin) uses it for them.

pub use crate::sdk::{Compiled, Exported, PluginManifest, compiled, instance, module};
