//! Shared libraries that are mapped into this process, as `/proc/self/maps` lists them. The system's loader knows a needed
//! library by its name: it takes a mapped one before it looks for a file.
//!
//! `lookup` calls it. Without `/proc`, no library counts as mapped.

use std::{fs, path::PathBuf};

/// A mapped library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Path from which the library was mapped.
    pub(super) path: PathBuf,
    /// True if another file took that path, or none is there any more.
    pub(super) is_replaced: bool,
}

/// Returns the mapped library of this name, for example `libz.so.1`. Its file may have a longer name (`libz.so.1.2.13`).
pub(super) fn find(name: &str) -> Option<Mapped> {
    find_in(&fs::read_to_string("/proc/self/maps").ok()?, name)
}

fn find_in(maps: &str, name: &str) -> Option<Mapped> {
    let paths = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
    let mapped = paths.map(|path| match path.strip_suffix(" (deleted)") {
        Some(path) => Mapped { path: path.into(), is_replaced: true },
        None => Mapped { path: path.into(), is_replaced: false },
    });
    let is_it = |mapped: &Mapped| {
        let file = mapped.path.file_name().unwrap_or_default().to_string_lossy();
        file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    mapped.into_iter().find(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_library_is_found_by_its_name() {
        let maps = "7f00-7f10 r--p 00000000 fe:00 1234  /usr/lib/libz.so.1.2.13\n\
                    7f10-7f20 r-xp 00001000 fe:00 1234  /usr/lib/libz.so.1.2.13\n\
                    7f20-7f30 r--p 00000000 fe:00 1235  /opt/a b/libdep.so.1 (deleted)\n\
                    7f30-7f40 rw-p 00000000 00:00 0\n\
                    7f40-7f50 rw-p 00000000 00:00 0  [heap]\n";
        let found = |name| find_in(maps, name).map(|it| (it.path.display().to_string(), it.is_replaced));
        assert_eq!(found("libz.so.1"), Some(("/usr/lib/libz.so.1.2.13".to_owned(), false)));
        assert_eq!(found("libdep.so.1"), Some(("/opt/a b/libdep.so.1".to_owned(), true)));
        for name in ["libz.so.12", "libdep.so.10", "dep.so.1", "heap"] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
