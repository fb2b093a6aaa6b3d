//! Tests of a link with servers as people run them: with TLS, users and databases, in a cluster and behind sentinels; and with
//! servers that are paused, full or read-only.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use llmux_redis_link::{
    Error, Link, RedisConfig, redis,
    testing::{Cluster, RedisServer, free_port},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A timeout that is longer than a machine under load takes to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The reports of a link's health: true for degraded.
type Reports = Arc<Mutex<Vec<bool>>>;

fn open(change: impl FnOnce(&mut RedisConfig)) -> (Link, Reports) {
    let mut config = RedisConfig::new("", TIMEOUT);
    change(&mut config);
    let reports = Reports::default();
    let told = Arc::clone(&reports);
    let report = move |is_degraded| told.lock().expect("reports").push(is_degraded);
    (Link::open(&config, Box::new(report)).expect("a link"), reports)
}

async fn command(link: &Link, words: &[&str]) -> Result<String, Error> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    link.call(async move |mut connection| command.query_async(&mut connection).await).await
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(30), "it never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_with_tls_is_checked_against_the_ca_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        fs::write(path(name), params.self_signed(&key).expect("a certificate").pem()).expect("a file");
        Issuer::new(params, key)
    };
    let (issuer, _) = (authority("ca.pem"), authority("other.pem"));
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    fs::write(path("cert.pem"), certificate.pem()).expect("a file");
    fs::write(path("key.pem"), key.serialize_pem()).expect("a file");
    let port = free_port().expect("a port").to_string();
    let _server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
    ])
    .expect("a server");
    for (ca, accepted) in [(Some("ca.pem"), true), (Some("other.pem"), false), (None, false)] {
        let (link, _) = open(|config| {
            config.url = Some(format!("rediss://localhost:{port}"));
            config.ca_file = ca.map(|ca| path(ca).into());
        });
        assert_eq!(command(&link, &["PING"]).await.is_ok(), accepted, "{ca:?}");
    }
}

#[tokio::test]
async fn users_and_databases_of_the_url_are_used() {
    let server =
        RedisServer::start_with(&["--user", "ann", "on", ">secret", "~*", "+@all", "--requirepass", "other"])
            .expect("a server");
    let port = server.port();
    for (url, accepted) in [
        (format!("redis://ann:secret@127.0.0.1:{port}/3"), true),
        (format!("valkey://:other@127.0.0.1:{port}/3"), true),
        (format!("redis://ann:wrong@127.0.0.1:{port}"), false),
        (format!("redis://127.0.0.1:{port}"), false),
    ] {
        let (link, reports) = open(|config| config.url = Some(url.clone()));
        let info = command(&link, &["CLIENT", "INFO"]).await;
        assert_eq!(info.is_ok(), accepted, "{url}");
        assert!(info.is_err() || info.is_ok_and(|info| info.contains(" db=3 ")), "{url}");
        assert_eq!(*reports.lock().expect("reports"), [!accepted], "{url}");
    }
}

#[tokio::test]
async fn a_cluster_is_one_server() {
    let cluster = Cluster::start().expect("a cluster");
    // One server leads to all of them.
    let (link, reports) = open(|config| {
        config.url = Some(cluster.servers[1].url());
        config.cluster = true;
    });
    for number in 0..30 {
        let key = format!("key-{number}");
        assert_eq!(command(&link, &["SET", &key, "x"]).await.expect("a reply"), "OK");
        assert_eq!(command(&link, &["GET", &key]).await.expect("a reply"), "x");
    }
    let keys = cluster.servers.iter().map(|server| server.command(&["DBSIZE"]).expect("a reply"));
    assert!(keys.clone().all(|size| size != ":0\r\n"), "{:?}", keys.collect::<Vec<_>>());
    assert_eq!(*reports.lock().expect("reports"), [false]);
    drop(cluster);
    until(async || command(&link, &["GET", "key-1"]).await.is_err()).await;
    until(async || matches!(command(&link, &["GET", "key-1"]).await, Err(Error::Away))).await;
    assert_eq!(*reports.lock().expect("reports"), [false, true]);
}

