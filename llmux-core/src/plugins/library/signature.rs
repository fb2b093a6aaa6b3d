//! Signatures of libraries: the `minisign` tool's own format, in `NAME.so.minisig` beside the file.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

use minisign_verify::{PublicKey, Signature};
use serde::Serialize;

use super::{
    error::{LibraryError, shown},
    file::read_file,
};

/// Size limit of a signature file, in bytes.
const MAX_SIGNATURE: u64 = 16 * 1024;

/// A public key whose signatures are trusted.
#[derive(Clone)]
pub struct TrustedKey {
    text: String,
    key: PublicKey,
}

impl TrustedKey {
    /// A key as the `minisign` tool prints it: the base64 line, or the whole file with its comment.
    ///
    /// # Errors
    ///
    /// If the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let key = PublicKey::decode(text).or_else(|_| PublicKey::from_base64(text));
        // The error does not repeat the text: it may be the secret key of the pair.
        let key =
            key.map_err(|_| "it is no minisign public key (a line of 56 characters that begins with RW)")?;
        let text = text.lines().last().unwrap_or_default().to_owned();
        Ok(Self { text, key })
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// State of a library's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "key")]
pub enum SignatureState {
    /// The library has no signature.
    Missing,
    /// The library has a signature, and no key is configured to check it with.
    Unchecked,
    /// The signature is by this trusted key, and of exactly these bytes.
    Valid(String),
}

/// Returns the path of a library's signature.
pub(crate) fn path_of(library: &Path) -> PathBuf {
    let mut name: OsString = library.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// Checks the signature of a library's bytes. If the library has a signature and keys are configured, the signature
/// must be valid.
pub(crate) fn check(
    library: &Path,
    bytes: &[u8],
    keys: &[TrustedKey],
    required: bool,
) -> Result<SignatureState, LibraryError> {
    let path = path_of(library);
    let text = match read_file(&path, MAX_SIGNATURE) {
        Ok(text) => text,
        Err(LibraryError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
            return match required {
                true => Err(LibraryError::Signature(format!("there is none ({})", shown(&path)))),
                false => Ok(SignatureState::Missing),
            };
        }
        Err(error) => return Err(LibraryError::Signature(format!("{} {error}", shown(&path)))),
    };
    if keys.is_empty() {
        return match required {
            true => Err(LibraryError::Signature("no `trusted_keys` are configured to check it with".into())),
            false => Ok(SignatureState::Unchecked),
        };
    }
    let signature = str::from_utf8(&text).ok().and_then(|text| Signature::decode(text).ok());
    let signature = signature
        .ok_or_else(|| LibraryError::Signature(format!("{} is no minisign signature", shown(&path))))?;
    let trusted = keys.iter().find(|key| key.key.verify(bytes, &signature, true).is_ok());
    trusted
        .map(|key| SignatureState::Valid(key.text.clone()))
        .ok_or_else(|| LibraryError::Signature("it is by no trusted key, or not of these bytes".to_owned()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    type Make = fn(&Path);

    #[test]
    fn what_is_no_signature_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let key =
            TrustedKey::parse("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3").expect("a key");
        let cases: [(&str, Make); 5] = [
            ("is not a regular file", |path| fs::create_dir(path).expect("made")),
            ("is not a regular file", |path| {
                assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
            }),
            ("more than the limit", |path| fs::write(path, vec![b'a'; 16 * 1024 + 1]).expect("written")),
            ("is no minisign signature", |path| fs::write(path, b"\xff\xfe").expect("written")),
            ("is no minisign signature", |path| {
                fs::write(path, "untrusted comment: x\nRUQ\n").expect("written")
            }),
        ];
        for (at, (expected, make)) in cases.into_iter().enumerate() {
            let library = folder.path().join(format!("{at}.so"));
            make(&path_of(&library));
            let refused =
                check(&library, b"", std::slice::from_ref(&key), false).expect_err("refused").to_string();
            assert!(refused.contains(expected) && refused.contains(".so.minisig"), "{refused}");
        }
    }
}
