//! Services of the host for plugins, in place of things that a library cannot use: a library's own copies of
//! `tracing` and of an HTTP client's runtime reach nothing. Tasks and sleep are in `changes` and `ends`, messages of
//! panics in `panics`.

use std::{sync::Arc, time::Duration};

use llmux_core::{Client, provider::OpenAi};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    Capture, Kind, World, kinds, scripted,
    world::{built, chat, plugins, said},
};
use serde_json::json;

kinds! {
    async fn an_event_of_a_plugin_is_in_the_hosts_log_once_with_its_fields(world: World) {
        let logs = Capture::llmux();
        let speaks = json!({"pre": [{"do": "event", "message": "look here"}]});
        let client = world.client(&scripted([]), [world.probe("a", 1, speaks)]).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        let logged = logs.with(&["look here"]);
        let [line] = &logged[..] else { panic!("not once: {:#?}", logs.lines()) };
        assert!(line.starts_with("WARN llmux") && line.contains("answer=42"), "{line}");
    }

    async fn a_plugin_awaits_and_aborts_its_tasks_and_a_panic_is_an_error(world: World) {
        let ended = "the task ended without a value: it was aborted, or has panicked";
        let steps = json!([
            {"do": "await", "how": "value"}, {"do": "await", "how": "abort"}, {"do": "await", "how": "panic"},
            {"do": "blocking", "how": "value"}, {"do": "blocking", "how": "panic"},
        ]);
        let client = world.client(&scripted([]), [world.probe("a", 1, json!({"pre": steps}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        let expected = [
            "a value: true".to_owned(), format!("a abort: {ended}"), format!("a panic: {ended}"),
            "a value: true".to_owned(), format!("a panic: {ended}"),
        ];
        assert_eq!(world.of("pre")[1..], expected);
    }
}

#[tokio::test]
async fn a_plugin_fetches_through_its_host_compiled() {
    fetches(Kind::Compiled).await;
}

#[tokio::test]
async fn a_plugin_fetches_through_its_host_loaded() {
    fetches(Kind::Loaded).await;
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
    assert!(lines[3].starts_with("a fetched nothing: Broken: "), "an answer that is none: {lines:#?}");
}

/// Runs in real time, because the socket is real.
async fn headers_to_and_from_the_provider(kind: Kind) {
    let world = World::new(kind);
    let answer = || ScriptedResponse::json(200, r#"{"id":"x","choices":[]}"#).header("x-quota", "7");
    let upstream = ScriptedServer::start([answer(), answer().header("set-cookie", "secret=1")]).await;
    let set = |name, value| json!({"do": "provider_header", "name": name, "value": value});
    let tell = json!([
        {"do": "tell", "what": "provider_header:X-Quota"}, {"do": "tell", "what": "provider_header:set-cookie"},
    ]);
    let scripts = json!({
        "pre": [{"do": "tell", "what": "provider_header:x-quota"}, set("x-tenant", "acme"), set("x-tenant", "umbrella")],
        "post": tell, "complete": tell,
    });
    let refused: Vec<_> = ["authorization", "content-length", "host", "cookie", "no name"]
        .iter()
        .enumerate()
        .map(|(at, name)| world.probe(&format!("refused-{at}"), 2, json!({"pre": [set(name, "x")]})))
        .collect();
    let late = world.probe("late", 3, json!({"post": [set("x-late", "x")]}));
    let undone = json!({"pre": [set("x-undone", "x"), {"do": "fail", "message": "no"}]});
    let provider = OpenAi::builder("up", upstream.base_url()).api_key("sk-1").build().expect("a provider");
    let builder = Client::builder().provider("up", Arc::new(provider), ["m"]).plugins(plugins());
    let others = [world.probe("a", 1, scripts), late, world.probe("undone", 4, undone)];
    let client = built(builder, others.into_iter().chain(refused)).await;
    for _ in 0..2 {
        client.send(chat("m")).await.result.expect("an answer");
    }
    let failed =
        client.plugins().list().into_iter().filter(|info| info.hooks.iter().any(|hook| hook.failures > 0));
    let mut failed: Vec<_> = failed.map(|info| info.name).collect();
    failed.sort();
    world.finish(&client).await;
    for sent in upstream.requests() {
        let header = |name: &str| sent.header(name);
        assert_eq!((header("x-tenant"), header("authorization")), (Some("umbrella"), Some("Bearer sk-1")));
        assert_eq!([header("x-late"), header("x-undone"), header("cookie")], [None; 3], "{:?}", sent.headers);
    }
    assert_eq!(world.count("a.pre provider_header:x-quota = -"), 2);
    for hook in ["post", "complete"] {
        assert_eq!(world.count(&format!("a.{hook} provider_header:X-Quota = 7")), 2);
        assert_eq!(world.count(&format!("a.{hook} provider_header:set-cookie = [redacted]")), 1);
    }
    let expected = ["late", "refused-0", "refused-1", "refused-2", "refused-3", "refused-4", "undone"];
    assert_eq!(failed, expected, "each of them got an error");
}

#[tokio::test]
async fn a_plugin_sets_headers_to_the_provider_and_reads_those_of_its_answer_compiled() {
    headers_to_and_from_the_provider(Kind::Compiled).await;
}

#[tokio::test]
async fn a_plugin_sets_headers_to_the_provider_and_reads_those_of_its_answer_loaded() {
    headers_to_and_from_the_provider(Kind::Loaded).await;
}

#[tokio::test]
async fn a_plugin_sets_headers_to_the_provider_and_reads_those_of_its_answer_isolated() {
    headers_to_and_from_the_provider(Kind::Isolated).await;
}

/// Runs in real time, because the socket is real.
async fn fetch_fails_by_kind(kind: Kind) {
    let world = World::new(kind);
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, "0123456789")]).await;
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let steps = json!([
        {"do": "fetch", "url": "no URL"},
        {"do": "fetch", "url": format!("http://{nobody}/")},
        {"do": "fetch", "url": format!("http://{}/", upstream.address()), "max_body": 9},
    ]);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({"pre": steps}))]).await;
    assert_eq!(said(&client.send(chat("m")).await), "again");
    for kind in ["Invalid", "Connect", "TooLarge"] {
        let found =
            world.of("pre").iter().any(|line| line.starts_with(&format!("a fetched nothing: {kind}: ")));
        assert!(found, "{kind}: {:#?}", world.of("pre"));
    }
}

