//! The entry of a library: a section of the file, which a host reads without executing anything, and one exported
//! static, which the section names.
//!
//! The section holds [`MAGIC`], the length of what follows (`u32`, little-endian), and one JSON object: the
//! manifest. Its members:
//!
//! | member | content |
//! |---|---|
//! | `name`, `version`, `description`, `authors`, `license` | of the plugin |
//! | `abi` | the version of the contract that the library is built with |
//! | `abi_min` | the least version that the host must speak; if absent, that of `abi` |
//! | `sdk`, `rustc`, `target` | versions of the SDK and the compiler, and the target triple |
//! | `panic` | `unwind` or `abort` |
//! | `entry` | the name of the exported static |
//! | `hooks` | the names of the hooks that are written, as in `PluginTable`; may be absent |
//! | `needs` | the names of the host services without which the plugin does not work; may be absent |
//! | `priority` | the default priority of an instance |
//! | `on_error` | `continue` or `fail`; may be absent |
//! | `reload` | `exclusive` if two instances of one name cannot live at once; may be absent |
//! | `streams` | `whole` or `unseen`, see rule S5; may be absent |
//!
//! Hosts ignore members that they do not know. The names of the services are those of the optional functions of
//! `HostTable`: `spawn`, `sleep`, `http`, `metric` and `spawn_blocking`.

use abi_stable::{library::AbiHeader, std_types::RStr, type_layout::TypeLayout};

use super::plugin::PluginModuleRef;

/// The section's name in ELF and PE files.
pub const SECTION: &str = ".llmux";
/// The section's segment and name in Mach-O files.
pub const MACHO_SECTION: (&str, &str) = ("__DATA", "__llmux");
/// The first bytes of the section.
pub const MAGIC: [u8; 8] = *b"LLMUXPLG";
/// The length of the longest manifest that a host reads, in bytes.
pub const MAX_MANIFEST: usize = 64 * 1024;
/// The prefix of the exported static's name; the crate's name follows.
pub const ENTRY_PREFIX: &str = "llmux_plugin_";

/// The number of the format that [`Entry`] has.
pub const ENTRY_FORMAT: u32 = 1;

/// The exported static. A host reads the fields in their order: it refuses a format that it does not know, then another
/// version of the contract. It compares the layout if both sides have one, and uses `module` last.
///
/// No type of a library stands here, so that a plugin in another language can have an entry, and the layout can be
/// described in another way later.
#[repr(C)]
pub struct Entry {
    /// [`ENTRY_FORMAT`].
    pub format: u32,
    /// The size of this static, in bytes. Fields beyond it are absent.
    pub size: u32,
    /// The version of the contract, as in the manifest.
    pub abi: RStr<'static>,
    /// The plugin.
    pub module: PluginModuleRef,
    /// A description of the layout of `module`, and of every type that it reaches. Absent: the host trusts the version.
    pub layout: Option<&'static EntryLayout>,
}

/// The layout of a module, as `abi_stable` describes it.
#[repr(C)]
pub struct EntryLayout {
    /// The version of `abi_stable` that wrote the description. A host that reads another version trusts `Entry::abi`.
    pub header: AbiHeader,
    /// The description.
    pub module: &'static TypeLayout,
}
