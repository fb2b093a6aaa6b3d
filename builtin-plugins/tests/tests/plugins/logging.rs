//! The logging plugin: its three events, their content, and the data that they never contain.

use llmux_builtin_tests::{Ask, Builtin, Event, Kind, Log, Way, World, ask};
use serde_json::{Value, json};
use tracing::Level;

async fn world(way: Way, config: Value) -> World {
    World::new([Builtin::Logging.with(way.kind, config)]).await
}

fn one(log: &Log, message: &str) -> Event {
    let mut events = log.said(message);
    assert_eq!(events.len(), 1, "{message}: {:?}", log.events());
    events.remove(0)
}

fn rich(way: Way) -> Ask {
    ask(way.stream)
        .with("max_tokens", json!(7))
        .with("temperature", json!(0.5))
        .with("tools", json!([{"type": "function", "function": {"name": "f"}}]))
}

async fn the_start_says_who_asks_what(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.send(rich(way)).await;
    world.end().await;
    let start = one(&log, "request started");
    assert!(start.field("request_id").is_some_and(|id| id.len() == 36), "{start:?}");
    for (field, expected) in [
        ("endpoint", "chat/completions"),
        ("model", "m"),
        ("attempt", "1"),
        ("messages", "1"),
        ("tools", "1"),
        ("max_tokens", "7"),
        ("temperature", "0.5"),
        ("stream", if way.stream { "true" } else { "false" }),
    ] {
        assert_eq!(start.field(field), Some(expected), "{field}: {start:?}");
    }
    assert_eq!(start.field("provider"), None, "no provider was called yet");
    assert_eq!(start.level, "INFO");
}

async fn the_end_says_what_came_of_it(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.send(rich(way)).await;
    world.end().await;
    let (start, end) = (one(&log, "request started"), one(&log, "request completed"));
    assert_eq!(start.field("request_id"), end.field("request_id"));
    for (field, expected) in [
        ("status", "200"),
        ("prompt_tokens", "3"),
        ("completion_tokens", "4"),
        ("total_tokens", "7"),
        ("finish_reason", "stop"),
        ("cache_hit", "false"),
        ("rate_limited", "false"),
        ("messages", "1"),
        ("provider", "p"),
        ("answered_by", "p"),
    ] {
        assert_eq!(end.field(field), Some(expected), "{field}: {end:?}");
    }
    assert!(end.field("latency_ms").is_some_and(|latency| latency.parse::<f64>().is_ok()), "{end:?}");
    assert_eq!(end.field("time_to_first_token_ms").is_some(), way.stream, "{end:?}");
    assert_eq!(end.field("error"), None);
}

async fn the_fields_have_the_types_of_their_values(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.send(rich(way)).await;
    world.end().await;
    let end = one(&log, "request completed");
    for name in ["status", "attempt", "messages", "tools", "max_tokens", "prompt_tokens", "total_tokens"] {
        assert!(end.members[name].is_u64(), "{name}: {end:?}");
    }
    for name in ["latency_ms", "temperature"] {
        assert!(end.members[name].is_f64(), "{name}: {end:?}");
    }
    for name in ["stream", "cache_hit", "rate_limited"] {
        assert!(end.members[name].is_boolean(), "{name}: {end:?}");
    }
    for name in ["request_id", "endpoint", "model", "provider", "finish_reason", "answered_by"] {
        assert!(end.members[name].is_string(), "{name}: {end:?}");
    }
}

async fn a_stream_says_when_its_first_token_came(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.send(ask(way.stream)).await;
    world.end().await;
    assert_eq!(log.said("first token").len(), usize::from(way.stream), "{:?}", log.events());
    let order: Vec<String> = log.events().into_iter().map(|event| event.message).collect();
    let expected: &[&str] = match way.stream {
        true => &["request started", "first token", "request completed"],
        false => &["request started", "request completed"],
    };
    assert_eq!(order, expected);
}

async fn an_error_is_named_and_its_secrets_are_not(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.send(ask(way.stream).model("fail")).await;
    world.end().await;
    let end = one(&log, "request failed");
    assert_eq!(end.field("status"), Some("402"));
    assert_eq!(end.field("error_type"), Some("teapot"));
    assert_eq!(end.field("error"), Some("no tea: sk-[redacted]"));
}

async fn bodies_are_off_by_default(way: Way) {
    let log = Log::listen(Level::TRACE);
    let world = world(way, json!({})).await;
    world.send(ask(way.stream)).await;
    world.end().await;
    for event in log.events() {
        assert!(!event.whole.contains("hello") && !event.whole.contains("answer 1"), "{event:?}");
    }
}

