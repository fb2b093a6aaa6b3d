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
    error::LibraryError,
    inspect::InspectedLibrary,
    manifest::Manifest,
    private_copy::Copies,
    verify::{VerifiedLibrary, VerifyOptions, examine},
};
use crate::boundary::{
    host::{HostServices, HostShared},
    library::{self, Image, OpenError, Retired},
};

/// A library whose image is mapped. The image counts as retired when the last instance and the last clone of this value
/// are dropped.
#[derive(Clone)]
pub(in crate::plugins) struct LoadedLibrary {
    pub(in crate::plugins) path: PathBuf,
    pub(in crate::plugins) sha256: Arc<str>,
    pub(in crate::plugins) manifest: Arc<Manifest>,
    pub(in crate::plugins) module: PluginModuleRef,
    pub(in crate::plugins) generation: u64,
    pub(in crate::plugins) image: Arc<Image>,
}

/// Reasons why a library was not loaded.
#[derive(Debug)]
pub(in crate::plugins) enum LoadError {
    /// The file was refused.
    Library { path: PathBuf, error: LibraryError },
    /// The number of retired images has reached its limit.
    TooManyRetired { max: u64 },
    /// The system's loader has not returned from this library.
    Busy { by: PathBuf },
    /// The file holds another plugin than the one asked for.
    OtherPlugin { path: PathBuf, expected: String, found: String },
}

/// The library to load.
pub(in crate::plugins) struct LoadRequest<'a> {
    pub(in crate::plugins) path: &'a Path,
    /// The checks to make, with the SHA-256 that the file must have, if any.
    pub(in crate::plugins) options: VerifyOptions,
    /// The plugin that the file must hold; `None` for any.
    pub(in crate::plugins) plugin: Option<&'a str>,
    /// The number of retired images from which on loading is refused.
    pub(in crate::plugins) max_retired_images: u64,
}

/// Time limit of the initializers of a library (rule E4).
const INITIALIZERS_TIMEOUT: Duration = Duration::from_secs(10);

/// The library whose initializers ran past their timeout. Until they return, the system's loader loads no other, and
/// no new thread gets beyond its first thread-local value (glibc registers its destructor under the loader's lock).
/// Anything that needs a thread would wait without end.
#[derive(Clone, Default)]
pub(in crate::plugins) struct Stuck(Arc<Mutex<Option<(PathBuf, AbortHandle)>>>);

impl Stuck {
    fn set(&self, path: &Path, loading: AbortHandle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), loading));
    }

    /// Refuses to load while a load would wait.
    pub(in crate::plugins) fn check(&self) -> Result<(), LoadError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((by, loading)) if !loading.is_finished() => Err(LoadError::Busy { by: by.clone() }),
            _ => Ok(()),
        }
    }
}

/// Loads libraries, one after the other.
pub(in crate::plugins) struct Loader {
    shared: Arc<HostShared>,
    retired: Arc<Retired>,
    copies: Arc<Mutex<Copies>>,
    generations: HashMap<PathBuf, u64>,
    pub(in crate::plugins) stuck: Stuck,
    /// The file that was opened last; the registry clears it before a change and reads it when the change is refused.
    pub(in crate::plugins) tried: Option<InspectedLibrary>,
}

impl Loader {
    pub(in crate::plugins) fn new(shared: Arc<HostShared>, retired: Arc<Retired>) -> Self {
        let (generations, copies) = (HashMap::new(), Arc::default());
        Self { shared, retired, copies, generations, stuck: Stuck::default(), tried: None }
    }

    /// Removes the folder of private copies.
    pub(in crate::plugins) fn remove_copies(&self) {
        *self.copies.lock().unwrap_or_else(PoisonError::into_inner) = Copies::default();
    }

    /// Verifies and loads a library, off the request path.
    pub(in crate::plugins) async fn open(
        &mut self,
        request: LoadRequest<'_>,
    ) -> Result<LoadedLibrary, LoadError> {
        let LoadRequest { path, options, plugin, max_retired_images: max } = request;
        if self.retired.count.load(Ordering::Relaxed) >= max {
            return Err(LoadError::TooManyRetired { max });
        }
        let generation = self.generations.get(path).copied().unwrap_or(0) + 1;
        let path = path.to_owned();
        let refused = |error| LoadError::Library { path: path.clone(), error };
        let panicked = || refused(LibraryError::Dlopen("it panicked while it was loaded".to_owned()));
        let examined = spawn_blocking({
            let mut seen = InspectedLibrary::new(&path);
            move || {
                let verified = examine(&mut seen, &options);
                (seen, verified)
            }
        });
        let (seen, verified) = examined.await.map_err(|_| panicked())?;
        self.tried = Some(seen);
        let library = verified.map_err(refused)?;
        let found = &library.manifest.name;
        if let Some(expected) = plugin.filter(|plugin| plugin != found) {
            let (expected, found) = (expected.to_owned(), found.clone());
            return Err(LoadError::OtherPlugin { path, expected, found });
        }
        let (copies, shared, retired) = (self.copies.clone(), self.shared.clone(), self.retired.clone());
        let opened = spawn_blocking(move || load(library, generation, &copies, &shared, &retired));
        let handle = opened.abort_handle();
        // An initializer that never returns must not block every later change.
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

/// Loads a library and runs its initializers. Not called on the request path.
fn load(
    library: VerifiedLibrary,
    generation: u64,
    copies: &Mutex<Copies>,
    shared: &Arc<HostShared>,
    retired: &Arc<Retired>,
) -> Result<LoadedLibrary, LoadError> {
    let path = library.path.clone();
    let refused = |error| LoadError::Library { path: path.clone(), error };
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
    Ok(LoadedLibrary {
        image,
        path: library.path,
        sha256: library.sha256.into(),
        manifest: Arc::new(library.manifest),
        module,
        generation,
    })
}
