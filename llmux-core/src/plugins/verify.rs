//! The checks of a library that need no loading (rule D2, up to the private copy). The bytes are read once:
//! what was checked is what is loaded.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use object::{Architecture, BinaryFormat, Object, ObjectKind};
use semver::{Comparator, Op, Prerelease, Version, VersionReq};
use sha2::{Digest, Sha256};

use super::{
    error::LibraryError,
    manifest::{Manifest, PanicStrategy},
    object_file,
    signature::{self, SignatureState, TrustedKey},
};

/// What is asked of a library before it is loaded.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The SHA-256 it must have, in hexadecimal.
    pub sha256: Option<String>,
    /// Load a file or folder that others could change.
    pub allow_insecure_permissions: bool,
    /// The largest file, in bytes. Default 256 MiB.
    pub max_size: u64,
    /// The keys whose signatures are trusted. A signature that is there must be by one of them.
    pub trusted_keys: Vec<TrustedKey>,
    /// Refuse a library without a signature.
    pub require_signature: bool,
    /// The plugin folders: a symbolic link in one of them must not lead out of all of them.
    pub folders: Vec<PathBuf>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            sha256: None,
            allow_insecure_permissions: false,
            max_size: 256 * 1024 * 1024,
            trusted_keys: Vec::new(),
            require_signature: false,
            folders: Vec::new(),
        }
    }
}

/// A library that passed the checks.
#[derive(Debug)]
pub struct VerifiedLibrary {
    /// The file.
    pub path: PathBuf,
    /// Its bytes: what was checked.
    pub bytes: Vec<u8>,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What is known of its signature.
    pub signature: SignatureState,
}

/// Checks a library's file without running any of it.
///
/// # Errors
///
/// One for each check, in the order of rule D2.
pub fn verify(path: &Path, options: &VerifyOptions) -> Result<VerifiedLibrary, LibraryError> {
    examine(path, options).result
}

/// A file, read once: what it is and says of itself as far as that can be read, and what the checks came to.
pub(super) struct Examined {
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
    pub(super) manifest: Option<Manifest>,
    /// `None` where it is refused for it, or was not looked at.
    pub(super) signature: Option<SignatureState>,
    pub(super) result: Result<VerifiedLibrary, LibraryError>,
}

/// Checks a library's file, and reads what can be read of one that is refused.
pub(super) fn examine(path: &Path, options: &VerifyOptions) -> Examined {
    let unread =
        |error| Examined { size: None, sha256: None, manifest: None, signature: None, result: Err(error) };
    let (bytes, refused) = match read(path, options) {
        Ok(bytes) => (bytes, None),
        // Others may change it, so it is not loaded; it may be looked at.
        Err(error @ (LibraryError::Permissions(_) | LibraryError::LeavesFolder { .. })) => {
            match read_file(path, options.max_size) {
                Ok(bytes) => (bytes, Some(error)),
                Err(_) => return unread(error),
            }
        }
        Err(error) => return unread(error),
    };
    let sha256 = sha256(&bytes);
    let checked = check_bytes(path, &bytes, &sha256, options);
    let (size, hash) = (Some(bytes.len() as u64), Some(sha256.clone()));
    let (manifest, signature) = match &checked {
        Ok((manifest, signature)) => (Some(manifest.clone()), Some(signature.clone())),
        Err(_) => {
            let signature = signature::check(path, &bytes, &options.trusted_keys, false);
            (Manifest::read(&bytes).ok(), signature.ok())
        }
    };
    let result = match (refused, checked) {
        (Some(error), _) | (None, Err(error)) => Err(error),
        (None, Ok((manifest, signature))) => {
            Ok(VerifiedLibrary { path: path.to_owned(), bytes, sha256, manifest, signature })
        }
    };
    Examined { size, sha256: hash, manifest, signature, result }
}

/// The checks of bytes that were read.
fn check_bytes(
    path: &Path,
    bytes: &[u8],
    sha256: &str,
    options: &VerifyOptions,
) -> Result<(Manifest, SignatureState), LibraryError> {
    if let Some(expected) = &options.sha256
        && !expected.eq_ignore_ascii_case(sha256)
    {
        return Err(LibraryError::Checksum { expected: expected.clone(), found: sha256.to_owned() });
    }
    let signature = signature::check(path, bytes, &options.trusted_keys, options.require_signature)?;
    check_machine(bytes)?;
    let manifest = Manifest::read(bytes)?;
    check_manifest(&manifest)?;
    Ok((manifest, signature))
}

/// Would this host load a plugin of this manifest?
pub(crate) fn check_manifest(manifest: &Manifest) -> Result<(), LibraryError> {
    let target = llmux_abi::raw::version::TARGET;
    if manifest.target != target {
        return Err(LibraryError::WrongMachine {
            expected: target.to_owned(),
            found: manifest.target.clone(),
        });
    }
    if manifest.panic == PanicStrategy::Abort {
        return Err(LibraryError::PanicAborts);
    }
    let host = Version::parse(llmux_abi::raw::version::ABI_VERSION).expect("the ABI's version is semver");
    if !satisfies(&host, &manifest.abi) {
        return Err(LibraryError::AbiMismatch { host, plugin: manifest.abi.clone() });
    }
    Ok(())
}

/// True if the host's ABI satisfies the caret requirement of the plugin's. A pre-release may still change under the same
/// version number, so it satisfies only itself.
fn satisfies(host: &Version, plugin: &Version) -> bool {
    if !host.pre.is_empty() || !plugin.pre.is_empty() {
        return host == plugin;
    }
    let comparator = Comparator {
        op: Op::Caret,
        major: plugin.major,
        minor: Some(plugin.minor),
        patch: Some(plugin.patch),
        pre: Prerelease::EMPTY,
    };
    VersionReq { comparators: vec![comparator] }.matches(host)
}

