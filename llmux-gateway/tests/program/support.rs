//! Servers and requests, which `llmux-testing` provides, and the example plugins as libraries. Most files here use them.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

pub(crate) use llmux_testing::{
    Server,
    http::{LONG, error, http, read, send},
    program::{llmux, serve, until},
};
use llmux_testing::{build, build::copy_stripped};
use serde_json::Value;

/// Returns the edition that answers a plain request; `null` if no edition takes part.
pub(crate) async fn answered_by(server: &Server) -> Value {
    server.ask("echo").await["edition"].take()
}

/// Returns the path of the SDK's example plugin as a library, built once.
pub(crate) fn system_prompt() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| example("llmux-abi", "system_prompt"))
}

/// Returns the path of an example plugin of a package as a library.
pub(crate) fn example(package: &str, name: &str) -> String {
    build::example(package, name).into_os_string().into_string().expect("a path of UTF-8")
}

/// Returns an edition of the example `edition`, a plugin that reports which edition of it ran. The two editions are
/// one build with different markers and different versions in the manifest: `one` is 0.1.0, `two` is 0.2.0.
pub(crate) fn edition(which: &str) -> Vec<u8> {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    let one = LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let small = folder.path().join("small");
        copy_stripped(example("llmux-gateway", "edition").as_ref(), &small);
        let built = std::fs::read(small).expect("the library");
        with_version(&built, env!("CARGO_PKG_VERSION"), "0.1.0")
    });
    match which {
        "one" => one.clone(),
        which => {
            let two = replaced(
                one,
                b"llmux-edition-marker-one",
                format!("llmux-edition-marker-{which}").as_bytes(),
            );
            with_version(&two, "0.1.0", "0.2.0")
        }
    }
}

/// Returns an edition whose manifest says `on_error = "fail"`.
pub(crate) fn guard(which: &str) -> Vec<u8> {
    let from = format!("\"description\":\"{}\"", env!("CARGO_PKG_DESCRIPTION"));
    let to = format!("{:width$}", "\"description\":\"\",\"on_error\":\"fail\"", width = from.len());
    replaced(&edition(which), from.as_bytes(), to.as_bytes())
}

/// Returns a library whose manifest has another version. JSON allows spaces after a value, so that the length does
/// not change.
fn with_version(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let from = format!("\"version\":\"{from}\"");
    let to = format!("{:width$}", format!("\"version\":\"{to}\""), width = from.len());
    replaced(bytes, from.as_bytes(), to.as_bytes())
}

/// Returns bytes in which every occurrence of a sequence is replaced by another of the same length.
pub(crate) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, from).collect();
    assert!(!places.is_empty(), "{} is not there", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    bytes
}

/// Adds a library to a folder in the recommended way: writes it under another name, then renames it in one step.
pub(crate) fn drop_in(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(format!("{name}.{}", std::env::consts::DLL_EXTENSION));
    let new = folder.join(format!(".{name}.new"));
    std::fs::write(&new, bytes).expect("written");
    std::fs::rename(&new, &path).expect("renamed");
    path
}

/// Copies the library into a folder of its own, for `--plugin-dir`.
pub(crate) fn copy_of_system_prompt(folder: &Path) -> PathBuf {
    let copy = folder.join(format!("libsystem_prompt.{}", std::env::consts::DLL_EXTENSION));
    std::fs::copy(system_prompt(), &copy).expect("copied");
    copy
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
