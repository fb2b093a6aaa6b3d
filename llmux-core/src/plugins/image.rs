//! Loads a library: the checks of its file, a private copy of the bytes that passed, the system's loader, the layout
//! check. `stage` calls it; making instances of what is loaded is there.
//!
//! The copy is removed once it is mapped: a mapped file needs no name.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use llmux_abi::raw::plugin::PluginModuleRef;
use tokio::{
    task::{AbortHandle, spawn_blocking},
    time::timeout,
};

use super::{
    copies::Copies,
    error::{LibraryError, PluginError},
    event::Edition,
    manifest::Manifest,
    registry::PluginsConfig,
    verify::{VerifiedLibrary, VerifyOptions, examine},
};
use crate::boundary::{
    host::{HostServices, HostShared},
    library::{self, Image, OpenError, Retired},
};

/// A library that is loaded, for as long as anybody makes instances of it.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Arc<str>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) module: PluginModuleRef,
    pub(crate) generation: u64,
    pub(crate) image: Arc<Image>,
}

/// How long the initializers of a library may take (rule E4).
const INITIALIZERS_TIMEOUT: Duration = Duration::from_secs(10);

/// The library whose initializers ran past their timeout. Until they return, the system's loader takes no other, and
/// no new thread gets beyond its first thread-local value (glibc registers its destructor under the loader's lock): what
/// needs a thread would wait without end.
#[derive(Clone, Default)]
pub(super) struct Stuck(Arc<Mutex<Option<(PathBuf, AbortHandle)>>>);

impl Stuck {
    fn set(&self, path: &Path, loading: AbortHandle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), loading));
    }

    /// Refuses what would wait.
    pub(super) fn check(&self) -> Result<(), PluginError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((by, loading)) if !loading.is_finished() => Err(PluginError::LoaderBusy { by: by.clone() }),
            _ => Ok(()),
        }
    }
}

/// Loads libraries, one after the other.
pub(super) struct Loader {
    shared: Arc<HostShared>,
    retired: Arc<Retired>,
    copies: Arc<Mutex<Copies>>,
    config: PluginsConfig,
    generations: HashMap<PathBuf, u64>,
    pub(super) stuck: Stuck,
    /// The file that the change under way opened last, for the account of its refusal.
    pub(super) tried: Option<Edition>,
}

impl Loader {
    pub(super) fn new(shared: Arc<HostShared>, retired: Arc<Retired>, config: PluginsConfig) -> Self {
        let (generations, copies) = (HashMap::new(), Arc::default());
        Self { shared, retired, copies, config, generations, stuck: Stuck::default(), tried: None }
    }

    /// Removes the folder of private copies.
    pub(super) fn remove_copies(&self) {
        *self.copies.lock().unwrap_or_else(PoisonError::into_inner) = Copies::default();
    }

    /// Checks and loads a library, off the request path: of this plugin, or of any.
    pub(super) async fn open(
        &mut self,
        path: &Path,
        sha256: Option<&str>,
        plugin: Option<&str>,
    ) -> Result<Loaded, PluginError> {
        let max = self.config.max_retired_images;
        if self.retired.count.load(Ordering::Relaxed) >= max {
            return Err(PluginError::TooManyRetired { max });
        }
        let generation = self.generations.get(path).copied().unwrap_or(0) + 1;
        let sha256 = sha256.map(str::to_owned);
        let options = VerifyOptions { sha256, ..self.config.verify_options() };
        let path = path.to_owned();
        let refused = |error| PluginError::Library { path: path.clone(), error };
        let panicked = || refused(LibraryError::Dlopen("it panicked while it was loaded".to_owned()));
        let examined = spawn_blocking({
            let path = path.clone();
            move || examine(&path, &options)
        });
        let examined = examined.await.map_err(|_| panicked())?;
        let manifest = examined.manifest.as_ref();
        self.tried = examined.sha256.map(|sha256| Edition::tried(&path, manifest, sha256));
        let library = examined.result.map_err(refused)?;
        let found = &library.manifest.name;
        if let Some(expected) = plugin.filter(|plugin| plugin != found) {
            let (expected, found) = (expected.to_owned(), found.clone());
            return Err(PluginError::OtherPlugin { path, expected, found });
        }
        let (copies, shared, retired) = (self.copies.clone(), self.shared.clone(), self.retired.clone());
        let opened = spawn_blocking(move || load(library, generation, &copies, &shared, &retired));
        let handle = opened.abort_handle();
        // An initializer that never returns must not hold up every later change.
        let library = match timeout(INITIALIZERS_TIMEOUT, opened).await {
            Ok(opened) => opened.map_err(|_| panicked())??,
            Err(_) => {
                self.stuck.set(&path, handle);
                let why = format!("its initializers ran past the timeout of {INITIALIZERS_TIMEOUT:?}");
                return Err(refused(LibraryError::Dlopen(why)));
            }
        };
        self.generations.insert(path, generation);
        Ok(library)
    }
}

/// Loads a library. Runs its initializers: not on the request path.
fn load(
    library: VerifiedLibrary,
    generation: u64,
    copies: &Mutex<Copies>,
    shared: &Arc<HostShared>,
    retired: &Arc<Retired>,
) -> Result<Loaded, PluginError> {
    let path = library.path.clone();
    let refused = |error| PluginError::Library { path: path.clone(), error };
    let copy = copies.lock().unwrap_or_else(PoisonError::into_inner).write(&library);
    let copy = copy.map_err(|error| refused(LibraryError::Copy(error)))?;
    let opened = library::open(&copy, &library.manifest.entry, library.bytes.len() as u64, retired);
    // Where the system insists on a name (Windows), it stays until the process ends.
    let _ = fs::remove_file(&copy);
    let (module, image) = opened.map_err(|error| {
        refused(match error {
            OpenError::Dlopen(message) => LibraryError::Dlopen(message),
            OpenError::NoEntry(message) => {
                LibraryError::NoEntry { entry: library.manifest.entry.clone(), message }
            }
            OpenError::Layout(message) => LibraryError::Layout(message),
        })
    })?;
    library::attach(module, HostServices::new(&library.manifest.name, shared.clone()).raw());
    Ok(Loaded {
        image,
        path: library.path,
        sha256: library.sha256.into(),
        manifest: Arc::new(library.manifest),
        module,
        generation,
    })
}
