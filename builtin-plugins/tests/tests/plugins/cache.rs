//! The cache plugin: the answers that it stores, the answers that it does not store, and the form of a hit.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use llmux_abi::{Context, Request};
use llmux_builtin_tests::{Answer, Builtin, Kind, Part, Way, World, ask, of};
use llmux_core::{Endpoint, PluginSpec};
use llmux_plugin_cache::{Cache, CacheBackend, Entry, Key};
use serde_json::{Value, json};

use crate::neighbors;

async fn world(kind: Kind, config: Value) -> World {
    World::new([Builtin::Cache.with(kind, config)]).await
}

fn is_hit(answer: &Answer) -> bool {
    let hit = answer.header("x-cache") == Some("hit");
    assert!(hit || answer.header("x-cache") == Some("miss"), "{answer:?}");
    assert_eq!(answer.hit, hit, "{answer:?}");
    if let Some(inside) = &answer.inside {
        let digits = inside.cache_key.as_ref().map(String::len);
        assert_eq!(digits, hit.then_some(64), "the key is there for a hit: {answer:?}");
    }
    hit
}

async fn a_repeated_request_is_a_hit_of_the_same_bytes(way: Way) {
    let world = world(way.kind, json!({})).await;
    let first = world.send(ask(way.stream)).await;
    assert!(!is_hit(&first));
    let second = world.send(ask(way.stream)).await;
    assert!(is_hit(&second));
    assert_eq!(first.bodies, second.bodies);
    assert_eq!(first.text(), "answer 1!");
    assert_eq!(world.upstream.calls(), 1);
    if second.inside.is_some() {
        let cache = &world.client().plugins().list()[0];
        assert_eq!((cache.short_circuits, cache.cached), (1, 1));
    }
}

async fn a_stored_answer_serves_the_other_kind_of_request(way: Way) {
    let world = world(way.kind, json!({})).await;
    world.send(ask(way.stream)).await;
    let other = world.send(ask(!way.stream)).await;
    assert!(is_hit(&other));
    assert_eq!(other.text(), "answer 1!");
    let last = other.bodies.last().expect("a body");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last.pointer("/choices/0/finish_reason"), Some(&json!("stop")), "{last}");
    if way.stream {
        let tokens = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
        assert_eq!((&last["usage"], &last["object"]), (&tokens, &json!("chat.completion")));
    }
    assert_eq!(world.upstream.calls(), 1);
}

async fn the_usage_chunk_of_a_hit_is_for_those_who_asked(way: Way) {
    let world = world(way.kind, json!({})).await;
    world.send(ask(way.stream)).await;
    let options = json!({"include_usage": true});
    let asked = world.send(ask(true).with("stream_options", options)).await;
    let not = world.send(ask(true)).await;
    assert!(is_hit(&asked) && is_hit(&not));
    let states_usage = |answer: &Answer| answer.bodies.iter().any(|body| body.contains("total_tokens"));
    assert_eq!((states_usage(&asked), states_usage(&not)), (true, false), "{asked:?}");
}

async fn errors_and_cut_answers_are_not_stored(way: Way) {
    for model in ["fail-once", "cut"] {
        let world = world(way.kind, json!({})).await;
        assert!(!world.send(ask(way.stream).model(model)).await.is_ok());
        assert!(!world.send(ask(way.stream).model(model)).await.hit, "{model}");
        assert_eq!(world.upstream.calls(), 2);
    }
}

async fn a_stream_that_its_client_left_is_not_stored(way: Way) {
    let world = world(way.kind, json!({})).await;
    let asked = |stream| ask(stream).model("hang-once");
    world.leave(asked(true)).await;
    assert!(!is_hit(&world.send(asked(way.stream)).await));
    assert!(is_hit(&world.send(asked(way.stream)).await));
}

async fn an_answer_that_a_later_plugin_made_an_error_is_not_stored(way: Way) {
    let world = World::new([Part::from(neighbors::censor()), Builtin::Cache.with(way.kind, json!({}))]).await;
    assert!(!world.send(ask(way.stream)).await.is_ok());
    assert!(!world.send(ask(way.stream)).await.is_ok());
    assert_eq!(world.upstream.calls(), 2);
}

