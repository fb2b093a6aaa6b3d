//! A run: starts the mock provider and all peers, and measures every case round by round, one load at a time.
//!
//! `main` calls it. All peers are up at once, and the rounds go around them, so that a change of the machine meets all of
//! them. Deliberately absent: one load (`measure`), and everything that is shown in the end.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use llmux_terminal::print_error;
use tokio::time::{Instant, sleep};

use crate::{
    case::Case,
    exchange::{Kind, PATH},
    launch::{Absent, Places, processors},
    load::Load,
    measure::measure,
    peer::Peer,
    process::Process,
    results::{Results, Round, Series},
};

/// Time in which a program must give its first response.
const MAX_START: Duration = Duration::from_secs(30);

/// Time of the load before the rounds of a case, which is not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Settings of a run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) cases: Vec<Case>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) envoy: Option<PathBuf>,
}

/// A peer that answers.
struct Running {
    peer: Peer,
    address: SocketAddr,
    /// `None` without a gateway.
    process: Option<Process>,
}

/// Runs the benchmark.
///
/// # Errors
///
/// If a program does not start or gives a wrong response. The message names the peer and the case.
pub(crate) async fn run(settings: &Settings) -> Result<Results, String> {
    let this = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let folder = tempfile::Builder::new().prefix("llmux-bench-").tempdir();
    let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
    // The workers of nginx have another user if root starts it, and keep large bodies in this folder.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .map_err(|error| format!("cannot open {} to nginx: {error}", folder.path().display()))?;
    let upstream = free_address()?;
    let places = Places {
        upstream,
        folder: folder.path().to_owned(),
        programs: this.parent().unwrap_or(Path::new(".")).to_owned(),
        envoy: settings.envoy.clone(),
    };
    let mut results = Results {
        machine: machine(),
        seconds: settings.time.as_secs_f64(),
        rounds: settings.rounds,
        ..Results::default()
    };
    // Everything is prepared first: cargo may have to build, and a missing file is reported before the first load.
    let mut programs = Vec::new();
    for &peer in &settings.peers {
        let address = if peer == Peer::Direct { upstream } else { free_address()? };
        match peer.prepare(&places, address) {
            Ok(program) => programs.push((peer, address, program)),
            Err(Absent::NotInstalled(why)) => print_error(&format!("{} is left out: {why}\n", peer.name())),
            Err(Absent::Failed(why)) => return Err(format!("{}: {why}", peer.name())),
        }
    }
    let mut provider = Command::new(&this);
    provider.args(["upstream", &upstream.port().to_string()]);
    let mut provider = Process::start(provider, "upstream", &places.folder)?;
    wait_for(Peer::Direct, upstream, Some(&mut provider)).await?;
    let mut peers = Vec::new();
    for (peer, address, program) in programs {
        let process = match program {
            Some(program) => {
                results.versions.insert(peer.title().split(',').next().unwrap_or_default(), program.version);
                let process = Process::start(program.command, &peer.name(), &places.folder);
                Some(process.map_err(|error| format!("{}: {error}", peer.name()))?)
            }
            None => None,
        };
        let mut running = Running { peer, address, process };
        wait_for(peer, address, running.process.as_mut()).await?;
        peers.push(running);
    }
    for &case in &settings.cases {
        results.series.extend(run_case(case, &mut peers, settings).await?);
    }
    Ok(results)
}

