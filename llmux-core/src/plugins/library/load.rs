//! Loads a library: the checks of its file, a private copy of the bytes that passed, the trial load, the system's loader,
//! the layout check. `stage` calls it; making instances of what is loaded is there.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use llmux_abi::raw::plugin::PluginModuleRef;
use semver::Version;
use tokio::{
    task::{AbortHandle, spawn_blocking},
    time::timeout,
};

use super::{
    error::{LibraryError, shown},
    inspect::InspectedLibrary,
    isolation::Isolation,
    manifest::Manifest,
    options::VerifyOptions,
    private_copy::{Copies, PrivateCopy},
    trial::{INITIALIZERS_TIMEOUT, TrialProgram, readable},
    verify::{VerifiedLibrary, examine},
};
use crate::boundary::{
    host::{HostServices, HostShared},
    library::{self, Image, OpenError, Retired},
    process_state::ProcessState,
};

/// Target of the event that names a library before its code runs. A log should write it at once: if the library ends the
/// process, this event is the last one.
pub const LOADING: &str = "llmux::loading";

/// A library whose image is mapped. The image counts as retired when the last instance and the last clone of this value
/// are dropped.
#[derive(Clone)]
pub(in crate::plugins) struct LoadedLibrary {
    pub(in crate::plugins) path: PathBuf,
    pub(in crate::plugins) sha256: Arc<str>,
    pub(in crate::plugins) manifest: Arc<Manifest>,
    pub(in crate::plugins) code: Code,
    pub(in crate::plugins) generation: u64,
    /// True if the private copy is held in memory.
    pub(in crate::plugins) in_memory: bool,
}

/// The place where the code of a library runs.
#[derive(Clone)]
pub(in crate::plugins) enum Code {
    /// In this process, which has mapped it.
    Mapped { module: PluginModuleRef, image: Arc<Image> },
    /// In child processes, which map this copy, and read these paths for it. The copy is removed with the last clone.
    Isolated { copy: Arc<PrivateCopy>, readable: Arc<[PathBuf]> },
}

impl LoadedLibrary {
    /// Returns the module, if this process has mapped the library.
    pub(in crate::plugins) fn module(&self) -> Option<PluginModuleRef> {
        match &self.code {
            Code::Mapped { module, .. } => Some(*module),
            Code::Isolated { .. } => None,
        }
    }

