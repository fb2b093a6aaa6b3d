//! Libraries beside a plugin, which its `RUNPATH` or `RPATH` names with `$ORIGIN`: they are copied with it, each under a
//! name that no other library of the process has.
//!
//! glibc knows a needed library by its name, and an image is never unmapped. Without names of their own, the second plugin
//! that needs a `libdep.so.1`, and the next generation of the first one, would get the library that is mapped already. The
//! new name has the length of the old one, so that it takes its place in the table of names. `lookup` finds these
//! libraries, and `private_copy` writes them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME};

use super::{
    needs::{definition_places, name, version_places},
    segments::{self, Image},
};

/// A library beside a plugin, after its checks.
#[derive(Debug)]
pub(super) struct BesideLibrary {
    /// Name by which others need it.
    pub(super) name: String,
    /// Its folder, relative to the plugin's.
    pub(super) folder: PathBuf,
    /// Bytes of the file, as they were checked.
    pub(super) bytes: Vec<u8>,
}

/// New names of the libraries beside one copy of a plugin.
pub(super) struct Names(HashMap<String, String>);

impl Names {
    /// Gives each library, and each name that one of them calls itself by, a new name.
    pub(super) fn new(libraries: &[BesideLibrary]) -> Result<Self, String> {
        let own = libraries.iter().filter_map(|library| {
            let image = segments::read_image(&library.bytes)?;
            name(&image, image.value(DT_SONAME)?)
        });
        let names: HashSet<String> =
            libraries.iter().map(|library| library.name.clone()).chain(own).collect();
        names.into_iter().map(|name| Ok((name.clone(), unique(&name)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the new name of a library.
    pub(super) fn of<'a>(&'a self, library: &'a BesideLibrary) -> &'a str {
        self.0.get(&library.name).unwrap_or(&library.name)
    }

    /// Returns the bytes of a library in which every old name is replaced.
    pub(super) fn replaced_in(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let mut replaced = bytes.to_vec();
        let Some(image) = segments::read_image(bytes).filter(|_| !self.0.is_empty()) else {
            return Ok(replaced);
        };
        let first = (image.names().as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        let versions = version_places(&image);
        let libraries = image.values(DT_NEEDED).chain(image.values(DT_SONAME));
        let libraries: BTreeSet<u64> = libraries.chain(versions.iter().map(|(file, _, _)| *file)).collect();
        let others = other_places(&image, versions.iter().map(|(_, version, _)| *version));
        for place in &libraries {
            let Some((old, new)) = name(&image, *place).and_then(|old| self.0.get_key_value(&old)) else {
                continue;
            };
            let end = place + old.len() as u64;
            // A linker lets a name end in another one, to save space.
            let is_own_text = place.checked_sub(1).is_none_or(|before| image.names()[before as usize] == 0);
            let is_shared = |other: &u64| other != place && (*place..end).contains(other);
            if !is_own_text
                || libraries.iter().any(is_shared)
                || others.iter().any(|other| (*place..end).contains(other))
            {
                return Err(format!(
                    "the name `{old}` shares its text with another name, and cannot be replaced; rename the library"
                ));
            }
            let at = first + *place as usize;
            replaced[at..at + new.len()].copy_from_slice(new.as_bytes());
        }
        Ok(replaced)
    }
}

/// Returns the places of all names that are not names of libraries.
fn other_places(image: &Image<'_>, versions: impl Iterator<Item = u64>) -> HashSet<u64> {
    let symbols = image.symbols().unwrap_or_default();
    let symbols = symbols.iter().map(|symbol| symbol.st_name.get(image.endian).into());
    let folders = image.values(DT_RPATH).chain(image.values(DT_RUNPATH));
    symbols.chain(folders).chain(versions).chain(definition_places(image)).collect()
}

/// Number of names so far, in the whole process.
static NAMES: AtomicU64 = AtomicU64::new(0);

/// Returns a name of the same length that no library of this process has: the first letters, and a number.
fn unique(name: &str) -> Result<String, String> {
    let number = base36(NAMES.fetch_add(1, Ordering::Relaxed));
    let kept = name.floor_char_boundary(name.len().saturating_sub(6));
    let width = name.len() - kept - 1.min(name.len());
    match number.len() <= width {
        true => Ok(format!("{}~{number:0>width$}", &name[..kept])),
        false => {
            Err(format!("the name `{name}` is too short for a name of the same length that is not in use"))
        }
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((number % 36) as u32, 36).expect("a digit"));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_keep_their_length() {
        let names: Vec<_> = (0..1000).map(|_| unique("libdep.so.1").expect("a name")).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(names.iter().all(|name| name.len() == 11 && name.starts_with("libde~")), "{:?}", names[0]);
        assert_eq!(unique("a.so").expect("a name").len(), 4);
        assert!(unique("l").is_err(), "there is no room for a number");
    }
}
