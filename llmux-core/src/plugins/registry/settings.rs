//! Settings of the registry: the plugin folders, the trust in their files, and the bounds of unloading.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    isolation::ChildProgram,
    pipeline::PipelineConfig,
    plugins::library::{
        discover::distinct, isolation::Isolation, options::VerifyOptions, sandbox::SandboxSettings,
        signature::TrustedKey, trial::TrialProgram,
    },
    setters::setters,
};

/// Settings of the registry. All of them can change while the program runs ([`Client::reconfigure`]).
///
/// [`Client::reconfigure`]: crate::Client::reconfigure
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PluginsConfig {
    /// The plugin folders.
    pub dirs: Vec<PathBuf>,
    /// Load one instance of each library in the folders that no other instance uses. Default `false`.
    pub autoload: bool,
    /// Load files and folders that other users could change. Default `false`.
    pub allow_insecure_permissions: bool,
    /// Public keys whose signatures are trusted.
    pub trusted_keys: Vec<TrustedKey>,
    /// Refuse libraries that no trusted key has signed. Default `false`.
    pub require_signature: bool,
    /// Instances that must be active ([`Registry::inactive`](super::Registry::inactive)).
    pub required: Vec<String>,
    /// Number of images that no instance uses from which on loading is refused. Default 1,000.
    pub max_retired_images: u64,
    /// Size limit of a library's file, in bytes. Default 256 MiB.
    pub max_library_bytes: u64,
    /// Folder below which the private copies of libraries are made. Default `None`: the folder for temporary files.
    pub copy_dir: Option<PathBuf>,
    /// Time that an unload waits before it answers that the instance is still draining. Default 30 s.
    pub drain_timeout: Duration,
    /// Time after which requests that still hold an instance which has left the pipeline are ended (rule O2). Default 1 h.
    pub max_drain: Duration,
    /// Longest time that new requests, and the replacement of an exclusive instance, wait for each other (rule D4): after
    /// it, requests get 503, and a replacement whose old instance is in use is refused. Default 5 s.
    pub exclusive_wait: Duration,
    /// Program that loads each library on trial before the host does. Default `None`: no trial.
    pub trial: Option<TrialProgram>,
    /// The place where the code of a library runs if its instance does not say. Applied when an instance is made. Default
    /// [`Isolation::None`].
    pub isolation: Isolation,
    /// Rights and limits of the child processes, for members that an instance does not have. Applied when an instance is
    /// made.
    pub sandbox: SandboxSettings,
    /// Program of the child processes of isolated instances. Default `None`: no instance can be isolated.
    pub child: Option<ChildProgram>,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            autoload: false,
            allow_insecure_permissions: false,
            trusted_keys: Vec::new(),
            require_signature: false,
            required: Vec::new(),
            max_retired_images: 1000,
            max_library_bytes: VerifyOptions::default().max_size,
            copy_dir: None,
            drain_timeout: Duration::from_secs(30),
            max_drain: Duration::from_secs(3600),
            exclusive_wait: Duration::from_secs(5),
            trial: None,
            isolation: Isolation::None,
            sandbox: SandboxSettings::default(),
            child: None,
        }
    }
}

setters! { PluginsConfig:
    /// Sets the plugin folders.
    with_dirs: dirs: Vec<PathBuf>;
    /// Sets whether each unused library in the folders gets an instance.
    with_autoload: autoload: bool;
    /// Sets whether files and folders that other users could change are loaded.
    with_allow_insecure_permissions: allow_insecure_permissions: bool;
    /// Sets the public keys whose signatures are trusted.
    with_trusted_keys: trusted_keys: Vec<TrustedKey>;
    /// Sets whether libraries that no trusted key has signed are refused.
    with_require_signature: require_signature: bool;
    /// Sets the instances that must be active.
    with_required: required: Vec<String>;
    /// Sets the number of retired images from which on loading is refused.
    with_max_retired_images: max_retired_images: u64;
    /// Sets the size limit of a library's file, in bytes.
    with_max_library_bytes: max_library_bytes: u64;
    /// Sets the folder below which the private copies of libraries are made; `None` for the folder for temporary files.
    with_copy_dir: copy_dir: Option<PathBuf>;
    /// Sets the time that an unload waits before it answers that the instance is still draining.
    with_drain_timeout: drain_timeout: Duration;
    /// Sets the time after which requests that still hold an instance which has left the pipeline are ended.
    with_max_drain: max_drain: Duration;
    /// Sets the time that new requests and the replacement of an exclusive instance wait for each other.
    with_exclusive_wait: exclusive_wait: Duration;
    /// Sets the program that loads each library on trial before the host does; `None` for no trial.
    with_trial: trial: Option<TrialProgram>;
    /// Sets where the code of a library runs if its instance does not say.
    with_isolation: isolation: Isolation;
    /// Sets the rights and limits of the child processes, for members that an instance does not have.
    with_sandbox: sandbox: SandboxSettings;
    /// Sets the program of the child processes of isolated instances.
    with_child: child: Option<ChildProgram>;
}

impl PluginsConfig {
    /// Returns the checks that a library must pass.
    pub(super) fn verify_options(&self) -> VerifyOptions {
        VerifyOptions {
            allow_insecure_permissions: self.allow_insecure_permissions,
            trusted_keys: self.trusted_keys.clone(),
            require_signature: self.require_signature,
            max_size: self.max_library_bytes,
            folders: self.dirs.clone(),
            ..VerifyOptions::default()
        }
    }
}

impl RegistrySettings {
    /// Names each folder once.
    pub(super) fn distinct(mut self) -> Self {
        self.plugins.dirs = distinct(self.plugins.dirs);
        self
    }
}

/// The settings that a change uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistrySettings {
    pub(crate) plugins: PluginsConfig,
    pub(crate) pipeline: Arc<PipelineConfig>,
}
