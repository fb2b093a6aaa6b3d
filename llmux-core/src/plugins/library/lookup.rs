//! Compares the needs of a library with this machine: finds the needed libraries by the rules of glibc's loader
//! (`ld.so(8)`), and compares the versions of their symbols. No code of any library runs.
//!
//! `verify` calls it, so that a library that cannot be loaded here is refused before its own code runs, and `trial`, for
//! the files that the loader reads. Deliberately absent: other systems and other C libraries, whose loaders have other rules.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs,
    path::{Path, PathBuf},
};

use object::elf::{EM_AARCH64, EM_X86_64, Machine};

use super::{
    beside::BesideLibrary,
    error::LibraryError,
    file, mapped,
    needs::{LibraryNeeds, defined_versions, number},
    options::VerifyOptions,
    search_folder::{SearchFolder, check_entries, check_environment, check_owner},
    segments, signature, system_libraries,
};

/// Architecture of this host, as ELF numbers it.
const HERE: Machine = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };

/// Libraries that a plugin needs.
#[derive(Default)]
pub(super) struct Needed {
    /// Libraries beside the plugin.
    pub(super) beside: Vec<BesideLibrary>,
    /// Files of all others.
    pub(super) elsewhere: Vec<PathBuf>,
}

/// A needed library that was found.
struct Found {
    path: PathBuf,
    bytes: Vec<u8>,
    needs: LibraryNeeds,
    /// Names of the versions that the library defines.
    versions: Vec<String>,
    /// Its folder, relative to the plugin's, if it is beside the plugin.
    beside: Option<PathBuf>,
    /// True if it is in a folder of the system.
    is_systems: bool,
}

/// A library whose needs are looked up.
struct Requirer {
    /// Name in messages; `None` for the plugin's own library.
    name: Option<String>,
    folder: SearchFolder,
    needs: LibraryNeeds,
    /// Folders in the `DT_RPATH` of the libraries that need this one.
    inherited: Vec<SearchFolder>,
}

/// Checks that every library that a plugin's library needs is here, and defines the required versions. Returns these
/// libraries.
///
/// # Errors
///
/// The first need that this machine, or the options, do not fulfill.
pub(super) fn check(
    path: &Path,
    needs: &LibraryNeeds,
    options: &VerifyOptions,
) -> Result<Needed, LibraryError> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Ok(Needed::default());
    }
    let (mut needed, mut versions, mut seen) = (Needed::default(), HashMap::new(), HashSet::new());
    let path = std::path::absolute(path).map_err(LibraryError::Read)?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let folder = SearchFolder { path: folder, beside: Some(PathBuf::new()) };
    let plugin = Requirer { name: None, folder, needs: needs.clone(), inherited: Vec::new() };
    let mut next = VecDeque::from([plugin]);
    while let Some(requirer) = next.pop_front() {
        let is_beside = requirer.folder.beside.is_some();
        if options.require_signature && is_beside {
            check_entries(&requirer.needs)?;
        }
        let mut inherited = SearchFolder::of_entries(&requirer.needs.rpath, &requirer.folder)?;
        inherited.extend(requirer.inherited.iter().cloned());
        let folders = folders(&requirer, &inherited)?;
        for name in &requirer.needs.libraries {
            // A library beside the plugin gets another name, which only the plugin and the libraries beside it use.
            if !seen.insert((is_beside, name.clone())) {
                continue;
            }
            let Some(found) = find(name, &folders, options)? else {
                // The loader takes a library that is mapped already.
                match mapped::find(name) {
                    Some(_) => continue,
                    None => return Err(missing(name, &requirer, &folders)),
                }
            };
            if found.beside.is_none() {
                check_outside(name, &found, options)?;
            }
            versions.insert((is_beside, name.clone()), found.versions);
            let folder = found.path.parent().map(Path::to_owned).unwrap_or_default();
            let folder = SearchFolder { path: folder, beside: found.beside.clone() };
            let inherited = inherited.clone();
            next.push_back(Requirer { name: Some(name.clone()), folder, needs: found.needs, inherited });
            match found.beside {
                Some(folder) => {
                    needed.beside.push(BesideLibrary { name: name.clone(), folder, bytes: found.bytes })
                }
                None => needed.elsewhere.push(found.path),
            }
        }
        check_versions(&requirer, &versions)?;
    }
    if options.require_signature {
        check_environment()?;
    }
    Ok(needed)
}

