//! An embedder that uses plugins through `llmux-core` alone: the example that shows it runs on a real library, beside
//! a file that is not a library.

use llmux_tests::Fixtures;

#[path = "../../llmux-core/examples/lifecycle.rs"]
#[allow(unreachable_pub, reason = "a program of its own elsewhere")]
mod lifecycle;

#[tokio::test]
async fn an_embedder_finds_checks_loads_changes_reloads_and_unloads_plugins_and_hears_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let extension = std::env::consts::DLL_EXTENSION;
    let guard = folder.path().join(format!("libguard.{extension}"));
    std::fs::copy(Fixtures::get().guard(), &guard).expect("copied");
    std::fs::write(folder.path().join(format!("libnoise.{extension}")), "noise").expect("written");
    let bytes = std::fs::metadata(&guard).expect("there").len();

    let lines = lifecycle::lifecycle(folder.path().to_owned()).await.expect("it went well");
    assert_eq!(
        lines,
        [
            "found guard 0.1.0",
            "refused by the check `machine`",
            &format!("verified guard of {bytes} bytes"),
            "mine (guard) is active, priority 7, generation 1",
            "mine (guard) is active, priority 9, generation 2",
            "mine (guard) is disabled, priority 9, generation 2",
            "mine (guard) is active, priority 9, generation 2",
            "refused: /nowhere/libnone.so: cannot be read: No such file or directory (os error 2)",
            "unloaded: Gone",
            "0 instances, 2 retired images, 1 refused",
            "event: mine loaded by Some(\"an embedder\")",
            "event: mine reloaded by None",
            "event: mine disabled by None",
            "event: mine enabled by None",
            "event: libnone.so failed by None",
            "event: mine unloaded by None",
        ]
    );
}
