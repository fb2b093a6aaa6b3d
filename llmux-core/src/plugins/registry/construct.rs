//! The construction of an instance: its host services, the check of its configuration, and the plugin's constructor.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use llmux_abi::raw::plugin::PluginModuleRef;
use serde_json::Value;
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    instance::{Home, Instance},
    schema::check,
    spec::ByHand,
};
use crate::{
    boundary::{
        NativeHooks,
        host::{HostServices, HostShared},
        library::OpenError,
        process_state::ProcessState,
    },
    isolation::{
        ChildProgram,
        plan::{ChildLimits, Plan, StartError, Supervised},
        start::{schema, start},
    },
    pipeline::{kind::Failure, snapshot::Lease},
    plugins::{
        library::{
            error::LibraryError,
            isolation::Isolation,
            load::{Code, LoadedLibrary},
            sandbox::{SandboxParts, SandboxSettings},
        },
        report::error::PluginError,
    },
    sandbox::Policy,
};

/// Time limit of a construction (rule E4).
const TIMEOUT: Duration = Duration::from_secs(10);

/// An instance to be made.
pub(super) struct Construction<'a> {
    pub(super) name: &'a str,
    pub(super) plugin: &'a str,
    pub(super) module: Option<PluginModuleRef>,
    pub(super) config: &'a Value,
    pub(super) library: Option<&'a LoadedLibrary>,
    /// Program of the child processes.
    pub(super) child: Option<&'a ChildProgram>,
    /// Rights and limits of a child process.
    pub(super) sandbox: &'a SandboxSettings,
    pub(super) by_hand: Option<ByHand>,
    /// The instance of the same module that it takes the place of.
    pub(super) old: Option<Arc<Lease>>,
}

impl<'a> Construction<'a> {
    /// Returns the construction of an instance that was made before.
    pub(super) fn again(
        instance: &'a Instance,
        old: Option<Arc<Lease>>,
        child: Option<&'a ChildProgram>,
    ) -> Result<Self, PluginError> {
        if instance.module.is_none() && instance.isolation == Isolation::None {
            return Err(PluginError::MadeByHand { name: instance.name().to_owned() });
        }
        Ok(Self {
            name: instance.name(),
            plugin: &instance.plugin,
            module: instance.module,
            config: &instance.config,
            library: instance.library.as_ref(),
            child,
            sandbox: &instance.sandbox,
            by_hand: None,
            old,
        })
    }

    /// Checks the configuration against the schema, for a bounded time. Nothing is made.
    pub(super) async fn check(&self, shared: &Arc<HostShared>) -> Result<(), PluginError> {
        if let Some(plan) = self.plan(shared)? {
            let schema = schema(&plan).await.map_err(|error| self.refused(error))?;
            let checked = check(&schema, self.config).map_err(Refusal::Config);
            return checked.map_err(|refusal| refusal.error(self.name, self.plugin));
        }
        let Some(module) = self.module else { return Ok(()) };
        let config = self.config.clone();
        let checked = bounded(move || fits(module, &config)).await;
        checked.map_err(|refusal| refusal.error(self.name, self.plugin))
    }

    /// Checks the configuration against the schema, then runs the plugin's constructor, for a bounded time.
    pub(super) async fn run(self, shared: &Arc<HostShared>) -> Result<Constructed, PluginError> {
        if let Some(plan) = self.plan(shared)? {
            let fits = |schema: &str| check(schema, self.config).map_err(Stopped::Config);
            let started = start(plan, self.config.to_string(), fits).await;
            let (instance, process) = started.map_err(|stopped| match stopped {
                Stopped::Config(why) => Refusal::Config(why).error(self.name, self.plugin),
                Stopped::Start(error) => self.refused(error),
            })?;
            let (lease, home) = Lease::new(instance);
            return Ok(Constructed { lease, home: Home::new(home), process: Some(process) });
        }
        let Self { name, plugin, module, config, library, by_hand, old, child: _, sandbox: _ } = self;
        let (name, plugin) = (name.to_owned(), plugin.to_owned());
        let host = HostServices::new(&name, library.map(|library| &*library.path), shared.clone());
        let half_made = HalfMade(Some(host.clone()));
        let image = library.and_then(|library| match &library.code {
            Code::Mapped { image, .. } => Some(image.clone()),
            Code::Isolated { .. } => None,
        });
        let config = config.clone();
        let runtime = shared.runtime.clone();
        let by = plugin.clone();
        let made = bounded(move || {
            let _runtime = runtime.enter();
            let before = ProcessState::read();
            let made = match (module, by_hand) {
                (_, Some(by_hand)) => match by_hand.take() {
                    Some(make) => NativeHooks::by_hand(make, host),
                    None => Err(Failure::error("the program that embeds this host makes it only once")),
                },
                (Some(module), None) => {
                    fits(module, &config)?;
                    let old = old.as_deref().map(Lease::instance);
                    NativeHooks::create(module, &config.to_string(), host, image, old)
                }
                (None, None) => Err(Failure::error("there is no way to make it again")),
            };
            before.log_changes(&by);
            Ok(made?)
        });
        let instance = made.await.map_err(|refusal| refusal.error(&name, &plugin))?;
        half_made.keep();
        let (lease, home) = Lease::new(Box::new(instance));
        Ok(Constructed { lease, home: Home::new(home), process: None })
    }

