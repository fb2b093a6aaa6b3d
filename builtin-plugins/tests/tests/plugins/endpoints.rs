//! The endpoints other than chat: the plugins read their bodies, whose members have other names.

use llmux_builtin_tests::{Builtin, Kind, Log, Way, World, ask, of, value};
use llmux_core::Endpoint;
use serde_json::{Value, json};

async fn world(kind: Kind) -> World {
    let plugins = [Builtin::Cache, Builtin::Metrics, Builtin::Logging];
    World::new(plugins.map(|plugin| plugin.with(kind, json!({})))).await
}

/// Returns bodies without the ids of responses. The listener extends the id of an answer that a provider gave (rule F11).
fn without_ids(bodies: &[String]) -> Vec<Value> {
    let parsed = bodies.iter().map(|body| serde_json::from_str(body).expect("JSON"));
    parsed
        .map(|mut body: Value| {
            for place in ["/id", "/response/id"] {
                if let Some(id) = body.pointer_mut(place) {
                    *id = Value::Null;
                }
            }
            body
        })
        .collect()
}

async fn a_response_is_cached_counted_and_logged_as_a_chat_is(way: Way) {
    let log = Log::listen(tracing::Level::INFO);
    let world = world(way.kind).await;
    let body = json!({"model": "echo", "input": "hello there", "max_output_tokens": 9});
    let asked = of(Endpoint::Responses, body, way.stream);
    let (miss, hit) = (world.send(asked.clone()).await, world.send(asked.clone()).await);
    assert_eq!((miss.header("x-cache"), hit.header("x-cache")), (Some("miss"), Some("hit")), "{hit:?}");
    assert_eq!(without_ids(&miss.bodies), without_ids(&hit.bodies));
    assert!(world.send(asked.streaming(!way.stream)).await.hit, "the other kind of request");
    let chat = ask(way.stream).model("echo");
    assert!(!world.send(chat).await.hit);

    for (provider, requests) in [("echo", 1.0), ("none", 2.0)] {
        let who = [("endpoint", "responses"), ("model", "echo"), ("provider", provider)];
        assert_eq!(value(&world, "llmux_requests_total", &who).await, Some(requests), "{provider}");
    }
    for kind in ["prompt", "completion"] {
        // Two words of the response's, and one of the chat's; the hits use none.
        assert_eq!(value(&world, "llmux_tokens_total", &[("type", kind)]).await, Some(3.0), "{kind}");
    }

    world.end().await;
    let ends = log.said("request completed");
    for (end, is_hit) in ends[..2].iter().zip(["false", "true"]) {
        for (field, expected) in [
            ("endpoint", "responses"),
            ("max_tokens", "9"),
            ("prompt_tokens", "2"),
            ("completion_tokens", "2"),
            ("total_tokens", "4"),
            ("finish_reason", "completed"),
            ("cache_hit", is_hit),
        ] {
            let found = end.field(field);
            // Of a hit, only its end gets to the logging plugin.
            assert!(found == Some(expected) || is_hit == "true" && found.is_none(), "{field}: {end:?}");
        }
    }
    assert_eq!(log.said("first token").len(), if way.stream { 2 } else { 0 }, "{:?}", log.events());
}

in_every_way! {
    anywhere:
    a_response_is_cached_counted_and_logged_as_a_chat_is;
    in_this_process:
}

async fn embeddings_are_cached_and_use_tokens_of_the_prompt_alone(kind: Kind) {
    let world = world(kind).await;
    let asked = of(Endpoint::Embeddings, json!({"model": "echo", "input": "hello there"}), false);
    let (miss, hit) = (world.send(asked.clone()).await, world.send(asked).await);
    assert_eq!((miss.hit, hit.hit, miss.bodies == hit.bodies), (false, true, true), "{hit:?}");
    let tokens = async |kind| value(&world, "llmux_tokens_total", &[("type", kind)]).await;
    assert_eq!((tokens("prompt").await, tokens("completion").await), (Some(2.0), Some(0.0)));
    assert_eq!(value(&world, "llmux_requests_total", &[("endpoint", "embeddings")]).await, Some(2.0));
    assert_eq!(value(&world, "llmux_tokens_per_second_count", &[]).await, None, "an embedding has no speed");
}

in_every_kind! {
    anywhere:
    embeddings_are_cached_and_use_tokens_of_the_prompt_alone;
    in_this_process:
}
