//! Trust in libraries: signatures, file modes, symlinks; and the output of `verify` and `inspect` about them.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, drop_in, edition, llmux, text, until};

/// Creates a key pair with the minisign tool.
fn key(folder: &Path) -> String {
    let arguments = ["-G", "-W", "-f", "-p", "key.pub", "-s", "key.sec"];
    let made = Command::new("minisign").current_dir(folder).args(arguments).output();
    let made = made.expect("this test wants `minisign` on the path: apt-get install minisign");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let public = std::fs::read_to_string(folder.join("key.pub")).expect("a key");
    public.lines().last().expect("a key").to_owned()
}

fn sign(folder: &Path, library: &Path) {
    let signature = format!("{}.minisig", library.display());
    let signed = Command::new("minisign")
        .current_dir(folder)
        .args(["-S", "-W", "-s", "key.sec", "-x", &signature, "-m"])
        .arg(library)
        .output()
        .expect("minisign runs");
    assert!(signed.status.success(), "{}", text(&signed.stderr));
}

async fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = llmux(folder).args(arguments).output().await.expect("llmux runs");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn folders() -> (TempDir, TempDir) {
    (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"))
}

#[tokio::test]
async fn where_signatures_are_required_only_signed_libraries_come_in() {
    let (keys, plugins) = folders();
    let public = key(keys.path());
    let configuration = format!(
        "[plugins]\ndirs = [{:?}]\nwatch = true\nautoload = true\nrequire_signature = true\ntrusted_keys = [\"{public}\"]\n",
        plugins.path()
    );
    let server = Server::with(&configuration, &[]).await;
    let library = drop_in(plugins.path(), "libedition", &edition("one"));
    until("it is refused without a signature", async || {
        server.plugin("edition").await["error"]
            .as_str()
            .is_some_and(|error| error.contains("its signature: there is none"))
    })
    .await;
    sign(keys.path(), &library);
    until("it comes in with one", async || server.plugin("edition").await["state"] == "active").await;
    // Another edition under the old signature.
    drop_in(plugins.path(), "libedition", &edition("two"));
    until("it is refused with another's", async || {
        server.plugin("edition").await["error"]
            .as_str()
            .is_some_and(|error| error.contains("not of these bytes"))
    })
    .await;
    assert_eq!(server.plugin("edition").await["version"], "0.1.0");
    sign(keys.path(), &library);
    until("it comes in", async || server.plugin("edition").await["version"] == "0.2.0").await;
}

#[tokio::test]
async fn verify_says_which_check_fails_and_inspect_the_state_of_the_signature() {
    let (keys, plugins) = folders();
    let public = key(keys.path());
    let library = drop_in(plugins.path(), "libedition", &edition("one"));
    let (file, key_file) = (library.to_str().expect("text"), keys.path().join("key.pub"));
    let key_file = key_file.to_str().expect("text");
    let (code, out, _) = run(keys.path(), &["plugin", "verify", file]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("checksum     not requested") && out.contains("signature    none"), "{out}");
    let (code, out, error) = run(keys.path(), &["plugin", "verify", file, "--key", &public]).await;
    assert_eq!(code, Some(1));
    assert!(out.contains("signature    failed") && out.contains("manifest     not reached"), "{out}");
    assert_eq!(error.lines().count(), 1, "{error}");
    sign(keys.path(), &library);
    let (code, out, error) = run(keys.path(), &["plugin", "verify", file, "--key", key_file]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("signature    passed"), "{out}");
    let signature = async |arguments: &[&str]| {
        let (_, out, _) =
            run(keys.path(), &[&["plugin", "inspect", "--json", file], arguments].concat()).await;
        serde_json::from_str::<Value>(&out).expect("JSON")["signature"].clone()
    };
    assert_eq!(signature(&[]).await, "unchecked");
    assert_eq!(signature(&["--key", &public]).await, "valid");
    std::fs::write(&library, edition("two")).expect("written");
    assert_eq!(signature(&["--key", &public]).await, "invalid");

    let (_, out, _) =
        run(keys.path(), &["plugin", "verify", "--json", file, "--sha256", &"0".repeat(64)]).await;
    let verdict: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(verdict["checks"][3], json!({"check": "checksum", "result": "failed"}));
    assert_eq!(verdict["checks"][1], json!({"check": "permissions", "result": "passed"}));
}

#[tokio::test]
async fn what_others_may_change_and_links_that_lead_out_are_refused() {
    let (elsewhere, plugins) = folders();
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
    let open = drop_in(plugins.path(), "libopen", &edition("one"));
    mode(&open, 0o666);
    let outside = drop_in(elsewhere.path(), "libedition", &edition("one"));
    std::os::unix::fs::symlink(&outside, plugins.path().join("liblink.so")).expect("linked");
    std::os::unix::fs::symlink("libloop.so", plugins.path().join("libloop.so")).expect("linked");
    let server = Server::with("", &["--plugin-dir", &plugins.path().to_string_lossy()]).await;
    for (name, expected) in [
        ("open", "is writable by everyone"),
        ("link", "outside of the plugin folders"),
        ("loop", "cannot be read"),
    ] {
        let plugin = server.plugin(name).await;
        assert_eq!(plugin["state"], "failed", "{name}: {plugin}");
        assert!(plugin["error"].as_str().expect("text").contains(expected), "{plugin}");
    }
    assert!(server.plugin("edition").await.is_null());
    // Put right, it is taken without anybody asking.
    mode(&open, 0o644);
    until("the mended one comes in", async || server.plugin("edition").await["state"] == "active").await;
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[tokio::test]
async fn where_signatures_are_required_the_environment_names_no_other_libraries() {
    let (keys, plugins) = folders();
    let public = key(keys.path());
    let library = drop_in(plugins.path(), "libedition", &edition("one"));
    sign(keys.path(), &library);
    let verify = async |variable: &str| {
        let mut command = llmux(plugins.path());
        command.args(["plugin", "verify", "--key", &public]).arg(&library).env(variable, "/nowhere");
        command.output().await.expect("llmux runs")
    };
    assert!(verify("ANOTHER").await.status.success());
    for variable in ["LD_LIBRARY_PATH", "LD_PRELOAD"] {
        let refused = verify(variable).await;
        let reason = text(&refused.stderr);
        assert!(!refused.status.success(), "{variable}");
        assert!(reason.contains(&format!("{variable} is set")), "{reason}");
    }
}
