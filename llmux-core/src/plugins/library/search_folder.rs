//! Folders in which glibc's loader looks for the needs of a library before it looks in the system's folders: `DT_RPATH`,
//! `LD_LIBRARY_PATH`, `DT_RUNPATH`. `$ORIGIN` is the folder of the library that has the entry.
//!
//! `lookup` calls it. With `require_signature`, only the plugin's own folder is allowed.

use std::{
    env,
    path::{Component, Path, PathBuf},
};

use super::{error::LibraryError, needs::LibraryNeeds};

/// Variables that make the loader take other libraries than a library names.
const VARIABLES: [&str; 3] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"];

/// A folder to search.
#[derive(Clone, Debug)]
pub(super) struct SearchFolder {
    pub(super) path: PathBuf,
    /// Path relative to the plugin's folder, if the folder is named with `$ORIGIN` by the plugin or by a library beside it.
    pub(super) beside: Option<PathBuf>,
}

impl SearchFolder {
    /// Returns the folders of `LD_LIBRARY_PATH`.
    pub(super) fn of_environment() -> Vec<Self> {
        let paths = env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let paths = paths.split([':', ';']).filter(|folder| !folder.is_empty());
        paths.map(|path| Self { path: path.into(), beside: None }).collect()
    }

    /// Returns the folders of an `RPATH` or `RUNPATH`. `owner` is the folder of the library that has it.
    pub(super) fn of_entries(entries: &[String], owner: &SearchFolder) -> Result<Vec<Self>, LibraryError> {
        let folders = entries.iter().map(|entry| match after_origin(entry) {
            // Another `$` is a part that only the loader knows.
            rest if rest.unwrap_or(entry).contains('$') => {
                Err(LibraryError::UnknownFolder { entry: entry.to_owned() })
            }
            Some(rest) => owner.joined(entry, rest),
            None => Ok(Self { path: entry.into(), beside: None }),
        });
        folders.collect()
    }

    fn joined(&self, entry: &str, rest: &str) -> Result<Self, LibraryError> {
        let path = self.path.join(rest);
        let Some(beside) = &self.beside else { return Ok(Self { path, beside: None }) };
        let mut joined = PathBuf::new();
        for part in beside.join(rest).components() {
            let is_inside = match part {
                Component::ParentDir => joined.pop(),
                Component::Normal(name) => {
                    joined.push(name);
                    true
                }
                _ => true,
            };
            if !is_inside {
                return Err(LibraryError::LeavesOrigin { entry: entry.to_owned() });
            }
        }
        Ok(Self { path, beside: Some(joined) })
    }
}

/// Returns the part of an entry after `$ORIGIN`.
fn after_origin(entry: &str) -> Option<&str> {
    let rest = entry.strip_prefix("$ORIGIN").or_else(|| entry.strip_prefix("${ORIGIN}"))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/').map(|rest| rest.trim_start_matches('/')) }
}

/// Refuses the variables that make the loader take other libraries.
pub(super) fn check_environment() -> Result<(), LibraryError> {
    match VARIABLES.iter().find(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        Some(name) => Err(LibraryError::UntrustedNeeds(format!(
            "may get libraries that nobody signed, because {name} is set; remove {name} from the environment of the host"
        ))),
        None => Ok(()),
    }
}

/// Refuses a library that names a folder other than its own.
pub(super) fn check_entries(needs: &LibraryNeeds) -> Result<(), LibraryError> {
    match needs.rpath.iter().chain(&needs.runpath).find(|entry| after_origin(entry).is_none()) {
        Some(entry) => Err(LibraryError::UntrustedNeeds(format!(
            "names the folder `{entry}` in its RPATH or RUNPATH; put the library beside the plugin, sign it, and name the \
             folder `$ORIGIN`"
        ))),
        None => Ok(()),
    }
}

/// Refuses a needed library outside of the plugin's folder that a user other than root could change.
#[cfg(unix)]
pub(super) fn check_owner(library: &Path) -> Result<(), LibraryError> {
    use std::os::unix::fs::MetadataExt;
    let target = library.canonicalize().map_err(LibraryError::Read)?;
    let places = [library, &target].into_iter().flat_map(|path| [Some(path), path.parent()]);
    for place in places.flatten() {
        let metadata = std::fs::metadata(place).map_err(LibraryError::Read)?;
        if metadata.uid() != 0 || metadata.mode() & 0o002 != 0 {
            return Err(LibraryError::UntrustedNeeds(format!(
                "needs {}, which users other than root can change; let root own {} (`chown`), without access for all users \
                 to write it",
                library.display(),
                place.display()
            )));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn check_owner(_: &Path) -> Result<(), LibraryError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_library_that_users_other_than_root_can_change_is_refused() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let system = crate::plugins::library::system_libraries::paths_of("libc.so.6");
        let libc = system.iter().find(|path| path.exists()).expect("the C library");
        check_owner(libc).expect("root's alone");
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("libdep.so.1");
        fs::write(&library, "").expect("written");
        fs::set_permissions(&library, fs::Permissions::from_mode(0o666)).expect("set");
        let reason = check_owner(&library).expect_err("refused").to_string();
        assert!(reason.contains("users other than root can change"), "{reason}");
    }

    #[test]
    fn an_entry_with_origin_stays_in_the_plugins_folder() {
        let found = |beside: &str, entry: &str| {
            let owner = SearchFolder { path: "/p".into(), beside: Some(beside.into()) };
            let found = SearchFolder::of_entries(&[entry.to_owned()], &owner);
            if entry.contains("LIB") || entry.contains("PLATFORM") {
                let reason = found.as_ref().expect_err("refused").to_string();
                assert!(reason.contains(&format!("the folder `{entry}`")), "{reason}");
            }
            found.ok().and_then(|found| found.into_iter().next()).and_then(|it| it.beside)
        };
        for (beside, entry, expected) in [
            ("", "$ORIGIN", Some("")),
            ("", "${ORIGIN}/lib/", Some("lib")),
            ("", "$ORIGIN/./a//b", Some("a/b")),
            ("lib", "$ORIGIN/../other", Some("other")),
            ("lib", "$ORIGIN", Some("lib")),
            ("", "$ORIGIN/..", None),
            ("", "$ORIGIN/lib/../..", None),
            ("", "$ORIGINAL", None),
            ("", "$ORIGIN/$LIB", None),
            ("", "$ORIGIN/${PLATFORM}/lib", None),
            ("", "/opt/$LIB", None),
            ("", "/opt/lib", None),
        ] {
            assert_eq!(found(beside, entry), expected.map(PathBuf::from), "{beside} {entry}");
        }
    }
}