/// Waits for the first response of a program.
async fn wait_for(peer: Peer, address: SocketAddr, mut process: Option<&mut Process>) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let load = load(Case::C1, peer, address);
        let Err(error) = (Load { is_hit: None, ..load }).of_requests(1).run().await else { return Ok(()) };
        if let Some(process) = process.as_deref_mut() {
            process.check().map_err(|error| format!("{}: {error}", peer.name()))?;
        }
        if start.elapsed() > MAX_START {
            let log = process.map(|process| process.log_end()).unwrap_or_default();
            let limit = MAX_START.as_secs();
            return Err(format!("{} is not ready after {limit} s: {error}; its log: {log}", peer.name()));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Measures a case: a warm-up of each peer, and then the rounds.
async fn run_case(case: Case, peers: &mut [Running], settings: &Settings) -> Result<Vec<Series>, String> {
    // The rounds of a burst follow each other at once, within one load.
    let rounds = if case == Case::Burst { 1 } else { settings.rounds };
    let mut series = Vec::new();
    let mut taking_part: Vec<_> = peers.iter_mut().filter(|running| case.applies_to(running.peer)).collect();
    print_error(&format!("{}: warm-up\n", case.name()));
    for running in &mut taking_part {
        running.warm_up(case).await?;
        series.push(Series { case, peer: running.peer, rounds: Vec::new() });
    }
    for round in 1..=rounds {
        print_error(&format!("{}: round {round} of {rounds}\n", case.name()));
        for (running, series) in taking_part.iter_mut().zip(&mut series) {
            series.rounds.push(running.round(case, settings.time).await?);
        }
    }
    Ok(series)
}

impl Running {
    /// Fills caches and connections. Without a cache to fill, a case of large bodies needs one request only.
    async fn warm_up(&mut self, case: Case) -> Result<(), String> {
        let load = Load { is_hit: None, ..load(case, self.peer, self.address) };
        let one = Load { connections: 1, ..load.clone() }.of_requests(1).run().await;
        let all = match (one, case) {
            (Ok(_), Case::Burst) => Ok(()),
            (Ok(_), _) => load.of_time(WARM_UP).run().await.map(drop),
            (Err(error), _) => Err(error),
        };
        self.named(case, all)
    }

    async fn round(&mut self, case: Case, time: Duration) -> Result<Round, String> {
        let process = self.process.as_ref().map(Process::id);
        let measured = measure(case, load(case, self.peer, self.address), process, time).await;
        let round = self.named(case, measured)?;
        self.process.iter().for_each(Process::clear_log);
        Ok(round)
    }

    /// Names the peer and the case in an error. If the program has ended, the error has its log.
    fn named<T>(&mut self, case: Case, result: Result<T, String>) -> Result<T, String> {
        result.map_err(|error| {
            let ended = self.process.as_mut().and_then(|process| process.check().err());
            let error = ended.map_or_else(|| error.clone(), |ended| format!("{error}; {ended}"));
            format!("{} in {}: {error}", self.peer.name(), case.name())
        })
    }
}

/// The load of a case for a peer.
fn load(case: Case, peer: Peer, address: SocketAddr) -> Load {
    let kind = case.kind();
    Load {
        address,
        request: request(kind, case.body_bytes(), peer.headers(), address),
        kind,
        connections: case.connections(),
        time: Duration::ZERO,
        requests_each: 0,
        is_hit: Some(peer.hits()),
    }
}

/// A whole request.
fn request(kind: Kind, bytes: usize, headers: &str, address: SocketAddr) -> Bytes {
    let body = kind.request_body(bytes);
    Bytes::from(format!(
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         authorization: Bearer sk-bench\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    ))
}

/// Returns an address of loopback that no process listens on.
fn free_address() -> Result<SocketAddr, String> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.map_err(|error| format!("cannot find a free port on loopback: {error}"))
}

/// Kind of this machine.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor of unknown model", |(_, model)| model.trim());
    format!("{} {}, {} processors ({model})", env::consts::ARCH, env::consts::OS, processors())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_headers_of_its_peer_and_a_body_of_the_length_that_it_says() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let request = load(Case::C1, Peer::LlmuxFour, address).request;
        let text = std::str::from_utf8(&request).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.contains("\r\ncache-control: no-cache") && head.contains("\r\ncontent-length: 1024\r\n")
        );
        assert_eq!(body.len(), 1024);
    }
}
