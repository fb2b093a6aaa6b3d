//! The chunks that a response becomes.

use serde_json::{Value, json};

use crate::convert::to_chunks;

#[test]
fn s1_a_chat_is_sent_as_a_provider_sends_it() {
    let response = json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m", "citations": ["u"],
        "choices": [{
            "index": 0, "finish_reason": "tool_calls", "stop_reason": 7,
            "logprobs": {"content": [{"token": "hi"}]},
            "message": {
                "role": "assistant", "content": "hi", "reasoning_content": "hm", "refusal": null, "function_call": null,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "in"}},
                ],
            },
        }],
        "usage": {"total_tokens": 3},
    });
    let choice = |choice: Value| json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
    let delta = |delta: Value| choice(json!({"index": 0, "delta": delta, "finish_reason": null}));
    let mut expected = vec![
        delta(json!({"role": "assistant", "refusal": null, "reasoning_content": "hm"})),
        delta(json!({"content": "hi"})),
        delta(json!({"tool_calls": [
            {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]})),
        delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})),
        delta(json!({"tool_calls": [
            {"index": 1, "id": "c2", "type": "custom", "custom": {"name": "g", "input": ""}}]})),
        delta(json!({"tool_calls": [{"index": 1, "custom": {"input": "in"}}]})),
        choice(json!({"index": 0, "delta": {}, "finish_reason": "tool_calls", "stop_reason": 7})),
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
               "usage": {"total_tokens": 3}}),
    ];
    expected[0]["citations"] = json!(["u"]);
    expected[1]["choices"][0]["logprobs"] = json!({"content": [{"token": "hi"}]});
    assert_eq!(to_chunks(&response), expected);
}

#[test]
fn s1_a_text_completion_has_no_deltas() {
    for object in [json!("text_completion"), Value::Null] {
        let choice = |at: u64| json!({"index": at, "text": "hi", "finish_reason": "stop"});
        let response = json!({"object": object, "choices": [choice(0), choice(1)]});
        let chunk = |choice: Value| json!({"object": "text_completion", "choices": [choice]});
        assert_eq!(to_chunks(&response), [chunk(choice(0)), chunk(choice(1))]);
    }
}

#[test]
fn s1_choices_without_an_index_are_numbered() {
    let choice = json!({"message": {"content": "hi"}, "finish_reason": "stop"});
    let chunks = to_chunks(&json!({"choices": [choice, choice]}));
    let indices: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["index"].as_u64()).collect();
    assert_eq!(indices, [Some(0), Some(0), Some(1), Some(1)]);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "hi"}));
}

#[test]
fn s1_any_json_becomes_at_least_one_chunk() {
    for response in [json!(null), json!({}), json!([1]), json!({"choices": 3}), json!({"choices": []})] {
        assert_eq!(to_chunks(&response), [json!({"object": "chat.completion.chunk", "choices": []})]);
    }
    let odd = json!({"choices": [1, {"message": "x", "index": -1}]});
    assert_eq!(to_chunks(&odd).len(), 4);
    let odd = json!({"object": "response", "output": [1, {"type": "message", "content": [2]}, {"type": "reasoning", "summary": 3}]});
    assert_eq!(to_chunks(&odd).last().map(|event| &event["response"]), Some(&odd));
}

/// The types of the events of a response with one item, without those at the beginning and at the end.
fn kinds(item: Value) -> Vec<String> {
    let response = json!({"object": "response", "status": "completed", "output": [item]});
    let events = to_chunks(&response);
    let kinds = events[2..events.len() - 1].iter().map(|event| event["type"].as_str().unwrap_or_default());
    kinds.map(|kind| kind.trim_start_matches("response.").to_owned()).collect()
}

#[test]
fn s1_each_item_of_a_response_has_its_events() {
    for (item, expected) in [
        (
            json!({"type": "function_call", "arguments": "{}"}),
            "function_call_arguments.delta function_call_arguments.done",
        ),
        (json!({"type": "function_call", "arguments": ""}), "function_call_arguments.done"),
        (
            json!({"type": "custom_tool_call", "input": "x"}),
            "custom_tool_call_input.delta custom_tool_call_input.done",
        ),
        (
            json!({"type": "mcp_call", "arguments": "{}", "error": null}),
            "mcp_call.in_progress mcp_call_arguments.delta mcp_call_arguments.done mcp_call.completed",
        ),
        (json!({"type": "mcp_call", "error": "no"}), "mcp_call.in_progress mcp_call.failed"),
        (
            json!({"type": "web_search_call"}),
            "web_search_call.in_progress web_search_call.searching web_search_call.completed",
        ),
        (
            json!({"type": "code_interpreter_call", "code": "1"}),
            "code_interpreter_call.in_progress code_interpreter_call_code.delta code_interpreter_call_code.done \
          code_interpreter_call.interpreting code_interpreter_call.completed",
        ),
        (
            json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}),
            "content_part.added refusal.delta refusal.done content_part.done",
        ),
        (
            json!({"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}),
            "content_part.added reasoning_text.delta reasoning_text.done content_part.done",
        ),
        (json!({"type": "something_new", "x": 1}), ""),
    ] {
        let mut all = vec!["output_item.added"];
        all.extend(expected.split_whitespace());
        all.push("output_item.done");
        assert_eq!(kinds(item.clone()), all, "{item}");
    }
}

