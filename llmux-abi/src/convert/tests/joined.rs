//! The response that chunks form, for the habits of many providers.

use serde_json::{Value, json};

use super::{assembled, there_and_back};
use crate::convert::Assembler;

fn chunk(delta: Value, reason: Value) -> Value {
    json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
}

/// Returns the message that these deltas form.
fn message(deltas: &[Value]) -> Value {
    let mut chunks: Vec<_> = deltas.iter().map(|delta| chunk(delta.clone(), Value::Null)).collect();
    chunks.push(chunk(json!({}), json!("stop")));
    assembled(&chunks).expect("a finished stream")["choices"][0]["message"].clone()
}

/// Returns the tool calls that these parts form, each part in a delta of its own.
fn calls(parts: &[Value]) -> Value {
    let deltas: Vec<_> = parts.iter().map(|part| json!({"tool_calls": [part]})).collect();
    message(&deltas)["tool_calls"].clone()
}

#[test]
fn texts_are_joined_and_labels_are_set() {
    let whole = message(&[
        json!({"role": "assistant", "content": "", "refusal": null}),
        json!({"role": "assistant", "reasoning_content": "h"}),
        json!({"role": "", "reasoning_content": "m", "content": null}),
        json!({"role": "assistant", "content": "he"}),
        json!({"content": "llo", "refusal": null}),
    ]);
    let expected =
        json!({"role": "assistant", "content": "hello", "reasoning_content": "hm", "refusal": null});
    assert_eq!(whole, expected);
    let reasoning = |text: &str| json!({"reasoning_details": [{"index": 0, "type": "reasoning.text", "format": "f", "text": text}]});
    let whole = message(&[reasoning("a"), reasoning("b")]);
    assert_eq!(whole["reasoning_details"], reasoning("ab")["reasoning_details"]);
}

#[test]
fn labels_of_a_choice_and_of_a_chunk_are_set() {
    let first = json!({"id": "", "object": "", "created": 1, "model": "", "choices": [], "prompt_filter_results": [1]});
    let severity = json!({"hate": {"filtered": false, "severity": "safe"}});
    let mut chunks = vec![first];
    for (text, reason) in [("a", json!("")), ("b", json!("stop")), ("", json!("stop")), ("", json!(null))] {
        let mut chunk = chunk(json!({"content": text}), reason);
        chunk["choices"][0]["content_filter_results"] = severity.clone();
        chunk["choices"][0]["logprobs"] = json!({"content": [{"token": text}]});
        chunks.push(chunk);
    }
    chunks.push(json!({"id": "", "choices": [], "usage": {"total_tokens": 3}}));
    let expected = json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "prompt_filter_results": [1],
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop",
            "content_filter_results": severity,
            "logprobs": {"content": [{"token": "a"}, {"token": "b"}, {"token": ""}, {"token": ""}]},
        }],
        "usage": {"total_tokens": 3},
    });
    assert_eq!(assembled(&chunks), Some(expected));
}

#[test]
fn the_parts_of_a_tool_call_are_one_call() {
    let whole =
        json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
    for (case, parts) in [
        (
            "as OpenAI does",
            vec![
                json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}),
                json!({"index": 0, "function": {"arguments": "{\"a\""}}),
                json!({"index": 0, "function": {"arguments": ":1}"}}),
            ],
        ),
        (
            "labels repeated",
            vec![
                json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}),
                json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ":1}"}}),
            ],
        ),
        (
            "labels empty",
            vec![
                json!({"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}),
                json!({"index": 0, "id": "", "type": null, "function": {"name": "", "arguments": ":1}"}}),
            ],
        ),
        (
            "no index, an id",
            vec![
                json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}),
                json!({"id": "c1", "function": {"arguments": ":1}"}}),
            ],
        ),
        (
            "no index, no id, the name repeated",
            vec![
                json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\""}}),
                json!({"function": {"name": "f", "arguments": ":1}"}}),
            ],
        ),
        (
            "no type",
            vec![json!({"index": 3, "id": "c1", "function": {"name": "f", "arguments": "{\"a\":1}"}})],
        ),
    ] {
        assert_eq!(calls(&parts), whole, "{case}");
    }
}

