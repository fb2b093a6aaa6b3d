//! The file of the local token: its place, the owners and modes that are refused, and its use by one server only.

use std::{
    fs::{create_dir, read_to_string, rename, set_permissions, write},
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::support::{LONG, Server, error, http, llmux, read, text, until};

/// Returns the last line of the error of a start that must be refused.
async fn refused(mut serve: Command) -> String {
    let output = serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).output();
    let output = timeout(LONG, output).await.expect("in time").expect("llmux runs");
    assert_eq!(output.status.code(), Some(1), "it started");
    text(&output.stderr).lines().last().expect("a line").to_owned()
}

/// Returns the error of the command that unloads an instance that does not exist. The error is [`FOUND`] if the
/// command found the token.
async fn unload(mut command: Command, admin: &str) -> String {
    let output = command.args(["plugin", "unload", "x", "--admin", admin]).output();
    text(&timeout(LONG, output).await.expect("in time").expect("llmux runs").stderr)
}

const FOUND: &str = "llmux: there is no instance named `x`\n";

#[tokio::test]
async fn a_folder_or_a_token_behind_a_link_is_refused_by_both_sides() {
    let server = Server::start().await;
    let (file, elsewhere) = (server.token_file(), server.folder.path().join("elsewhere"));
    let folder = file.parent().expect("a folder");
    rename(folder, &elsewhere).expect("moved");
    symlink(&elsewhere, folder).expect("linked");
    assert!(refused(llmux(server.folder.path())).await.contains("is a symlink"));
    assert!(unload(llmux(server.folder.path()), &server.admin).await.contains("is a symlink"));
    std::fs::remove_file(folder).expect("removed");
    rename(&elsewhere, folder).expect("back");
    assert_eq!(unload(llmux(server.folder.path()), &server.admin).await, FOUND);

    rename(&file, folder.join("another")).expect("moved");
    symlink(folder.join("another"), &file).expect("linked");
    assert!(unload(llmux(server.folder.path()), &server.admin).await.contains("is a symlink"));
    std::fs::remove_file(&file).expect("removed");
    create_dir(&file).expect("made");
    assert!(unload(llmux(server.folder.path()), &server.admin).await.contains("of the wrong type"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_with_the_ways_out() {
    let home = tempfile::tempdir().expect("a folder");
    let mut serve = llmux(home.path());
    // Nobody can make a folder here, not even root.
    serve.env("XDG_RUNTIME_DIR", "/proc");
    let error = refused(serve).await;
    for way in ["/proc/llmux/admin-", "XDG_RUNTIME_DIR or TMPDIR", "`[[admin_token]]`", "admin = \"off\""] {
        assert!(error.contains(way), "{way}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_others_may_read_is_not_used() {
    let server = Server::start().await;
    set_permissions(server.token_file(), PermissionsExt::from_mode(0o640)).expect("set");
    let said = unload(llmux(server.folder.path()), &server.admin).await;
    assert!(said.contains("other users can access it"), "{said}");
}

#[tokio::test]
#[ignore = "makes a folder of another user, which only root can; run it as root with --ignored"]
async fn a_folder_of_another_user_is_refused_by_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("llmux");
    create_dir(&foreign).expect("made");
    set_permissions(&foreign, PermissionsExt::from_mode(0o700)).expect("set");
    chown(&foreign, Some(65533), None).expect("this test is for root");
    assert!(refused(llmux(folder.path())).await.contains("belongs to another user"));
    assert_eq!(std::fs::read_dir(&foreign).expect("a folder").count(), 0, "nothing was written there");
}

/// Starts the server of this command. Returns the process and the URLs of its API and its admin API.
async fn started(serve: &mut Command) -> (Child, String, String) {
    let mut child = serve.spawn().expect("llmux starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    timeout(LONG, out.read_line(&mut line)).await.expect("in time").expect("a line");
    let mut urls =
        line.trim().split([' ', ',']).filter(|word| word.starts_with("http://")).map(str::to_owned);
    let (Some(api), Some(admin)) = (urls.next(), urls.next()) else { panic!("it did not start: {line:?}") };
    (child, api, admin)
}

fn serve(folder: &Path, admin: &str) -> Command {
    let mut command = llmux(folder);
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", admin]);
    command
}

#[tokio::test]
async fn without_a_runtime_folder_the_token_is_among_the_temporary_files() {
    let folder = tempfile::tempdir().expect("a folder");
    // A path that does not begin at the root is none (XDG Base Directory Specification).
    for runtime in [None, Some("relative"), Some("/nowhere")] {
        let mut command = serve(folder.path(), "127.0.0.1:0");
        match runtime {
            None => command.env_remove("XDG_RUNTIME_DIR"),
            Some(runtime) => command.env("XDG_RUNTIME_DIR", runtime),
        };
        let (_server, _, admin) = started(&mut command).await;
        let port = admin.rsplit(':').next().expect("a port");
        let user = std::fs::metadata(folder.path()).expect("there").uid();
        let file = folder.path().join(format!("llmux-{user}/admin-{port}.token"));
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700), "{runtime:?}");
        // The command line may run in a session that has such a folder.
        assert_eq!(unload(llmux(folder.path()), &admin).await, FOUND, "{runtime:?}");
    }
}

#[tokio::test]
async fn a_token_is_sent_to_the_address_whose_server_wrote_it_and_to_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    // Somebody else listens on the usual address, at the same port.
    let (stranger, _server, admin) = loop {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("[::1]:{}", taken.local_addr().expect("an address").port());
        if TcpListener::bind(&address).is_ok() {
            let (server, _, admin) = started(&mut serve(folder.path(), &address)).await;
            break (taken, server, admin);
        }
    };
    assert_eq!(unload(llmux(folder.path()), &admin).await, FOUND, "IPv6");
    let port = admin.rsplit(':').next().expect("a port");
    // A name that has both addresses means the one where the token is from.
    let by_name = format!("http://localhost:{port}");
    assert_eq!(unload(llmux(folder.path()), &by_name).await, FOUND, "a name");

    stranger.set_nonblocking(true).expect("set");
    let stranger = tokio::net::TcpListener::from_std(stranger).expect("a listener");
    let by_number = format!("http://127.0.0.1:{port}");
    let (said, heard) = tokio::join!(unload(llmux(folder.path()), &by_number), async {
        let (mut stream, _) = timeout(LONG, stranger.accept()).await.expect("in time").expect("a connection");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            let count = timeout(LONG, stream.read_buf(&mut heard)).await.expect("in time").expect("read");
            assert!(count > 0, "it ended: {}", text(&heard));
        }
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await.expect("sent");
        text(&heard).to_ascii_lowercase()
    });
    assert!(heard.starts_with("delete /admin/plugins/x "), "{heard}");
    assert!(!heard.contains("authorization"), "the stranger was sent the token: {heard}");
    assert!(said.contains("status 401"), "{said}");
}

#[tokio::test]
async fn what_a_killed_server_left_is_replaced_and_what_a_later_one_wrote_is_not_removed() {
    let server = Server::start().await;
    let (file, admin) = (server.token_file(), server.admin.clone());
    let stale = read_to_string(&file).expect("a token");
    let address = admin.strip_prefix("http://").expect("a URL").to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    let moved = folder.path().join("llmux");
    server.signal("-KILL").await;
    until("it is gone", async || TcpListener::bind(&address).is_ok()).await;
    assert!(file.exists(), "a killed server leaves its file");
    rename(file.parent().expect("a folder"), &moved).expect("moved");

    // The next one is held up in its end by a stream, while its port is free already.
    let configuration =
        "[[provider]]\nname = \"slow\"\ntype = \"echo\"\nmodels = [\"slow\"]\nchunk_delay = \"100ms\"";
    write(folder.path().join("llmux.toml"), configuration).expect("written");
    let (mut second, api, _) = started(&mut serve(folder.path(), &address)).await;
    assert_eq!(unload(llmux(folder.path()), &admin).await, FOUND, "with the new token");
    let wrong = http().request(Method::DELETE, format!("{admin}/admin/plugins/x")).bearer_auth(&stale);
    assert_eq!(error(wrong).await.0, 401, "the stale one is nobody's");
    let body = json!({"model": "slow", "stream": true, "messages": [{"role": "user", "content": "a ".repeat(1000)}]});
    let stream =
        http().post(format!("{api}/v1/chat/completions")).json(&body).send().await.expect("an answer");
    let id = second.id().expect("running").to_string();
    Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
    until("its port is free", async || TcpListener::bind(&address).is_ok()).await;

    let (_third, ..) = started(&mut serve(folder.path(), &address)).await;
    assert!(second.try_wait().expect("asked").is_none(), "the second still waits for its stream");
    drop(stream);
    timeout(LONG, second.wait()).await.expect("in time").expect("ended");
    assert_eq!(unload(llmux(folder.path()), &admin).await, FOUND, "the third one's token is still there");
    assert_eq!(read(http().get(format!("{admin}/admin/plugins"))).await.0, 200);
}