#[test]
fn s1_a_response_is_sent_as_a_provider_sends_it() {
    let reasoning =
        json!({"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]});
    let text = json!({"type": "output_text", "text": "hello", "annotations": [{"type": "url_citation"}], "logprobs": []});
    let message = json!({"id": "msg", "type": "message", "role": "assistant", "status": "completed", "content": [text]});
    let call = json!({"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"});
    let response = json!({"id": "r", "object": "response", "status": "completed", "error": null, "output_text": "hello",
                          "output": [reasoning, message, call], "usage": {"total_tokens": 3}});
    let started = json!({"id": "r", "object": "response", "status": "in_progress", "error": null, "output": [], "usage": null});
    let empty_text = json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []});
    let empty_message =
        json!({"id": "msg", "type": "message", "role": "assistant", "status": "in_progress", "content": []});
    let empty_call = json!({"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "", "status": "in_progress"});
    let mut expected = vec![
        json!({"type": "created", "response": started}),
        json!({"type": "in_progress", "response": started}),
        json!({"type": "output_item.added", "output_index": 0, "item": {"id": "rs", "type": "reasoning", "summary": []}}),
        json!({"type": "reasoning_summary_part.added", "item_id": "rs", "output_index": 0, "summary_index": 0,
               "part": {"type": "summary_text", "text": ""}}),
        json!({"type": "reasoning_summary_text.delta", "item_id": "rs", "output_index": 0, "summary_index": 0, "delta": "hm"}),
        json!({"type": "reasoning_summary_text.done", "item_id": "rs", "output_index": 0, "summary_index": 0, "text": "hm"}),
        json!({"type": "reasoning_summary_part.done", "item_id": "rs", "output_index": 0, "summary_index": 0,
               "part": {"type": "summary_text", "text": "hm"}}),
        json!({"type": "output_item.done", "output_index": 0, "item": reasoning}),
        json!({"type": "output_item.added", "output_index": 1, "item": empty_message}),
        json!({"type": "content_part.added", "item_id": "msg", "output_index": 1, "content_index": 0, "part": empty_text}),
        json!({"type": "output_text.delta", "item_id": "msg", "output_index": 1, "content_index": 0, "delta": "hello",
               "logprobs": []}),
        json!({"type": "output_text.done", "item_id": "msg", "output_index": 1, "content_index": 0, "text": "hello",
               "logprobs": []}),
        json!({"type": "output_text.annotation.added", "item_id": "msg", "output_index": 1, "content_index": 0,
               "annotation_index": 0, "annotation": {"type": "url_citation"}}),
        json!({"type": "content_part.done", "item_id": "msg", "output_index": 1, "content_index": 0, "part": text}),
        json!({"type": "output_item.done", "output_index": 1, "item": message}),
        json!({"type": "output_item.added", "output_index": 2, "item": empty_call}),
        json!({"type": "function_call_arguments.delta", "item_id": "fc", "output_index": 2, "delta": "{}"}),
        json!({"type": "function_call_arguments.done", "item_id": "fc", "output_index": 2, "name": "f", "arguments": "{}"}),
        json!({"type": "output_item.done", "output_index": 2, "item": call}),
        json!({"type": "completed", "response": response}),
    ];
    for (at, event) in expected.iter_mut().enumerate() {
        event["sequence_number"] = at.into();
        event["type"] = format!("response.{}", event["type"].as_str().unwrap_or_default()).into();
    }
    let events = to_chunks(&response);
    for (event, expected) in events.iter().zip(&expected) {
        assert_eq!(event, expected);
    }
    assert_eq!(events.len(), expected.len());
    for (status, last) in [("incomplete", "incomplete"), ("failed", "failed"), ("odd", "completed")] {
        let events = to_chunks(&json!({"object": "response", "status": status}));
        assert_eq!(events.last().map(|event| &event["type"]), Some(&json!(format!("response.{last}"))));
    }
}
