//! Round trips over the boundary: random values of every kind arrive as they were sent, through the real tables, by a
//! real plugin (the probe), compiled in and as a library.
//!
//! One property for each part of the contract. The meaning of hooks is tested in `rules`.

use std::{collections::BTreeMap, fmt::Debug};

use llmux_abi::Value as Sent;
use llmux_core::{Endpoint, Request};
use llmux_tests::{
    Kind, Turn, World, scripted,
    world::{all, chat, header},
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};

const CASES: u32 = 32;

/// Checks a property over both kinds of plugin, with paused time.
fn both<S: Strategy<Value: Debug>>(strategy: S, check: impl AsyncFn(&World, &S::Value)) {
    for kind in [Kind::Compiled, Kind::Loaded] {
        let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
        let checked = TestRunner::new(config).run(&strategy, |value| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.expect("a runtime").block_on(check(&World::new(kind), &value));
            Ok(())
        });
        checked.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,12}", Just("\"\\/\n\r\t\u{0}\u{7f}é🦀\u{2028}".to_owned())]
}

/// Any JSON value. Floats are multiples of an eighth, which every parser reads alike.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(member(), inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(member(), any_json(), 0..4).prop_map(Value::from_iter)
}

/// A member's name: characters that a pointer escapes, names that look like an index, the empty name.
fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "b", "a/b", "~", "0", "-", "é"]).prop_map(str::to_owned),
        "[a-z]{1,5}"
    ]
}

fn values() -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map("[a-zé./-]{1,8}", any_json(), 0..5)
}

/// Returns the context value that the probe makes of a JSON value.
fn sent(json: &Value) -> Sent {
    match json {
        Value::String(text) => text.as_str().into(),
        Value::Bool(boolean) => (*boolean).into(),
        Value::Number(number) if number.is_i64() => number.as_i64().expect("an integer").into(),
        Value::Number(number) => number.as_f64().expect("a float").into(),
        json => json.clone().into(),
    }
}

/// Returns the text that a probe recorded of a thing in a hook; `None` if it did not look.
fn seen(world: &World, hook: &str, what: &str) -> Option<String> {
    let head = format!("probe {what} = ");
    world.of(hook).iter().find_map(|line| line.strip_prefix(&head).map(str::to_owned))
}

