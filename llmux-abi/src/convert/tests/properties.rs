//! Properties of the conversions, for many answers.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::{assembled, there_and_back};
use crate::convert::to_chunks;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), ".{1,12}", "[a-z {}\"\\\\:]{1,12}"]
}

fn call() -> impl Strategy<Value = Value> {
    let function = (0..1_000_u32, "[a-z]{1,5}", text(), any::<bool>());
    function.prop_map(|(id, name, text, is_custom)| {
        let (kind, member) = if is_custom { ("custom", "input") } else { ("function", "arguments") };
        json!({"id": format!("call_{id}"), "type": kind, kind: {"name": name, member: text}})
    })
}

/// Tool calls with distinct ids.
fn calls() -> impl Strategy<Value = Vec<Value>> {
    vec(call(), 0..4).prop_map(|mut calls| {
        for (at, call) in calls.iter_mut().enumerate() {
            call["id"] = format!("{}-{at}", call["id"].as_str().unwrap_or_default()).into();
        }
        calls
    })
}

fn message() -> impl Strategy<Value = Value> {
    (option::of(text()), option::of(text()), option::of(text()), option::of(calls()), any::<u64>()).prop_map(
        |(content, refusal, reasoning, calls, number)| {
            let mut message =
                json!({"role": "assistant", "content": content, "refusal": refusal, "number": number});
            if let Some(reasoning) = reasoning {
                message["reasoning_content"] = reasoning.into();
            }
            if let Some(calls) = calls {
                message["tool_calls"] = calls.into();
            }
            message
        },
    )
}

/// A response of a chat or of a text completion.
fn with_choices() -> impl Strategy<Value = Value> {
    let reason = prop_oneof![Just("stop"), Just("length"), Just("tool_calls")];
    let choice = (message(), text(), reason, option::of(vec(text(), 0..3)));
    (vec(choice, 1..4), any::<bool>(), option::of(any::<u64>())).prop_map(|(choices, is_chat, usage)| {
        let choices = choices.into_iter().enumerate().map(|(index, (message, text, reason, tokens))| {
            let mut choice = json!({"index": index, "finish_reason": reason});
            if is_chat {
                choice["message"] = message;
            } else {
                choice["text"] = text.into();
            }
            if let Some(tokens) = tokens {
                let tokens = tokens.iter().map(|token| json!({"token": token}));
                choice["logprobs"] = json!({"content": tokens.collect::<Vec<_>>()});
            }
            choice
        });
        let object = if is_chat { "chat.completion" } else { "text_completion" };
        let mut response = json!({"id": "x", "object": object, "created": 1, "model": "m",
                                  "system_fingerprint": null, "choices": choices.collect::<Vec<_>>()});
        if let Some(usage) = usage {
            response["usage"] = json!({"total_tokens": usage});
        }
        response
    })
}

