//! Rule I8 for an embedder, who names the program of the trial load.

use llmux_core::{
    PluginSpec,
    plugins::{LibraryError, PluginError, PluginsConfig, TrialProgram},
};
use llmux_tests::{
    Capture, Fixtures, scripted,
    world::{builder, built},
};

/// Loads the guard with this program for trials, which refuses it.
async fn refused(program: TrialProgram) -> LibraryError {
    let config = PluginsConfig::default().with_trial(Some(program));
    let client = built(builder(&scripted([])).plugins(config), []).await;
    let refused = client.plugins().load(PluginSpec::path(Fixtures::get().guard())).await;
    assert_eq!(client.plugins().retired().count, 0, "nothing was mapped here");
    match refused {
        Err(PluginError::Library { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn i8_if_no_child_can_be_started_the_load_is_refused_and_the_way_out_is_named() {
    let error = refused(TrialProgram::new("/nowhere/llmux", ["trial-load"])).await;
    assert!(matches!(error, LibraryError::NoTrial(_)), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("/nowhere/llmux") && message.contains("`trial = false`"), "{message}");
}

#[tokio::test]
async fn i8_the_child_does_not_get_the_hosts_environment() {
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo sets it here");
    let error =
        refused(TrialProgram::new("sh", ["-c", "echo found: $CARGO_MANIFEST_DIR. >&2; exit 1"])).await;
    assert!(error.to_string().ends_with("its standard error ends with: found: ."), "{error}");
}

#[tokio::test]
async fn i8_missing_parts_of_the_sandbox_are_logged_once() {
    let logs = Capture::llmux();
    let report =
        r#"{"sandbox":{"applied":[],"missing":[{"part":"files","why":"no Landlock"}]},"outcome":"passed"}"#;
    let program = TrialProgram::new("sh", ["-c", &format!("echo '{report}'")]);
    let config = PluginsConfig::default().with_trial(Some(program));
    let client = built(builder(&scripted([])).plugins(config), []).await;
    for library in [Fixtures::get().guard(), Fixtures::get().probe()] {
        client.plugins().load(PluginSpec::path(library)).await.expect("it passed");
    }
    let lines = logs.with(&["WARN", "this plugin can read the host's memory and environment (no Landlock)"]);
    assert_eq!(lines.len(), 1, "{:#?}", logs.lines());
}

#[tokio::test]
async fn i8_a_child_that_ends_without_a_result_has_not_passed() {
    let error = refused(TrialProgram::new("true", [""; 0])).await;
    assert!(matches!(error, LibraryError::Trial(_)), "{error:?}");
    assert!(error.to_string().contains("exit code 0 before the library was loaded"), "{error}");
    let error = refused(TrialProgram::new("sh", ["-c", "echo told >&2; kill -SEGV $$"])).await;
    assert!(error.to_string().contains("signal 11 (SIGSEGV); its standard error ends with: told"), "{error}");
}
