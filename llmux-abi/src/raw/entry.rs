//! The entry of a library: a section of the file, which a host reads without executing anything, and one exported
//! static, which the section names.
//!
//! The section holds [`MAGIC`], the length of what follows (`u32`, little-endian), and one JSON object: the
//! manifest. The members are `name`, `version`, `description`, `authors`, `license`, `abi`, `sdk`, `rustc`,
//! `target`, `panic` (`unwind` or `abort`), `entry`, `priority` and `on_error`. Members that a host does not
//! know are ignored.

use abi_stable::{library::AbiHeader, type_layout::TypeLayout};

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

/// The exported static. A host reads `header` first and refuses the library if the header is not the one it knows. It
/// then compares `layout` with its own, and uses `module` last.
#[repr(C)]
pub struct Entry {
    /// The version of `abi_stable` that wrote the layout.
    pub header: AbiHeader,
    /// The layout of `module`, and of every type that it reaches.
    pub layout: &'static TypeLayout,
    /// The plugin.
    pub module: PluginModuleRef,
}