async fn a_request_right_after_the_same_one_waits_a_moment_for_the_store(way: Way) {
    for (takes, expected) in [(10, true), (100, false)] {
        let slow = neighbors::slow_end(Duration::from_millis(takes));
        let world = World::new([Part::from(slow), Builtin::Cache.with(way.kind, json!({}))]).await;
        assert!(!is_hit(&world.send_only(ask(way.stream)).await));
        let again = world.send_only(ask(way.stream)).await;
        assert_eq!(is_hit(&again), expected, "after {takes} ms");
    }
}

async fn a_client_may_go_around_the_cache(way: Way) {
    let world = world(way.kind, json!({})).await;
    let control = |control: &str| ask(way.stream).header("cache-control", control);
    assert!(!is_hit(&world.send(control("no-store")).await));
    assert!(!is_hit(&world.send(ask(way.stream)).await), "no-store stores nothing");
    assert!(is_hit(&world.send(control("no-store")).await), "and reads all the same");
    let anew = world.send(control("No-Cache")).await;
    assert!(!is_hit(&anew));
    assert_eq!(anew.text(), "answer 3!");
    assert_eq!(world.send(ask(way.stream)).await.text(), "answer 3!", "no-cache stores");
}

async fn an_answer_expires(way: Way) {
    let world = world(way.kind, json!({"ttl": "1h"})).await;
    world.send(ask(way.stream)).await;
    tokio::time::advance(Duration::from_secs(3_599)).await;
    assert!(is_hit(&world.send(ask(way.stream)).await));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!is_hit(&world.send(ask(way.stream)).await));
    assert!(is_hit(&world.send(ask(way.stream)).await));
}

async fn a_large_answer_is_not_stored(way: Way) {
    let world = world(way.kind, json!({"max_entry_bytes": 2_000})).await;
    for _ in 0..2 {
        let answer = world.send(ask(way.stream).model("long")).await;
        assert!(answer.is_ok() && !is_hit(&answer));
    }
    world.send(ask(way.stream)).await;
    assert!(is_hit(&world.send(ask(way.stream)).await), "a small one is");
}

async fn the_number_of_answers_is_bounded(way: Way) {
    let world = world(way.kind, json!({"max_entries": 10})).await;
    let number = |at: usize| ask(way.stream).with("seed", json!(at));
    for at in 0..200 {
        world.send(number(at)).await;
    }
    let mut hits = 0;
    for at in 0..200 {
        hits += usize::from(world.send(number(at).header("cache-control", "no-store")).await.hit);
    }
    // moka evicts a little behind: in batches.
    assert!((1..100).contains(&hits), "{hits}");
}

async fn the_bytes_of_answers_are_bounded(way: Way) {
    // A plain answer is a little more than 10 000 bytes, and so are the chunks of a stream.
    let world = world(way.kind, json!({"max_bytes": 50_000})).await;
    let number = |at: usize| ask(way.stream).model("long").with("seed", json!(at));
    for at in 0..20 {
        world.send(number(at)).await;
    }
    // moka evicts a little behind; the plugin sees to it now and then.
    tokio::time::advance(Duration::from_secs(31)).await;
    world.settle().await;
    let mut hits = 0;
    for at in 0..20 {
        hits += usize::from(world.send(number(at).header("cache-control", "no-store")).await.hit);
    }
    assert!((1..=4).contains(&hits), "{hits} answers in 50 000 bytes");
}

async fn a_response_object_is_stored_when_it_is_an_answer(kind: Kind) {
    let world = world(kind, json!({})).await;
    for (status, stored) in [
        ("queued", false),
        ("in_progress", false),
        ("cancelled", false),
        ("incomplete", false),
        ("failed", false),
        ("broken", false),
        ("completed", true),
    ] {
        let body = json!({"model": format!("status-{status}"), "input": "hello"});
        let asked = of(Endpoint::Responses, body, false);
        assert!(!is_hit(&world.send(asked.clone()).await), "{status}");
        assert_eq!(is_hit(&world.send(asked).await), stored, "{status}");
    }
}

in_every_kind! {
    anywhere: ;
    in_this_process:
    a_response_object_is_stored_when_it_is_an_answer
}