    /// Returns what a child process is started from; `None` if the instance is not isolated.
    fn plan(&self, shared: &Arc<HostShared>) -> Result<Option<Plan>, PluginError> {
        let Some(LoadedLibrary { code: Code::Isolated { copy, readable }, path, manifest, .. }) =
            self.library
        else {
            return Ok(None);
        };
        let Some(program) = self.child else {
            let why = "this host has no program for child processes; an embedder names one with `PluginsConfig::with_child`";
            return Err(PluginError::Isolation { name: self.name.to_owned(), why: why.to_owned() });
        };
        Ok(Some(Plan {
            name: self.name.to_owned(),
            program: program.clone(),
            copy: copy.path().to_owned(),
            _held: copy.clone(),
            library: path.clone(),
            entry: manifest.entry.clone(),
            abi: manifest.abi.to_string(),
            policy: self.policy(readable, path),
            limits: ChildLimits { memory: self.sandbox.memory, cpu: self.sandbox.cpu },
            used: Arc::default(),
            needs_sandbox: self.sandbox.sandbox == Some(SandboxParts::Required),
            shared: shared.clone(),
        }))
    }

    /// Returns the rights and limits of the child. It reads what the copy needs, and the folder of the library.
    fn policy(&self, readable: &[PathBuf], library: &Path) -> Policy {
        let SandboxSettings { read, write, env, network, processes, memory, files, .. } = self.sandbox;
        let library_dir = std::path::absolute(library).ok().and_then(|path| Some(path.parent()?.to_owned()));
        Policy {
            read: readable.iter().cloned().chain(library_dir).chain(read.iter().flatten().cloned()).collect(),
            write: write.clone().unwrap_or_default(),
            env: env.clone().unwrap_or_default(),
            network: network.unwrap_or_default(),
            processes: processes.unwrap_or_default(),
            memory: *memory,
            files: *files,
        }
    }

    /// Returns the error of a child that did not start.
    fn refused(&self, error: StartError) -> PluginError {
        let of_library = |error| PluginError::Library {
            path: self.library.map(|library| library.path.clone()).unwrap_or_default(),
            error,
        };
        match error {
            StartError::NoChild(why) => {
                let why = format!("no child process can be started: {why}");
                PluginError::Isolation { name: self.name.to_owned(), why }
            }
            StartError::Sandbox(missing) => {
                let why = format!(
                    "`sandbox = \"required\"` needs every part of the sandbox, and this system lacks some: {}; use a newer \
                     kernel, or set `sandbox = \"available\"`",
                    missing.join("; ")
                );
                PluginError::Sandbox { name: self.name.to_owned(), why }
            }
            StartError::Died(why) | StartError::Refused(why) => {
                Refusal::Construction(why).error(self.name, self.plugin)
            }
            StartError::Open(OpenError::Dlopen(why)) => of_library(LibraryError::Dlopen(why)),
            StartError::Open(OpenError::Layout(why)) => of_library(LibraryError::Layout(why)),
            StartError::Open(OpenError::NoEntry(message)) => {
                let entry = self.library.map(|library| library.manifest.entry.clone()).unwrap_or_default();
                of_library(LibraryError::NoEntry { entry, message })
            }
        }
    }
}

/// An instance that was made.
pub(super) struct Constructed {
    pub(super) lease: Arc<Lease>,
    pub(super) home: Home,
    /// Its child process, if it is isolated.
    pub(super) process: Option<Arc<dyn Supervised>>,
}

/// The reason for which an isolated instance was not made.
enum Stopped {
    Config(String),
    Start(StartError),
}

impl From<StartError> for Stopped {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// The reason for which there is no instance.
enum Refusal {
    /// The configuration does not fit the schema.
    Config(String),
    /// The plugin's code failed.
    Construction(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::Construction(failure.message)
    }
}

impl Refusal {
    fn error(self, name: &str, plugin: &str) -> PluginError {
        let (name, plugin) = (name.to_owned(), plugin.to_owned());
        match self {
            Refusal::Config(message) => PluginError::Config { name, plugin, message },
            Refusal::Construction(message) => PluginError::Construction { name, plugin, message },
        }
    }
}

/// Checks a configuration against a module's schema.
fn fits(module: PluginModuleRef, config: &Value) -> Result<(), Refusal> {
    let schema = NativeHooks::config_schema(module)?;
    check(&schema, config).map_err(Refusal::Config)
}

/// Runs a plugin's code on a thread that may block, for a bounded time.
async fn bounded<T: Send + 'static>(
    code: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match timeout(TIMEOUT, spawn_blocking(code)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Refusal::Construction("panicked".to_owned())),
        Err(_) => Err(Refusal::Construction(format!("ran past its timeout of {TIMEOUT:?}"))),
    }
}

/// The host services of an instance under construction. If the construction fails or runs past its timeout, everything
/// that the instance registered or spawned is removed, and it can register and spawn nothing more.
struct HalfMade(Option<Arc<HostServices>>);

impl HalfMade {
    /// The instance is made: its own drop closes the services.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some(host) = self.0.take() {
            host.close();
        }
    }
}