#[tokio::test]
async fn a_paused_server_is_waited_for_once() {
    let server = RedisServer::start().expect("a server");
    let timeout = Duration::from_millis(500);
    let (link, reports) = open(|config| (config.url, config.timeout) = (Some(server.url()), timeout));
    until(async || command(&link, &["PING"]).await.is_ok()).await;
    server.pause().expect("a signal");
    let first = command(&link, &["GET", "x"]).await;
    assert!(matches!(first, Err(Error::TimedOut)), "{first:?}");
    let second = command(&link, &["GET", "x"]).await;
    assert!(matches!(second, Err(Error::Away)), "{second:?}");
    assert_eq!(reports.lock().expect("reports").last(), Some(&true));
    server.resume().expect("a signal");
    until(async || command(&link, &["PING"]).await.is_ok()).await;
    assert_eq!(reports.lock().expect("reports").last(), Some(&false));
}

#[tokio::test]
async fn a_full_server_is_read_and_is_degraded() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).expect("a server");
    let (link, reports) = open(|config| config.url = Some(server.url()));
    command(&link, &["SET", "x", "1"]).await.expect("a reply");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).expect("a reply");
    assert!(matches!(command(&link, &["SET", "x", "2"]).await, Err(Error::Failed(_))));
    assert_eq!(command(&link, &["GET", "x"]).await.expect("the connection stays"), "1");
    assert_eq!(*reports.lock().expect("reports"), [false, true]);
}

#[tokio::test]
async fn a_read_only_server_is_read_and_is_degraded() {
    let master = RedisServer::start().expect("a server");
    let port = master.port().to_string();
    let server = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).expect("a server");
    let (link, reports) = open(|config| config.url = Some(server.url()));
    until(async || command(&link, &["PING"]).await.is_ok()).await;
    let refused = command(&link, &["SET", "x", "2"]).await;
    assert!(matches!(&refused, Err(Error::Failed(error)) if error.code() == Some("READONLY")), "{refused:?}");
    assert_eq!(command(&link, &["PING"]).await.expect("the connection stays"), "PONG");
    assert_eq!(reports.lock().expect("reports").last(), Some(&true));
}

/// Waits in real time for a replica that became a master, as after a failover behind one name.
#[tokio::test]
#[ignore = "takes 15 seconds; .ci/full runs it"]
async fn a_refusal_is_forgotten_after_ten_seconds() {
    let server = RedisServer::start().expect("a server");
    let (link, reports) = open(|config| config.url = Some(server.url()));
    command(&link, &["SET", "x", "1"]).await.expect("a reply");
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).expect("a reply");
    assert!(command(&link, &["SET", "x", "2"]).await.is_err());
    assert_eq!(*reports.lock().expect("reports"), [false, true]);
    server.command(&["REPLICAOF", "NO", "ONE"]).expect("a reply");
    until(async || command(&link, &["SET", "x", "2"]).await.is_ok()).await;
    until(async || *reports.lock().expect("reports") == [false, true, false]).await;
}

#[tokio::test]
#[ignore = "takes 20 seconds; .ci/full runs it"]
async fn the_master_of_the_sentinels_is_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut master = RedisServer::start().expect("a server");
    let port = master.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).expect("a server");
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor main 127.0.0.1 {port} 1\nsentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 5000\n"
    );
    fs::write(&file, text).expect("a file");
    let sentinel = RedisServer::start_sentinel(&file).expect("a sentinel");
    let (link, reports) = open(|config| {
        config.url = Some(sentinel.url());
        config.sentinel = Some("main".to_owned());
    });
    until(async || command(&link, &["SET", "x", "1"]).await.is_ok()).await;
    until(async || replica.command(&["GET", "x"]).is_ok_and(|reply| reply.ends_with("1\r\n"))).await;
    // The sentinel must know the replica, or it has no server to promote.
    until(async || sentinel.command(&["SENTINEL", "replicas", "main"]).is_ok_and(|reply| reply.len() > 50))
        .await;
    master.kill();
    until(async || command(&link, &["SET", "x", "2"]).await.is_ok()).await;
    assert!(replica.command(&["GET", "x"]).expect("a reply").ends_with("2\r\n"));
    assert!(reports.lock().expect("reports").starts_with(&[false, true, false]));
}
