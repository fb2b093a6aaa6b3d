//! The table of plans: each case is a history of events, and the plan that its last event leads to.
//!
//! A history is written as steps, separated by `;`. The steps before the last are made on a list of instances in memory;
//! no library is loaded. `World::step` lists the steps, `notation` explains their texts.

mod config;
mod folder;
mod guards;
mod notation;
mod operator;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use self::notation::{change, manifest, path, shown, shown_error, spec};
use super::*;
use crate::plugins::{
    library::{error::LibraryError, manifest::OnError},
    registry::{
        desired::RunningLibrary,
        edit::Edit,
        guards::{inactive, weakened},
    },
};

/// The folder of a file that is named without one.
const FOLDER: &str = "/p";

/// A case: the history, and the expected plan of its last event.
type Case = (&'static str, &'static str);

/// Checks the plans of all cases, and fails with those that differ.
fn check(cases: &[Case]) {
    check_with(cases, |_, plan| plan);
}

/// Checks the guards of all cases: the instances that the last event weakens, and the required ones that are not active
/// after it.
fn check_guards(cases: &[Case]) {
    check_with(cases, |world, _| world.guards);
}

fn check_with(cases: &[Case], result: impl Fn(World, String) -> String) {
    let distinct: BTreeSet<_> = cases.iter().collect();
    assert_eq!(distinct.len(), cases.len(), "a case stands twice in the table");
    let differ = cases.iter().filter_map(|(history, expected)| {
        let mut world = World { max_plugins: 100, ..World::default() };
        let steps = history.split(';').map(str::trim);
        let plan = steps.fold(String::new(), |_, step| world.step(step));
        let found = result(world, plan);
        (found != *expected).then(|| format!("{history}\n  expected: {expected}\n  found:    {found}\n"))
    });
    let differ: Vec<_> = differ.collect();
    assert!(differ.is_empty(), "{} of {} plans differ\n{}", differ.len(), cases.len(), differ.concat());
}

/// The state between two events: what the registry holds, and the files.
#[derive(Default)]
struct World {
    running: Vec<Running>,
    desired: Desired,
    refusals: Refusals,
    files: Vec<Arc<InspectedLibrary>>,
    /// Files whose code fails when it runs.
    fails: BTreeSet<PathBuf>,
    max_plugins: usize,
    /// `on_error` in the manifests of the images that run, by their files.
    images: BTreeMap<PathBuf, Option<OnError>>,
    propagates_errors: bool,
    /// Names that `[plugins] required` has.
    required: Vec<String>,
    /// The instances that the last step weakened, and the required ones that are not active after it.
    guards: String,
}

impl World {
    /// Makes one step and returns its plan as text.
    fn step(&mut self, step: &str) -> String {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (verb, words.as_slice()) {
            // The bytes of a file, and the plugin in them (`a!` for one that fails closed). Default: the plugin named as
            // the file.
            ("file", [file, bytes, rest @ ..]) => self.write(file, bytes, rest.first().copied(), None),
            ("bad-file", [file, bytes, rest @ ..]) => {
                self.write(file, bytes, rest.first().copied(), Some(LibraryError::PanicAborts));
            }
            ("touch", [file]) => self.touch(file),
            ("remove", [file]) => self.files.retain(|it| it.path != path(file)),
            ("fails", [file]) => drop(self.fails.insert(path(file))),
            ("max", [max]) => self.max_plugins = max.parse().expect("a number"),
            // The configuration: the folders, autoload and specs.
            ("start" | "configure", words) => return self.configure(verb == "start", words),
            ("look", []) => {
                let look = Look { files: self.files.clone(), bytes: Bytes::AsInFile };
                let mut desired = self.desired.clone();
                desired.look = Some(look);
                return self.apply(desired, self.propagates_errors);
            }
            // Changes by an operator, separated by `,`: all in one batch.
            ("operator", _) => return self.edit(rest, Origin::Operator),
            ("embedder", _) => return self.edit(rest, Origin::Embedder),
            _ => panic!("unknown step `{step}`"),
        }
        String::new()
    }

