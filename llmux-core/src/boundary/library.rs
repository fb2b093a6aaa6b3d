//! Opens a library whose file has been checked, and finds the plugin in it.
//!
//! `plugins::library` calls it with a private copy of exactly the bytes that were checked. An image is never unmapped: a
//! thread of the host may have run the library's code and hold destructors of its thread-locals.

use std::{
    error::Error as _,
    mem::offset_of,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{AbiInstability, CheckingGlobals, check_layout_compatibility_with_globals},
};
use llmux_abi::raw::{
    entry::{ENTRY_FORMAT, Entry, EntryLayout},
    host::RawHost,
    plugin::PluginModuleRef,
    version::ABI_VERSION,
};

/// The reason for which a library could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The system's loader refuses the library, for example for a missing symbol or dependency.
    Dlopen(String),
    /// The library does not export the symbol that its manifest names.
    NoEntry(String),
    /// The entry is not one that this host reads, or the layout of its contract tables differs from the host's.
    Layout(String),
}

/// The number and size of the images that no instance uses any more.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    pub(crate) count: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// A loaded image. It is counted as retired when the last instance has gone.
#[derive(Debug)]
pub(crate) struct Image {
    size: u64,
    retired: Arc<Retired>,
}

impl Drop for Image {
    fn drop(&mut self) {
        self.retired.count.fetch_add(1, Ordering::Relaxed);
        self.retired.bytes.fetch_add(self.size, Ordering::Relaxed);
    }
}

/// Loads an image of this size and returns its module. `entry` is the name of its entry, and `abi` the version of the contract
/// that its manifest states. The path must never have been loaded before, because the system's
/// loader knows images by their path. If the image is refused after it was mapped, it stays mapped and is retired.
pub(crate) fn open(
    path: &Path,
    (entry, abi): (&str, &str),
    size: u64,
    retired: &Arc<Retired>,
) -> Result<(PluginModuleRef, Arc<Image>), OpenError> {
    // SAFETY: the initializers of the library run here. The operator decided to load it, and everything that
    // can be checked from its bytes has been.
    let library = unsafe { load(path) }.map_err(|error| OpenError::Dlopen(cause(&error, path)))?;
    // Never unmapped, even after an error: see the head.
    let library = std::mem::ManuallyDrop::new(library);
    let image = Arc::new(Image { size, retired: retired.clone() });
    let found = {
        // SAFETY: the manifest says that this symbol is an `Entry`; `check` reads its fields in their order.
        unsafe { library.get::<*const Entry>(entry.as_bytes()) }
    };
    let symbol = found.map_err(|error| OpenError::NoEntry(cause(&error, path)))?;
    // A data symbol: its address is the static's.
    // SAFETY: the image stays mapped, and the manifest's contract says that the symbol is an entry.
    unsafe { check(*symbol, abi) }.map(|module| (module, image))
}

/// Returns the message of the system, which is in the source of the error, without the path of the private copy.
fn cause(error: &libloading::Error, copy: &Path) -> String {
    let said = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    said.replace(&format!("{}: ", copy.display()), "").chars().take(300).collect()
}

#[cfg(unix)]
unsafe fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: promised by the caller.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

#[cfg(not(unix))]
unsafe fn load(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: promised by the caller.
    unsafe { libloading::Library::new(path) }
}

/// Checks an entry, field by field, and returns its module.
///
/// # Safety
///
/// The pointer is to an [`Entry`] of any format, which stays mapped, and which has at least `format` and `size`.
unsafe fn check(entry: *const Entry, abi: &str) -> Result<PluginModuleRef, OpenError> {
    // SAFETY: promised by the caller. Each field is read only after the ones before it say that it is there.
    let (format, size) = unsafe { ((&raw const (*entry).format).read(), (&raw const (*entry).size).read()) };
    let size = size as usize;
    if format != ENTRY_FORMAT {
        return Err(OpenError::Layout(format!(
            "its entry has the format {format}, but this host reads {ENTRY_FORMAT}"
        )));
    }
    if size < offset_of!(Entry, layout) {
        return Err(OpenError::Layout(format!(
            "its entry has {size} bytes, too few for the format {format}"
        )));
    }
    // SAFETY: of this format, and large enough.
    let (found, module) = unsafe { ((&raw const (*entry).abi).read(), (&raw const (*entry).module).read()) };
    if found.as_str() != abi {
        let found = found.as_str().escape_default();
        return Err(OpenError::Layout(format!(
            "its entry says the ABI `{found}`, but its manifest says `{abi}`"
        )));
    }
    let version = |text: &str| semver::Version::parse(text).ok();
    let is_newer = version(abi) > version(ABI_VERSION);
    if size >= size_of::<Entry>() {
        // SAFETY: as above.
        check_layout(unsafe { (&raw const (*entry).layout).read() }, is_newer)?;
    }
    Ok(module)
}

/// Compares the layouts. That of the older side is the interface, and that of the newer one the implementation, which may
/// have more fields (see `ABI.md`). Only the versions of the crates may differ. A host that cannot read a layout trusts the
/// version.
fn check_layout(layout: Option<&'static EntryLayout>, is_newer: bool) -> Result<(), OpenError> {
    let Some(layout) = layout.filter(|layout| layout.header.is_valid()) else { return Ok(()) };
    let ours = <PluginModuleRef as StableAbi>::LAYOUT;
    let globals = CheckingGlobals::new();
    let (older, newer) = if is_newer { (ours, layout.module) } else { (layout.module, ours) };
    let Err(errors) = check_layout_compatibility_with_globals(older, newer, &globals) else {
        return Ok(());
    };
    for error in &errors.errors {
        for reason in &error.errs {
            if matches!(reason, AbiInstability::PackageVersion(_)) {
                continue;
            }
            let place = error.stack_trace.last().map(|place| place.expected.to_string());
            let reason = format!("{reason:?}");
            let end = reason.floor_char_boundary(300);
            return Err(OpenError::Layout(format!(
                "{}: {}",
                place.as_deref().unwrap_or("the module").lines().collect::<Vec<_>>().join(" "),
                reason[..end].lines().map(str::trim).collect::<Vec<_>>().join(" ")
            )));
        }
    }
    Ok(())
}

/// Gives an image its handle on the host, once.
pub(crate) fn attach(module: PluginModuleRef, host: RawHost) {
    if let Some(attach) = module.attach() {
        // SAFETY: the module is of this ABI, and the host is lent for the call.
        unsafe { attach(host) }
    }
}
