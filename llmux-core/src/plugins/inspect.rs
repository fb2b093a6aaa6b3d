//! Looks at libraries of any machine, without running anything of them: what they say of themselves, and whether
//! this host would load them.
//!
//! `verify` stops at the first check that fails; here the manifest is read all the same where it can be.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    discovery,
    error::{LibraryError, PluginError},
    manifest::Manifest,
    signature::SignatureState,
    verify::{self, Examined, VerifyOptions},
};

/// What is known of a library's file.
#[derive(Debug)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes, where it could be read.
    pub size: Option<u64>,
    /// The SHA-256 of its bytes, in hexadecimal, where they could be read.
    pub sha256: Option<String>,
    /// What it says of itself, where that could be read.
    pub manifest: Option<Manifest>,
    /// What is known of its signature; `None` where it is refused for it, or was not looked at.
    pub signature: Option<SignatureState>,
    /// Why this host would not load it.
    pub refused: Option<LibraryError>,
}

/// Looks at one file.
pub fn inspect(path: &Path, options: &VerifyOptions) -> Inspection {
    let Examined { size, sha256, manifest, signature, result } = verify::examine(path, options);
    Inspection { path: path.to_owned(), size, sha256, manifest, signature, refused: result.err() }
}

/// Looks at every library in the folders, of whatever system, sorted by path.
///
/// # Errors
///
/// When a folder itself cannot be read.
pub fn inspect_folders(folders: &[PathBuf], options: &VerifyOptions) -> Result<Vec<Inspection>, PluginError> {
    discovery::each_file(folders, discovery::EVERYWHERE, |path| inspect(&path, options))
}

/// The checks of a library that need no loading, in the order in which they are made (rule D2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// It is a regular file that can be read, and no link out of the plugin folders.
    File,
    /// Nobody else could change it or its folder.
    Permissions,
    /// It is no larger than any plugin.
    Size,
    /// Its SHA-256 is the one that is asked for.
    Checksum,
    /// Its signature is there, where one is required, and by a trusted key, where there are keys.
    Signature,
    /// It is a shared library for this operating system and architecture.
    Machine,
    /// It says that it is a plugin, and everything that a plugin must say.
    Manifest,
    /// It unwinds when it panics.
    Panic,
    /// It speaks this host's contract.
    Abi,
    /// What only loading shows: its entry and the layout of its types.
    Loading,
}

impl Check {
    /// Those that need no loading, in their order.
    pub const ALL: [Check; 9] = [
        Check::File,
        Check::Permissions,
        Check::Size,
        Check::Checksum,
        Check::Signature,
        Check::Machine,
        Check::Manifest,
        Check::Panic,
        Check::Abi,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Check::File => "file",
            Check::Permissions => "permissions",
            Check::Size => "size",
            Check::Checksum => "checksum",
            Check::Signature => "signature",
            Check::Machine => "machine",
            Check::Manifest => "manifest",
            Check::Panic => "panic",
            Check::Abi => "abi",
            Check::Loading => "loading",
        }
    }
}

impl LibraryError {
    /// The check that it did not pass.
    pub fn check(&self) -> Check {
        match self {
            LibraryError::Read(_) | LibraryError::NotAFile | LibraryError::LeavesFolder { .. } => Check::File,
            LibraryError::Permissions(_) => Check::Permissions,
            LibraryError::TooLarge { .. } => Check::Size,
            LibraryError::Checksum { .. } => Check::Checksum,
            LibraryError::Signature(_) => Check::Signature,
            LibraryError::Format(_) | LibraryError::WrongMachine { .. } => Check::Machine,
            LibraryError::NoManifest | LibraryError::TwoManifests | LibraryError::Manifest(_) => {
                Check::Manifest
            }
            LibraryError::PanicAborts => Check::Panic,
            LibraryError::AbiMismatch { .. } => Check::Abi,
            LibraryError::Copy(_)
            | LibraryError::Dlopen(_)
            | LibraryError::NoEntry { .. }
            | LibraryError::Layout(_) => Check::Loading,
        }
    }
}

#[cfg(test)]
mod tests {
    use llmux_abi::raw::{entry::MAGIC, version::ABI_VERSION};

    use super::*;

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

    #[test]
    fn every_check_is_known_by_its_name() {
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).expect("JSON"), check.as_str());
        }
    }
}
