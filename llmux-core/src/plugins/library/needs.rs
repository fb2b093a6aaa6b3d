//! The parts of its machine that an ELF library needs, as its bytes say: other libraries, the folders that it names for
//! them, versions of their symbols, and thread-local storage.
//!
//! `verify` reads them, `lookup` compares them with this machine, and `inspect` shows them. No code of the library runs.

use std::collections::BTreeMap;

use object::{
    Endianness,
    elf::{
        DF_STATIC_TLS, DT_FLAGS, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_VERDEF, DT_VERNEED, VER_FLG_BASE,
        VER_FLG_WEAK, Verdaux, Verdef, Vernaux, Verneed,
    },
    pod,
};
use serde::Serialize;

use super::segments::Image;

/// Limit of the number of versions that are read of one library. In hostile bytes, a list may be very long.
const MAX_VERSIONS: usize = 10_000;
/// Limit of the length of a name. In hostile bytes, a name may be as long as the file.
const MAX_NAME: usize = 4096;

/// Needs of an ELF library, as its bytes say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LibraryNeeds {
    /// Names of the libraries that the system's loader must find (`DT_NEEDED`).
    pub libraries: Vec<String>,
    /// Folders in `DT_RPATH`. The loader ignores them if there is a `DT_RUNPATH`.
    pub rpath: Vec<String>,
    /// Folders in `DT_RUNPATH`.
    pub runpath: Vec<String>,
    /// Newest version of glibc's symbols that the library requires, by the needed library.
    pub glibc: BTreeMap<String, String>,
    /// True if the library says that it uses static thread-local storage (`DF_STATIC_TLS`), of which a process has little.
    pub static_tls: bool,
    /// Size of the thread-local values of one thread, in bytes.
    pub tls_bytes: u64,
    /// Versions of symbols without which the library cannot be loaded: the needed library, and the name of the version.
    #[serde(skip)]
    pub(super) versions: Vec<(String, String)>,
}

impl LibraryNeeds {
    /// Reads the needs of a library.
    pub(super) fn read(image: &Image<'_>) -> Self {
        let folders = |tag| {
            let text = image.value(tag).and_then(|at| name(image, at)).unwrap_or_default();
            text.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect()
        };
        let versions = required_versions(image);
        let mut glibc = BTreeMap::<String, String>::new();
        for (library, version) in &versions {
            let newest = glibc.get(library).and_then(|newest| number(newest));
            if number(version).is_some_and(|number| newest.is_none_or(|newest| newest < number)) {
                glibc.insert(library.clone(), version.clone());
            }
        }
        Self {
            libraries: image.values(DT_NEEDED).filter_map(|at| name(image, at)).collect(),
            rpath: folders(DT_RPATH),
            runpath: folders(DT_RUNPATH),
            glibc,
            static_tls: image.value(DT_FLAGS).is_some_and(|flags| flags & DF_STATIC_TLS.0 != 0),
            tls_bytes: image.tls_bytes,
            versions,
        }
    }
}

/// Returns the numbers of a version of glibc's symbols, so that two versions can be compared.
pub(super) fn number(version: &str) -> Option<Vec<u32>> {
    version.strip_prefix("GLIBC_")?.split('.').map(|part| part.parse().ok()).collect()
}

/// Returns a name in the table of names.
pub(super) fn name(image: &Image<'_>, at: u64) -> Option<String> {
    let names = image.names().get(usize::try_from(at).ok()?..)?;
    let name = names.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned())
}

/// Returns the versions that the loader looks for. It only warns of a weak one.
fn required_versions(image: &Image<'_>) -> Vec<(String, String)> {
    let required = version_places(image).into_iter().filter(|(_, _, is_weak)| !is_weak);
    required.filter_map(|(file, version, _)| name(image, file).zip(name(image, version))).collect()
}

/// Returns the required versions: the places of the names of the library and of the version, and whether it is weak.
pub(super) fn version_places(image: &Image<'_>) -> Vec<(u64, u64, bool)> {
    let endian = image.endian;
    let libraries =
        list(image.value(DT_VERNEED).and_then(|at| image.from(at)), |it: &Verneed<Endianness>| {
            it.vn_next.get(endian)
        });
    let places = libraries.flat_map(|(library, bytes)| {
        let file = library.vn_file.get(endian).into();
        let required = list(bytes.get(library.vn_aux.get(endian) as usize..), |it: &Vernaux<Endianness>| {
            it.vna_next.get(endian)
        });
        required.map(move |(version, _)| {
            let is_weak = version.vna_flags.get(endian).contains(VER_FLG_WEAK);
            (file, version.vna_name.get(endian).into(), is_weak)
        })
    });
    places.take(MAX_VERSIONS).collect()
}

/// Returns the names of the versions that a library defines.
pub(super) fn defined_versions(image: &Image<'_>) -> Vec<String> {
    definition_places(image).into_iter().filter_map(|at| name(image, at)).collect()
}

/// Returns the places of the names of the versions that a library defines, without the library's own name.
pub(super) fn definition_places(image: &Image<'_>) -> Vec<u64> {
    let endian = image.endian;
    let definitions =
        list(image.value(DT_VERDEF).and_then(|at| image.from(at)), |it: &Verdef<Endianness>| {
            it.vd_next.get(endian)
        });
    let definitions = definitions.filter(|(it, _)| !it.vd_flags.get(endian).contains(VER_FLG_BASE));
    let places = definitions.filter_map(|(definition, bytes)| {
        let first = bytes.get(definition.vd_aux.get(endian) as usize..)?;
        Some(pod::from_bytes::<Verdaux<Endianness>>(first).ok()?.0.vda_name.get(endian).into())
    });
    places.take(MAX_VERSIONS).collect()
}

/// Returns the items of a list whose items hold the distance to the next one, each with the bytes from it on.
fn list<T: pod::Pod>(bytes: Option<&[u8]>, next: impl Fn(&T) -> u32) -> impl Iterator<Item = (&T, &[u8])> {
    let mut rest = bytes;
    let items = std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let (item, _) = pod::from_bytes::<T>(bytes).ok()?;
        rest = Some(next(item)).filter(|next| *next != 0).and_then(|next| bytes.get(next as usize..));
        Some((item, bytes))
    });
    items.take(MAX_VERSIONS)
}
