//! Traffic on the sockets: small writes do not wait for an acknowledgement on either side, and nothing is compressed.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
};

use llmux_testing::{ScriptedResponse, ScriptedServer};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{LONG, Server};

const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";

fn configuration(upstream: &ScriptedServer) -> String {
    format!(
        "[[provider]]\nname = \"up\"\ntype = \"openai\"\nbase_url = \"{}\"\nmodels = [\"m\"]\n",
        upstream.base_url()
    )
}

/// Returns the server's end of its connection with this peer.
fn end_of(server: &Server, peer: SocketAddr) -> TcpStream {
    let id = server.child.id().expect("running");
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("a child of this process");
    let files =
        fs::read_dir(format!("/proc/{id}/fd")).expect("its descriptors").map(|file| file.expect("a file"));
    let sockets = files.filter(|file| {
        fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let mut streams = sockets.filter_map(|file| {
        let number = file.file_name().to_string_lossy().parse().expect("a number");
        pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok().map(TcpStream::from)
    });
    streams
        .find(|stream| stream.peer_addr().is_ok_and(|address| address == peer))
        .unwrap_or_else(|| panic!("the server has no connection with {peer}"))
}

#[tokio::test]
async fn small_writes_wait_for_no_acknowledgement_on_either_side() {
    let upstream = ScriptedServer::start([ScriptedResponse::sse([CHUNK]).then_hang()]).await;
    let server = Server::with(&configuration(&upstream), &[]).await;
    let mut client = server.connect().await;
    let body = json!({"model": "m", "stream": true, "messages": []}).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + &body).as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n\n\r\n") {
        let read = timeout(LONG, client.read_buf(&mut answer)).await.expect("in time").expect("read");
        assert_ne!(read, 0, "the stream ended: {}", String::from_utf8_lossy(&answer));
    }
    for (side, peer) in [("client", client.local_addr().expect("bound")), ("provider", upstream.address())] {
        assert!(
            end_of(&server, peer).nodelay().expect("an option"),
            "the {side}'s connection delays small writes"
        );
    }
}

#[tokio::test]
async fn nothing_is_compressed_whatever_the_client_offers() {
    let text = json!({"choices": [{"message": {"content": "a".repeat(100_000)}}]}).to_string();
    let upstream = ScriptedServer::start([
        ScriptedResponse::json(200, text.clone()),
        ScriptedResponse::sse([CHUNK, "data: [DONE]\n\n"]),
    ])
    .await;
    let server = Server::with(&configuration(&upstream), &[]).await;
    for stream in [false, true] {
        let body = json!({"model": "m", "stream": stream, "messages": []});
        let request =
            server.post("/v1/chat/completions", &body).header("accept-encoding", "gzip, deflate, br, zstd");
        let response = timeout(LONG, request.send()).await.expect("in time").expect("an answer");
        assert_eq!(response.headers().get("content-encoding"), None, "stream: {stream}");
        let bytes = response.bytes().await.expect("a body");
        assert!(bytes.starts_with(if stream { b"data: {" } else { b"{\"choices\"" }), "stream: {stream}");
    }
    let asked: Vec<_> =
        upstream.requests().iter().map(|it| it.header("accept-encoding").map(str::to_owned)).collect();
    assert_eq!(asked, [None, None], "of the provider");
}
