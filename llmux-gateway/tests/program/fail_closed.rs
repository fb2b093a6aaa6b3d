//! The server never opens by accident: a configuration without a provider, the last API key that goes, and an address
//! that other machines reach without any key.

use llmux_testing::program::with_provider;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::{
    api::sha256,
    support::{LONG, Server, error, llmux, read, serve, text},
};

/// Texts of configuration files that name no provider: an editor or a full disk leaves such files.
const EMPTY: [&str; 3] = ["", "# nothing\n", "[server]\nread_timeout = \"5s\"\n"];

fn key() -> String {
    format!("[[api_key]]\nid = \"shop\"\nsha256 = \"{}\"\n", sha256("shop-secret"))
}

/// Returns the last line that a command writes when it does not start.
async fn refused(command: &mut Command) -> String {
    let output = timeout(LONG, command.output()).await.expect("it does not serve").expect("llmux runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr).lines().last().expect("a line").to_owned()
}

/// Waits for a line of the server's log. The log is read only once.
pub(crate) async fn logged(server: &mut Server, words: &[&str]) -> String {
    let mut lines = BufReader::new(server.child.stderr.take().expect("piped")).lines();
    let found = async {
        loop {
            let line = lines.next_line().await.expect("text").expect("not the end");
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    };
    timeout(LONG, found).await.expect("in time")
}

/// Returns the status of a request without a key.
async fn without_key(server: &Server) -> u16 {
    read(server.get("/v1/models")).await.0
}

#[tokio::test]
async fn a_file_without_a_provider_starts_nothing() {
    for text in EMPTY {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("llmux.toml"), text).expect("written");
        for arguments in
            [&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off"][..], &["chat", "Hello"]]
        {
            let line = refused(llmux(folder.path()).args(arguments)).await;
            assert!(line.starts_with("llmux: llmux.toml: the file has no [[provider]]"), "{line}");
            assert!(line.contains("type = \"echo\""), "it names the remedy: {line}");
        }
    }
}

#[tokio::test]
async fn a_reload_of_a_file_without_a_provider_changes_nothing() {
    let mut server = Server::with(&key(), &[]).await;
    for empty in EMPTY {
        std::fs::write(server.folder.path().join("llmux.toml"), empty).expect("written");
        for force in [&["reload"][..], &["reload", "--force"]] {
            let reload = server.llmux(force).await;
            assert_eq!(reload.status.code(), Some(1));
            assert!(
                text(&reload.stderr).contains("the file has no [[provider]]"),
                "{}",
                text(&reload.stderr)
            );
        }
        assert_eq!(without_key(&server).await, 401);
    }
    server.signal("-HUP").await;
    let line = logged(&mut server, &["configuration refused", "who=\"config\""]).await;
    assert!(line.contains("ERROR") && line.contains("the file has no [[provider]]"), "{line}");
    assert_eq!(without_key(&server).await, 401);
}

/// Returns the line that a server prints when it has started.
async fn start_line(folder: &TempDir, configuration: &str) -> String {
    let mut child = serve(folder, configuration).spawn().expect("llmux starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
    line
}

#[tokio::test]
async fn the_start_line_says_that_echo_answers_if_there_is_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = start_line(&folder, "").await;
    assert!(line.contains("no configuration file: the model `echo` answers, for trying out"), "{line}");
    let line = start_line(&folder, "[server]\n").await;
    assert!(line.contains("listens on") && !line.contains("no configuration file"), "{line}");
}

/// Returns a command that serves what the file says, and writes the file.
fn serve_file(folder: &TempDir, configuration: &str) -> Command {
    std::fs::write(folder.path().join("llmux.toml"), with_provider(configuration)).expect("written");
    let mut command = llmux(folder.path());
    command.args(["serve", "--admin-listen", "127.0.0.1:0"]);
    command
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_key_or_is_open_on_purpose() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"] {
        let folder = tempfile::tempdir().expect("a folder");
        let by_file = refused(&mut serve_file(&folder, &format!("[server]\nlisten = \"{address}\"\n"))).await;
        let by_flag = refused(serve_file(&folder, "").args(["--listen", address])).await;
        for line in [by_file, by_flag] {
            assert!(line.contains("so it needs an API key: add an [[api_key]]"), "{address}: {line}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let open = "[server]\nlisten = \"0.0.0.0:0\"\nopen = true\n";
    let server = Server::of(serve_file(&folder, open), folder).await;
    assert_eq!(without_key(&server).await, 200, "open on purpose");
    server.configure("[server]\nlisten = \"0.0.0.0:0\"\n");
    let (status, refused) = error(server.admin(reqwest::Method::POST, "/admin/reload")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("configuration_refused")), "{refused}");
}

#[tokio::test]
async fn the_last_key_of_an_address_that_others_reach_stays_even_with_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = "[server]\nlisten = \"0.0.0.0:0\"\n";
    let server = Server::of(serve_file(&folder, &format!("{listen}{}", key())), folder).await;
    server.configure(listen);
    let force = json!({"force": true});
    let (status, refused) = server.call("POST", "/admin/reload", Some(&force)).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("configuration_refused")), "{refused}");
    assert_eq!(without_key(&server).await, 401);
    server.configure(&format!("{listen}open = true\n"));
    assert_eq!(server.call("POST", "/admin/reload", None).await.0, 409, "not without force");
    assert_eq!(without_key(&server).await, 401);
    assert_eq!(server.call("POST", "/admin/reload", Some(&force)).await.0, 200);
    assert_eq!(without_key(&server).await, 200);
}

#[tokio::test]
async fn the_last_key_goes_with_force_only() {
    let mut server = Server::with(&key(), &[]).await;
    server.configure("[server]\n");
    let (status, refused) = server.call("POST", "/admin/reload", None).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("needs_force")), "{refused}");
    let reload = server.llmux(&["reload"]).await;
    assert_eq!(reload.status.code(), Some(1));
    let said = text(&reload.stderr);
    assert!(said.contains("no [[api_key]] any more") && said.contains("`--force`"), "{said}");
    assert_eq!(without_key(&server).await, 401, "the old key is asked for");
    let forced = server.llmux(&["reload", "--force"]).await;
    assert!(text(&forced.stdout).contains("api_key `shop` removed"), "{}", text(&forced.stderr));
    assert_eq!(without_key(&server).await, 200);
    let line = logged(&mut server, &["llmux::audit", "the last API key is removed", "who=\"local\""]).await;
    assert!(line.contains("WARN"), "{line}");
}

#[tokio::test]
async fn a_signal_removes_no_last_key() {
    let mut server = Server::with(&key(), &[]).await;
    server.configure("[server]\n");
    server.signal("-HUP").await;
    let line = logged(&mut server, &["configuration refused", "who=\"config\""]).await;
    assert!(line.contains("ERROR") && line.contains("`--force`"), "{line}");
    assert_eq!(without_key(&server).await, 401);
}
