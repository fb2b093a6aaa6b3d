//! Services of the host for plugins, in place of things that a library cannot use: a library's own copies of
//! `tracing` and of an HTTP client's runtime reach nothing. Tasks and sleep are in `changes` and `ends`, messages of
//! panics in `panics`.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    Capture, Kind, World, both, scripted,
    world::{chat, said},
};
use serde_json::json;

both! {
    async fn an_event_of_a_plugin_is_in_the_hosts_log_once_with_its_fields(world: World) {
        let logs = Capture::llmux();
        let speaks = json!({"pre": [{"do": "event", "message": "look here"}]});
        let client = world.client(&scripted([]), [world.probe("a", 1, speaks)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        let logged = logs.with(&["look here"]);
        let [line] = &logged[..] else { panic!("not once: {:#?}", logs.lines()) };
        assert!(line.starts_with("WARN llmux") && line.contains("answer=42"), "{line}");
    }
}

/// Runs in real time, because the socket is real.
async fn fetches(kind: Kind) {
    let world = World::new(kind);
    let upstream = ScriptedServer::start([]).await;
    let fetch = json!({"pre": [{"do": "fetch", "url": format!("http://{}/", upstream.address())}]});
    let client = world.client(&scripted([]), [world.probe("a", 1, fetch)]).await;
    for answer in [ScriptedResponse::json(418, "a teapot"), ScriptedResponse::raw("no HTTP")] {
        upstream.push(answer);
        assert_eq!(said(&client.send(chat("m")).await), "again");
    }
    let lines = world.of("pre");
    assert_eq!(lines[1], "a fetched 418 a teapot");
    assert!(lines[3].starts_with("a fetched nothing: "), "an answer that is none is an error: {lines:#?}");
}

#[tokio::test]
async fn a_plugin_fetches_through_its_host_compiled() {
    fetches(Kind::Compiled).await;
}

#[tokio::test]
async fn a_plugin_fetches_through_its_host_loaded() {
    fetches(Kind::Loaded).await;
}