async fn bodies_are_cut_on_a_character_border(way: Way) {
    let log = Log::listen(Level::INFO);
    let config = json!({"log_request_body": true, "log_response_body": true, "max_body_chars": 30});
    let world = world(way, config).await;
    let asked = ask(way.stream)
        .model("long")
        .with("messages", json!([{"role": "user", "content": "ü".repeat(5_000)}]));
    world.send(asked).await;
    world.end().await;
    let request = one(&log, "request started").field("request_body").expect("a body").to_owned();
    let response = one(&log, "request completed").field("response_body").expect("a body").to_owned();
    for body in [&request, &response] {
        assert_eq!(body.chars().count(), 31, "{body}");
        assert!(body.ends_with('…'), "{body}");
    }
    assert!(!way.stream || response.starts_with("äää"), "{response}");
}

async fn no_credential_appears(way: Way) {
    const KEY: &str = "sk-abcdefghijklmnop0123456789";
    let log = Log::listen(Level::TRACE);
    let config = json!({"level": "trace", "log_request_body": true, "log_response_body": true});
    let world = world(way, config).await;
    let asked = ask(way.stream)
        .with("tools", json!([{"type": "mcp", "authorization": KEY, "headers": {"X-Own": "abcdefgh-own"}}]))
        .with("messages", json!([{"role": "user", "content": format!("my key is {KEY}")}]))
        .header("authorization", &format!("Bearer {KEY}"))
        .header("x-api-key", KEY)
        .header("cookie", "session=abcdefgh");
    world.send(asked.clone()).await;
    world.send(asked.model("fail")).await;
    world.end().await;
    assert_eq!(log.said("request started").len(), 2);
    for event in log.events() {
        assert!(!event.whole.contains("abcdef"), "{event:?}");
    }
}

async fn the_level_is_the_operators(way: Way) {
    let log = Log::listen(Level::INFO);
    let quiet = world(way, json!({"level": "debug"})).await;
    quiet.send(ask(way.stream)).await;
    quiet.end().await;
    assert!(log.events().is_empty(), "{:?}", log.events());
    let loud = world(way, json!({"level": "warn"})).await;
    loud.send(ask(way.stream)).await;
    loud.end().await;
    assert_eq!(one(&log, "request completed").level, "WARN");
}

async fn one_who_goes_away_is_logged_as_cancelled(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    world.leave(ask(way.stream).model("hang")).await;
    world.end().await;
    assert_eq!(one(&log, "request cancelled").field("status"), Some("499"));
}

async fn a_cut_answer_is_logged_as_failed(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    let answer = world.send(ask(way.stream).model("cut")).await;
    world.end().await;
    assert!(!answer.is_ok());
    assert!(one(&log, "request failed").field("error").is_some());
}

async fn every_attempt_is_logged_and_one_end(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    let answer = world.send(ask(way.stream).model("fail").fallback("spare")).await;
    world.end().await;
    assert!(answer.is_ok(), "{answer:?}");
    let starts = log.said("request started");
    let attempts: Vec<_> =
        starts.iter().map(|start| start.field("attempt").zip(start.field("model"))).collect();
    assert_eq!(attempts, [Some(("1", "fail")), Some(("2", "spare"))]);
    let end = one(&log, "request completed");
    assert_eq!((end.field("attempt"), end.field("model")), (Some("2"), Some("spare")));
}

async fn a_client_cannot_forge_a_line(way: Way) {
    let log = Log::listen(Level::INFO);
    let world = world(way, json!({})).await;
    let answer = world.send(ask(way.stream).model("x\nforged")).await;
    world.end().await;
    assert_eq!(answer.refusal().status(), 404);
    let events = log.events();
    assert_eq!(events.len(), 2, "{events:?}");
    for event in events {
        assert!(!event.whole.contains('\n'), "{event:?}");
        assert_eq!(event.field("model"), Some("x\nforged"));
    }
}

in_every_way! {
    anywhere:
    the_start_says_who_asks_what
    the_end_says_what_came_of_it
    the_fields_have_the_types_of_their_values
    a_stream_says_when_its_first_token_came
    an_error_is_named_and_its_secrets_are_not
    bodies_are_off_by_default
    bodies_are_cut_on_a_character_border
    no_credential_appears
    the_level_is_the_operators
    one_who_goes_away_is_logged_as_cancelled
    a_cut_answer_is_logged_as_failed
    every_attempt_is_logged_and_one_end
    a_client_cannot_forge_a_line;
    in_this_process:
}

async fn a_configuration_that_makes_no_sense_is_refused(kind: Kind) {
    for config in [json!({"level": "loud"}), json!({"max_body_chars": 0}), json!({"levle": "info"})] {
        assert!(World::build([Builtin::Logging.with(kind, config)]).await.is_err());
    }
}

in_every_kind! {
    anywhere: ;
    in_this_process:
    a_configuration_that_makes_no_sense_is_refused
}