/// Refuses what lies in a plugin folder by its name and elsewhere in truth: a link, or a folder that is one. A file
/// that the operator names elsewhere is their own choice.
fn check_link(path: &Path, folders: &[PathBuf]) -> Result<(), LibraryError> {
    let real: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
    let is_below = |path: &Path, folders: &[PathBuf]| folders.iter().any(|folder| path.starts_with(folder));
    let named = std::path::absolute(path).map_err(LibraryError::Read)?;
    let parent = named.parent().and_then(|parent| parent.canonicalize().ok());
    let absolute: Vec<PathBuf> =
        folders.iter().filter_map(|folder| std::path::absolute(folder).ok()).collect();
    let is_in_folder = is_below(&named, &absolute) || parent.is_some_and(|parent| is_below(&parent, &real));
    if !is_in_folder {
        return Ok(());
    }
    let target = path.canonicalize().map_err(LibraryError::Read)?;
    match is_below(&target, &real) {
        true => Ok(()),
        false => Err(LibraryError::LeavesFolder { target }),
    }
}

fn read(path: &Path, options: &VerifyOptions) -> Result<Vec<u8>, LibraryError> {
    check_link(path, &options.folders)?;
    let (file, metadata) = open_regular(path)?;
    if !options.allow_insecure_permissions {
        check_permissions(path, &metadata)?;
    }
    read_open(file, metadata.len(), options.max_size)
}

/// The bytes of a regular file, whoever may change it.
pub(super) fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, LibraryError> {
    let (file, metadata) = open_regular(path)?;
    read_open(file, metadata.len(), max)
}

fn open_regular(path: &Path) -> Result<(File, std::fs::Metadata), LibraryError> {
    let file = open(path).map_err(LibraryError::Read)?;
    let metadata = file.metadata().map_err(LibraryError::Read)?;
    match metadata.is_file() {
        true => Ok((file, metadata)),
        false => Err(LibraryError::NotAFile),
    }
}

fn read_open(file: File, size: u64, max: u64) -> Result<Vec<u8>, LibraryError> {
    if size > max {
        return Err(LibraryError::TooLarge { size, max });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // The file may grow while it is read.
    file.take(max + 1).read_to_end(&mut bytes).map_err(LibraryError::Read)?;
    if bytes.len() as u64 > max {
        return Err(LibraryError::TooLarge { size: bytes.len() as u64, max });
    }
    Ok(bytes)
}

#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A pipe without a writer would otherwise be waited for.
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// Everybody, and other users than root and this process's, may not be able to change what is loaded. A group that
/// may write is trusted: somebody gave the file to it.
#[cfg(unix)]
fn check_permissions(path: &Path, file: &std::fs::Metadata) -> Result<(), LibraryError> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    let check = |what: &str, metadata: &std::fs::Metadata| {
        if metadata.mode() & 0o002 != 0 {
            return Err(LibraryError::Permissions(format!("{what} is writable by everyone")));
        }
        if metadata.uid() != 0 && metadata.uid() != user {
            return Err(LibraryError::Permissions(format!(
                "{what} belongs to another user ({})",
                metadata.uid()
            )));
        }
        Ok(())
    };
    check("the file", file)?;
    // Who may write the folder may put another file in its place; behind a link that is the target's folder too.
    let target = path.canonicalize().map_err(LibraryError::Read)?;
    for path in [path, &target] {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        check("its folder", &std::fs::metadata(folder).map_err(LibraryError::Read)?)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &std::fs::Metadata) -> Result<(), LibraryError> {
    // Access lists decide on Windows; who may write the folder is the operator's to set.
    Ok(())
}

/// The object format, kind and architecture of this host.
const MACHINE: (BinaryFormat, Architecture) = (
    if cfg!(target_vendor = "apple") {
        BinaryFormat::MachO
    } else if cfg!(windows) {
        BinaryFormat::Pe
    } else {
        BinaryFormat::Elf
    },
    object_file::HERE,
);

fn check_machine(bytes: &[u8]) -> Result<(), LibraryError> {
    let file = object_file::parse(bytes)?;
    let (format, architecture) = (file.format(), file.architecture());
    if (format, architecture) != MACHINE {
        let name = |(format, architecture)| format!("{format:?} {architecture:?}");
        return Err(LibraryError::WrongMachine {
            expected: name(MACHINE),
            found: name((format, architecture)),
        });
    }
    if file.kind() != ObjectKind::Dynamic {
        return Err(LibraryError::Format(format!("it is of the kind {:?}", file.kind())));
    }
    Ok(())
}

/// What bytes are called: their SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let bytes = Sha256::digest(bytes);
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_the_host_satisfies_the_caret_requirement_of_the_plugin() {
        let cases = [
            ("1.4.0", "1.0.0", true),
            ("1.4.0", "1.4.0", true),
            ("1.4.0", "1.5.0", false),
            ("2.0.0", "1.5.0", false),
            ("0.2.3", "0.2.0", true),
            ("0.2.0", "0.2.1", false),
            ("0.2.0", "0.1.0", false),
            ("0.2.0", "0.3.0", false),
            ("0.2.0-dev", "0.2.0-dev", true),
            ("0.2.0-dev", "0.1.0", false),
            ("0.2.0-dev", "0.1.9", false),
            ("0.2.0-dev", "0.2.0", false),
            ("0.2.0", "0.2.0-dev", false),
            ("0.2.1-dev", "0.2.0-dev", false),
        ];
        for (host, plugin, expected) in cases {
            let version = |text| Version::parse(text).expect("a version");
            assert_eq!(satisfies(&version(host), &version(plugin)), expected, "host {host}, plugin {plugin}");
        }
    }
}
