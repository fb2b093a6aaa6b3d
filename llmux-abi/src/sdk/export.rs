//! `export_plugin!`: adds a plugin's manifest and entry to the library that is built from its crate.
//!
//! # Soundness
//!
//! The macro writes two statics with unique names. Hosts read the manifest's section only from the file. The exported
//! name contains the crate's name, so that two plugins linked into one binary do not collide. This crate uses neither
//! static.

#![allow(unsafe_code)]

use abi_stable::{StableAbi, library::AbiHeader, std_types::RStr};

pub use super::{
    manifest::Encoded,
    shim::{abi_min, hooks},
};
pub use crate::raw::entry::Entry;
use crate::raw::{
    entry::{ENTRY_FORMAT, EntryLayout},
    plugin::PluginModuleRef,
    version::ABI_VERSION,
};

static LAYOUT: EntryLayout =
    EntryLayout { header: AbiHeader::VALUE, module: <PluginModuleRef as StableAbi>::LAYOUT };

/// Returns the entry of a plugin, which a host finds under the exported name.
pub const fn entry<P: crate::Plugin>() -> Entry {
    Entry {
        format: ENTRY_FORMAT,
        size: size_of::<Entry>() as u32,
        abi: RStr::from_str(ABI_VERSION),
        module: super::shim::module::<P>(),
        layout: Some(&LAYOUT),
    }
}

/// Exports a type as the plugin of its crate: `export_plugin!(Type, name: "its-name", priority: 50);`.
///
/// `name` is 1 to 64 characters of `a-z 0-9 - _ .`. Optional keys may follow in any order: `priority` (default 100),
/// `on_error` (`Some(OnError::Fail)` for a guard), `reload` ([`Reload::Exclusive`](crate::Reload)), `streams`
/// (`Some(Streams::Unseen)`), `needs` (`&[Service::Http]`), `description`, `version`, `authors` and `license`. The last four
/// default to the values in the crate's `Cargo.toml`. A host refuses a plugin that needs a service which it does not offer.
///
/// A library holds one plugin: a second use in the same crate, in any module, does not compile. The crate's types are
/// `["cdylib", "rlib"]`. Hosts refuse a library that was compiled with `panic = "abort"`.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, name: $name:expr $(, $key:ident : $value:expr)* $(,)?) => {
        // An exported macro is always at the root of its crate. A second plugin in any module is therefore a compile
        // error with this name, before the linker reports two symbols of one name.
        #[doc(hidden)]
        #[allow(non_local_definitions)]
        #[macro_export]
        macro_rules! a_library_holds_one_plugin {
            () => {};
        }

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
                            reload: $crate::Reload::Overlap,
                            streams: ::core::option::Option::None,
                            needs: &[],
                            hooks: $crate::export::hooks::<$plugin>(),
                            abi_min: $crate::export::abi_min::<$plugin>(),
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
