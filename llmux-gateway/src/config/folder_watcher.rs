//! Watches the plugin folders: what comes is loaded, what changes is reloaded, what goes is unloaded.
//!
//! The system's events are only hints to look again; what counts is what lies in the folders. So a folder that
//! goes and comes back, a file system without events and an event that was lost are all the same: the next look
//! sees it. What is done about it is `llmux-core`'s (`Registry::rescan`); requests never wait for any of this.

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

/// How long nothing may move before the folders count as settled: copies are written piece by piece.
const QUIET: Duration = Duration::from_millis(300);

/// One file that never settles holds the others up no longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the folders are looked at when no event comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What lies in the folders, as far as it can be told without opening anything: every folder, library and
/// signature, with what changes when it does.
type Sight = Vec<(PathBuf, Option<Mark>)>;

#[derive(Debug, PartialEq, Eq)]
struct Mark {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, rights, owner and the time of the last change of any; nothing on systems without them.
    identity: [u64; 6],
}

/// Watches until it is dropped. `rescan` brings the instances up to date, and returns false if it has to run again.
pub(crate) async fn run<Rescan>(dirs: Vec<PathBuf>, plugins: &Registry, rescan: impl Fn() -> Rescan)
where
    Rescan: Future<Output = bool>,
{
    let mut eyes = Eyes::new(dirs);
    let mut events = plugins.subscribe();
    // What the last look at the libraries saw; nothing where it has to be done again.
    let mut known = None;
    loop {
        let seen = eyes.look().await;
        if known.as_ref() != Some(&seen) {
            let settled = eyes.settle(seen).await;
            known = rescan().await.then_some(settled);
        }
        tokio::select! {
            () = eyes.hints.woken.notified() => {}
            () = sleep(LOOK_EVERY) => {}
            () = freed(&mut events) => known = None,
        }
    }
}

/// Waits until an instance has gone: its name and its place may be what a library waits for.
async fn freed(events: &mut broadcast::Receiver<PluginEvent>) {
    loop {
        match events.recv().await {
            Ok(event) if event.kind != PluginEventKind::Unloaded => {}
            Ok(_) | Err(RecvError::Lagged(_)) => {
                // One look answers all of them.
                *events = events.resubscribe();
                return;
            }
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

struct Eyes {
    dirs: Vec<PathBuf>,
    hints: Arc<Hints>,
    /// `None` where the system gives no events: then looking every now and then is all there is.
    watcher: Option<RecommendedWatcher>,
    /// The folders that are watched, each by what it was: another of that name is watched anew.
    watched: HashMap<PathBuf, [u64; 2]>,
}

#[derive(Default)]
struct Hints {
    moved: AtomicBool,
    woken: Notify,
}

impl Eyes {
    fn new(dirs: Vec<PathBuf>) -> Self {
        let hints = Arc::new(Hints::default());
        let hear = {
            let hints = hints.clone();
            move |event: notify::Result<Event>| {
                if event.is_ok_and(|event| !is_about_something(&event)) {
                    return;
                }
                hints.moved.store(true, Ordering::Release);
                hints.woken.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(hear);
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!("plugin folders are looked at every {LOOK_EVERY:?}, for want of events: {error}");
        });
        Self { dirs, hints, watcher: watcher.ok(), watched: HashMap::new() }
    }

    async fn look(&mut self) -> Sight {
        let dirs = self.dirs.clone();
        let seen = spawn_blocking(move || dirs.iter().flat_map(|dir| look(dir)).collect::<Sight>()).await;
        let seen = seen.unwrap_or_default();
        self.follow(&seen);
        seen
    }

    /// Sees to it that the folders that are there now are the ones that are watched.
    fn follow(&mut self, seen: &Sight) {
        let Some(watcher) = &mut self.watcher else { return };
        for dir in &self.dirs {
            let now = seen.iter().find(|(path, _)| path == dir).and_then(|(_, mark)| mark.as_ref());
            let now = now.map(|mark| [mark.identity[0], mark.identity[1]]);
            if self.watched.get(dir).copied() == now {
                continue;
            }
            if self.watched.remove(dir).is_some() {
                // It may have gone with the folder.
                let _ = watcher.unwatch(dir);
            }
            if let Some(now) = now {
                match watcher.watch(dir, RecursiveMode::NonRecursive) {
                    Ok(()) => {}
                    Err(error) => tracing::warn!(
                        "plugin folder {} is looked at every {LOOK_EVERY:?}, for want of events: {error}",
                        dir.display()
                    ),
                }
                self.watched.insert(dir.clone(), now);
            }
        }
    }

    /// Waits until nothing moves any more.
    async fn settle(&mut self, mut seen: Sight) -> Sight {
        let end = Instant::now() + PATIENCE;
        loop {
            self.hints.moved.store(false, Ordering::Release);
            sleep(QUIET).await;
            let now = self.look().await;
            let has_settled = now == seen && !self.hints.moved.load(Ordering::Acquire);
            seen = now;
            if has_settled {
                return seen;
            }
            if Instant::now() > end {
                tracing::warn!("a plugin folder has not settled for {PATIENCE:?}; what is whole is taken");
                return seen;
            }
        }
    }
}

/// Reading a file is an event too, and the rescan reads every one.
fn is_about_something(event: &Event) -> bool {
    let is_reading =
        matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    !is_reading && (event.paths.is_empty() || event.paths.iter().any(|path| matters(path) || path.is_dir()))
}

/// Is it a library, or a signature of one?
fn matters(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|it| it == std::env::consts::DLL_EXTENSION || it == "minisig")
}

fn look(dir: &Path) -> Sight {
    let files = || -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<io::Result<Vec<_>>>()?;
        files.retain(|path| matters(path));
        files.sort();
        Ok(files)
    };
    let files = files().unwrap_or_default();
    let folder = (dir.to_owned(), fs::metadata(dir).ok().map(|metadata| folder_mark(&metadata)));
    // A link's target is what would be read, and who may write its folder could exchange it.
    let files = files.into_iter().flat_map(|path| {
        let target = fs::read_link(&path).and_then(|_| path.canonicalize()).ok();
        let folder = target.and_then(|target| target.parent().map(Path::to_owned));
        let folder = folder.map(|folder| {
            let mark = fs::metadata(&folder).ok().map(|metadata| folder_mark(&metadata));
            (folder, mark)
        });
        let mark = fs::metadata(&path).ok().map(|metadata| mark(&metadata));
        [(path, mark)].into_iter().chain(folder)
    });
    [folder].into_iter().chain(files).collect()
}

/// Of a folder, who may write it counts (its owner is one), and not what else lies in it.
fn folder_mark(metadata: &fs::Metadata) -> Mark {
    let [device, inode, mode, owner, ..] = identity(metadata);
    Mark { size: 0, modified: None, identity: [device, inode, mode, owner, 0, 0] }
}

fn mark(metadata: &fs::Metadata) -> Mark {
    Mark { size: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
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
