//! Watcher of the plugin folders: calls for a rescan when a library or a signature was added, changed or removed.
//!
//! `commands::serve` runs it beside the listeners, so requests never wait for it. Events of the file system are only hints to
//! scan the folders again; a change is what two scans show. So a folder that is removed and made again, a file system
//! without events and a lost event need no code of their own. Deliberately absent: what a change means for the plugins,
//! which the caller's `rescan` decides.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use llmux_core::plugins::{PluginEvent, PluginEventKind, Registry};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// Time without a change after which the folders count as settled, because files are written in pieces.
const QUIET: Duration = Duration::from_millis(300);

/// Longest time to wait until the folders settle, so that one file that keeps changing does not delay the others.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Interval between two scans without an event.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);

/// Every folder, library and signature, with its fingerprint; `None` if it has none. A scan opens no file.
type Scan = Vec<(PathBuf, Option<Fingerprint>)>;

/// Properties of a file that change when the file changes.

#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, permissions, owner and time of the last change of any of these; zeros on systems without them.
    identity: [u64; 6],
}

/// Watches until it is dropped. `rescan` brings the instances up to date, and returns false if it has to run again.
pub(crate) async fn run<Rescan>(dirs: Vec<PathBuf>, plugins: &Registry, rescan: impl Fn() -> Rescan)
where
    Rescan: Future<Output = bool>,
{
    let mut watcher = FolderWatcher::new(dirs);
    let mut events = plugins.subscribe();
    // The scan that the last rescan saw; `None` if it must be repeated.
    let mut known = None;
    loop {
        let scan = watcher.scan().await;
        if known.as_ref() != Some(&scan) {
            let settled = watcher.settle(scan).await;
            known = rescan().await.then_some(settled);
        }
        tokio::select! {
            () = watcher.hints.notify.notified() => {}
            () = sleep(SCAN_INTERVAL) => {}
            () = unloaded(&mut events) => known = None,
        }
    }
}

