//! Rule T5: the tool calls of answers, plain and streamed.

use llmux_abi::convert::{Assembler, to_chunks};
use llmux_core::{Client, Endpoint, Error, ErrorKind, plugins::OnError};
use llmux_tests::{
    Turn, kinds, scripted,
    world::{all, builder, built, chat, header, said},
};
use serde_json::{Value as Json, json};

use super::texts::{chunks, delta, joined, request};

/// A delta of a tool call; the id and the name are in the first one.
fn part(index: u32, id: &str, name: &str, arguments: &str) -> Json {
    match name {
        "" => json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}),
        _ => {
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
        }
    }
}

/// A stream of these calls with their arguments, each in two parts.
fn calls(calls: &[(&str, &str)]) -> Turn {
    let mut stream = vec![delta(0, json!({"role": "assistant", "content": null}), None)];
    for (index, (name, arguments)) in (0..).zip(calls) {
        let (first, rest) = arguments.split_at(arguments.len().min(1));
        stream.push(delta(0, part(index, &format!("id{index}"), name, first), None));
        stream.push(delta(0, part(index, "", "", rest), None));
    }
    stream.push(delta(0, json!({}), Some("tool_calls")));
    Turn::chunks(&stream, None)
}

/// Returns the answer that chunks form.
fn whole(chunks: &[Json]) -> Json {
    let mut assembler = Assembler::new();
    chunks.iter().for_each(|chunk| assembler.push(chunk));
    assembler.finish().expect("an answer")
}

/// Returns the same answer as a plain reply, and as the chunks of a stream.
async fn both_ways(client: &Client) -> (Json, Vec<Json>) {
    let plain = client.send(chat("m")).await.result.expect("an answer").to_bytes();
    let (sent, end) = chunks(client.stream(chat("m")).await).await;
    assert_eq!(end, None, "{sent:#?}");
    (serde_json::from_slice(&plain).expect("JSON"), sent)
}

/// Returns the calls of the first choice: the name and the arguments of each; and why the choice ended.
fn told(answer: &Json) -> (Vec<(&str, &str)>, &str) {
    let choice = &answer["choices"][0];
    let calls = choice["message"]["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| {
        let text = |name: &str| call["function"][name].as_str().expect("a text");
        (text("name"), text("arguments"))
    });
    (calls.collect(), choice["finish_reason"].as_str().expect("a reason"))
}

