//! A thousand reloads under constant load: `cargo build --release -p llmux-gateway --bins --examples`, then
//! `target/release/examples/reloads [RELOADS [process]]`. With `process`, the plugin runs in a child process.
//!
//! Starts `llmux`, loads the example `edition`, and replaces it by another version and back while clients send plain
//! and streaming requests over kept connections. Every request must be answered, by one version from its first hook
//! to its last. Prints failures (there must be none), and the server's memory, file descriptors and threads before
//! and after, with the differences by name. A runtime's threads for blocking work end after ten idle seconds, so the
//! last figures are taken from an idle server, as the first ones are. Linux only: the figures are read from `/proc`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use llmux_testing::program::with_provider;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: usize = 4;
const MARKERS: [&str; 2] = ["llmux-edition-marker-one", "llmux-edition-marker-two"];

#[derive(Default)]
struct Tally {
    plain: AtomicU64,
    streams: AtomicU64,
    failures: AtomicU64,
    by_edition: [AtomicU64; 2],
    stop: AtomicBool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let reloads: usize = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let isolation = std::env::args().nth(2).unwrap_or_else(|| "none".to_owned());
    let here = std::env::current_exe()?;
    let examples = here.parent().ok_or("no folder")?;
    let program = examples.parent().ok_or("no folder")?.join("llmux");
    let library = format!("{}edition{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let one = fs::read(examples.join(&library))?;
    let two = replaced(&one, MARKERS[0].as_bytes(), MARKERS[1].as_bytes());
    let version = concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\"");
    let other = format!("{:width$}", "\"version\":\"0.9.0\"", width = version.len());
    let editions = [replaced(&two, version.as_bytes(), other.as_bytes()), one];

    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("llmux.toml"), with_provider("[plugins]\nmax_retired_images = 1000000\n"))?;
    let mut server = Command::new(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("RUST_LOG", "warn,llmux::audit=off")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut line).await?;
    let mut urls = line.split([' ', ',']).filter(|word| word.starts_with("http://")).map(str::to_owned);
    let (api, admin) = (urls.next().ok_or("no address")?, urls.next().ok_or("no admin address")?);
    let port = admin.rsplit(':').next().ok_or("no port")?;
    let token = fs::read_to_string(folder.path().join(format!("llmux/admin-{port}.token")))?;
    let id = server.id().ok_or("it ended")?;

    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let file = folder.path().join(&library);
    fs::write(&file, &editions[1])?;
    let plugins = format!("{admin}/admin/plugins");
    let loaded = http
        .post(&plugins)
        .bearer_auth(&token)
        .json(&json!({"path": file, "isolation": isolation}))
        .send()
        .await?;
    loaded.error_for_status()?;

    let resting = rest(id).await?;
    println!("resting: {resting}");
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(client(http.clone(), api.clone(), tally.clone()))).collect();
    // Warms up, so that connections, threads and caches exist before the measurement: a reload needs a connection and a
    // thread, which the next reload uses again.
    for _ in 0..20 {
        http.post(format!("{plugins}/edition/reload"))
            .bearer_auth(&token)
            .send()
            .await?
            .error_for_status()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = Figures::of(id)?;
    println!("before:  {before}");

    let begun = Instant::now();
    let mut times = Vec::with_capacity(reloads);
    for count in 0..reloads {
        replace(&file, &editions[count % 2])?;
        let asked = Instant::now();
        let answer = http.post(format!("{plugins}/edition/reload")).bearer_auth(&token).send().await?;
        let (status, info): (_, Value) = (answer.status(), answer.json().await?);
        times.push(asked.elapsed());
        let version = ["0.9.0", env!("CARGO_PKG_VERSION")][count % 2];
        if !status.is_success() || info["version"] != version {
            return Err(format!("reload {count}: {status} {info}").into());
        }
        if (count + 1) % 250 == 0 {
            println!("{:6}:  {}", count + 1, Figures::of(id)?);
        }
    }
    let took = begun.elapsed();
    // The last replaced image is retired after its requests have ended.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = Figures::of(id)?;
    tally.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    drop(http);
    let rested = rest(id).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let list: Value = http.get(&plugins).send().await?.json().await?;
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    print!("after:   {after}\n{}", after.since(&before));
    print!("resting: {rested}\n{}", rested.since(&resting));
    println!("reloads: {reloads} in {took:.1?}, each p50 {:.1?}, p99 {:.1?}", at(50), at(99));
    println!(
        "requests: {} plain, {} streaming, {} by one edition, {} by the other",
        count(&tally.plain),
        count(&tally.streams),
        count(&tally.by_edition[0]),
        count(&tally.by_edition[1])
    );
    println!("retired images: {}", list["retired"]);
    let growth = after.memory.saturating_sub(before.memory);
    println!("memory: {} KiB more, {} KiB a reload", growth, growth / reloads.max(1) as u64);
    println!("failures: {}", count(&tally.failures));
    match count(&tally.failures) {
        0 => Ok(()),
        _ => Err("requests failed".into()),
    }
}