/// Waits until an instance is unloaded, because a library may wait for its name or its place.
async fn unloaded(events: &mut broadcast::Receiver<PluginEvent>) {
    loop {
        match events.recv().await {
            Ok(event) if event.kind != PluginEventKind::Unloaded => {}
            Ok(_) | Err(RecvError::Lagged(_)) => {
                // One rescan covers all of them.
                *events = events.resubscribe();
                return;
            }
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The folders, and the events of the file system about them.
struct FolderWatcher {
    dirs: Vec<PathBuf>,
    hints: Arc<Hints>,
    /// `None` if the system has no events; then only the interval causes scans.
    events: Option<RecommendedWatcher>,
    /// Device and inode of each watched folder. Another folder of the same name is watched again.
    watched: HashMap<PathBuf, [u64; 2]>,
}

/// Hints of the file system.
#[derive(Default)]
struct Hints {
    /// True if an event came after the last reset.
    changed: AtomicBool,
    /// Notified by each event.
    notify: Notify,
}

impl FolderWatcher {
    fn new(dirs: Vec<PathBuf>) -> Self {
        let hints = Arc::new(Hints::default());
        let on_event = {
            let hints = hints.clone();
            move |event: notify::Result<Event>| {
                if event.is_ok_and(|event| !is_relevant(&event)) {
                    return;
                }
                hints.changed.store(true, Ordering::Release);
                hints.notify.notify_one();
            }
        };
        let events = notify::recommended_watcher(on_event);
        let events = events.inspect_err(|error| {
            tracing::warn!("plugin folders are scanned every {SCAN_INTERVAL:?}, without events of the file system: {error}");
        });
        Self { dirs, hints, events: events.ok(), watched: HashMap::new() }
    }

    /// Scans all folders, and watches those that exist now.
    async fn scan(&mut self) -> Scan {
        let dirs = self.dirs.clone();
        let scan = spawn_blocking(move || dirs.iter().flat_map(|dir| scan(dir)).collect::<Scan>()).await;
        let scan = scan.unwrap_or_default();
        self.watch(&scan);
        scan
    }

    /// Watches the folders of a scan, and no others.
    fn watch(&mut self, scan: &Scan) {
        let Some(events) = &mut self.events else { return };
        for dir in &self.dirs {
            let now =
                scan.iter().find(|(path, _)| path == dir).and_then(|(_, fingerprint)| fingerprint.as_ref());
            let now = now.map(|fingerprint| [fingerprint.identity[0], fingerprint.identity[1]]);
            if self.watched.get(dir).copied() == now {
                continue;
            }
            if self.watched.remove(dir).is_some() {
                // Fails if the watch ended with the folder.
                let _ = events.unwatch(dir);
            }
            if let Some(now) = now {
                match events.watch(dir, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    Err(error) => tracing::warn!(
                        "plugin folder {} is scanned every {SCAN_INTERVAL:?}, without events of the file system: {error}",
                        dir.display()
                    ),
                }
                self.watched.insert(dir.clone(), now);
            }
        }
    }

    /// Waits until two scans are equal and no event came between them, at most [`MAX_WAIT`].
    async fn settle(&mut self, mut scan: Scan) -> Scan {
        let end = Instant::now() + MAX_WAIT;
        loop {
            self.hints.changed.store(false, Ordering::Release);
            sleep(QUIET).await;
            let now = self.scan().await;
            let has_settled = now == scan && !self.hints.changed.load(Ordering::Acquire);
            scan = now;
            if has_settled {
                return scan;
            }
            if Instant::now() > end {
                tracing::warn!(
                    "a plugin folder has kept changing for {MAX_WAIT:?}; complete libraries are loaded now"
                );
                return scan;
            }
        }
    }
}

/// Returns true if the event may concern a library or a signature. Events of reading do not, because each rescan reads all
/// files.
fn is_relevant(event: &Event) -> bool {
    let is_reading =
        matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    !is_reading
        && (event.paths.is_empty() || event.paths.iter().any(|path| is_plugin_file(path) || path.is_dir()))
}

/// Returns true for the path of a library or of a signature.
fn is_plugin_file(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|it| it == std::env::consts::DLL_EXTENSION || it == "minisig")
}

/// Scans one folder.
fn scan(dir: &Path) -> Scan {
    let files = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| is_plugin_file(path));
        files.sort();
        Ok(files)
    };
    let files = files().unwrap_or_default();
    let folder = (dir.to_owned(), fs::metadata(dir).ok().map(|metadata| folder_fingerprint(&metadata)));
    // A symlink counts with its target's folder, because a user who may write there could replace the target.
    let files = files.into_iter().flat_map(|path| {
        let target = fs::read_link(&path).and_then(|_| path.canonicalize()).ok();
        let folder = target.and_then(|target| target.parent().map(Path::to_owned));
        let folder = folder.map(|folder| {
            let fingerprint = fs::metadata(&folder).ok().map(|metadata| folder_fingerprint(&metadata));
            (folder, fingerprint)
        });
        let fingerprint = fs::metadata(&path).ok().map(|metadata| fingerprint(&metadata));
        [(path, fingerprint)].into_iter().chain(folder)
    });
    [folder].into_iter().chain(files).collect()
}

/// Returns the fingerprint of a folder: its identity, permissions and owner, but not its files.
fn folder_fingerprint(metadata: &fs::Metadata) -> Fingerprint {
    let [device, inode, mode, owner, ..] = identity(metadata);
    Fingerprint { size: 0, modified: None, identity: [device, inode, mode, owner, 0, 0] }
}

fn fingerprint(metadata: &fs::Metadata) -> Fingerprint {
    Fingerprint { size: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> [u64; 6] {
    use std::os::unix::fs::MetadataExt;
    let number = |signed: i64| u64::try_from(signed).unwrap_or_default();
    [
        metadata.dev(),
        metadata.ino(),
        metadata.mode().into(),
        metadata.uid().into(),
        number(metadata.ctime()),
        number(metadata.ctime_nsec()),
    ]
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> [u64; 6] {
    [0; 6]
}