fn seen_json(world: &World, hook: &str, what: &str) -> Value {
    let text = seen(world, hook, what).unwrap_or_else(|| panic!("{hook} saw no {what}: {:?}", world.lines()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"))
}

fn tell(what: impl Into<String>) -> Value {
    json!({"do": "tell", "what": what.into()})
}

#[test]
fn values_and_headers_arrive_as_they_were_set() {
    let headers = prop::collection::btree_map("x-[a-z]{1,8}", "[!-~]{1,12}", 0..4);
    both((values(), headers), async |world, (values, headers)| {
        let values = values.iter();
        let set = values.clone().map(|(key, value)| json!({"do": "value", "key": key, "value": value}));
        let named = headers.iter().map(|(name, value)| json!({"do": "header", "name": name, "value": value}));
        let told: Vec<_> = values.clone().map(|(key, _)| tell(format!("value:{key}"))).collect();
        let pre: Vec<_> = set.chain(named).collect();
        let probe = world.probe("probe", 1, json!({"pre": pre, "post": told, "complete": told}));
        let client = world.client(&scripted([]), [probe]).await;
        let reply = client.send(chat("m")).await;
        world.finish(&client).await;
        for (key, value) in values {
            let expected = sent(value);
            assert_eq!(reply.value(key), Some(expected.clone()), "`{key}` at the host");
            for hook in ["post", "complete"] {
                let seen = seen(world, hook, &format!("value:{key}"));
                assert_eq!(seen, Some(format!("{expected:?}")), "`{key}` in `{hook}`");
            }
        }
        for (name, value) in headers {
            assert_eq!(header(reply.headers(), name), Some(value.as_str()), "`{name}`");
        }
    });
}

#[test]
fn a_response_and_its_metadata_arrive_as_they_were_answered() {
    both((object(), values()), async |world, (body, metadata)| {
        let answer = json!({"do": "respond", "body": body, "metadata": metadata});
        let probe = world.probe("probe", 1, json!({
            "pre": [answer], "post": [tell("kind"), tell("body:")], "complete": [tell("ending"), tell("status"), tell("body:")],
        }));
        let client = world.client(&scripted([]), [probe]).await;
        let reply = client.send(chat("m")).await;
        world.finish(&client).await;
        let response = reply.result.as_ref().expect("a response").get("").expect("a body");
        assert_eq!(serde_json::from_str::<Value>(response).expect("JSON"), *body);
        assert_eq!(seen(world, "post", "kind").as_deref(), Some("response"));
        assert_eq!(seen(world, "complete", "ending").as_deref(), Some("completed"));
        assert_eq!(seen(world, "complete", "status").as_deref(), Some("200"));
        for hook in ["post", "complete"] {
            assert_eq!(seen_json(world, hook, "body:"), *body, "in `{hook}`");
        }
        for (key, value) in metadata {
            assert_eq!(reply.value(key), Some(sent(value)), "`{key}`");
        }
    });
}

#[test]
fn an_error_arrives_as_it_was_rejected_with_or_converted_to() {
    let wait = prop::option::of((0_u32..4000).prop_map(|quarters| f64::from(quarters) / 4.0));
    both(
        (400_u16..600, text(), wait, any::<bool>(), any::<bool>()),
        async |world, (status, message, wait, rejects, falls_back)| {
            let looks = [tell("kind"), tell("body:")];
            let error = match rejects {
                true => {
                    json!({"do": "reject", "status": status, "message": message, "retry_after": wait, "allow_fallback": falls_back})
                }
                false => json!({"do": "convert", "status": status, "message": message}),
            };
            let (pre, mut post) = if *rejects { (vec![error], vec![]) } else { (vec![], vec![error]) };
            post.extend(looks);
            let scripts = json!({"pre": pre, "post": post, "complete": [tell("ending"), tell("status")]});
            let client = world.client(&scripted([]), [world.probe("probe", 1, scripts)]).await;
            let request = chat("m").with_fallbacks(["n"]);
            let reply = client.send(request).await;
            world.finish(&client).await;
            let attempts = if *falls_back || !rejects { 2 } else { 1 };
            assert_eq!(reply.attempts(), attempts, "attempts");
            let error = reply.result.as_ref().expect_err("an error");
            assert_eq!(
                (error.status(), error.error_type(), error.message()),
                (*status, "scripted", message.as_str())
            );
            let wait = wait.filter(|_| *rejects);
            assert_eq!(error.retry_after().map(|wait| wait.as_secs_f64()), wait);
            let failed = format!("{status} scripted");
            assert_eq!(seen(world, "post", "kind"), Some(format!("error {failed}")));
            assert_eq!(seen(world, "complete", "ending"), Some(format!("failed {failed}")));
            assert_eq!(seen(world, "complete", "status"), Some(status.to_string()));
            let document = seen_json(world, "post", "body:");
            assert_eq!(
                (&document["error"]["message"], &document["status"]),
                (&json!(message), &json!(status))
            );
            assert_eq!(document["retry_after"].as_f64(), wait, "{document}");
        },
    );
}

/// Edits: the kind (`set`, `insert` or `remove`), the place, and the value.
fn edits() -> impl Strategy<Value = Vec<(&'static str, String, Value)>> {
    let kind = prop::sample::select(vec!["set", "insert", "remove"]);
    // Into what is there, mostly.
    let token = prop_oneof![4 => prop::sample::select(vec!["a", "b", "0", "1", "-", "~0", "a~1b"]), 1 => Just("none")];
    let pointer = prop::collection::vec(token, 0..3)
        .prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect::<String>());
    prop::collection::vec((kind, pointer.prop_map(|below| format!("/doc{below}")), any_json()), 0..4)
}

/// Applies an edit with `serde_json`, for comparison. Returns false if the place does not exist.
fn edit(root: &mut Value, kind: &str, pointer: &str, new: Value) -> bool {
    let (parent, token) = pointer.rsplit_once('/').expect("a place in the document");
    let token = token.replace("~1", "/").replace("~0", "~");
    match root.pointer_mut(parent) {
        Some(Value::Object(members)) => match kind {
            "remove" => drop(members.remove(&token)),
            _ => drop(members.insert(token, new)),
        },
        Some(Value::Array(elements)) => {
            let is_index =
                token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
            let at = token.parse().ok().filter(|_| is_index);
            match (kind, at) {
                ("set" | "insert", None) if token == "-" => elements.push(new),
                ("set", Some(at)) if at < elements.len() => elements[at] = new,
                ("insert", Some(at)) if at <= elements.len() => elements.insert(at, new),
                ("remove", Some(at)) if at < elements.len() => drop(elements.remove(at)),
                // Nothing was there to remove.
                ("remove", _) => {}
                _ => return false,
            }
        }
        _ => return kind == "remove",
    }
    true
}

#[test]
fn a_document_is_edited_as_serde_json_would_edit_it() {
    let nested = (any_json(), any_json())
        .prop_map(|(a, b)| json!({"a": [a, {"b": b}], "b": b, "a/b": {"0": a}, "~": [[a]]}));
    let doc = prop_oneof![any_json(), nested];
    both((doc, edits()), async |world, (doc, edits)| {
        let body = json!({"model": "m", "messages": [], "doc": doc});
        let steps = edits.iter().map(|(kind, pointer, value)| match *kind {
            "remove" => json!({"do": "remove", "pointer": pointer}),
            kind => json!({"do": kind, "pointer": pointer, "value": value}),
        });
        let steps: Vec<_> = steps.chain([tell("body:")]).collect();
        let provider = scripted([]);
        let probe = world.probe(
            "probe",
            1,
            json!({"pre": steps, "post": [tell("request:")], "complete": [tell("request:")]}),
        );
        let client = world.client(&provider, [probe]).await;
        let request = Request::of(Endpoint::ChatCompletions, &body).expect("a request");
        client.send(request).await.result.expect("a response");
        world.finish(&client).await;
        let mut model = body.clone();
        let is_done =
            edits.iter().all(|(kind, pointer, value)| edit(&mut model, kind, pointer, value.clone()));
        if is_done {
            assert_eq!(seen_json(world, "pre", "body:"), model, "as the hook reads it");
        }
        // A hook that fails leaves no trace (rule E1).
        let expected = if is_done { model } else { body };
        assert_eq!(provider.calls(), std::slice::from_ref(&expected), "as the provider reads it");
        for hook in ["post", "complete"] {
            assert_eq!(seen_json(world, hook, "request:"), expected, "as `{hook}` reads it");
        }
    });
}

/// An action on every chunk: its step, and the expected result.
#[derive(Clone, Debug)]
enum Happens {
    Forward,
    Edit(Value),
    Drop,
    Replace(Vec<Value>),
    End(u16, String),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Forward),
        any_json().prop_map(Happens::Edit),
        Just(Happens::Drop),
        prop::collection::vec(object(), 0..4).prop_map(Happens::Replace),
        (400_u16..600, text()).prop_map(|(status, message)| Happens::End(status, message)),
    ]
}

