//! Rules D1 and D2: no code of a library runs before every check of its file has passed. That includes its
//! initializers, which run at `dlopen`. The library here writes a line when they run.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use llmux_core::{
    PluginSpec,
    pipeline::PipelineConfig,
    plugins::{
        Change, LibraryError, Origin, PluginError, PluginsConfig, VerifyOptions, discover, inspect,
        inspect_folders, verify,
    },
};
use llmux_tests::{
    Fixtures, Kind, World, scripted,
    world::{builder, built, chat, said},
};
use serde_json::json;

/// A folder with the library, and the file to which the library writes.
struct Trap {
    world: World,
    folder: PathBuf,
    library: PathBuf,
    log: PathBuf,
}

impl Trap {
    fn new() -> Self {
        let world = World::new(Kind::Loaded);
        let (folder, log) = (world.path("plugins"), world.path("log"));
        fs::create_dir(&folder).expect("a folder");
        let library = folder.join("libinitializer.so");
        Fixtures::get().initializer(&library, &log);
        Self { world, folder, library, log }
    }

    /// Returns the number of times that the initializer ran.
    fn ran(&self) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().lines().count()
    }

    fn quiet(&self, after: &str) {
        assert_eq!(self.ran(), 0, "the initializer ran: {after}");
    }

    fn config(&self) -> PluginsConfig {
        PluginsConfig::default().with_dirs(vec![self.folder.clone()])
    }
}

#[tokio::test]
async fn d2_the_initializer_runs_once_when_the_library_is_loaded() {
    let trap = Trap::new();
    let client = built(builder(&scripted([])), [PluginSpec::path(&trap.library)]).await;
    assert_eq!(trap.ran(), 1);
    client
        .plugins()
        .load(PluginSpec::path(&trap.library).with_name("again"))
        .await
        .expect("on the same image");
    assert_eq!(trap.ran(), 1, "the same image");
    client.plugins().change(vec![Change::Reload("again".into())]).await.expect("reloaded");
    assert_eq!(trap.ran(), 2, "another image");
}

#[tokio::test]
async fn d1_looking_at_a_library_runs_nothing_of_it() {
    let trap = Trap::new();
    let options = VerifyOptions::default().with_folders(vec![trap.folder.clone()]);
    let name = verify(&trap.library, &options).expect("a good library").manifest.name;
    assert_eq!(name, "initializer");
    trap.quiet("verify");
    assert!(inspect(&trap.library, &options).refused.is_none());
    trap.quiet("inspect");
    let folders = std::slice::from_ref(&trap.folder);
    assert_eq!(inspect_folders(folders, &options).expect("a folder").len(), 1);
    trap.quiet("inspect_folders");
    assert!(discover(folders, &options).expect("a folder")[0].refused.is_none());
    trap.quiet("discover");
    let client = built(builder(&scripted([])).plugins(trap.config()), []).await;
    client.plugins().discover().await.expect("a folder");
    trap.quiet("the registry's discover");
    assert!(client.plugins().rescan().await.expect("a folder").plugins.is_empty());
    trap.quiet("a rescan without autoload");
    assert!(client.plugins().load(PluginSpec::plugin("another")).await.is_err());
    trap.quiet("a look for another plugin");
    let config = trap.config().with_autoload(true);
    let disabled =
        PluginSpec::path(&trap.library).with_name("x").with_origin(Origin::Config).with_enabled(false);
    let client = built(builder(&scripted([])).plugins(config.clone()), [disabled]).await;
    client.plugins().rescan().await.expect("a folder");
    trap.quiet("an autoload of a library that the configuration names and does not enable");
    drop(client);
    built(builder(&scripted([])).plugins(config), []).await;
    assert_eq!(trap.ran(), 1, "an autoload of a library that nothing names");
}

/// Loads the library with these settings. The host must refuse it.
async fn refused(trap: &Trap, what: &str, config: PluginsConfig, spec: PluginSpec) -> PluginError {
    let client = built(builder(&scripted([])).plugins(config), []).await;
    let error = client.plugins().load(spec).await.expect_err(what);
    trap.quiet(what);
    error
}

/// Returns a copy of the library with a part of its bytes replaced by another of the same length.
fn patched(trap: &Trap, part: &str, by: &str) -> PathBuf {
    assert_eq!(part.len(), by.len(), "a patch moves nothing");
    let mut bytes = fs::read(&trap.library).expect("the library");
    let found =
        bytes.windows(part.len()).position(|window| window == part.as_bytes()).expect("the part is there");
    bytes[found..found + by.len()].copy_from_slice(by.as_bytes());
    let path = trap.world.path("patched.so");
    fs::write(&path, bytes).expect("written");
    path
}

