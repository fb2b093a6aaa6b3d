//! Retries of refused libraries: the host retries after a change that may remove the cause, and not otherwise. A
//! library that an operator unloaded stays unloaded.

use std::{
    fs::{File, Permissions, remove_file, set_permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::SystemTime,
};

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Server, answered_by, copy_of_system_prompt, drop_in, edition, http, read, until};

async fn watching(folder: &TempDir) -> Server {
    Server::with("", &["--plugin-dir", &folder.path().to_string_lossy()]).await
}

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("set");
}

async fn is_refused(server: &Server, name: &str, why: &str) {
    until(&format!("{name} is refused: {why}"), async || {
        server.plugin(name).await["error"].as_str().is_some_and(|error| error.contains(why))
    })
    .await;
}

async fn is_active(server: &Server, version: &str) {
    until(&format!("{version} is active"), async || {
        let plugin = server.plugin("edition").await;
        (&plugin["state"], &plugin["version"]) == (&json!("active"), &json!(version))
    })
    .await;
}

/// Returns the number of refused loads and reloads.
async fn refusals(server: &Server) -> Value {
    read(http().get(format!("{}/admin/plugins", server.admin))).await.1["refused"].clone()
}

#[tokio::test]
async fn rights_of_the_folder_that_are_put_right_bring_its_libraries_in() {
    let folder = tempfile::tempdir().expect("a folder");
    drop_in(folder.path(), "libedition", &edition("one"));
    mode(folder.path(), 0o777);
    let server = watching(&folder).await;
    is_refused(&server, "edition", "its folder is writable by everyone").await;
    mode(folder.path(), 0o755);
    is_active(&server, "0.1.0").await;
}

#[tokio::test]
async fn rights_of_the_folder_behind_a_link_that_are_put_right_bring_its_library_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let versions = folder.path().join("versions");
    std::fs::create_dir(&versions).expect("made");
    drop_in(&versions, "libedition", &edition("one"));
    mode(&versions, 0o777);
    symlink("versions/libedition.so", folder.path().join("libedition.so")).expect("linked");
    let server = watching(&folder).await;
    is_refused(&server, "edition", "its folder is writable by everyone").await;
    mode(&versions, 0o755);
    is_active(&server, "0.1.0").await;
}

#[tokio::test]
async fn one_of_two_libraries_of_one_name_comes_in_when_the_other_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    drop_in(folder.path(), "libedition", &edition("one"));
    let other = drop_in(folder.path(), "libother", &edition("two"));
    let server = watching(&folder).await;
    is_refused(&server, "edition", "two libraries are named").await;
    remove_file(other).expect("removed");
    is_active(&server, "0.1.0").await;
}

#[tokio::test]
async fn a_checksum_that_comes_after_its_file_brings_it_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = |bytes: &[u8]| {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[plugins]\ndirs = [{:?}]\nwatch = true\n[[plugin]]\nname = \"edition\"\nsha256 = \"{sha256}\"\n",
            folder.path()
        )
    };
    drop_in(folder.path(), "libedition", &edition("one"));
    let server = Server::with(&configuration(&edition("one")), &[]).await;
    drop_in(folder.path(), "libedition", &edition("two"));
    is_refused(&server, "edition", "and the configuration asks for").await;
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one", "the old one serves");
    let before = refusals(&server).await;
    // The folder moves, and the refusal is the same: it is not told again.
    copy_of_system_prompt(folder.path());
    mode(folder.path(), 0o711);
    server.configure(&configuration(&edition("two")));
    assert_eq!(read(server.admin(Method::POST, "/admin/reload")).await.0, 200);
    is_active(&server, "0.2.0").await;
    assert!(server.plugin("edition").await["error"].is_null());
    assert_eq!(refusals(&server).await, before);
}

#[tokio::test]
async fn a_library_that_could_not_start_is_tried_again_when_its_file_is_touched_and_not_before() {
    let folder = tempfile::tempdir().expect("a folder");
    // Its configuration has no default.
    let refused = copy_of_system_prompt(folder.path());
    let server = watching(&folder).await;
    is_refused(&server, "system_prompt", "prompt").await;
    assert_eq!(refusals(&server).await, 1);
    drop_in(folder.path(), "libedition", &edition("one"));
    is_active(&server, "0.1.0").await;
    assert_eq!(refusals(&server).await, 1, "another file came");
    let file = File::options().append(true).open(refused).expect("opened");
    file.set_modified(SystemTime::now()).expect("touched");
    until("it is tried again", async || refusals(&server).await == 2).await;
}

#[tokio::test]
async fn d9_a_library_that_an_operator_unloaded_stays_out_until_its_bytes_change() {
    let folder = tempfile::tempdir().expect("a folder");
    drop_in(folder.path(), "libedition", &edition("one"));
    let server = watching(&folder).await;
    is_active(&server, "0.1.0").await;
    assert_eq!(read(server.admin(Method::DELETE, "/admin/plugins/edition")).await.0, 204);
    drop_in(folder.path(), "libedition", &edition("one"));
    copy_of_system_prompt(folder.path());
    is_refused(&server, "system_prompt", "prompt").await;
    assert!(
        server.plugin("edition").await.is_null(),
        "its file was written with the same bytes, and another came"
    );
    drop_in(folder.path(), "libedition", &edition("two"));
    is_active(&server, "0.2.0").await;
}

#[tokio::test]
async fn d6_a_file_that_cannot_be_looked_at_is_not_one_that_was_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = drop_in(folder.path(), "libedition", &edition("one"));
    let server = watching(&folder).await;
    is_active(&server, "0.1.0").await;
    symlink("libedition.so", folder.path().join("loop")).expect("linked");
    std::fs::rename(folder.path().join("loop"), &path).expect("renamed");
    is_refused(&server, "edition", "cannot be read").await;
    let plugin = server.plugin("edition").await;
    assert_eq!((&plugin["state"], &plugin["file_missing"]), (&json!("active"), &json!(false)), "{plugin}");
    assert_eq!(answered_by(&server).await, "llmux-edition-marker-one");
    remove_file(&path).expect("removed");
    until("it goes with its file", async || server.plugin("edition").await.is_null()).await;
}