impl Happens {
    fn step(&self) -> Vec<Value> {
        match self {
            Happens::Forward => vec![],
            Happens::Edit(value) => vec![json!({"do": "set", "pointer": "/added", "value": value})],
            Happens::Drop => vec![json!({"do": "drop"})],
            Happens::Replace(chunks) => vec![json!({"do": "replace", "chunks": chunks})],
            Happens::End(status, message) => vec![json!({"do": "end", "status": status, "message": message})],
        }
    }

    fn becomes(&self, chunk: &Value) -> Vec<Value> {
        match self {
            Happens::Forward => vec![chunk.clone()],
            Happens::Edit(value) => {
                let mut members: Map<_, _> = chunk.as_object().expect("an object").clone();
                members.insert("added".to_owned(), value.clone());
                vec![members.into()]
            }
            Happens::Replace(chunks) => chunks.clone(),
            Happens::Drop | Happens::End(..) => vec![],
        }
    }
}

#[test]
fn chunks_arrive_as_the_hooks_made_them_from_a_provider_and_from_a_plugin() {
    let chunks = prop::collection::vec(object(), 0..4);
    both(
        (chunks, happens(), prop::option::of(object()), any::<bool>()),
        async |world, (chunks, happens, last, is_own)| {
            let ends = [tell("ending"), tell("chunks"), tell("status")];
            let emit = last.iter().map(|chunk| json!({"do": "emit", "chunk": chunk}));
            let own = if *is_own { vec![json!({"do": "stream", "chunks": chunks})] } else { vec![] };
            let scripts = json!({
                "pre_stream": own, "chunk": happens.step(), "complete": ends,
                "post_stream": emit.chain([tell("ending")]).collect::<Vec<_>>(),
            });
            let provider = scripted([Turn::say(chunks.clone())]);
            let client = world.client(&provider, [world.probe("probe", 1, scripts)]).await;
            let read = all(client.stream(chat("m")).await).await;
            world.finish(&client).await;

            let cut = match happens {
                Happens::End(status, message) if !chunks.is_empty() => Some((*status, message)),
                _ => None,
            };
            let mut expected: Vec<_> = chunks.iter().flat_map(|chunk| happens.becomes(chunk)).collect();
            expected.extend(last.clone().filter(|_| cut.is_none()));
            let mut arrived = read.clone();
            let (mut ending, mut status) = ("completed".to_owned(), 200);
            if let Some((refused, message)) = cut {
                let told = arrived.pop().unwrap_or_default();
                // Before the first chunk it is an error instead of a stream (rule S7).
                assert_eq!(told.trim_start_matches('!'), format!("{refused} scripted: {message}"));
                (ending, status) = (format!("failed {refused} scripted"), refused);
            }
            let arrived: Vec<Value> = arrived
                .iter()
                .map(|chunk| serde_json::from_str(chunk).unwrap_or_else(|error| panic!("{error}: {chunk}")))
                .collect();
            assert_eq!(arrived, expected);
            assert_eq!(seen(world, "post_stream", "ending").as_ref(), Some(&ending));
            assert_eq!(seen(world, "complete", "ending").as_ref(), Some(&ending));
            assert_eq!(seen(world, "complete", "status"), Some(status.to_string()));
            assert_eq!(seen(world, "complete", "chunks"), Some(expected.len().to_string()));
        },
    );
}