fn item() -> impl Strategy<Value = Value> {
    let part = prop_oneof![
        text()
            .prop_map(|text| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
    ];
    let summary = text().prop_map(|text| json!({"type": "summary_text", "text": text}));
    let thought = text().prop_map(|text| json!({"type": "reasoning_text", "text": text}));
    prop_oneof![
        vec(part, 0..3).prop_map(
            |content| json!({"type": "message", "role": "assistant", "status": "completed", "content": content})
        ),
        (vec(summary, 0..3), vec(thought, 0..3))
            .prop_map(|(summary, content)| json!({"type": "reasoning", "summary": summary, "content": content})),
        text().prop_map(
            |text| json!({"type": "function_call", "call_id": "c", "name": "f", "status": "completed", "arguments": text})
        ),
        text().prop_map(
            |text| json!({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": text})
        ),
    ]
}

fn response() -> impl Strategy<Value = Value> {
    vec(item(), 0..4).prop_map(|mut output| {
        for (at, item) in output.iter_mut().enumerate() {
            item["id"] = format!("item_{at}").into();
        }
        json!({"id": "r", "object": "response", "status": "completed", "output": output})
    })
}

/// Splits each text of a stream's deltas into two chunks, and sends the labels of tool calls in both.
fn split(chunks: &[Value]) -> Vec<Value> {
    let mut pieces = Vec::new();
    for chunk in chunks {
        let texts = ["/content", "/reasoning_content", "/refusal", "/tool_calls/0/function/arguments"];
        let texts = texts.map(|text| format!("/choices/0/delta{text}"));
        let (mut first, mut second) = (chunk.clone(), chunk.clone());
        let mut is_split = false;
        for place in texts {
            let Some(text) = chunk.pointer(&place).and_then(Value::as_str) else { continue };
            let at = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let (begin, end) = text.split_at(at);
            *first.pointer_mut(&place).expect("a text") = begin.into();
            *second.pointer_mut(&place).expect("a text") = end.into();
            is_split = true;
        }
        pieces.push(first);
        if is_split {
            // The tokens are beside the first part.
            second["choices"][0].as_object_mut().expect("a choice").remove("logprobs");
            pieces.push(second);
        }
    }
    pieces
}

/// Joins the events of a response as a client does that does not read the last event.
fn read_by_a_client(events: &[Value]) -> Vec<Value> {
    let mut output: Vec<Value> = Vec::new();
    for event in events {
        let Some(at) = event["output_index"].as_u64().map(|at| usize::try_from(at).expect("an index")) else {
            continue;
        };
        let kind = event["type"].as_str().expect("a type").trim_start_matches("response.");
        if kind == "output_item.added" {
            assert_eq!(at, output.len());
            output.push(event["item"].clone());
            continue;
        }
        let item = &mut output[at];
        if kind != "output_item.done" {
            assert_eq!(event["item_id"], item["id"], "{event}");
        }
        let index = |name: &str| usize::try_from(event[name].as_u64().expect("an index")).expect("an index");
        let list = if event.get("summary_index").is_some() {
            ("summary", "summary_index")
        } else {
            ("content", "content_index")
        };
        let (place, member) = match kind {
            "output_item.done" => {
                if event["item"]["status"] == "completed" {
                    item["status"] = "completed".into();
                }
                assert_eq!(*item, event["item"]);
                continue;
            }
            "content_part.added" | "reasoning_summary_part.added" => {
                let parts = item[list.0].as_array_mut().expect("a list");
                assert_eq!(index(list.1), parts.len());
                parts.push(event["part"].clone());
                continue;
            }
            "content_part.done" | "reasoning_summary_part.done" => {
                assert_eq!(item[list.0][index(list.1)], event["part"]);
                continue;
            }
            "function_call_arguments.delta" | "function_call_arguments.done" => (item, "arguments"),
            "custom_tool_call_input.delta" | "custom_tool_call_input.done" => (item, "input"),
            "refusal.delta" | "refusal.done" => (&mut item["content"][index(list.1)], "refusal"),
            _ => (&mut item[list.0][index(list.1)], "text"),
        };
        let so_far = place[member].as_str().expect("a text").to_owned();
        match event["delta"].as_str() {
            Some(delta) => place[member] = (so_far + delta).into(),
            None => assert_eq!(event[member], so_far),
        }
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s1_a_response_survives_the_way_to_chunks_and_back(response in prop_oneof![with_choices(), response()]) {
        prop_assert_eq!(assembled(&to_chunks(&response)), Some(response.clone()));
        prop_assert_eq!(there_and_back(&response.to_string()), Some(response.to_string()));
    }

    #[test]
    fn s1_a_stream_survives_the_way_to_a_response_and_back(response in with_choices()) {
        let chunks = to_chunks(&response);
        let joined = assembled(&split(&chunks)).expect("a finished stream");
        prop_assert_eq!(&joined, &response);
        prop_assert_eq!(to_chunks(&joined), chunks);
    }

    #[test]
    fn s1_the_deltas_of_a_response_form_its_items(response in response()) {
        let events = to_chunks(&response);
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
        prop_assert_eq!(numbers, (0..events.len() as u64).map(Some).collect::<Vec<_>>());
        prop_assert_eq!(json!(read_by_a_client(&events)), response["output"].clone());
    }
}
