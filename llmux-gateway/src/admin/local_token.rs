//! The local admin token, for a server without configured tokens: random, in a file that only its user can read.
//!
//! `serve` writes and removes it; the command line of the same user reads it. Loading a plugin runs its code, and every
//! user of a machine and every web page can reach loopback, so the right to read the file is the proof of identity.

use llmux_terminal::{CliError, Result};

use std::{net::SocketAddr, path::PathBuf};

/// A token that exists for as long as the server runs. Its file is removed on drop.
pub(crate) struct LocalToken {
    token: String,
    path: PathBuf,
}

impl LocalToken {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        fs::{self, DirBuilder, File, Metadata},
        io::{self, Read, Write},
        net::Ipv4Addr,
        os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
        path::Path,
    };

    use super::*;

    /// Returns the folders for tokens: one in the user's runtime folder, and one among the temporary files. A server
    /// writes into the first; a command line looks in both, because it may run in another session than the server.
    fn folders() -> impl Iterator<Item = PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|folder| folder.is_absolute() && folder.is_dir());
        let temporary = std::env::temp_dir().join(format!("llmux-{}", user()));
        runtime.map(|folder| folder.join("llmux")).into_iter().chain([temporary])
    }

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Returns the path of a token. A token for a listener on 127.0.0.1 is named by the port, and one for another loopback
    /// address by address and port: another user may listen on the same port of another address and must not receive this
    /// token.
    fn file(folder: &Path, address: SocketAddr) -> PathBuf {
        let (ip, port) = (address.ip(), address.port());
        folder.join(match ip == Ipv4Addr::LOCALHOST {
            true => format!("admin-{port}.token"),
            false => format!("admin-{ip}-{port}.token"),
        })
    }

    /// Refuses a path that other users can reach, and anything of the wrong type. `metadata` is that of a symlink itself, so
    /// symlinks are refused.
    fn check(path: &Path, metadata: &Metadata, is_right: bool) -> Result<()> {
        let refused = |why: &str| CliError::new(format!("{}: {why}", path.display()));
        if !is_right {
            return Err(refused("is a symlink or of the wrong type; remove it"));
        }
        if metadata.uid() != user() {
            return Err(refused("belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(refused("other users can access it; remove their rights (chmod go=)"));
        }
        Ok(())
    }

    fn check_folder(folder: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(folder)
            .map_err(|error| CliError::new(format!("{}: {error}", folder.display())))?;
        check(folder, &metadata, metadata.is_dir())
    }

    impl LocalToken {
        /// Writes a new token for the admin listener at this address.
        ///
        /// # Errors
        ///
        /// If the folder or the file cannot be written, or other users can reach the folder.
        pub(crate) fn create(address: SocketAddr) -> Result<Self> {
            let folder = folders().next().unwrap_or_else(std::env::temp_dir);
            let path = file(&folder, address);
            let failed = |error: io::Error| {
                CliError::new(format!(
                    "the admin token {}: {error}; set XDG_RUNTIME_DIR or TMPDIR to a folder that can be written, configure an \
                     `[[admin_token]]`, or set `[server] admin = \"off\"`",
                    path.display()
                ))
            };
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => check_folder(&folder)?,
            }
            let mut secret = [0_u8; 32];
            let mut suffix = [0_u8; 8];
            for bytes in [&mut secret[..], &mut suffix] {
                getrandom::fill(bytes).map_err(|error| failed(io::Error::other(error)))?;
            }
            let (token, suffix) = (hex(&secret), hex(&suffix));
            // The file has its final name only when it is complete. A token that a dead server left is replaced.
            let new = folder.join(format!(".admin-{suffix}"));
            let written = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)
                .and_then(|mut file| file.write_all(token.as_bytes()))
                .and_then(|()| fs::rename(&new, &path));
            if let Err(error) = written {
                let _ = fs::remove_file(&new);
                return Err(failed(error));
            }
            Ok(Self { token, path })
        }
    }

    /// Returns the token that a server of this user wrote for this address.
    ///
    /// # Errors
    ///
    /// If a file is there that cannot be read, or that other users can reach.
    pub(crate) fn find(address: SocketAddr) -> Result<Option<String>> {
        for folder in folders() {
            let path = file(&folder, address);
            let metadata = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(CliError::new(format!("{}: {error}", path.display()))),
                Ok(metadata) => metadata,
            };
            check_folder(&folder)?;
            check(&path, &metadata, metadata.is_file())?;
            let mut token = String::new();
            File::open(&path)
                .and_then(|file| file.take(1024).read_to_string(&mut token))
                .map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
            return Ok(Some(token.trim().to_owned()));
        }
        Ok(None)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(unix)]
pub(crate) use unix::find;

#[cfg(not(unix))]
impl LocalToken {
    /// Refuses: on this system only access lists could say who may read the file.
    pub(crate) fn create(_: SocketAddr) -> Result<Self> {
        Err(CliError::new("the admin API needs an [[admin_token]] on this system, or `admin = \"off\"`"))
    }
}

/// Returns `None`: this system has no local tokens.
#[cfg(not(unix))]
pub(crate) fn find(_: SocketAddr) -> Result<Option<String>> {
    Ok(None)
}

impl Drop for LocalToken {
    fn drop(&mut self) {
        // Another server may have replaced the file, after it began to listen on the same port.
        if std::fs::read_to_string(&self.path).is_ok_and(|token| token == self.token) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
