//! Rule I8 for an embedder, who names the program of the trial load.

use llmux_core::{
    PluginSpec,
    plugins::{LibraryError, PluginError, PluginsConfig, TrialProgram},
};
use llmux_tests::{
    Fixtures, scripted,
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
async fn i8_a_child_that_ends_without_a_result_has_not_passed() {
    let error = refused(TrialProgram::new("true", [""; 0])).await;
    assert!(matches!(error, LibraryError::Trial(_)), "{error:?}");
    assert!(error.to_string().contains("exit code 0 before the library was loaded"), "{error}");
    let error = refused(TrialProgram::new("sh", ["-c", "echo told >&2; kill -SEGV $$"])).await;
    assert!(
        error.to_string().contains("signal 11 (SIGSEGV); its standard error begins with: told"),
        "{error}"
    );
}