#[test]
fn several_tool_calls_stay_apart() {
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let at = |index: u64, mut call: Value| {
        call["index"] = index.into();
        call
    };
    let two = json!([call("c1", "f", "{}"), call("c2", "g", "[1]")]);
    for (case, parts) in [
        ("indices", vec![at(0, call("c1", "f", "{}")), at(1, call("c2", "g", "[1]"))]),
        ("the wrong way round", vec![at(1, call("c2", "g", "[1]")), at(0, call("c1", "f", "{}"))]),
        ("no index", vec![call("c1", "f", "{}"), call("c2", "g", "[1]")]),
        ("one index", vec![at(0, call("c1", "f", "{}")), at(0, call("c2", "g", "[1]"))]),
        (
            "one index, and parts",
            vec![
                at(0, call("c1", "f", "{}")),
                at(0, call("c2", "g", "[")),
                at(0, json!({"function": {"arguments": "1]"}})),
            ],
        ),
        (
            "in turn",
            vec![
                at(0, call("c1", "f", "{")),
                at(1, call("c2", "g", "[1")),
                at(0, json!({"function": {"arguments": "}"}})),
                at(1, json!({"function": {"arguments": "]"}})),
            ],
        ),
    ] {
        assert_eq!(calls(&parts), two, "{case}");
    }
    let nameless = |name: &str| json!({"function": {"name": name, "arguments": "{}"}});
    let whole = |name: &str| json!({"type": "function", "function": {"name": name, "arguments": "{}"}});
    for parts in [[nameless("f"), nameless("f")], [at(0, nameless("f")), at(0, nameless("f"))]] {
        assert_eq!(calls(&parts), json!([whole("f"), whole("f")]), "without ids");
    }
    // All calls in one delta.
    assert_eq!(message(&[json!({"tool_calls": two})])["tool_calls"], two);
}

#[test]
fn several_choices_stay_apart() {
    let part = |index: u64, text: &str, reason: Value| json!({"index": index, "delta": {"content": text}, "finish_reason": reason});
    let whole = assembled(&[
        json!({"choices": [part(1, "b", Value::Null), part(0, "a", Value::Null)]}),
        json!({"choices": [part(0, "a", json!("stop"))]}),
        json!({"choices": [part(1, "b", json!("length"))]}),
    ]);
    let choice = |index: u64, text: &str, reason: &str| json!({"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": reason});
    let expected = json!([choice(0, "aa", "stop"), choice(1, "bb", "length")]);
    assert_eq!(whole.expect("a finished stream")["choices"], expected);
}

#[test]
fn a_stream_is_whole_when_every_choice_has_a_reason() {
    let part = |index: u64, reason: Value| json!({"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": reason}]});
    for (chunks, is_whole) in [
        (vec![], false),
        (vec![json!({"choices": [], "usage": {}})], false),
        (vec![part(0, Value::Null)], false),
        (vec![part(0, json!(""))], false),
        (vec![part(0, json!("")), part(0, json!("stop")), part(0, json!(""))], true),
        (vec![part(0, json!("stop")), part(1, Value::Null)], false),
        (vec![part(0, json!("stop")), part(1, json!("stop"))], true),
        (vec![json!({"type": "response.created", "response": {"object": "response"}})], false),
        (vec![json!({"type": "response.completed", "response": {"object": "response"}})], true),
        (vec![json!({"type": "response.incomplete", "response": {"object": "response"}})], true),
        (vec![json!({"type": "response.failed", "response": {"object": "response"}})], true),
    ] {
        assert_eq!(assembled(&chunks).is_some(), is_whole, "{chunks:?}");
    }
}

