//! Compares the needs of a library with this machine: finds the needed libraries by the rules of glibc's loader
//! (`ld.so(8)`), and compares the versions of their symbols. No code of any library runs.
//!
//! `verify` calls it, so that a library that cannot be loaded here is refused before its own code runs. Deliberately
//! absent: other systems and other C libraries, whose loaders have other rules.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    env,
    path::PathBuf,
};

use object::elf::{EM_AARCH64, EM_X86_64, Machine};

use super::{
    error::LibraryError,
    file, mapped,
    needs::{LibraryNeeds, defined_versions, number},
    segments, system_libraries,
};

/// Architecture of this host, as ELF numbers it.
const HERE: Machine = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };

/// A needed library that was found.
struct Found {
    name: String,
    needs: LibraryNeeds,
    /// Names of the versions that the library defines.
    versions: Vec<String>,
}

/// A library whose needs are looked up.
struct Requirer {
    /// Name in messages; `None` for the plugin's own library.
    name: Option<String>,
    needs: LibraryNeeds,
    /// `DT_RPATH` of the libraries that need this one.
    inherited: Vec<String>,
}

/// Checks that every library that a plugin's library needs is here, and defines the required versions.
///
/// # Errors
///
/// [`LibraryError::MissingLibrary`], [`LibraryError::MissingVersion`].
pub(super) fn check(needs: &LibraryNeeds, max_size: u64) -> Result<(), LibraryError> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Ok(());
    }
    let environment = environment();
    let mut versions = HashMap::new();
    let mut seen = HashSet::new();
    let mut next = VecDeque::from([Requirer { name: None, needs: needs.clone(), inherited: Vec::new() }]);
    while let Some(requirer) = next.pop_front() {
        let inherited = [requirer.needs.rpath.clone(), requirer.inherited.clone()].concat();
        for name in &requirer.needs.libraries {
            if !seen.insert(name.clone()) {
                continue;
            }
            let folders = folders(&requirer, &environment);
            match find(name, &folders, max_size) {
                Some(found) => {
                    versions.insert(found.name.clone(), found.versions);
                    let (name, inherited) = (Some(found.name), inherited.clone());
                    next.push_back(Requirer { name, needs: found.needs, inherited });
                }
                // The loader takes a library that is mapped already.
                None if mapped::find(name).is_some() => {}
                None => return Err(missing(name, &requirer, &folders)),
            }
        }
        check_versions(&requirer, &versions)?;
    }
    Ok(())
}

/// Returns the folders of `LD_LIBRARY_PATH`.
fn environment() -> Vec<PathBuf> {
    let paths = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    paths.split([':', ';']).filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

/// Returns the folders in which the loader looks for the needs of a library before it looks in the system's folders.
fn folders(requirer: &Requirer, environment: &[PathBuf]) -> Vec<PathBuf> {
    let Requirer { needs, inherited, .. } = requirer;
    let named = |folders: &[String]| -> Vec<PathBuf> {
        folders.iter().filter(|folder| !folder.starts_with('$')).map(PathBuf::from).collect()
    };
    // A `DT_RUNPATH` makes the loader ignore every `DT_RPATH`.
    let rpath = if needs.runpath.is_empty() { [&needs.rpath[..], inherited].concat() } else { Vec::new() };
    [named(&rpath), environment.to_vec(), named(&needs.runpath)].concat()
}

/// Returns the first library of this name that is for this architecture.
fn find(name: &str, folders: &[PathBuf], max_size: u64) -> Option<Found> {
    let paths: Vec<PathBuf> = match name.contains('/') {
        true => vec![name.into()],
        false => {
            folders.iter().map(|folder| folder.join(name)).chain(system_libraries::paths_of(name)).collect()
        }
    };
    paths.iter().find_map(|path| {
        let bytes = file::read_file(path, max_size).ok()?;
        let image = segments::read_image(&bytes).filter(|image| image.machine == HERE)?;
        let (needs, versions) = (LibraryNeeds::read(&image), defined_versions(&image));
        Some(Found { name: name.to_owned(), needs, versions })
    })
}

fn missing(name: &str, requirer: &Requirer, folders: &[PathBuf]) -> LibraryError {
    let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    LibraryError::MissingLibrary {
        library: name.to_owned(),
        by: requirer.name.clone(),
        folders: folders.join(", "),
    }
}

/// Checks that the found libraries define the versions that a library requires. A library without versions has all.
fn check_versions(requirer: &Requirer, found: &HashMap<String, Vec<String>>) -> Result<(), LibraryError> {
    for (library, version) in &requirer.needs.versions {
        let Some(defined) = found.get(library).filter(|defined| !defined.is_empty()) else { continue };
        if !defined.contains(version) {
            let newest =
                defined.iter().filter(|version| number(version).is_some()).max_by_key(|it| number(it));
            return Err(LibraryError::MissingVersion {
                library: library.clone(),
                by: requirer.name.clone(),
                version: version.clone(),
                newest: newest.cloned().filter(|_| number(version).is_some()),
            });
        }
    }
    Ok(())
}
