//! Owners of files. Refused are files of another user, files that every user may write, and symlinks that lead out of
//! the folder. Files that a group may write are loaded. The tests that need files of another user, which only root
//! can create, are ignored by default: `cargo test -p llmux-gateway --test program -- --ignored`.

use std::{
    fs::{Permissions, create_dir, set_permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::{LONG, Server, drop_in, edition, http, read, until};

/// User without rights; the second constant is another user.
const NOBODY: u32 = 65534;
const STRANGER: u32 = 65533;

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("set");
}

/// A library in a folder of its own.
struct Case {
    name: &'static str,
    path: PathBuf,
    /// Text of the refusal; `None` if the library is loaded.
    refused: Option<&'static str>,
}

fn cases(root: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &'static str, refused: Option<&'static str>| {
        let folder = root.join(name);
        create_dir(&folder).expect("made");
        mode(&folder, 0o755);
        let path = drop_in(&folder, &format!("lib{name}"), &edition("one"));
        mode(&path, 0o644);
        cases.push(Case { name, path: path.clone(), refused });
        (folder, path)
    };
    case("own", None);
    mode(&case("everybodys-file", Some("the file is writable by everyone")).1, 0o646);
    mode(&case("everybodys-folder", Some("its folder is writable by everyone")).0, 0o757);
    mode(&case("sticky-folder", Some("its folder is writable by everyone")).0, 0o1777);
    // A group's members were chosen by somebody who may.
    mode(&case("groups-file", None).1, 0o664);
    mode(&case("groups-folder", None).0, 0o775);
    let (folder, path) = case("link-inside", None);
    std::fs::rename(&path, folder.join("target.bin")).expect("renamed");
    symlink("target.bin", &path).expect("linked");
    let (folder, path) = case("link-into-everybodys", Some("its folder is writable by everyone"));
    create_dir(folder.join("open")).expect("made");
    std::fs::rename(&path, folder.join("open/target.bin")).expect("renamed");
    mode(&folder.join("open"), 0o777);
    symlink("open/target.bin", &path).expect("linked");
    cases
}

fn cases_of_others(root: &Path) -> Vec<Case> {
    ["file", "folder"]
        .map(|what| {
            let (name, refused) = match what {
                "file" => ("strangers-file", "the file belongs to another user"),
                _ => ("strangers-folder", "its folder belongs to another user"),
            };
            let folder = root.join(name);
            create_dir(&folder).expect("made");
            let path = drop_in(&folder, &format!("lib{name}"), &edition("one"));
            give(if what == "file" { &path } else { &folder }, STRANGER);
            Case { name, path, refused: Some(refused) }
        })
        .into()
}

/// Gives a file to another user.
fn give(path: &Path, user: u32) {
    let given = chown(path, Some(user), None);
    given.unwrap_or_else(|error| panic!("{}: {error}; this test is for root", path.display()));
}

async fn load(admin: &str, token: &str, name: &str, path: &Path) -> (u16, Value) {
    let body = json!({"path": path, "name": name});
    read(http().request(Method::POST, format!("{admin}/admin/plugins")).bearer_auth(token).json(&body)).await
}

#[tokio::test]
async fn d2_files_and_folders_that_others_may_change_are_refused_unless_that_is_allowed() {
    let root = tempfile::tempdir().expect("a folder");
    refused_unless_allowed(&cases(root.path())).await;
}

#[tokio::test]
#[ignore = "makes files of other users, which only root can; run it as root with --ignored"]
async fn d2_files_and_folders_of_other_users_are_refused_unless_that_is_allowed() {
    let root = tempfile::tempdir().expect("a folder");
    refused_unless_allowed(&cases_of_others(root.path())).await;
}

async fn refused_unless_allowed(cases: &[Case]) {
    let dirs: Vec<_> = cases.iter().map(|case| case.path.parent().expect("a folder")).collect();
    for allowed in [false, true] {
        let configuration = format!("[plugins]\ndirs = {dirs:?}\nallow_insecure_permissions = {allowed}\n");
        let server = Server::with(&configuration, &[]).await;
        let token = std::fs::read_to_string(server.token_file()).expect("a token");
        for Case { name, path, refused } in cases {
            let (status, info) = load(&server.admin, &token, name, path).await;
            match refused.filter(|_| !allowed) {
                None => assert_eq!(status, 201, "{name}: {info}"),
                Some(why) => {
                    let message = info["error"]["message"].as_str().expect("a message");
                    assert_eq!(
                        (status, &info["error"]["code"]),
                        (422, &json!("insecure_permissions")),
                        "{name}: {info}"
                    );
                    assert!(
                        message.contains(why) && message.contains("allow_insecure_permissions"),
                        "{name}: {message}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn d2_a_link_that_leads_out_of_the_plugin_folders_is_refused_whatever_is_allowed() {
    let (plugins, elsewhere) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let target = drop_in(elsewhere.path(), "libedition", &edition("one"));
    let (to_file, by_folder) =
        (plugins.path().join("liblink.so"), plugins.path().join("folder/libedition.so"));
    symlink(&target, &to_file).expect("linked");
    symlink(elsewhere.path(), plugins.path().join("folder")).expect("linked");
    for allowed in [false, true] {
        let configuration =
            format!("[plugins]\ndirs = [{:?}]\nallow_insecure_permissions = {allowed}\n", plugins.path());
        let server = Server::with(&configuration, &[]).await;
        let token = std::fs::read_to_string(server.token_file()).expect("a token");
        for path in [&to_file, &by_folder] {
            let (status, info) = load(&server.admin, &token, "link", path).await;
            assert_eq!(
                (status, &info["error"]["code"]),
                (422, &json!("leaves_folder")),
                "{}: {info}",
                path.display()
            );
        }
        // What the operator names outside of all folders is their own choice.
        assert_eq!(load(&server.admin, &token, "named", &target).await.0, 201);
    }
}

/// Returns a copy of the program and its folder, which every user can reach.
fn within_reach() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    mode(folder.path(), 0o755);
    let program = folder.path().join("llmux");
    std::fs::copy(env!("CARGO_BIN_EXE_llmux"), &program).expect("copied");
    mode(&program, 0o755);
    (folder, program)
}

#[tokio::test]
#[ignore = "makes files of other users, which only root can; run it as root with --ignored"]
async fn d2_a_folder_that_is_given_back_to_its_user_is_looked_at_again() {
    let plugins = tempfile::tempdir().expect("a folder");
    drop_in(plugins.path(), "libedition", &edition("one"));
    give(plugins.path(), STRANGER);
    let server = Server::with("", &["--plugin-dir", &plugins.path().to_string_lossy()]).await;
    let refused = server.plugin("edition").await;
    assert!(refused["error"].as_str().is_some_and(|it| it.contains("belongs to another user")), "{refused}");
    give(plugins.path(), 0);
    until("it comes in", async || server.plugin("edition").await["state"] == "active").await;
}

#[tokio::test]
#[ignore = "runs as another user, which only root can; run it as root with --ignored"]
async fn d2_a_user_without_rights_runs_their_own_files_and_roots_and_nobody_elses() {
    let (folder, program) = within_reach();
    let runtime = folder.path().join("run");
    create_dir(&runtime).expect("made");
    give(&runtime, NOBODY);
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let mut child = tokio::process::Command::new("setpriv")
        .args(&ids)
        .arg("--clear-groups")
        .arg(&program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(&runtime)
        .env("XDG_RUNTIME_DIR", &runtime)
        .env("TMPDIR", &runtime)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("setpriv runs (it is in the Debian package `util-linux`)");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    tokio::time::timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
    let admin = line
        .split([' ', ','])
        .filter_map(|word| word.strip_prefix("http://"))
        .nth(1)
        .expect("an address")
        .trim();
    let port = admin.rsplit(':').next().expect("a port");
    let token = std::fs::read_to_string(runtime.join(format!("llmux/admin-{port}.token"))).expect("a token");
    let admin = format!("http://{admin}");
    for (owner, name, status) in [(NOBODY, "own", 201), (0, "roots", 201), (STRANGER, "strangers", 422)] {
        let path = drop_in(folder.path(), &format!("lib{name}"), &edition("one"));
        give(&path, owner);
        let (found, info) = load(&admin, &token, name, &path).await;
        assert_eq!(found, status, "{name}: {info}");
    }
    // Not even root's command line uses the token of a folder that is another user's.
    let mut list = tokio::process::Command::new(&program);
    list.args(["plugin", "unload", "own", "--admin", &admin]).env("XDG_RUNTIME_DIR", &runtime);
    let refused = list.env_remove("LLMUX_ADMIN_TOKEN").output().await.expect("llmux runs");
    assert!(!refused.status.success());
    let said = crate::support::text(&refused.stderr);
    assert!(said.contains("belongs to another user"), "{said}");
}
