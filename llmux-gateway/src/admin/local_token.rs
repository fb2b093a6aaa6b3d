//! The admin token of a machine where nobody configured one: random, in a file that only its user can read.
//!
//! `serve` writes it and removes it; the command line of the same user finds it. Loading a plugin runs its code,
//! and loopback is shared by every user of a machine and reached by every web page: so the file is the proof.

use llmux_terminal::{CliError, Result};

use std::{net::SocketAddr, path::PathBuf};

/// A token that is there for as long as the server runs.
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

    /// Where tokens are: the user's runtime folder, and a folder of their own among the temporary files. A server
    /// takes the first; a command line looks in both, since the two need not run in the same session.
    fn folders() -> impl Iterator<Item = PathBuf> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|folder| folder.is_absolute() && folder.is_dir());
        let temporary = std::env::temp_dir().join(format!("llmux-{}", user()));
        runtime.map(|folder| folder.join("llmux")).into_iter().chain([temporary])
    }

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// Named by the port of an admin listener on 127.0.0.1, and by the whole address of any other on loopback: at the
    /// same port there, another user may listen, who must not be sent this token.
    fn file(folder: &Path, address: SocketAddr) -> PathBuf {
        let (ip, port) = (address.ip(), address.port());
        folder.join(match ip == Ipv4Addr::LOCALHOST {
            true => format!("admin-{port}.token"),
            false => format!("admin-{ip}-{port}.token"),
        })
    }

    /// Is this ours alone? A symbolic link is not: the metadata is the link's own.
    fn check(path: &Path, metadata: &Metadata, is_right: bool) -> Result<()> {
        let refused = |why: &str| CliError::new(format!("{}: {why}", path.display()));
        if !is_right {
            return Err(refused("is a link, or not what belongs there; remove it"));
        }
        if metadata.uid() != user() {
            return Err(refused("belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(refused("can be reached by others; make it yours alone (chmod go=)"));
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
        pub(crate) fn create(address: SocketAddr) -> Result<Self> {
            let folder = folders().next().unwrap_or_else(std::env::temp_dir);
            let path = file(&folder, address);
            let failed =
                |error: io::Error| CliError::new(format!("the admin token {}: {error}", path.display()));
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
            // Written in full before it has its name; a token that a dead server left is replaced.
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

    /// The token that a server of this user left for this address.
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
    /// There is no such file here: access lists would have to say whose it is.
    pub(crate) fn create(_: SocketAddr) -> Result<Self> {
        Err(CliError::new("the admin API needs an [[admin_token]] on this system, or `admin = \"off\"`"))
    }
}

/// The token that a server of this user left for this address.
#[cfg(not(unix))]
pub(crate) fn find(_: SocketAddr) -> Result<Option<String>> {
    Ok(None)
}

impl Drop for LocalToken {
    fn drop(&mut self) {
        // Another server may have taken the port over, and the name with it.
        if std::fs::read_to_string(&self.path).is_ok_and(|token| token == self.token) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
