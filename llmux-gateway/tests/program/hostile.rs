//! Damaged and hostile files: each is refused with one clear line, and the server continues to work.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, edition, error, llmux, read, replaced, text};

/// Returns the offset of the manifest in a library.
fn manifest(library: &[u8]) -> usize {
    memchr::memmem::find(library, b"LLMUXPLG").expect("a manifest")
}

/// Returns damaged ELF libraries, each with the name of its damage.
fn damaged(good: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| files.push((name, bytes));
    for part in 0..24 {
        add(format!("truncated-{part}"), good[..good.len() * part / 24].to_vec());
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut file = good.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    // The header of an ELF file: magic, class, byte order, kind, machine, and where the sections' table stands.
    for (name, at, bytes) in [
        ("magic", 0, &b"\x7fELG"[..]),
        ("class", 4, &[1]),
        ("no-class", 4, &[9]),
        ("byte-order", 5, &[2]),
        ("executable", 16, &[2, 0]),
        ("object-file", 16, &[1, 0]),
        ("machine-arm", 18, &[40, 0]),
        ("machine-riscv", 18, &[243, 0]),
        ("sections-beyond", 40, &[0xff; 8]),
        ("sections-nowhere", 40, &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]),
        ("section-size", 58, &[1, 0]),
        ("names-beyond", 62, &[0xfe, 0xfe]),
        ("mach-o", 0, &[0xcf, 0xfa, 0xed, 0xfe]),
        ("pe", 0, b"MZ\0\0"),
        ("archive", 0, b"!<arch>\n"),
    ] {
        add(name.to_owned(), with(at, bytes));
    }
    let start = manifest(good);
    for (name, at, bytes) in [
        ("manifest-magic", start, &b"LLMUXPLX"[..]),
        ("manifest-endless", start + 8, &[0xff; 4]),
        ("manifest-empty", start + 8, &[0; 4]),
        ("manifest-short", start + 8, &[9, 0, 0, 0]),
        ("manifest-utf8", start + 20, &[0xff, 0xfe]),
        ("manifest-json", start + 12, b"["),
        ("manifest-nul", start + 16, &[0]),
    ] {
        add(name.to_owned(), with(at, bytes));
    }
    for (name, from, to) in [
        ("name-with-a-slash", "\"name\":\"edition\"", "\"name\":\"../../x\""),
        ("name-in-capitals", "\"name\":\"edition\"", "\"name\":\"EDITION\""),
        ("name-missing", "\"name\":\"edition\"", "\"nome\":\"edition\""),
        ("version", "\"version\":\"0.1.0\"", "\"version\":\"a.b.c\""),
        ("aborts", "\"panic\":\"unwind\"", "\"panic\":\"abort\" "),
        ("no-panic", "\"panic\":\"unwind\"", "\"panic\":\"unwild\""),
        ("entry", "\"entry\":\"llmux_plugin_", "\"entry\":\"other_plugin_"),
        ("target", "x86_64-unknown-linux", "riscv64-unknown-linx"),
    ] {
        add(format!("manifest-{name}"), replaced(good, from.as_bytes(), to.as_bytes()));
    }
    for (name, version) in [("future-abi", b"9"), ("past-abi", b"8")] {
        let mut file = good.to_vec();
        let at = start + memchr::memmem::find(&good[start..], b"\"abi\":\"").expect("its ABI") + 7;
        file[at] = version[0];
        add(name.to_owned(), file);
    }
    // One bit in every eighth byte of the manifest's first member and its magic.
    for bit in 0..8 {
        add(format!("bit-{bit}"), with(start + bit, &[good[start + bit] ^ (1 << bit)]));
    }
    files
}

/// Creates files that are not regular, and a file without end. Returns their paths.
fn strange(folder: &Path) -> Vec<PathBuf> {
    let path = |name: &str| folder.join(format!("{name}.so"));
    std::fs::create_dir(path("folder")).expect("made");
    let fifo = std::process::Command::new("mkfifo").arg(path("fifo")).status().expect("mkfifo runs");
    assert!(fifo.success());
    std::os::unix::fs::symlink("loop.so", path("loop")).expect("linked");
    std::os::unix::fs::symlink("nowhere", path("dangling")).expect("linked");
    std::os::unix::fs::symlink("/dev/zero", path("endless")).expect("linked");
    File::create(path("sparse")).and_then(|file| file.set_len(5 << 30)).expect("made");
    std::fs::write(path("text"), "#!/bin/sh\nexit 1\n").expect("written");
    ["folder", "fifo", "loop", "dangling", "endless", "sparse", "text", "missing"].map(path).to_vec()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test]
async fn d2_every_damaged_or_hostile_file_is_refused_with_one_line_and_the_server_serves_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut paths = strange(folder.path());
    for (name, bytes) in damaged(&edition("one")) {
        let path = folder.path().join(format!("{name}.so"));
        std::fs::write(&path, bytes).expect("written");
        paths.push(path);
    }
    assert!(paths.len() >= 60, "{}", paths.len());
    let server = Server::start().await;
    for path in &paths {
        let shown = path.to_str().expect("text");
        let verify =
            llmux(folder.path()).args(["plugin", "verify", shown]).output().await.expect("llmux runs");
        assert_eq!(verify.status.code(), Some(1), "{shown}: {}", text(&verify.stdout));
        let line = text(&verify.stderr);
        assert_eq!(line.lines().count(), 1, "{shown}: {line}");
        assert!(line.starts_with(&format!("llmux: {shown}: ")) && line.len() > shown.len() + 20, "{line}");
        // Whatever can still be read is shown; it never ends in more than a line, or in a signal.
        let inspect =
            llmux(folder.path()).args(["plugin", "inspect", shown]).output().await.expect("llmux runs");
        let line = text(&inspect.stderr);
        assert!(inspect.status.code().is_some() && line.lines().count() <= 1, "{shown}: {line}");
        let load = server.admin(Method::POST, "/admin/plugins").json(&json!({"path": shown}));
        let (status, refused) = error(load).await;
        assert_eq!(status, 422, "{shown}: {refused}");
    }
    // A whole folder of them: none hinders another, and one line each.
    let list = llmux(folder.path())
        .args(["plugin", "list", "--dir", folder.path().to_str().expect("text")])
        .output()
        .await
        .expect("llmux runs");
    assert_eq!(text(&list.stdout).lines().count(), paths.len(), "the header, and all but the missing one");
    let body = json!({"model": "echo", "messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(read(server.post("/v1/chat/completions", &body)).await.0, 200);
    server.signal("-TERM").await;
    let (code, log) = server.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