in_every_way! {
    anywhere:
    a_repeated_request_is_a_hit_of_the_same_bytes
    a_stored_answer_serves_the_other_kind_of_request
    the_usage_chunk_of_a_hit_is_for_those_who_asked
    errors_and_cut_answers_are_not_stored
    a_stream_that_its_client_left_is_not_stored
    a_client_may_go_around_the_cache
    a_large_answer_is_not_stored;
    in_this_process:
    a_request_right_after_the_same_one_waits_a_moment_for_the_store
    an_answer_that_a_later_plugin_made_an_error_is_not_stored
    an_answer_expires
    the_number_of_answers_is_bounded
    the_bytes_of_answers_are_bounded
}

/// Stored answers, each with its time to live.
type Entries = HashMap<Key, (Arc<Entry>, Duration)>;

/// A cache backend that the host provides and the test inspects.
#[derive(Clone, Default)]
struct Own {
    entries: Arc<Mutex<Entries>>,
    is_broken: bool,
    /// True if storing an answer never completes.
    hangs: bool,
}

impl CacheBackend for Own {
    async fn get(&self, key: &Key) -> llmux_abi::Result<Option<Arc<Entry>>> {
        tokio::task::yield_now().await;
        if self.is_broken {
            return Err(llmux_abi::Error::new("no place"));
        }
        Ok(self.entries.lock().expect("entries").get(key).map(|(entry, _)| Arc::clone(entry)))
    }

    async fn put(&self, key: &Key, entry: Arc<Entry>, ttl: Duration) -> llmux_abi::Result<()> {
        tokio::task::yield_now().await;
        if self.is_broken {
            return Err(llmux_abi::Error::new("no place"));
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.entries.lock().expect("entries").insert(*key, (entry, ttl));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hosts_own_backend_and_key_are_used() {
    for stream in [false, true] {
        let own = Own::default();
        let backend = own.clone();
        let make = move |host| {
            Cache::builder()
                .backend(backend)
                .ttl(Duration::from_secs(60))
                .key(|_: &Context<'_>, request: &Request<'_>| request.last_user_text())
                .build(host)
        };
        let world = World::new([PluginSpec::by_hand("cache", make).with_priority(10)]).await;
        assert!(!is_hit(&world.send(ask(stream)).await));
        assert!(is_hit(&world.send(ask(stream).with("temperature", json!(2))).await), "only the question");
        assert!(!is_hit(&world.send(ask(stream).key("another")).await), "of one tenant");
        let without = json!([{"role": "system", "content": "x"}]);
        assert!(!is_hit(&world.send(ask(stream).with("messages", without.clone())).await));
        assert!(!is_hit(&world.send(ask(stream).with("messages", without)).await), "no key, no answer");
        let entries = own.entries.lock().expect("entries");
        assert_eq!(entries.len(), 2);
        assert!(
            entries.values().all(|(entry, ttl)| {
                entry.events().is_some() == stream && *ttl == Duration::from_secs(60)
            })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_backend_makes_misses() {
    let make = |host| Cache::builder().backend(Own { is_broken: true, ..Own::default() }).build(host);
    let world = World::new([PluginSpec::by_hand("cache", make)]).await;
    for stream in [false, true, false] {
        let answer = world.send(ask(stream)).await;
        assert!(answer.is_ok() && !is_hit(&answer));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_delays_no_answer() {
    for coalesce in [false, true] {
        let make = move |host| {
            Cache::builder().backend(Own { hangs: true, ..Own::default() }).coalesce(coalesce).build(host)
        };
        let world = Arc::new(World::new([PluginSpec::by_hand("cache", make)]).await);
        let before = tokio::time::Instant::now();
        let sent: Vec<_> = [false, false, true]
            .map(|stream| {
                let world = Arc::clone(&world);
                tokio::spawn(async move { world.send_only(ask(stream).model("gated")).await })
            })
            .into_iter()
            .collect();
        world.settle().await;
        assert_eq!(world.upstream.calls(), if coalesce { 2 } else { 3 });
        world.upstream.gate.add_permits(3);
        for answer in sent {
            assert!(answer.await.expect("an answer").is_ok());
        }
        assert_eq!(before.elapsed(), Duration::ZERO, "with coalesce = {coalesce}");
    }
}
