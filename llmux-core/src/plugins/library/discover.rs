//! Finds libraries in the plugin folders, without running any of them (rule D1).

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{error::FolderError, inspect::InspectedLibrary, options::VerifyOptions, verify};

/// Extensions of shared libraries on all systems.
const EVERYWHERE: &[&str] = &["so", "dylib", "dll"];

/// Extension of shared libraries on this system.
const HERE: &[&str] = &[std::env::consts::DLL_EXTENSION];

/// Inspects one file, of any platform, without running any of its code.
pub fn inspect(path: &Path, options: &VerifyOptions) -> InspectedLibrary {
    let mut seen = InspectedLibrary::new(path);
    seen.refused = verify::examine(&mut seen, options).err();
    seen
}

/// Inspects every library of any platform in the folders, sorted by path within each folder.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn inspect_folders(
    folders: &[PathBuf],
    options: &VerifyOptions,
) -> Result<Vec<InspectedLibrary>, FolderError> {
    each_file(folders, EVERYWHERE, |path| inspect(&path, options))
}

/// Inspects every file with this platform's extension in the folders, sorted by path within each folder (rule D1). A
/// file that cannot be read does not hinder the others.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn discover(folders: &[PathBuf], options: &VerifyOptions) -> Result<Vec<InspectedLibrary>, FolderError> {
    each_file(folders, HERE, |path| inspect(&path, options))
}

/// Inspects every file of these extensions in the folders, sorted by path. Uses as many threads as the machine has
/// cores: a folder may hold a thousand files to read and hash.
fn each_file<T: Send>(
    folders: &[PathBuf],
    extensions: &[&str],
    look: impl Fn(PathBuf) -> T + Sync,
) -> Result<Vec<T>, FolderError> {
    let mut paths = Vec::new();
    for folder in folders {
        paths.extend(files(folder, extensions)?);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    if threads <= 1 {
        return Ok(paths.into_iter().map(look).collect());
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let at = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < paths.len());
        std::iter::from_fn(at).map(|at| (at, look(paths[at].clone()))).collect::<Vec<_>>()
    };
    let mut seen = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let seen = threads.into_iter().map(|thread| match thread.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        seen.flatten().collect::<Vec<_>>()
    });
    seen.sort_by_key(|(at, _)| *at);
    Ok(seen.into_iter().map(|(_, one)| one).collect())
}

/// Returns each folder once, even if it has several names: a library that is found twice would be two of one name
/// (rule D8).
pub(in crate::plugins) fn distinct(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let real = |folder: &PathBuf| folder.canonicalize().unwrap_or_else(|_| folder.clone());
    folders.into_iter().filter(|folder| seen.insert(real(folder))).collect()
}

/// Returns the files of a folder that have one of these extensions.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, FolderError> {
    let unreadable = |error| FolderError { path: folder.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| extensions.iter().any(|extension| it == *extension)) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use llmux_abi::raw::{entry::MAGIC, version::ABI_VERSION};

    use super::*;
    use crate::plugins::library::{error::LibraryError, inspect::Check, signature::SignatureState};

    fn section(target: &str) -> Vec<u8> {
        let json = format!(
            r#"{{"name":"foreign","version":"1.2.3","description":"","authors":"","license":"MIT","abi":"{ABI_VERSION}","sdk":"0.1.0","rustc":"rustc","target":"{target}","panic":"unwind","entry":"llmux_plugin_foreign","priority":5}}"#
        );
        [&MAGIC[..], &(json.len() as u32).to_le_bytes(), json.as_bytes()].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn padded(name: &str, length: usize) -> Vec<u8> {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(length, 0);
        bytes
    }

    /// A dynamic library with one segment of one section (Apple's `mach-o/loader.h`).
    fn mach_o(target: &str) -> Vec<u8> {
        let data = section(target);
        let size = data.len() as u32;
        [
            words(&[0xfeed_facf, 0x0100_000c, 0, 6, 1, 152, 0, 0]),
            words(&[0x19, 152]),
            padded("__DATA", 16),
            words(&[0, 0, size, 0, 184, 0, size, 0, 3, 3, 1, 0]),
            padded("__llmux", 16),
            padded("__DATA", 16),
            words(&[0, 0, size, 0, 184, 0, 0, 0, 0, 0, 0, 0]),
            data,
        ]
        .concat()
    }

    /// A universal file with two parts, the second for this host's architecture (Apple's `mach-o/fat.h`).
    fn universal(parts: [(u32, Vec<u8>); 2]) -> Vec<u8> {
        let mut head = vec![0xcafe_babe, 2];
        let mut at = 48;
        for (architecture, part) in &parts {
            head.extend([*architecture, 0, at, part.len() as u32, 0]);
            at += part.len() as u32;
        }
        let head: Vec<u8> = head.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        let [(_, first), (_, second)] = parts;
        [head, first, second].concat()
    }

    /// A DLL with one section (Microsoft's "PE Format").
    fn pe(target: &str) -> Vec<u8> {
        let data = section(target);
        let size = data.len() as u32;
        let mut dos = padded("MZ", 64);
        dos[60] = 64;
        let mut optional = vec![0; 240];
        optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
        optional[108] = 16;
        [
            dos,
            b"PE\0\0".to_vec(),
            words(&[0x0001_8664, 0, 0, 0, 0x2022_00f0]),
            optional,
            padded(".llmux", 8),
            words(&[size, 0x1000, size, 368, 0, 0, 0, 0x4000_0040]),
            data,
        ]
        .concat()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn d1_a_manifest_is_read_whatever_the_machine_and_refused_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = if cfg!(target_arch = "aarch64") { 0x0100_000c } else { 0x0100_0007 };
        let cases = [
            ("libforeign.dylib", mach_o("aarch64-apple-darwin")),
            (
                "libuniversal.dylib",
                universal([(7, b"another".to_vec()), (here, mach_o("x86_64-apple-darwin"))]),
            ),
            ("libelsewhere.dylib", universal([(7, mach_o("i686-apple-darwin")), (9, Vec::new())])),
            ("foreign.dll", pe("x86_64-pc-windows-msvc")),
        ];
        for (name, bytes) in cases {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).expect("written");
            let seen = inspect(&path, &VerifyOptions::default());
            assert_eq!(seen.manifest.map(|manifest| manifest.name).as_deref(), Some("foreign"), "{name}");
            assert_eq!(seen.size, Some(bytes.len() as u64));
            assert_eq!(seen.signature, Some(SignatureState::Missing));
            assert_eq!(
                seen.refused.as_ref().map(LibraryError::check),
                Some(Check::Machine),
                "{:?}",
                seen.refused
            );
        }
    }

    #[test]
    fn libraries_of_every_system_are_listed_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["c.so", "a.dylib", "b.dll", "d.txt"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let seen = inspect_folders(&[folder.path().to_owned()], &VerifyOptions::default()).expect("listed");
        let names: Vec<_> = seen.iter().filter_map(|one| one.path.file_name()?.to_str()).collect();
        assert_eq!(names, ["a.dylib", "b.dll", "c.so"]);
    }
}