    fn write(&mut self, file: &str, bytes: &str, plugin: Option<&str>, refused: Option<LibraryError>) {
        let path = path(file);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = manifest(plugin.unwrap_or(&stem));
        self.files.retain(|it| it.path != path);
        self.files.push(Arc::new(InspectedLibrary {
            modified: Some(SystemTime::UNIX_EPOCH),
            sha256: Some(bytes.to_owned()),
            manifest: Some(manifest),
            refused,
            ..InspectedLibrary::new(&path)
        }));
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn touch(&mut self, file: &str) {
        let at = self.files.iter().position(|it| it.path == path(file)).expect("a file");
        let old = &self.files[at];
        self.files[at] = Arc::new(InspectedLibrary {
            path: old.path.clone(),
            size: None,
            modified: old.modified.map(|time| time + Duration::from_secs(1)),
            sha256: old.sha256.clone(),
            manifest: old.manifest.clone(),
            needs: None,
            signature: None,
            refused: None,
        });
    }

    fn configure(&mut self, is_start: bool, words: &[&str]) -> String {
        let mut desired = self.desired.clone();
        let is_flag = |word: &str| word.starts_with("dir=") || word.starts_with("required=");
        let (flags, specs): (Vec<&str>, Vec<&str>) =
            words.iter().partition(|word| matches!(**word, "autoload" | "propagate") || is_flag(word));
        let specs = specs.into_iter().map(|word| spec(word, Origin::Config));
        if is_start {
            specs.for_each(|spec| desired.add(spec));
        } else {
            desired.configure(specs.collect());
        }
        desired.autoload = flags.contains(&"autoload");
        let propagates_errors = flags.contains(&"propagate");
        self.required =
            flags.iter().filter_map(|flag| flag.strip_prefix("required=")).map(str::to_owned).collect();
        let dirs: Vec<_> =
            flags.iter().filter_map(|flag| flag.strip_prefix("dir=")).map(PathBuf::from).collect();
        desired.dirs = if dirs.is_empty() { vec![PathBuf::from(FOLDER)] } else { dirs };
        if desired.autoload {
            let is_in =
                |file: &Arc<InspectedLibrary>| desired.dirs.iter().any(|dir| file.path.starts_with(dir));
            let files = self.files.iter().filter(|file| is_in(file)).cloned().collect();
            desired.look = Some(Look { files, bytes: Bytes::AsLoaded });
        }
        self.apply(desired, propagates_errors)
    }

    fn edit(&mut self, changes: &str, origin: Origin) -> String {
        let mut desired = self.desired.clone();
        let present = self.present();
        let mut edit = Edit { desired: &mut desired, present, max_plugins: self.max_plugins };
        for change in changes.split(',').map(|text| change(text.trim(), origin)) {
            if let Err(error) = edit.make(change) {
                return format!("error: {}", shown_error(&error));
            }
        }
        self.apply(desired, self.propagates_errors)
    }

    /// The running instances, with the state of their files.
    fn present(&self) -> Vec<Running> {
        let mut present = self.running.clone();
        for library in present.iter_mut().filter_map(|it| it.library.as_mut()) {
            library.missing = !self.files.iter().any(|file| file.path == library.path);
        }
        for it in &mut present {
            let manifest = it.path().and_then(|path| self.images.get(path).copied().flatten());
            let on_error = it.on_error.or(manifest);
            it.fails_closed = on_error.map_or(self.propagates_errors, |it| it == OnError::Fail);
        }
        present
    }

    /// Plans, makes the changes on the list in memory, and settles the desired state.
    fn apply(&mut self, desired: Desired, propagates_errors: bool) -> String {
        let before = self.present();
        self.propagates_errors = propagates_errors;
        if let Some(look) = &desired.look {
            self.refusals.retain(|path| look.files.iter().any(|file| file.path == path));
        }
        let plan = plan(&before, &self.desired, &desired, &self.refusals);
        let text = shown(&plan);
        plan.changes.into_iter().for_each(|change| self.make(change));
        for RefusedFile { file, why, .. } in plan.refused {
            let error = PluginError::Refused { path: file.path.clone(), why };
            self.refusals.note(&file, &error);
        }
        for Attempt { file, change, replaces, .. } in plan.attempts {
            let (verb, name) = change.title();
            if self.fails.contains(&file.path) {
                let (plugin, message) = (String::new(), String::new());
                self.refusals.note(&file, &PluginError::Construction { name, plugin, message });
            } else if verb == "load" && self.running.iter().any(|it| it.name == name && replaces.is_none()) {
                self.refusals.note(&file, &PluginError::DuplicatePlugin { name });
            } else {
                replaces.into_iter().for_each(|name| self.make(Change::Unload(name)));
                self.make(change);
            }
        }
        let after = self.present();
        self.desired = desired.settled(&after);
        let weakened = weakened(&before, &after).into_iter().map(|(name, state)| format!("{name} {state}"));
        let inactive = inactive(&self.required, &self.desired, &after, &self.refusals.rows(&[]));
        let inactive = inactive.into_iter().map(|name| format!("{name} is not active"));
        self.guards = weakened.chain(inactive).collect::<Vec<_>>().join("; ");
        text
    }

    fn make(&mut self, change: Change) {
        let at = |running: &[Running], name: &str| running.iter().position(|it| it.name == name);
        match change {
            Change::Load(spec) => {
                let instance = self.made(spec);
                let name = &instance.name;
                assert!(at(&self.running, name).is_none(), "two instances named `{name}`");
                if let Some(path) =
                    instance.path().filter(|path| !self.running.iter().any(|it| it.path() == Some(path)))
                {
                    let on_error = self.file(path).manifest.as_ref().and_then(|manifest| manifest.on_error);
                    self.images.insert(path.to_owned(), on_error);
                }
                self.running.push(instance);
            }
            Change::Unload(name) => self.running.retain(|it| it.name != name),
            Change::Reload(name) => {
                let at = at(&self.running, &name).expect("an instance");
                let path = self.running[at].path().expect("a library").to_owned();
                let file = self.file(&path).clone();
                let sha256 = file.sha256.clone().expect("bytes");
                self.images.insert(path.clone(), file.manifest.as_ref().and_then(|it| it.on_error));
                for library in self.running.iter_mut().filter_map(|it| it.library.as_mut()) {
                    if library.path == path {
                        library.sha256.clone_from(&sha256);
                    }
                }
            }
            Change::Disable(name) | Change::Enable(name) if at(&self.running, &name).is_none() => {
                panic!("no instance `{name}`");
            }
            Change::Disable(name) => self.instance(&name).enabled = false,
            Change::Enable(name) => self.instance(&name).enabled = true,
            Change::Isolate { name, isolation, sandbox } => {
                let it = self.instance(&name);
                it.isolation = isolation.after(it.isolation);
                it.sandbox = sandbox.after(&it.sandbox);
            }
            Change::Update { name, priority, on_error, config } => {
                let it = self.instance(&name);
                it.priority = priority.after(it.priority);
                it.on_error = on_error.after(it.on_error);
                it.config = config.after(Some(it.config.take())).unwrap_or_else(no_config);
            }
        }
    }

    fn made(&self, spec: PluginSpec) -> Running {
        let file = match &spec.source {
            PluginSource::Path(path) => Some(self.file(path)),
            PluginSource::Plugin(plugin) => {
                self.files.iter().find(|file| file.accepted().is_ok_and(|it| it.name == *plugin))
            }
            _ => None,
        };
        let plugin = match &spec.source {
            PluginSource::Plugin(plugin) => plugin.clone(),
            _ => file.and_then(|file| file.manifest.as_ref()).expect("a manifest").name.clone(),
        };
        let library = file.map(|file| RunningLibrary {
            path: file.path.clone(),
            sha256: file.sha256.clone().expect("bytes"),
            missing: false,
        });
        Running {
            id: spec.id,
            name: spec.name.unwrap_or_else(|| plugin.clone()),
            origin: spec.origin,
            plugin,
            library,
            enabled: true,
            priority: spec.priority,
            on_error: spec.on_error,
            fails_closed: false,
            failed: false,
            config: spec.config.unwrap_or_else(no_config),
            isolation: spec.isolation,
            sandbox: spec.sandbox,
        }
    }

    fn instance(&mut self, name: &str) -> &mut Running {
        self.running.iter_mut().find(|it| it.name == name).expect("an instance")
    }

    fn file(&self, path: &Path) -> &Arc<InspectedLibrary> {
        self.files.iter().find(|file| file.path == path).expect("a file")
    }
}
