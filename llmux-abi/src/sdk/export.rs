//! `export_plugin!`: puts a plugin's manifest and entry into the library that its crate becomes.
//!
//! # Why this is sound
//!
//! The macro writes two statics with names of their own: the manifest's section is only ever read from the
//! file, and the exported name carries the crate's name, so that two plugins linked into one binary do not
//! collide. Neither is called by this crate.

#![allow(unsafe_code)]

pub use abi_stable::{StableAbi, library::AbiHeader};

pub use super::manifest::Encoded;
pub use crate::raw::{entry::Entry, plugin::PluginModuleRef};

/// The entry of a plugin: what a host finds under the exported name.
pub const fn entry<P: crate::Plugin>() -> Entry {
    Entry {
        header: AbiHeader::VALUE,
        layout: <PluginModuleRef as StableAbi>::LAYOUT,
        module: super::shim::module::<P>(),
    }
}

/// Makes a crate a plugin: `export_plugin!(Type, name: "its-name", priority: 50);`.
///
/// `name` is 1 to 64 of `a-z 0-9 - _ .`. After it, in any order and each optional: `priority` (default 100),
/// `on_error` (`Some(OnError::Fail)` for a guard), `description`; the version, authors, license and
/// description otherwise come from the crate's `Cargo.toml`.
///
/// Once in a crate: a library holds one plugin. A second one, in whatever module, does not compile. The crate's types
/// are `["cdylib", "rlib"]`; it must not be compiled with `panic = "abort"`, which hosts refuse.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, name: $name:expr $(, $key:ident : $value:expr)* $(,)?) => {
        // An exported macro stands at the root of its crate, wherever it is written: a second plugin, in whatever
        // module, is an error with this name, before two symbols of one name are.
        #[doc(hidden)]
        #[allow(non_local_definitions)]
        #[macro_export]
        macro_rules! a_library_holds_one_plugin {
            () => {};
        }

        #[allow(unsafe_code)]
        const _: () = {
            impl $crate::host::Exported for $plugin {
                const MANIFEST: $crate::host::PluginManifest = {
                    #[allow(clippy::needless_update)]
                    let manifest = $crate::host::PluginManifest {
                        name: $name,
                        $($key: $value,)*
                        ..$crate::host::PluginManifest {
                            name: $name,
                            version: ::core::env!("CARGO_PKG_VERSION"),
                            description: ::core::env!("CARGO_PKG_DESCRIPTION"),
                            authors: ::core::env!("CARGO_PKG_AUTHORS"),
                            license: ::core::env!("CARGO_PKG_LICENSE"),
                            priority: $crate::host::PluginManifest::DEFAULT_PRIORITY,
                            on_error: ::core::option::Option::None,
                            entry: ::core::concat!("llmux_plugin_", ::core::env!("CARGO_CRATE_NAME")),
                            panic_aborts: ::core::cfg!(panic = "abort"),
                        }
                    };
                    manifest
                };
            }

            const ENCODED: $crate::export::Encoded =
                $crate::export::Encoded::of(&<$plugin as $crate::host::Exported>::MANIFEST);

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__llmux"))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".llmux"))]
            static MANIFEST: [u8; ENCODED.len()] = ENCODED.bytes();

            #[unsafe(export_name = ::core::concat!("llmux_plugin_", ::core::env!("CARGO_CRATE_NAME")))]
            static ENTRY: $crate::export::Entry = $crate::export::entry::<$plugin>();
        };
    };
    ($plugin:ty $(,)?) => {
        ::core::compile_error!("a plugin has a name: `export_plugin!(Type, name: \"its-name\");`");
    };
}