/// Returns the folders in which the loader looks for the needs of a library before it looks in the system's folders.
fn folders(requirer: &Requirer, rpath: &[SearchFolder]) -> Result<Vec<SearchFolder>, LibraryError> {
    let runpath = SearchFolder::of_entries(&requirer.needs.runpath, &requirer.folder)?;
    // A `DT_RUNPATH` makes the loader ignore every `DT_RPATH`.
    let rpath = if requirer.needs.runpath.is_empty() { rpath } else { &[] };
    Ok([rpath, &SearchFolder::of_environment(), &runpath].concat())
}

/// Returns the first library of this name that is for this architecture.
fn find(
    name: &str,
    folders: &[SearchFolder],
    options: &VerifyOptions,
) -> Result<Option<Found>, LibraryError> {
    if name.contains('/') {
        return Ok(read(Path::new(name), options).map(|bytes| (name.into(), bytes, None)).and_then(found));
    }
    for folder in folders {
        let path = folder.path.join(name);
        let bytes = match &folder.beside {
            Some(_) => read_beside(&path, options)?,
            None => read(&path, options),
        };
        if let Some(found) = bytes.and_then(|bytes| found((path, bytes, folder.beside.clone()))) {
            return Ok(Some(found));
        }
    }
    let mut system = system_libraries::paths_of(name).into_iter();
    Ok(system.find_map(|path| {
        let bytes = read(&path, options)?;
        found((path, bytes, None)).map(|found| Found { is_systems: true, ..found })
    }))
}

fn found((path, bytes, beside): (PathBuf, Vec<u8>, Option<PathBuf>)) -> Option<Found> {
    let image = segments::read_image(&bytes).filter(|image| image.machine == HERE)?;
    let (needs, versions) = (LibraryNeeds::read(&image), defined_versions(&image));
    Some(Found { path, needs, versions, beside, is_systems: false, bytes })
}

fn read(path: &Path, options: &VerifyOptions) -> Option<Vec<u8>> {
    file::read_file(path, options.max_size).ok()
}

/// Reads a library beside the plugin, with the checks of the plugin's own file. Returns `None` if there is no such file.
fn read_beside(path: &Path, options: &VerifyOptions) -> Result<Option<Vec<u8>>, LibraryError> {
    let refused = |error| LibraryError::Beside { path: path.to_owned(), error: Box::new(error) };
    let read =
        file::read_checked(path, &options.folders, options.allow_insecure_permissions, options.max_size);
    let bytes = match read {
        Err(LibraryError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(refused)?,
    };
    signature::check(path, &bytes, &options.trusted_keys, options.require_signature).map_err(refused)?;
    segments::check(&bytes).map_err(refused)?;
    Ok(Some(bytes))
}

/// Checks a library outside of the plugin's folder: the loader takes exactly this one, and it can be trusted.
fn check_outside(name: &str, found: &Found, options: &VerifyOptions) -> Result<(), LibraryError> {
    if options.require_signature {
        check_owner(&found.path)?;
    }
    let Some(mapped) = mapped::find(name) else { return Ok(()) };
    let path = found.path.canonicalize().map_err(LibraryError::Read)?;
    let is_it = match mapped.is_replaced {
        // An update of the system keeps the names of compatible libraries.
        true => found.is_systems && path.file_name() == mapped.path.file_name(),
        false => path == mapped.path || fs::read(&mapped.path).is_ok_and(|bytes| bytes == found.bytes),
    };
    match is_it {
        true => Ok(()),
        false => Err(LibraryError::NameTaken { library: name.to_owned(), path, mapped: mapped.path }),
    }
}

fn missing(name: &str, requirer: &Requirer, folders: &[SearchFolder]) -> LibraryError {
    let folders: Vec<_> = folders.iter().map(|folder| folder.path.display().to_string()).collect();
    LibraryError::MissingLibrary {
        library: name.to_owned(),
        by: requirer.name.clone(),
        folders: folders.join(", "),
    }
}

/// Checks that the found libraries define the versions that a library requires. A library without versions has all.
fn check_versions(
    requirer: &Requirer,
    found: &HashMap<(bool, String), Vec<String>>,
) -> Result<(), LibraryError> {
    let is_beside = requirer.folder.beside.is_some();
    for (library, version) in &requirer.needs.versions {
        let defined = found.get(&(is_beside, library.clone())).filter(|defined| !defined.is_empty());
        let Some(defined) = defined.filter(|defined| !defined.contains(version)) else { continue };
        let newest = defined.iter().filter(|version| number(version).is_some()).max_by_key(|it| number(it));
        return Err(LibraryError::MissingVersion {
            library: library.clone(),
            by: requirer.name.clone(),
            version: version.clone(),
            newest: newest.cloned().filter(|_| number(version).is_some()),
        });
    }
    Ok(())
}
