//! The program in an image that has nothing else: no store of certificates, no home, no folder for temporary files, a read-only
//! root, and only the libraries that the program and its plugin link.
//! Containers mount `/proc`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use llmux_testing::{ScriptedResponse, ScriptedServer};
use tempfile::TempDir;

use crate::support::{LONG, Server, drop_in, edition, read, text};

const OK: &str = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}]}"#;

/// Makes a root with the program, the plugin `edition`, this configuration, and a mount point for `/proc`.
fn root(configuration: &str) -> TempDir {
    let root = tempfile::tempdir().expect("a folder");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("set");
    for folder in ["proc", "plugins"] {
        fs::create_dir(root.path().join(folder)).expect("made");
    }
    let program = Path::new(env!("CARGO_BIN_EXE_llmux"));
    fs::copy(program, root.path().join("llmux")).expect("copied");
    let plugin = drop_in(&root.path().join("plugins"), "libedition", &edition("one"));
    for file in [program, &plugin] {
        let linked = Command::new("ldd").arg(file).output().expect("ldd runs");
        for library in text(&linked.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.path().join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
            fs::copy(library, copy).expect("copied");
        }
    }
    fs::write(root.path().join("llmux.toml"), configuration).expect("written");
    root
}

/// Returns a command `llmux serve` that runs in a read-only root, with or without `/proc`.
fn serve(root: &TempDir, has_proc: bool) -> tokio::process::Command {
    let proc = if has_proc { "mount --rbind /proc \"$0/proc\"" } else { "true" };
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!(
        "mount --bind \"$0\" \"$0\" && {proc} && mount -o remount,bind,ro \"$0\" && exec env -i \"$(command -v chroot)\" \"$0\" \
         /llmux serve --config /llmux.toml --listen 127.0.0.1:0"
    ));
    command.arg(root.path()).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn an_http_provider_and_a_plugin_are_served_from_an_empty_root() {
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
    let root = root(&format!(
        "[server]\nadmin = \"off\"\n[plugins]\ndirs = [\"/plugins\"]\nautoload = true\n\
         [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n\
         [[provider]]\nname = \"local\"\ntype = \"openai\"\nmodels = [\"m\"]\nbase_url = \"{}\"\n",
        upstream.base_url()
    ));
    let server = Server::of(serve(&root, true), root).await;
    assert_eq!(server.ask("echo").await["edition"], "llmux-edition-marker-one");
    assert_eq!(server.ask("m").await["choices"][0]["message"]["content"], "fine");
    assert_eq!(read(server.get("/readyz")).await.0, 200);
    let log = server.stop().await;
    assert!(log.contains("private copies of libraries are held in memory"), "{log}");
    assert!(log.contains("copy_dir"), "{log}");
}

#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn a_plugin_without_a_place_for_its_copy_is_refused_with_the_remedy_in_an_empty_root() {
    let root = root(
        "[server]\nadmin = \"off\"\n[plugins]\ndirs = [\"/plugins\"]\nautoload = true\n\
         [[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n",
    );
    let server = Server::of(serve(&root, false), root).await;
    assert_eq!(server.ask("echo").await["choices"][0]["message"]["content"], "Hello");
    let log = server.stop().await;
    let refused = log.lines().find(|line| line.contains("/plugins/libedition.so")).unwrap_or(&log);
    assert!(refused.contains("/tmp: ") && refused.contains("let `copy_dir` in `[plugins]`"), "{log}");
}

#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn an_https_provider_is_refused_by_name_in_an_empty_root() {
    let provider = "[[provider]]\nname = \"east\"\ntype = \"openai\"\nmodels = [\"m\"]\n";
    let root = root(&format!("[server]\nadmin = \"off\"\n{provider}base_url = \"https://127.0.0.1:1/v1\"\n"));
    let ended =
        tokio::time::timeout(LONG, serve(&root, true).output()).await.expect("in time").expect("it runs");
    let said = text(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    for part in ["/llmux.toml:", "provider `east`", "ca-certificates", "SSL_CERT_FILE", "`ca_file`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs user namespaces, which some systems keep for root; run it with --ignored"]
async fn an_admin_listener_without_a_folder_for_its_token_names_the_remedies_in_an_empty_root() {
    let root = root(
        "[server]\nadmin = \"127.0.0.1:0\"\n[[provider]]\nname = \"echo\"\ntype = \"echo\"\nmodels = [\"echo\"]\n",
    );
    let mut command = serve(&root, true);
    let ended = tokio::time::timeout(LONG, command.output()).await.expect("in time").expect("it runs");
    let said = text(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    for part in ["/tmp", "XDG_RUNTIME_DIR", "[[admin_token]]", "admin = \"off\""] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