#[test]
fn items_that_the_last_event_leaves_out_are_in_the_response() {
    let item =
        |at: usize| json!({"type": "response.output_item.done", "output_index": at, "item": {"id": at}});
    let last = |output: Value| json!({"type": "response.completed", "response": {"object": "response", "output": output}});
    let whole = assembled(&[item(1), item(0), last(json!([]))]).expect("a finished stream");
    assert_eq!(whole["output"], json!([{"id": 0}, {"id": 1}]));
    let whole = assembled(&[item(1), last(json!([{"id": 5}]))]).expect("a finished stream");
    assert_eq!(whole["output"], json!([{"id": 5}]));
}

#[test]
fn numbers_keep_their_digits() {
    let many = "123456789012345678901234567890";
    for response in [
        format!(
            r#"{{"choices":[{{"finish_reason":"stop","index":0,"message":{{"content":"x","role":"assistant","seed":{many}}}}}],"created":{many},"object":"chat.completion","usage":{{"cost":0.10,"total_tokens":{many}}}}}"#
        ),
        format!(r#"{{"object":"response","output":[],"seed":{many},"status":"completed","top_p":1.0}}"#),
    ] {
        assert_eq!(there_and_back(&response), Some(response));
    }
    let mut assembler = Assembler::new();
    assert!(assembler.push_text("{\"choices\":").is_err());
}

/// Chunks whose texts are alike, apart from a content.
#[test]
fn a_chunk_with_the_frame_of_the_last_one_is_read_like_any_other() {
    let chat = |content: &str| {
        format!(
            r#"{{"id":"x","choices":[{{"index":0,"delta":{{"content":{content}}},"finish_reason":null}}]}}"#
        )
    };
    let streams: [Vec<String>; 8] = [
        [r#""a""#, r#""b""#, r#""""#, r#""\"c\u00e9\n""#, r#""\\""#, "\"é\"", "null", r#""d""#]
            .map(chat)
            .to_vec(),
        // The end of one string and the beginning of another one.
        vec![chat(r#""a""#), chat(r#""b"},"x":{"y":"c""#), chat(r#""d""#)],
        // Another member of the delta is joined, too.
        [1, 2, 3].map(|_| chat(r#""a","reasoning_content":"b""#)).to_vec(),
        // A text beside the delta.
        ["a", "b"]
            .map(|text| format!(r#"{{"choices":[{{"index":1,"delta":{{"content":"{text}"}},"text":"t"}}]}}"#))
            .to_vec(),
        // The name of the member has an escape, and another member looks like it.
        ["a", "b"]
            .map(|text| format!(r#"{{"content":"{text}","choices":[{{"delta":{{"\u0063ontent":"a"}}}}]}}"#))
            .to_vec(),
        ["a", "b"]
            .map(|text| format!(r#"{{"\"content":"{text}","choices":[{{"delta":{{"\u0063ontent":"a"}}}}]}}"#))
            .to_vec(),
        // Of members with the same name, the last one counts.
        ["a", "b"]
            .map(|text| format!(r#"{{"choices":[{{"delta":{{"content":"{text}","content":"a"}}}}]}}"#))
            .to_vec(),
        // Two choices.
        [0, 0, 1, 1, 0]
            .map(|at| format!(r#"{{"choices":[{{"index":{at},"delta":{{"content":"{at}"}}}}]}}"#))
            .to_vec(),
    ];
    for mut chunks in streams {
        chunks.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned());
        chunks.push(r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#.to_owned());
        let (mut texts, mut values) = (Assembler::new(), Assembler::new());
        for chunk in &chunks {
            texts.push_text(chunk).expect("JSON");
            values.push(&serde_json::from_str(chunk).expect("JSON"));
        }
        let text = texts.finish_text().expect("a finished stream");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), values.finish(), "{chunks:?}");
    }
    for wrong in [r#""a"#, r#""a\""#, "\"a\u{1}\"", r#""\x""#] {
        let mut assembler = Assembler::new();
        assembler.push_text(&chat(r#""a""#)).expect("JSON");
        assert!(assembler.push_text(&chat(wrong)).is_err(), "{wrong}");
    }
}
