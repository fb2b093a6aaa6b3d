//! A library's file is exchanged all the time while the host loads it. The bytes that were checked must be the bytes
//! that run.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Server, answered_by, edition, read, text};

/// Replaces a file with two others in turn, until the value is dropped.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Swapping {
    fn begin(place: PathBuf, files: [Vec<u8>; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let next = place.with_extension("next");
            while !stopped.load(Ordering::Relaxed) {
                for bytes in &files {
                    std::fs::write(&next, bytes)
                        .and_then(|()| std::fs::rename(&next, &place))
                        .expect("swapped");
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there leaves one file in place, which the test then finds.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends load requests with the body `ask` until both files were found often. The library that is loaded must be the
/// first edition, according to its reported bytes and to the behavior of its code.
async fn load_while_swapped(server: &Server, library: &Path, ask: Value, code: &str) {
    let editions = [edition("one"), edition("two")];
    let right = hash(&editions[0]);
    let _swapping = Swapping::begin(library.to_owned(), editions);
    let (mut loaded, mut refused) = (0, 0);
    while loaded < 40 || refused < 40 {
        assert!(loaded + refused < 4000, "{loaded} loaded and {refused} refused: it is not swapped");
        let (status, info) = read(server.admin(Method::POST, "/admin/plugins").json(&ask)).await;
        if status == 422 {
            assert_eq!(info["error"]["code"], code, "{info}");
            refused += 1;
            continue;
        }
        assert_eq!(
            (status, &info["sha256"], &info["version"]),
            (201, &json!(right), &json!("0.1.0")),
            "{info}"
        );
        assert_eq!(answered_by(server).await, "llmux-edition-marker-one", "its code");
        assert_eq!(read(server.admin(Method::DELETE, "/admin/plugins/edition")).await.0, 204);
        loaded += 1;
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libedition.so");
    std::fs::write(&library, edition("one")).expect("written");
    (folder, library)
}

#[tokio::test]
async fn d2_what_a_checksum_was_checked_of_is_what_runs() {
    let (_folder, library) = place();
    let server = Server::start().await;
    let ask = json!({"path": library, "sha256": hash(&edition("one"))});
    load_while_swapped(&server, &library, ask, "wrong_checksum").await;
}

#[tokio::test]
async fn d2_what_a_signature_was_checked_of_is_what_runs() {
    let (folder, library) = place();
    let minisign = |arguments: &[&str]| {
        let ran = Command::new("minisign").current_dir(folder.path()).args(arguments).output();
        let ran = ran.expect("this test wants `minisign` on the path: apt-get install minisign");
        assert!(ran.status.success(), "{}", text(&ran.stderr));
    };
    minisign(&["-G", "-W", "-p", "key.pub", "-s", "key.sec"]);
    minisign(&["-S", "-W", "-s", "key.sec", "-m", "libedition.so"]);
    let public = std::fs::read_to_string(folder.path().join("key.pub")).expect("a key");
    let public = public.lines().last().expect("a key");
    let configuration = format!("[plugins]\nrequire_signature = true\ntrusted_keys = [\"{public}\"]\n");
    let server = Server::with(&configuration, &[]).await;
    load_while_swapped(&server, &library, json!({"path": library}), "untrusted").await;
}
