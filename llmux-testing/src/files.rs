//! The files of the repository, for the tests that read all of them.
//!
//! `tidy` and `language` call it. It does not ask version control: every file on disk counts.

use std::fs;

use crate::blocks::root;

/// Folders that are left out: files of third parties, files that a build made, and inputs that must not change.
const LEFT_OUT: [&str; 6] = [
    "target",
    "llmux-abi/tests/ui",
    "tests/fixtures/frozen-0.1",
    "tests/fixtures/frozen-0.2",
    "tests/fixtures/frozen-0.2-c",
    "tests/fuzz/corpus",
];

/// Returns the names of all files with an extension, from the repository's root and with `/`, in order.
///
/// # Panics
///
/// If a folder cannot be read.
pub fn files(extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder && !name.starts_with('.') && name != "target" && !LEFT_OUT.contains(&&*path) {
                folders.push(path);
            } else if !is_folder && name.rsplit_once('.').is_some_and(|(_, end)| end == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
