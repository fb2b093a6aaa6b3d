//! Libraries of the system: the cache that `ldconfig` writes, and the folders in which glibc's loader looks always.
//!
//! `lookup` calls it. Deliberately absent: libraries only for some processors (`glibc-hwcaps`), unless the cache has them.

use std::{fs, path::PathBuf};

/// Cache of the system's loader.
const CACHE: &str = "/etc/ld.so.cache";
/// Beginning of the cache's current format (glibc's `dl-cache.h`). Older parts may stand before it.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Length of the cache's header and of one of its entries.
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Folders in which the loader looks last.
const FOLDERS: [&str; 6] = if cfg!(target_arch = "aarch64") {
    ["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
} else {
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
};

/// Returns the paths at which a library of the system could be, in the order of the loader.
pub(super) fn paths_of(name: &str) -> Vec<PathBuf> {
    let mut paths = fs::read(CACHE).map(|cache| cached(&cache, name)).unwrap_or_default();
    paths.extend(FOLDERS.iter().map(|folder| [folder, name].iter().collect()));
    paths
}

/// Returns the paths of a name in the cache.
fn cached(cache: &[u8], name: &str) -> Vec<PathBuf> {
    let Some(start) = cache.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) else { return Vec::new() };
    let cache = &cache[start..];
    let number = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")) as usize)
    };
    let text = |at: usize| str::from_utf8(cache.get(at..)?.split(|byte| *byte == 0).next()?).ok();
    let entries = cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY);
    let entries = entries.take(number(cache, MAGIC.len()).unwrap_or(0));
    let paths = entries.filter_map(|entry| {
        let is_it = text(number(entry, 4)?) == Some(name);
        text(number(entry, 8)?).filter(|_| is_it).map(PathBuf::from)
    });
    paths.collect()
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_this_system_names_the_c_library() {
        let cache = fs::read(CACHE).expect("a cache");
        let paths = cached(&cache, "libc.so.6");
        assert!(paths.iter().any(|path| path.is_file()), "{paths:?}");
        assert_eq!(cached(&cache, "libc.so"), Vec::<PathBuf>::new());
        for end in 0..cache.len().min(200) {
            cached(&cache[..end], "libc.so.6");
        }
    }
}
