//! The checks of a library that need no loading (rule D2, up to the private copy). The bytes are read once, so that the
//! bytes that are loaded are those that were checked.

use std::path::{Path, PathBuf};

use object::{Architecture, BinaryFormat, Object, ObjectKind};
use semver::{Comparator, Op, Prerelease, Version, VersionReq};
use sha2::{Digest, Sha256};

use super::{
    beside::BesideLibrary,
    error::LibraryError,
    file,
    inspect::InspectedLibrary,
    lookup,
    manifest::{Manifest, PanicStrategy},
    needs::LibraryNeeds,
    object_file,
    options::VerifyOptions,
    segments,
    signature::{self, SignatureState},
};
use llmux_abi::Service;

/// A library that passed the checks.
#[derive(Debug)]
pub struct VerifiedLibrary {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file, as they were checked.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// Manifest in the bytes.
    pub manifest: Manifest,
    /// State of the signature.
    pub signature: SignatureState,
    /// Libraries beside it that it needs.
    pub(super) beside: Vec<BesideLibrary>,
}

impl VerifiedLibrary {
    /// Returns a text that differs if any byte of the library, or of one beside it, differs.
    pub(super) fn fingerprint(&self) -> String {
        let beside = self.beside.iter().map(|beside| sha256(&beside.bytes));
        std::iter::once(self.sha256.clone()).chain(beside).collect::<Vec<_>>().join(" ")
    }
}

/// Checks a library's file without running any of it.
///
/// # Errors
///
/// The first check that fails, in the order of rule D2.
pub fn verify(path: &Path, options: &VerifyOptions) -> Result<VerifiedLibrary, LibraryError> {
    examine(&mut InspectedLibrary::new(path), options)
}

/// Reads a library's file once, makes every check, and fills in the description as far as the file can be read.
///
/// # Errors
///
/// The first check that fails.
pub(in crate::plugins) fn examine(
    seen: &mut InspectedLibrary,
    options: &VerifyOptions,
) -> Result<VerifiedLibrary, LibraryError> {
    let path = seen.path.clone();
    let (bytes, refused) = match file::read_checked(
        &path,
        &options.folders,
        options.allow_insecure_permissions,
        options.max_size,
    ) {
        Ok(bytes) => (bytes, None),
        // Other users may change the file, so it is not loaded; reading its manifest is safe.
        Err(error @ (LibraryError::Permissions(_) | LibraryError::LeavesFolder { .. })) => {
            match file::read_file(&path, options.max_size) {
                Ok(bytes) => (bytes, Some(error)),
                Err(_) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let sha256 = sha256(&bytes);
    seen.size = Some(bytes.len() as u64);
    seen.sha256 = Some(sha256.clone());
    seen.needs = segments::read_image(&bytes).map(|image| LibraryNeeds::read(&image));
    let checked = check_bytes(&path, &bytes, &sha256, options);
    let needs = seen.needs.as_ref();
    match checked.and_then(|checked| Ok((checked, check_needs(&path, needs, options)?))) {
        Ok(((manifest, signature), beside)) => {
            seen.manifest = Some(manifest.clone());
            seen.signature = Some(signature.clone());
            match refused {
                Some(error) => Err(error),
                None => Ok(VerifiedLibrary { path, bytes, sha256, manifest, signature, beside }),
            }
        }
        Err(error) => {
            seen.manifest = Manifest::read(&bytes).ok();
            seen.signature = signature::check(&path, &bytes, &options.trusted_keys, false).ok();
            Err(refused.unwrap_or(error))
        }
    }
}

/// Checks the bytes of a library.
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
    segments::check(bytes)?;
    segments::check_entry(bytes, &manifest.entry)?;
    Ok((manifest, signature))
}

/// Checks that this machine has what the library needs. Returns the libraries beside it.
fn check_needs(
    path: &Path,
    needs: Option<&LibraryNeeds>,
    options: &VerifyOptions,
) -> Result<Vec<BesideLibrary>, LibraryError> {
    needs.map_or(Ok(Vec::new()), |needs| Ok(lookup::check(path, needs, options)?.beside))
}

/// Checks that this host can load a plugin of this manifest.
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
    if !satisfies(&host, &manifest.abi_min) {
        return Err(LibraryError::AbiMismatch { host, plugin: manifest.abi_min.clone() });
    }
    if let Some(service) = manifest.needs.iter().find(|needed| !SERVICES.contains(&needed.as_str())) {
        return Err(LibraryError::Needs { service: service.clone() });
    }
    Ok(())
}

/// The services that this host offers.
const SERVICES: [&str; 5] = [
    Service::Spawn.as_str(),
    Service::Sleep.as_str(),
    Service::Http.as_str(),
    Service::Metric.as_str(),
    Service::SpawnBlocking.as_str(),
];

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

/// Returns the SHA-256 of the bytes, in hexadecimal.
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
