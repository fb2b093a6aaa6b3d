//! A plugin that misbehaves in about a hundred ways, compiled into this process and loaded into a running `llmux`.
//!
//! Each mode of the fixture `misbehaving` is an instance of one pipeline, one after the other. While an instance
//! misbehaves, every other request is answered, and a request that starts after the misbehavior finishes before it
//! does. A mode says what becomes of its own request. `modes` has the table, `host` and `in_process` the two
//! kinds of host, and `requests` the bodies. The example `misbehave` is a soak test with the same modes.

mod host;
mod in_process;
mod modes;
mod requests;

use self::{
    host::{Host, Program},
    in_process::InProcess,
    modes::{MODES, Mode, When},
    requests::{body, other},
};

/// Returns the name of the instance of a mode.
fn instance(mode: &str) -> String {
    mode.replace('_', "-")
}

/// Sends the requests of others, and requires the answers.
async fn others_are_answered(host: &impl Host, during: &str) {
    let one = async |stream| (stream, host.ask(&other(), stream).await);
    let asked = futures_util::future::join_all([false, true, false, true].map(one)).await;
    for (stream, outcome) in asked {
        assert_eq!(outcome, if stream { "200 done" } else { "200" }, "another request, {during}");
    }
}

/// Runs a mode. Returns the outcome of its own request, if that is another than the table says.
async fn misbehave(host: &impl Host, mode: &Mode) -> Option<String> {
    let Mode { name, when, .. } = mode;
    let loaded = host.load_as(&instance(name), name).await;
    if let When::Refused(why) = when {
        let refused = loaded.expect_err(name);
        assert!(refused.contains(why), "{name} is refused otherwise: {refused}");
        others_are_answered(host, &format!("after the refusal of {name}")).await;
        return None;
    }
    loaded.unwrap_or_else(|why| panic!("{name} is refused: {why}"));
    let stream = match when {
        When::Plain(_) => Some(false),
        When::Stream(_) => Some(true),
        _ => None,
    };
    let mut unexpected = None;
    if let (Some(stream), When::Plain(expected) | When::Stream(expected)) = (stream, when) {
        let asking = host.start(&body(name), stream);
        others_are_answered(host, &format!("while {name} misbehaves")).await;
        if mode.lasts {
            assert!(!asking.is_finished(), "{name} ends before the requests that started after it");
        }
        let outcome = asking.await.expect("no panic here");
        unexpected = (outcome != *expected).then(|| format!("{name}: {outcome} instead of {expected}"));
    }
    let unloaded = host.unload(&instance(name)).await;
    assert!(unloaded, "{name} is unloaded");
    others_are_answered(host, &format!("after {name} is unloaded")).await;
    unexpected
}

async fn every_mode(host: impl Host) {
    let mut unexpected = Vec::new();
    let only = std::env::var("MODE").unwrap_or_default();
    for mode in MODES.iter().filter(|mode| mode.name.contains(&only)) {
        eprintln!("mode {}", mode.name);
        unexpected.extend(misbehave(&host, mode).await);
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let metrics = host.metrics().await;
    assert!(!metrics.contains("misbehaving_leaked_total"), "a refused instance leaves no metric");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e5_no_mode_harms_another_request_compiled_in() {
    every_mode(InProcess::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn e5_no_mode_harms_another_request_loaded() {
    every_mode(Program::start().await).await;
}

#[test]
fn every_mode_is_in_the_fixture_and_in_the_table() {
    let text = ["lib", "births", "hooks", "streams"].map(|file| {
        let path = format!("tests/fixtures/misbehaving/src/{file}.rs");
        std::fs::read_to_string(llmux_testing::blocks::root().join(path)).expect("a file of the fixture")
    });
    let text = text.concat();
    for mode in MODES {
        assert_eq!(MODES.iter().filter(|other| other.name == mode.name).count(), 1, "{}", mode.name);
        assert!(text.contains(&format!("\"{}\"", mode.name)), "the fixture has no mode {}", mode.name);
    }
    assert!(MODES.len() >= 60);
}
