//! Responses of `echo` for each endpoint, compared with expected JSON.

use super::*;

fn call(endpoint: Endpoint, body: &Value) -> Call {
    Call::new(endpoint, body.to_string(), "r")
}

async fn sent(endpoint: Endpoint, body: Value) -> Value {
    let document = Echo::new().send(call(endpoint, &body)).await.unwrap().content;
    serde_json::from_slice(&document.to_bytes()).unwrap()
}

async fn streamed(endpoint: Endpoint, body: Value) -> Vec<(Option<String>, Value)> {
    let events = Echo::new().stream(call(endpoint, &body)).await.unwrap().content;
    events
        .map(|event| {
            let event = event.unwrap();
            (event.name.map(|name| name.to_string()), serde_json::from_slice(&event.data).unwrap())
        })
        .collect()
        .await
}

#[tokio::test]
async fn chat_repeats_the_last_user_message() {
    let body = json!({"model": "echo", "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": null},
        {"role": "user", "content": [
            {"type": "text", "text": "see "}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "this"},
        ]},
        {"role": "tool", "content": "42"},
    ]});
    assert_eq!(
        sent(Endpoint::ChatCompletions, body).await,
        json!({
            "id": "chatcmpl-echo", "object": "chat.completion", "created": 0, "model": "echo",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": "see this", "refusal": null},
                "logprobs": null, "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8},
        })
    );
}

#[tokio::test]
async fn every_endpoint_and_model_has_its_text() {
    use Endpoint::{ChatCompletions, Completions, Responses};
    let request = json!({"model": "echo-request", "x": [1.50, {"y": null}]});
    let cases = [
        (ChatCompletions, json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}), "hi"),
        (ChatCompletions, json!({"messages": [{"role": "user", "content": "hi"}]}), "hi"),
        (ChatCompletions, json!({"messages": [{"role": "system", "content": "hi"}]}), ""),
        (ChatCompletions, json!({"model": 7}), ""),
        (ChatCompletions, request.clone(), &request.to_string()),
        (Completions, json!({"prompt": "once upon"}), "once upon"),
        (Completions, json!({"prompt": ["once ", "upon"]}), "once upon"),
        (Completions, request.clone(), &request.to_string()),
        (Responses, json!({"input": "hi"}), "hi"),
        (
            Responses,
            json!({"input": [{"role": "user", "content": "a"}, {"role": "user", "content":
            [{"type": "input_text", "text": "b"}]}, {"type": "function_call_output", "output": "c"}]}),
            "b",
        ),
        (Responses, request.clone(), &request.to_string()),
        (
            ChatCompletions,
            json!({"model": "echo-error-200", "messages": [{"role": "user", "content": "hi"}]}),
            "hi",
        ),
    ];
    for (endpoint, body, expected) in cases {
        let answer = sent(endpoint, body.clone()).await;
        let pointer = match endpoint {
            ChatCompletions => "/choices/0/message/content",
            Completions => "/choices/0/text",
            _ => "/output/0/content/0/text",
        };
        assert_eq!(answer.pointer(pointer).unwrap(), expected, "{endpoint} {body}");
        assert_eq!(answer["model"], body["model"].as_str().unwrap_or("echo"), "{endpoint} {body}");
    }
}

#[tokio::test]
async fn chat_streams_a_word_a_chunk_and_the_usage_when_asked() {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({"id": "chatcmpl-echo", "object": "chat.completion.chunk", "created": 0, "model": "m",
            "choices": choices, "usage": usage});
        if chunk["usage"] == "absent" {
            chunk.as_object_mut().unwrap().remove("usage");
        }
        (None, chunk)
    };
    let choice = |delta: Value, finish_reason: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
    let choices = [
        choice(json!({"role": "assistant", "content": ""}), Value::Null),
        choice(json!({"content": "one  "}), Value::Null),
        choice(json!({"content": "two\n"}), Value::Null),
        choice(json!({}), json!("stop")),
    ];
    let mut body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "one  two\n"}]});
    let plain: Vec<_> = choices.iter().map(|choices| chunk(choices.clone(), json!("absent"))).collect();
    assert_eq!(streamed(Endpoint::ChatCompletions, body.clone()).await, plain);

    body["stream_options"] = json!({"include_usage": true});
    let mut with_usage: Vec<_> = choices.iter().map(|choices| chunk(choices.clone(), Value::Null)).collect();
    with_usage.push(chunk(json!([]), json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4})));
    assert_eq!(streamed(Endpoint::ChatCompletions, body).await, with_usage);
}

#[tokio::test]
async fn completions_stream_texts_that_join_to_the_answer() {
    let body = json!({"prompt": " a  b c ", "stream_options": {"include_usage": true}});
    let chunks = streamed(Endpoint::Completions, body).await;
    let text: String = chunks.iter().filter_map(|(_, chunk)| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, " a  b c ");
    let [.., (_, finish), (_, usage)] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["object"], "text_completion");
    assert_eq!(usage["usage"]["total_tokens"], 6);
}

#[tokio::test]
async fn responses_stream_named_events() {
    let events = streamed(Endpoint::Responses, json!({"input": "one two", "instructions": "be brief"})).await;
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_deref().unwrap()).collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!(event["type"].as_str(), name.as_deref());
        assert_eq!(event["sequence_number"], number);
    }
    let delta: String = events.iter().filter_map(|(_, event)| event["delta"].as_str()).collect();
    assert_eq!(delta, "one two");
    assert_eq!(events[5].1["text"], "one two");
    let response = &events[8].1["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], "one two");
    assert_eq!(response["usage"]["input_tokens"], 4);
    assert_eq!(response["usage"]["output_tokens"], 2);
    assert_eq!(events[0].1["response"]["status"], "in_progress");
}

#[tokio::test]
async fn an_error_model_fails_with_its_status() {
    for (model, kind, wait) in [
        ("echo-error-400", "echo_error", None),
        ("echo-error-429", "rate_limit_exceeded", Some(Duration::from_secs(1))),
        ("echo-error-503", "echo_error", None),
    ] {
        let call = call(Endpoint::ChatCompletions, &json!({"model": model}));
        let sent = Echo::new().send(call.clone()).await.unwrap_err();
        let streamed = Echo::new().stream(call).await.err().unwrap();
        for error in [sent, streamed] {
            assert_eq!(error.kind(), ErrorKind::Provider);
            assert_eq!(error.status().to_string(), model[11..]);
            assert_eq!(error.error_type(), kind);
            assert_eq!(error.retry_after(), wait);
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    for body in ["", "[]", "{\"a\":}", "\"x\""] {
        let call = Call::new(Endpoint::ChatCompletions, body, "r");
        assert_eq!(Echo::new().send(call).await.unwrap_err().kind(), ErrorKind::InvalidRequest, "{body}");
    }
    let call = call(Endpoint::Embeddings, &json!({"input": "x"}));
    assert_eq!(Echo::new().stream(call).await.err().unwrap().kind(), ErrorKind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_every_chunk() {
    let echo = Echo::new().with_chunk_delay(Duration::from_millis(20));
    let start = tokio::time::Instant::now();
    let body = json!({"messages": [{"role": "user", "content": "one two"}]});
    let events = echo.stream(call(Endpoint::ChatCompletions, &body)).await.unwrap().content;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(events.count().await, 4);
    // A timer has the grain of a millisecond.
    assert!((80..90).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}