/// Returns the figures of a server that has had no request for longer than its idle threads live. Kept connections may
/// still be open.
async fn rest(id: u32) -> Result<Figures> {
    tokio::time::sleep(Duration::from_secs(12)).await;
    Figures::of(id)
}

/// Replaces the file in one step, as a deployment does: a reader gets the whole old file or the whole new one.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, bytes)?;
    Ok(fs::rename(&new, file)?)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = memchr::memmem::find_iter(&bytes, from).collect();
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to);
    }
    bytes
}

async fn client(http: reqwest::Client, api: String, tally: Arc<Tally>) {
    let url = format!("{api}/v1/chat/completions");
    let mut streams = false;
    while !tally.stop.load(Ordering::Relaxed) {
        match ask(&http, &url, streams).await {
            Ok(edition) => {
                tally.by_edition[edition].fetch_add(1, Ordering::Relaxed);
                let kind = if streams { &tally.streams } else { &tally.plain };
                kind.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                eprintln!("failed: {error}");
                tally.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        streams = !streams;
    }
}

/// Sends one request, and returns the edition that answered it, from its first hook to its last.
async fn ask(http: &reqwest::Client, url: &str, streams: bool) -> Result<usize> {
    let body = json!({"model": "echo", "stream": streams, "messages": [{"role": "user", "content": "one two three four"}]});
    let response = http.post(url).json(&body).send().await?.error_for_status()?;
    let header = response.headers().get("x-edition").ok_or("no plugin answered")?.to_str()?.to_owned();
    let text = response.text().await?;
    let answers: Vec<&str> = match streams {
        false => vec![&text],
        true if !text.ends_with("data: [DONE]\n\n") => return Err("the stream broke off".into()),
        true => {
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|it| *it != "[DONE]").collect()
        }
    };
    for answer in answers {
        let answer: Value = serde_json::from_str(answer)?;
        if answer["edition"] != *header || answer["began_with"] != *header {
            return Err(format!("two editions in one request: {header} and {answer}").into());
        }
    }
    MARKERS
        .iter()
        .position(|marker| *marker == header)
        .ok_or_else(|| format!("unknown edition {header}").into())
}

/// Resources of a process.
struct Figures {
    /// Resident memory, in KiB.
    memory: u64,
    /// Number of threads by name.
    threads: BTreeMap<String, usize>,
    /// Number of file descriptors by name.
    files: BTreeMap<String, usize>,
}

impl Figures {
    fn of(id: u32) -> Result<Self> {
        let process = format!("/proc/{id}");
        let status = fs::read_to_string(format!("{process}/status"))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory =
            memory.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or("no figure")?;
        let sockets = sockets(&format!("{process}/net/tcp"))?;
        let (mut threads, mut files) = (BTreeMap::new(), BTreeMap::new());
        for thread in fs::read_dir(format!("{process}/task"))? {
            // A thread that ends meanwhile is left out.
            if let Ok(name) = fs::read_to_string(thread?.path().join("comm")) {
                *threads.entry(name.trim().to_owned()).or_insert(0) += 1;
            }
        }
        for file in fs::read_dir(format!("{process}/fd"))? {
            if let Ok(link) = fs::read_link(file?.path()) {
                let link = link.to_string_lossy().into_owned();
                let name = sockets.get(&link).cloned().unwrap_or(link);
                // Without the number of a pipe.
                let name = if name.starts_with("pipe:") { "pipe".to_owned() } else { name };
                *files.entry(name).or_insert(0) += 1;
            }
        }
        Ok(Self { memory, threads, files })
    }

    /// Returns the names whose number has changed, a line each.
    fn since(&self, before: &Self) -> String {
        let mut lines = String::new();
        for (what, after, before) in
            [("thread", &self.threads, &before.threads), ("file", &self.files, &before.files)]
        {
            let mut names: Vec<_> = after.keys().chain(before.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let count = |figures: &BTreeMap<String, usize>| figures.get(name).copied().unwrap_or(0);
                if count(after) != count(before) {
                    lines += &format!("         {what} {name}: {} -> {}\n", count(before), count(after));
                }
            }
        }
        if lines.is_empty() { "         the same threads and files\n".to_owned() } else { lines }
    }
}

/// Describes a process's sockets, by their names in `/proc`: `tcp :PORT listens`, or `tcp :PORT` for a connection.
fn sockets(table: &str) -> Result<BTreeMap<String, String>> {
    let table = fs::read_to_string(table)?;
    let sockets = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        let listens = if *state == "0A" { " listens" } else { "" };
        Some((format!("socket:[{inode}]"), format!("tcp :{port}{listens}")))
    });
    Ok(sockets.collect())
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = |figures: &BTreeMap<String, usize>| figures.values().sum::<usize>();
        let Self { memory, threads, files } = self;
        write!(f, "{memory} KiB resident, {} threads, {} file descriptors", count(threads), count(files))
    }
}