#[tokio::test]
async fn a_request_of_a_plugin_fails_with_its_kind_compiled() {
    fetch_fails_by_kind(Kind::Compiled).await;
}

#[tokio::test]
async fn a_request_of_a_plugin_fails_with_its_kind_loaded() {
    fetch_fails_by_kind(Kind::Loaded).await;
}

/// Runs in real time, because the socket is real.
async fn fetches_in_pieces(kind: Kind) {
    let world = World::new(kind);
    let pause = Duration::from_millis(50);
    let whole = || ScriptedResponse::sse(["one"]).header("x-kind", "slow").then_pause(pause).then("two");
    let upstream = ScriptedServer::start([whole(), whole(), whole().then_pause(pause).then_close()]).await;
    let url = format!("http://{}/", upstream.address());
    let steps = json!([
        {"do": "fetch_pieces", "url": url}, {"do": "fetch_pieces", "url": url, "max_body": 5},
        {"do": "fetch_pieces", "url": url},
    ]);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({"pre": steps}))]).await;
    assert_eq!(said(&client.send(chat("m")).await), "again");
    let lines = world.of("pre");
    assert_eq!(lines[1..5], ["a head 200 slow", "a piece one", "a piece two", "a end"], "{lines:#?}");
    assert_eq!(lines[5..7], ["a head 200 slow", "a piece one"], "{lines:#?}");
    assert!(lines[7].starts_with("a broken: TooLarge: "), "{lines:#?}");
    assert_eq!(lines[8..11], ["a head 200 slow", "a piece one", "a piece two"], "{lines:#?}");
    assert!(lines[11].starts_with("a broken: Broken: "), "{lines:#?}");
}

#[tokio::test]
async fn a_plugin_fetches_in_pieces_compiled() {
    fetches_in_pieces(Kind::Compiled).await;
}

#[tokio::test]
async fn a_plugin_fetches_in_pieces_loaded() {
    fetches_in_pieces(Kind::Loaded).await;
}

/// The child has no network of its own.
#[tokio::test]
async fn i7_an_isolated_plugin_fetches_through_its_host() {
    fetches(Kind::Isolated).await;
    fetch_fails_by_kind(Kind::Isolated).await;
    fetches_in_pieces(Kind::Isolated).await;
}

#[tokio::test]
async fn i7_a_long_body_reaches_an_isolated_plugin_piece_by_piece() {
    let world = World::new(Kind::Isolated);
    let pause = Duration::from_millis(20);
    let body = (1..9)
        .fold(ScriptedResponse::sse(["0"]), |body, piece| body.then_pause(pause).then(piece.to_string()));
    let upstream = ScriptedServer::start([body]).await;
    let fetch = json!([{"do": "fetch_pieces", "url": format!("http://{}/", upstream.address())}]);
    let client = world.client(&scripted([]), [world.probe("a", 1, json!({"pre": fetch}))]).await;
    assert_eq!(said(&client.send(chat("m")).await), "again");
    let pieces: Vec<_> = (0..9).map(|piece| format!("a piece {piece}")).collect();
    assert_eq!(world.of("pre")[2..11], pieces[..], "{:?}", world.of("pre"));
}