kinds! {
    async fn t5_the_hook_receives_each_call_as_a_whole(world: World) {
        let stream = [
            delta(0, json!({"role": "assistant", "content": "I look"}), None),
            delta(0, part(0, "a", "find", "{\"q\""), None),
            delta(1, part(0, "c", "read", ""), None),
            delta(0, json!({"content": " it up", "tool_calls": part(1, "b", "open", "")["tool_calls"]}), None),
            delta(0, part(1, "", "", "{}"), None),
            delta(0, part(0, "", "", ":\"\\"), None),
            delta(1, part(0, "", "", "{\"p\": 1}"), Some("tool_calls")),
            delta(0, part(0, "", "", "u00e9\"}"), None),
            delta(0, json!({}), Some("tool_calls")),
        ];
        let turn = || Turn::chunks(&stream, None);
        let provider = scripted([turn(), turn()]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"rename": ["open", "look"]}))]).await;
        let (plain, sent) = both_ways(&client).await;
        let expected = [
            "a a find 0: {\"q\":\"\\u00e9\"}", "a b open 0: {}", "a c read 1: {\"p\": 1}",
            // In the stream, the second choice ends first.
            "a c read 1: {\"p\": 1}", "a a find 0: {\"q\":\"\\u00e9\"}", "a b open 0: {}",
        ];
        assert_eq!(world.of("tool"), expected);
        assert_eq!(whole(&sent)["choices"], plain["choices"], "{sent:#?}");
        assert_eq!(told(&plain), (vec![("find", "{\"q\":\"\\u00e9\"}"), ("look", "{}")], "tool_calls"));
        let with_calls: Vec<&Json> = sent.iter().filter(|it| it.pointer("/choices/0/delta/tool_calls").is_some()).collect();
        assert_eq!(with_calls.len(), 3, "one chunk for each call: {sent:#?}");
        assert!(with_calls.iter().all(|it| it["id"] == "c" && it["model"] == "m"), "other members of the chunks");
        assert_eq!(sent[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "I look"}));
        assert_eq!(sent[3]["choices"][0]["delta"], json!({"content": " it up"}), "a text beside a call does not wait");
    }

    async fn t5_each_split_of_the_arguments_gives_the_same(world: World) {
        let arguments = r#"{"a":"\u00e9 é \"😀","b":[1.50,{}]}"#;
        let provider = scripted([]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"add": ["c", 1]})), world.tool_calls("b", 2, json!({"rename": ["find", "look"]}))]).await;
        let places = (0..=arguments.len()).filter(|at| arguments.is_char_boundary(*at));
        for at in places {
            let (first, rest) = arguments.split_at(at);
            let turn = || Turn::chunks(&[delta(0, part(0, "a", "find", first), None), delta(0, part(0, "", "", rest), None), delta(0, json!({}), Some("tool_calls"))], None);
            provider.push(turn());
            provider.push(turn());
            let (plain, sent) = both_ways(&client).await;
            let expected = vec![("look", r#"{"a":"é é \"😀","b":[1.5,{}],"c":1}"#)];
            assert_eq!(told(&plain), (expected, "tool_calls"), "split at {at}");
            assert_eq!(whole(&sent)["choices"], plain["choices"], "split at {at}");
        }
    }

    async fn t5_a_removed_call_leaves_no_gap(world: World) {
        let turn = || calls(&[("find", "{}"), ("open", "{\"p\":1}")]);
        let provider = scripted([turn(), turn(), turn(), turn()]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"remove": "find"}))]).await;
        let (plain, sent) = both_ways(&client).await;
        assert_eq!(told(&plain), (vec![("open", "{\"p\":1}")], "tool_calls"));
        assert_eq!(whole(&sent)["choices"], plain["choices"]);
        let indices: Vec<&Json> = sent.iter().filter_map(|it| it.pointer("/choices/0/delta/tool_calls/0/index")).collect();
        assert_eq!(indices, [0]);
        // The next instance does not see what the one before has removed.
        let instances = [world.tool_calls("b", 1, json!({"remove": "open"})), world.tool_calls("c", 2, json!({"remove": "find"}))];
        let client = world.client(&provider, instances).await;
        let (plain, sent) = both_ways(&client).await;
        assert_eq!(told(&plain), (Vec::new(), "stop"));
        assert_eq!(plain["choices"][0]["message"], json!({"role": "assistant", "content": null}));
        assert_eq!(whole(&sent)["choices"], plain["choices"]);
        let seen: Vec<String> = world.of("tool").into_iter().filter(|line| line.starts_with("b ")).collect();
        assert_eq!(seen, ["b id1 open 0: {\"p\":1}"; 2]);
    }

    async fn t5_arguments_that_are_not_json_are_marked(world: World) {
        let stream = [
            delta(0, part(0, "a", "find", "{\"q\": "), None),
            delta(0, json!({"tool_calls": [{"index": 1, "id": "b", "type": "custom", "custom": {"name": "run", "input": "1"}}]}), None),
            delta(0, json!({"tool_calls": [{"index": 1, "custom": {"input": "2"}}]}), None),
            delta(1, json!({"function_call": {"name": "old", "arguments": "{"}}), None),
            delta(1, json!({"function_call": {"arguments": "}"}}), None),
            delta(0, json!({}), Some("tool_calls")),
            delta(1, json!({}), Some("function_call")),
        ];
        let turn = || Turn::chunks(&stream, None);
        let provider = scripted([turn(), turn(), turn(), turn()]);
        let appends = world.tool_calls("a", 1, json!({"append": " ", "rename": ["old", "new"]}));
        let client = world.client(&provider, [appends]).await;
        let (plain, sent) = both_ways(&client).await;
        let lines = ["a a find 0: {\"q\":  text", "a b run 0: 12 text", "a - old 1: {}"];
        assert_eq!(world.of("tool"), [lines, lines].concat());
        let message = &plain["choices"][0]["message"];
        assert_eq!((&message["tool_calls"][0]["function"]["arguments"], &message["tool_calls"][1]["custom"]["input"]), (&json!("{\"q\":  "), &json!("12 ")));
        assert_eq!(plain["choices"][1]["message"]["function_call"], json!({"name": "new", "arguments": "{} "}));
        assert_eq!(whole(&sent)["choices"], plain["choices"]);
        let client = world.client(&provider, [world.tool_calls("b", 1, json!({"remove": "old"}))]).await;
        let (plain, sent) = both_ways(&client).await;
        assert_eq!((&plain["choices"][1]["message"]["function_call"], &plain["choices"][1]["finish_reason"]), (&Json::Null, &json!("stop")));
        assert_eq!(whole(&sent)["choices"], plain["choices"]);
    }

    async fn t5_an_edit_that_leaves_no_call_is_a_failure(world: World) {
        let turn = || calls(&[("find", "{}")]);
        let provider = scripted([turn(), turn(), turn(), turn()]);
        for edit in [json!({"rename": ["find", ""]}), json!({"append": "}"})] {
            let name = format!("a{}", provider.calls().len());
            let client = world.client(&provider, [world.tool_calls(&name, 1, edit)]).await;
            let (plain, sent) = both_ways(&client).await;
            assert_eq!(told(&plain), (vec![("find", "{}")], "tool_calls"), "the call goes on as it was");
            assert_eq!(whole(&sent)["choices"], plain["choices"]);
        }
    }

    async fn t5_a_hook_ends_the_request(world: World) {
        let stream = [
            delta(0, json!({"content": "I open"}), None),
            delta(0, part(0, "a", "open", "{}"), None),
            delta(0, json!({}), Some("tool_calls")),
        ];
        let provider = scripted([Turn::chunks(&stream, None), Turn::chunks(&stream, None)]);
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.tool_calls("a", 1, json!({"refuse": "open"}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!451 plugin_error: a tool that is refused");
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "content").as_str(), end.as_deref()), ("I open", Some("!451 plugin_error: a tool that is refused")));
        assert!(!json!(sent).to_string().contains("tool_calls"), "{sent:#?}");
        assert_eq!(provider.calls().len(), 2, "no fallback follows");
    }

    async fn t5_a_failed_hook_is_rolled_back(world: World) {
        let turn = || calls(&[("find", "{}"), ("open", "{}")]);
        let provider = scripted([turn(), turn(), turn(), turn()]);
        let instances = [world.tool_calls("a", 1, json!({"fail": "find"})), world.tool_calls("b", 2, json!({"panic": "open"}))];
        let client = world.client(&provider, instances).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(header(reply.headers(), "x-calls"), None);
        let plain: Json = serde_json::from_slice(&reply.result.expect("an answer").to_bytes()).expect("JSON");
        assert_eq!(told(&plain), (vec![("find", "{}"), ("open", "{}")], "tool_calls"));
        let (sent, _) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(whole(&sent)["choices"], plain["choices"]);
        let guard = world.tool_calls("c", 1, json!({"fail": "open"})).with_on_error(OnError::Fail);
        let client = world.client(&provider, [guard]).await;
        let failed = "!500 plugin_failure: a plugin failed while it handled this request";
        assert_eq!(said(&client.send(chat("m")).await), failed);
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(end.as_deref(), Some(failed));
        assert!(!json!(sent).to_string().contains("tool_calls"), "no part of the calls is sent: {sent:#?}");
    }

    async fn t5_a_stream_that_breaks_sends_no_call(world: World) {
        let stream = [delta(0, part(0, "a", "find", "{}"), None)];
        let broken = Error::new(ErrorKind::BadGateway, "cut");
        let provider = scripted([Turn::chunks(&stream, Some(broken)), Turn::chunks(&stream, None)]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({}))]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert!(end.is_some_and(|error| error.contains("cut")));
        assert!(!json!(sent).to_string().contains("tool_calls") && world.of("tool").is_empty(), "{sent:#?}");
        // Without a reason, the end of the stream is the end of the call.
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "tool_calls/0/function/name").as_str(), end), ("find", None));
        assert_eq!(world.of("tool"), ["a a find 0: {}"]);
    }

    async fn t5_an_instance_that_would_hold_too_much_is_passed_by(world: World) {
        let large = "x".repeat(600 * 1024);
        let stream = [
            delta(0, part(0, "a", "write", "\""), None),
            delta(0, part(0, "", "", &large), None),
            delta(0, part(0, "", "", &large), None),
            delta(0, part(0, "", "", "\""), None),
            delta(0, json!({}), Some("tool_calls")),
        ];
        let turn = || Turn::chunks(&stream, None);
        let provider = scripted([turn(), turn()]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"remove": "write"}))]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((told(&whole(&sent)), end), ((vec![("write", &*format!("\"{large}{large}\""))], "tool_calls"), None));
        let failures = client.plugins().list().remove(0).hooks.into_iter().map(|hook| (hook.hook, hook.failures));
        assert_eq!(failures.collect::<Vec<_>>(), [("on_tool_call", 1)]);
        let guard = world.tool_calls("b", 1, json!({})).with_on_error(OnError::Fail);
        let client = world.client(&provider, [guard]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(end.as_deref(), Some("!500 plugin_failure: a plugin failed while it handled this request"));
        assert!(!json!(sent).to_string().contains("tool_calls"));
    }

    async fn t5_the_calls_of_a_response_object_pass(world: World) {
        let message = |text: &str| json!({"type": "message", "id": text, "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]});
        let call = |id: &str, name: &str, arguments: &str| json!({"type": "function_call", "id": id, "call_id": format!("c{id}"), "name": name, "arguments": arguments, "status": "completed"});
        let custom = json!({"type": "custom_tool_call", "id": "4", "call_id": "c4", "name": "run", "input": "ls"});
        let output = json!([message("one"), call("1", "find", "{\"q\":1}"), call("2", "open", "{\"p\":1}"), message("two"), custom]);
        let answer = json!({"object": "response", "id": "x", "status": "completed", "output": output});
        let asked = || request(Endpoint::Responses, json!({"model": "m", "input": "hi"}));
        let provider = scripted([Turn::json(&answer), Turn::json(&answer)]);
        let edits = world.tool_calls("b", 2, json!({"remove": "find", "rename": ["open", "look"], "add": ["r", true]}));
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"append": " "})), edits]).await;
        let plain: Json = serde_json::from_slice(&client.send(asked()).await.result.expect("an answer").to_bytes()).expect("JSON");
        let mut expected = answer.clone();
        expected["output"] = json!([message("one"), call("2", "look", "{\"p\":1,\"r\":true} "), message("two"), custom]);
        expected["output"][3]["input"] = json!("ls ");
        assert_eq!(plain, expected);
        let (sent, end) = chunks(client.stream(asked()).await).await;
        assert_eq!(end, None);
        assert_eq!(sent.last().map(|last| &last["response"]), Some(&plain), "the last event repeats what was sent");
        let same: Vec<Json> = to_chunks(&plain);
        assert_eq!(sent, same, "the stream is that of the edited answer");
        let of = |name: &str| world.of("tool").into_iter().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        let found = ["b c1 find 1: {\"q\":1}", "b c2 open 2: {\"p\":1}", "b c4 run 4: ls text"];
        assert_eq!(of("b "), [found, found].concat());
        // The next instance sees the items as the one before left them, also by their numbers.
        let left = ["a c2 look 1: {\"p\":1,\"r\":true}", "a c4 run 3: ls text"];
        assert_eq!(of("a "), [left, left].concat());
    }

    async fn t5_a_call_without_its_own_events_has_its_turn_in_the_last_one(world: World) {
        let call = json!({"type": "function_call", "id": "1", "call_id": "c1", "name": "find", "arguments": "{}"});
        let answer = json!({"object": "response", "id": "x", "status": "completed", "output": [call]});
        let events = to_chunks(&answer);
        let bare = [&events[..1], &events[events.len() - 1..]].concat();
        // The response ends before its call.
        let open = [&events[..events.len() - 2], &events[events.len() - 1..]].concat();
        let provider = scripted([Turn::chunks(&bare, None), Turn::chunks(&open, None)]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({"remove": "find"}))]).await;
        for _ in 0..2 {
            let asked = request(Endpoint::Responses, json!({"model": "m", "input": "hi"}));
            let (sent, end) = chunks(client.stream(asked).await).await;
            assert_eq!((end, sent.last().map(|last| &last["response"]["output"])), (None, Some(&json!([]))));
            assert!(!json!(sent).to_string().contains("find"), "{sent:#?}");
        }
        assert_eq!(world.of("tool"), ["a c1 find 0: {}"; 2]);
    }

    async fn t5_chunks_without_calls_keep_their_bytes(world: World) {
        let events = vec![r#"{ "choices" : [ { "index":0, "delta":{ "content":"\u0061 b" , "tool_calls" : null } } ] }"#];
        let provider = scripted([Turn::raw(events.clone())]);
        let client = world.client(&provider, [world.tool_calls("a", 1, json!({}))]).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        let chunk = stream.next().await.expect("a chunk").expect("a chunk");
        assert_eq!(chunk.data(), events[0]);
        while stream.next().await.is_some() {}
        assert!(world.of("tool").is_empty());
    }

    async fn t5_a_chunk_hook_sees_the_calls_that_go_on(world: World) {
        let provider = scripted([calls(&[("find", "{}"), ("open", "{}")])]);
        let place = "body:/choices/0/delta/tool_calls/0/function";
        let tells = || json!({"chunk": [{"do": "tell", "what": format!("{place}/name")}, {"do": "tell", "what": format!("{place}/arguments")}]});
        let instances = [world.probe("p", 1, tells()), world.tool_calls("a", 2, json!({"remove": "find"})), world.probe("q", 3, tells())];
        let client = world.client(&provider, instances).await;
        all(client.stream(chat("m")).await).await;
        let seen = |name: &str| {
            let lines = world.of("chunk").into_iter().filter_map(|line| line.strip_prefix(&format!("{name} {place}/")).map(str::to_owned));
            lines.filter(|line| line.contains('"')).collect::<Vec<_>>()
        };
        let parts = ["name = \"find\"", "arguments = \"{\"", "arguments = \"}\"", "name = \"open\"", "arguments = \"{\"", "arguments = \"}\""];
        assert_eq!(seen("q"), parts, "the deltas, before the hook");
        assert_eq!(seen("p"), ["name = \"open\"", "arguments = \"{}\""], "the whole call, after it");
    }
}
