//! The part of the SDK that only a host uses: plugins compiled into it, and their manifests.
//!
//! A host that loads libraries finds the same things by [`raw::entry`](crate::raw::entry). Plugin authors need nothing
//! from here; [`export_plugin!`](crate::export_plugin) writes it for them.

pub use crate::sdk::{Compiled, Exported, PluginManifest, compiled, instance, module};
