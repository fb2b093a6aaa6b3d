//! A provider with TLS, and the authorities of its certificates, for `tls`.
//!
//! Each connection has a thread and serves one request over HTTP/1.1. Deliberately absent: HTTP/2; a connection that
//! chooses it must end with the handshake.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// A certificate authority.
pub(crate) struct Authority<'f> {
    issuer: Issuer<'static, KeyPair>,
    folder: &'f Path,
}

impl<'f> Authority<'f> {
    /// Makes the authority `common_name`, with its certificate as `FILE.pem`.
    pub(crate) fn new(folder: &'f Path, file: &str, common_name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        fs::write(folder.join(format!("{file}.pem")), pem).expect("written");
        Self { issuer: Issuer::new(params, key), folder }
    }

    /// Makes a certificate of a host, and writes it as `NAME.pem` and its key as `NAME.key`. It ends in this year.
    pub(crate) fn certify(&self, name: &str, host: &str, last_year: i32) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        fs::write(self.folder.join(format!("{name}.pem")), pem).expect("written");
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}

/// The settings of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Name of the server's certificate.
    pub(crate) certificate: &'static str,
    /// Name of the authority of clients; without one, clients show no certificate.
    pub(crate) clients: Option<&'static str>,
    pub(crate) is_tls12: bool,
    /// Chooses HTTP/2 in the handshake.
    pub(crate) is_http2: bool,
}

/// A server on loopback. It serves until the tests end.
pub(crate) struct TlsServer {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    /// Heads of the requests.
    heads: Mutex<Vec<String>>,
}

impl TlsServer {
    /// Starts a server with certificates of a folder. It answers each request with this JSON.
    pub(crate) fn start(folder: &Path, settings: Settings, answer: &'static str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Arc::new(config(folder, settings));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let counted = shared.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                counted.connections.fetch_add(1, Relaxed);
                let (shared, config) = (counted.clone(), config.clone());
                thread::spawn(move || serve(socket, config, &shared, answer));
            }
        });
        Self { port, shared }
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Returns the heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no thread panics").clone()
    }
}

fn config(folder: &Path, settings: Settings) -> ServerConfig {
    let Settings { certificate, clients, is_tls12, is_http2 } = settings;
    let pem = |name: &str| CertificateDer::from_pem_file(folder.join(name)).expect("a certificate");
    let versions = if is_tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let builder = ServerConfig::builder_with_protocol_versions(&[versions]);
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(pem(&format!("{authority}.pem"))).expect("an authority");
            let verifier = WebPkiClientVerifier::builder(roots.into()).build().expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{certificate}.key"))).expect("a key");
    let chain = vec![pem(&format!("{certificate}.pem"))];
    let mut config = builder.with_single_cert(chain, key).expect("a certificate with its key");
    config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

fn serve(mut socket: TcpStream, config: Arc<ServerConfig>, shared: &Shared, answer: &str) {
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let mut connection = ServerConnection::new(config).expect("a connection");
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut request = Vec::new();
    while !is_whole(&request) {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(read) if read > 0 => request.extend_from_slice(&bytes[..read]),
            // The handshake failed, and rustls has sent its alert. A socket that is closed with unread bytes is reset, and
            // the client could lose the alert.
            _ => {
                let _ = socket.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut socket, &mut std::io::sink());
                return;
            }
        }
    }
    let end = memchr::memmem::find(&request, b"\r\n\r\n").expect("whole");
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    shared.heads.lock().expect("no thread panics").push(head);
    let length = answer.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(format!("{head}{answer}").as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// Returns true if the bytes are a whole request with a `content-length`.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    request.len() >= end + 4 + length
}