#[tokio::test]
async fn d2_a_library_that_any_check_refuses_is_not_run() {
    let trap = Trap::new();
    let load = |path: &Path| PluginSpec::path(path);
    let wrong = load(&trap.library).with_sha256("00".repeat(32));
    let error = refused(&trap, "a wrong checksum", trap.config(), wrong).await;
    assert!(matches!(error, PluginError::Library { error: LibraryError::Checksum { .. }, .. }), "{error:?}");
    let unsigned = trap.config().with_require_signature(true);
    let error = refused(&trap, "no signature", unsigned, load(&trap.library)).await;
    assert!(matches!(error, PluginError::Library { error: LibraryError::Signature(_), .. }), "{error:?}");
    for (what, part, by) in [
        ("another ABI", "\"abi\":\"0.2.2\",\"abi_min\":\"0.2.0\"", "\"abi\":\"0.9.0\",\"abi_min\":\"0.9.0\""),
        ("another target", "\"target\":\"", "\"tarjet\":\""),
        ("a library that aborts", "\"panic\":\"unwind\"", "\"panic\":\"abort\" "),
        ("a damaged manifest", "LLMUXPLG", "LLMUXPLX"),
    ] {
        let path = patched(&trap, part, by);
        let error = refused(&trap, what, trap.config(), load(&path)).await;
        assert!(matches!(error, PluginError::Library { .. }), "{what}: {error:?}");
    }
    let link = trap.folder.join("liblink.so");
    std::os::unix::fs::symlink(patched(&trap, "LLMUXPLG", "LLMUXPLG"), &link).expect("linked");
    let error = refused(&trap, "a link out of the folders", trap.config(), load(&link)).await;
    assert!(
        matches!(error, PluginError::Library { error: LibraryError::LeavesFolder { .. }, .. }),
        "{error:?}"
    );
    fs::remove_file(&link).expect("removed");
    let none = trap.config().with_max_retired_images(0);
    let error = refused(&trap, "no room for an image", none, load(&trap.library)).await;
    assert!(matches!(error, PluginError::TooManyRetired { .. }), "{error:?}");
    let error = refused(&trap, "a bad name", trap.config(), load(&trap.library).with_name("No Name")).await;
    assert!(matches!(error, PluginError::InvalidName { .. }), "{error:?}");

    fs::set_permissions(&trap.library, fs::Permissions::from_mode(0o666)).expect("set");
    let error = refused(&trap, "a file that everybody may write", trap.config(), load(&trap.library)).await;
    assert!(matches!(error, PluginError::Library { error: LibraryError::Permissions(_), .. }), "{error:?}");
    let trusting = trap.config().with_allow_insecure_permissions(true);
    let client = built(builder(&scripted([])).plugins(trusting), [load(&trap.library)]).await;
    assert_eq!(trap.ran(), 1, "allowed, it is loaded");
    drop(client);
}

#[tokio::test]
async fn l1_a_library_that_has_no_place_in_the_pipeline_is_not_run() {
    let trap = Trap::new();
    let full = PipelineConfig::default().with_max_plugins(1);
    let client = built(builder(&scripted([])).pipeline(full), [trap.world.guard(json!({}))]).await;
    let load = |name: &str| client.plugins().load(PluginSpec::path(&trap.library).with_name(name));
    assert!(matches!(load("guard").await, Err(PluginError::DuplicatePlugin { .. })));
    assert!(matches!(load("more").await, Err(PluginError::TooManyPlugins { max: 1 })));
    trap.quiet("names and places are checked first");
}

#[tokio::test(start_paused = true)]
async fn e4_an_initializer_that_never_returns_holds_up_no_later_change() {
    // A thread's first event registers a destructor under the loader's lock, which the initializer holds.
    tracing::dispatcher::with_default(&tracing::Dispatch::none(), || ());
    let trap = Trap::new();
    let hold = trap.world.path("log.hold");
    fs::write(&hold, "").expect("written");
    let client = built(builder(&scripted([])), [trap.world.guard(json!({}))]).await;
    let (plugins, spec) = (client.plugins().clone(), PluginSpec::path(&trap.library));
    let loading = tokio::spawn(async move { plugins.load(spec).await });
    while trap.ran() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    let refused = loading.await.expect("no panic");
    let disabled = client.plugins().change(vec![Change::Disable("guard".into())]).await;
    fs::remove_file(&hold).expect("let go");
    match refused {
        Err(PluginError::Library { error: LibraryError::Dlopen(why), .. }) => {
            assert!(
                why.starts_with("its initializers ran past the timeout of 10s; restart the host"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    disabled.expect("another change, while it hangs");
    assert_eq!(said(&client.send(chat("m")).await), "again");
}