    /// Returns true if both run the same image, or the same copy.
    pub(in crate::plugins) fn is_same_code(&self, other: &Self) -> bool {
        match (&self.code, &other.code) {
            (Code::Mapped { image: one, .. }, Code::Mapped { image: other, .. }) => Arc::ptr_eq(one, other),
            (Code::Isolated { copy: one, .. }, Code::Isolated { copy: other, .. }) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
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
    /// Folder below which the private copy is made; `None` for the folder for temporary files.
    pub(in crate::plugins) copy_dir: Option<&'a Path>,
    /// Program of the trial load; `None` for no trial.
    pub(in crate::plugins) trial: Option<&'a TrialProgram>,
    /// Whether child processes map the library, and this process does not.
    pub(in crate::plugins) isolation: Isolation,
}

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
    /// Fingerprints of the libraries that passed a trial load.
    passed: HashSet<String>,
    pub(in crate::plugins) stuck: Stuck,
    /// The file that was opened last; the registry clears it before a change and reads it when the change is refused.
    pub(in crate::plugins) tried: Option<Arc<InspectedLibrary>>,
}

impl Loader {
    pub(in crate::plugins) fn new(shared: Arc<HostShared>, retired: Arc<Retired>) -> Self {
        let (generations, copies, passed) = (HashMap::new(), Arc::default(), HashSet::new());
        Self { shared, retired, copies, generations, passed, stuck: Stuck::default(), tried: None }
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
        let LoadRequest { path, options, plugin, max_retired_images: max, copy_dir, trial, isolation } =
            request;
        let is_isolated = isolation == Isolation::Process;
        if !is_isolated && self.retired.count.load(Ordering::Relaxed) >= max {
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
        self.tried = Some(Arc::new(seen));
        let library = verified.map_err(refused)?;
        let found = &library.manifest.name;
        if let Some(expected) = plugin.filter(|plugin| plugin != found) {
            let (expected, found) = (expected.to_owned(), found.clone());
            return Err(LoadError::OtherPlugin { path, expected, found });
        }
        let (copies, copy_dir) = (self.copies.clone(), copy_dir.map(Path::to_owned));
        let copied = spawn_blocking(move || {
            let mut copies = copies.lock().unwrap_or_else(PoisonError::into_inner);
            let copy = copies.write(&library, copy_dir.as_deref())?;
            let readable = if is_isolated { readable(copy.path(), &library.bytes) } else { Vec::new() };
            Ok((library, copy, readable))
        });
        let copied = copied.await.map_err(|_| panicked())?;
        let (library, copy, readable) = copied.map_err(|error| refused(LibraryError::Copy(error)))?;
        if is_isolated {
            // A child that maps it is its own trial.
            self.generations.insert(path, generation);
            return Ok(LoadedLibrary {
                in_memory: copy.is_in_memory(),
                code: Code::Isolated { copy: Arc::new(copy), readable: readable.into() },
                path: library.path,
                sha256: library.sha256.into(),
                manifest: Arc::new(library.manifest),
                generation,
            });
        }
        if let Some(program) = trial
            && !self.passed.contains(&library.fingerprint())
        {
            program.run(copy.path(), &library.manifest.entry).await.map_err(refused)?;
            self.passed.insert(library.fingerprint());
        }
        let (plugin, sha256) = (&library.manifest.name, &library.sha256);
        tracing::info!(target: LOADING, path = %shown(&path), plugin, sha256, "loading a library");
        warn_of_sdk(&library.manifest);
        let (shared, retired) = (self.shared.clone(), self.retired.clone());
        let opened = spawn_blocking(move || load(library, copy, generation, &shared, &retired));
        let handle = opened.abort_handle();
        // An initializer that never returns must not block every later change.
        let library = match timeout(INITIALIZERS_TIMEOUT, opened).await {
            Ok(opened) => opened.map_err(|_| panicked())??,
            Err(_) => {
                self.stuck.set(&path, handle);
                let why = format!(
                    "its initializers ran past the timeout of {INITIALIZERS_TIMEOUT:?}; restart the host, because they hold \
                     the lock of the system's loader"
                );
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
    copy: PrivateCopy,
    generation: u64,
    shared: &Arc<HostShared>,
    retired: &Arc<Retired>,
) -> Result<LoadedLibrary, LoadError> {
    let path = library.path.clone();
    let refused = |error| LoadError::Library { path: path.clone(), error };
    let (copied, in_memory) = (copy.path().to_owned(), copy.is_in_memory());
    // From here on, an image can have the path of the descriptor, also if the library is refused.
    let copy = match in_memory {
        true => {
            copy.keep();
            None
        }
        false => Some(copy),
    };
    let before = ProcessState::read();
    let opened = library::open(
        &copied,
        (&library.manifest.entry, &library.manifest.abi.to_string()),
        library.bytes.len() as u64,
        retired,
    );
    before.log_changes(&library.manifest.name);
    let (module, image) = opened.map_err(|error| {
        refused(match error {
            OpenError::Dlopen(message) => LibraryError::Dlopen(message),
            OpenError::NoEntry(message) => {
                LibraryError::NoEntry { entry: library.manifest.entry.clone(), message }
            }
            OpenError::Layout(message) => LibraryError::Layout(message),
        })
    })?;
    if let Some(copy) = copy {
        copy.keep();
    }
    library::attach(module, HostServices::new(&library.manifest.name, Some(&path), shared.clone()).raw());
    Ok(LoadedLibrary {
        code: Code::Mapped { module, image },
        in_memory,
        path: library.path,
        sha256: library.sha256.into(),
        manifest: Arc::new(library.manifest),
        generation,
    })
}

/// Reports an SDK whose shim aborts the process if the plugin panics in a place that the shim does not guard: in a
/// cleanup that is a plain function, in the iterator of a stream, or in the drop of a task before its first poll. The shim
/// is compiled into the plugin, so that no host can repair it.
fn warn_of_sdk(Manifest { name, sdk, .. }: &Manifest) {
    let is_old = Version::parse(sdk).is_ok_and(|sdk| (sdk.major, sdk.minor) < (0, 2));
    if is_old {
        tracing::warn!(
            plugin = name,
            sdk,
            "the plugin is built with an SDK whose panics can end the process; build it with llmux-abi 0.2 or newer"
        );
    }
}
