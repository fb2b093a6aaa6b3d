//! A provider's server that follows the script of a test exactly, byte by byte, including misbehavior.
//!
//! Tests start a server, script its answers and point a provider at it. It is a real server on a real socket, so that
//! tests run the code of production. It is not a general HTTP server: a request has a `content-length` or no body.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use llmux_core::{
    Endpoint,
    provider::{Call, Events, Provider},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    task::JoinHandle,
};

use crate::{
    provider::lock,
    response::{End, ScriptedResponse, Step},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method, such as `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in their order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Bytes,
}

impl Received {
    /// Returns the first header of a name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }
}

/// A server with scripted answers. It ends when it is dropped, with its connections.
pub struct ScriptedServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    answers: Mutex<VecDeque<ScriptedResponse>>,
    /// Provider that answers all requests; `None` if the script does.
    provider: Option<Arc<dyn Provider>>,
    requests: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    /// Number of body bytes that the sockets have accepted.
    sent: AtomicUsize,
    /// Permits: one for each connection that a client has closed and that [`ScriptedServer::closed`] has not reported
    /// yet.
    closed: Semaphore,
}

impl ScriptedServer {
    /// Starts a server that gives these answers, one to each request, in the order in which requests arrive. A
    /// request without an answer gets status 500 and an error that says so.
    ///
    /// # Panics
    ///
    /// If the loopback interface has no free port.
    pub async fn start(answers: impl IntoIterator<Item = ScriptedResponse>) -> Self {
        Self::run(answers.into_iter().collect(), None).await
    }

    /// Starts a server that passes every chat request to a provider, and answers as an API would.
    ///
    /// # Panics
    ///
    /// If the loopback interface has no free port.
    pub async fn serving(provider: Arc<dyn Provider>) -> Self {
        Self::run(VecDeque::new(), Some(provider)).await
    }

    async fn run(answers: VecDeque<ScriptedResponse>, provider: Option<Arc<dyn Provider>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers),
            provider,
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            closed: Semaphore::new(0),
        });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, server }
    }

    /// Returns the base URL, as a provider takes it: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an answer at the end of the script.
    pub fn push(&self, answer: ScriptedResponse) {
        lock(&self.shared.answers).push_back(answer);
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.shared.requests).clone()
    }

    /// Returns the number of connections that clients have opened so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Returns the number of body bytes that the sockets have accepted so far. Bytes under way to a client are
    /// included, so that the number may exceed what clients have read.
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Relaxed)
    }

    /// Waits until a client has closed a connection. Each closed connection is reported once. Connections that the
    /// script closed do not count.
    pub async fn closed(&self) {
        if let Ok(permit) = self.shared.closed.acquire().await {
            permit.forget();
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Relaxed);
        let shared = shared.clone();
        connections.spawn(async move {
            // Otherwise small pieces wait for each other, and a script is not what is sent.
            let _ = connection.set_nodelay(true);
            if converse(connection, &shared).await.is_err() {
                shared.closed.add_permits(1);
            }
        });
    }
}

/// Serves one connection. Returns `Ok` if the script ended it, an error if the client did.
async fn converse(connection: TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut reader, mut writer) = connection.into_split();
    let mut buffer = BytesMut::new();
    loop {
        let request = receive(&mut reader, &mut buffer).await?;
        lock(&shared.requests).push(request.clone());
        let scripted = lock(&shared.answers).pop_front();
        // The client may go away while it is answered, and that is to be noticed at once.
        let end = tokio::select! {
            end = answer(&request, scripted, &mut writer, shared) => end?,
            gone = watch(&mut reader, &mut buffer) => return Err(gone),
        };
        match end {
            End::Proper => {}
            End::Close => return Ok(()),
            End::Hang => return Err(watch(&mut reader, &mut buffer).await),
        }
    }
}

/// Reads one request.
async fn receive(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<Received> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(reader, buffer).await?;
    };
    let head = buffer.split_to(head_end);
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut received = Received { method, path, headers, body: Bytes::new() };
    let length = received.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        read_some(reader, buffer).await?;
    }
    received.body = buffer.split_to(length).freeze();
    Ok(received)
}

async fn read_some(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Result<()> {
    match reader.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads ahead until the client has disconnected.
async fn watch(reader: &mut OwnedReadHalf, buffer: &mut BytesMut) -> io::Error {
    loop {
        if let Err(gone) = read_some(reader, buffer).await {
            return gone;
        }
    }
}

/// Answers a request.
async fn answer(
    request: &Received,
    scripted: Option<ScriptedResponse>,
    writer: &mut OwnedWriteHalf,
    shared: &Shared,
) -> io::Result<End> {
    let Some(provider) = &shared.provider else {
        let none = r#"{"error":{"message":"the script has no answer for this request"}}"#;
        return give(&scripted.unwrap_or_else(|| ScriptedResponse::json(500, none)), writer, &shared.sent)
            .await;
    };
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let call = Call::new(Endpoint::ChatCompletions, request.body.clone(), "r");
    let error = if body["stream"] == true {
        match provider.stream(call).await {
            Ok(events) => return relay(events.content, writer, &shared.sent).await,
            Err(error) => error,
        }
    } else {
        match provider.send(call).await {
            Ok(document) => {
                return give(&ScriptedResponse::json(200, document.content.to_bytes()), writer, &shared.sent)
                    .await;
            }
            Err(error) => error,
        }
    };
    give(&ScriptedResponse::json(error.status(), error.body()), writer, &shared.sent).await
}

/// Passes a provider's stream to the client. An error closes the connection.
async fn relay(mut events: Events, writer: &mut OwnedWriteHalf, sent: &AtomicUsize) -> io::Result<End> {
    let empty: [Bytes; 0] = [];
    if let Some(head) = ScriptedResponse::sse(empty).head {
        writer.write_all(&head.to_bytes()).await?;
    }
    while let Some(event) = events.next().await {
        let Ok(event) = event else { return Ok(End::Close) };
        write_piece(&[b"data: ", &event.data[..], b"\n\n"].concat(), true, writer, sent).await?;
    }
    write_piece(b"data: [DONE]\n\n", true, writer, sent).await?;
    writer.write_all(LAST_CHUNK).await?;
    Ok(End::Proper)
}

/// Last chunk of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Sends a scripted answer.
async fn give(answer: &ScriptedResponse, writer: &mut OwnedWriteHalf, sent: &AtomicUsize) -> io::Result<End> {
    let chunked = answer.head.as_ref().is_some_and(|head| head.chunked);
    if let Some(head) = &answer.head {
        writer.write_all(&head.to_bytes()).await?;
    }
    for step in &answer.steps {
        match step {
            Step::Pause(pause) => tokio::time::sleep(*pause).await,
            Step::Send(piece) => write_piece(piece, chunked, writer, sent).await?,
        }
    }
    if chunked && answer.end == End::Proper {
        writer.write_all(LAST_CHUNK).await?;
    }
    Ok(answer.end)
}

async fn write_piece(
    piece: &[u8],
    chunked: bool,
    writer: &mut OwnedWriteHalf,
    sent: &AtomicUsize,
) -> io::Result<()> {
    // An empty chunk would be the end of the body.
    if chunked && !piece.is_empty() {
        let mut framed = BytesMut::from(format!("{:x}\r\n", piece.len()).as_bytes());
        framed.extend_from_slice(piece);
        framed.extend_from_slice(b"\r\n");
        writer.write_all(&framed).await?;
    } else {
        writer.write_all(piece).await?;
    }
    sent.fetch_add(piece.len(), Relaxed);
    Ok(())
}
