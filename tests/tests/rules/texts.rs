//! Rules T1 to T4, T7 and T8: the texts of requests and answers, whole and in pieces.

use llmux_core::{Client, Endpoint, Error, ErrorKind, Request, StreamReply};
use llmux_tests::{
    Turn, kinds, scripted,
    world::{all, builder, built, chat, header, said, told},
};
use serde_json::{Value as Json, json};

pub(crate) fn request(endpoint: Endpoint, body: Json) -> Request {
    Request::of(endpoint, &body).expect("a request")
}

/// A chunk of a chat stream: the delta of one choice, and why the choice ended.
pub(crate) fn delta(choice: u32, delta: Json, reason: Option<&str>) -> Json {
    let choice = json!({"index": choice, "delta": delta, "finish_reason": reason});
    json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})
}

/// A chat stream of these pieces of one text, and the chunk with the reason of its end.
fn pieces(texts: &[&str]) -> Turn {
    let mut chunks: Vec<Json> = texts.iter().map(|text| delta(0, json!({"content": text}), None)).collect();
    chunks.push(delta(0, json!({}), Some("stop")));
    Turn::chunks(&chunks, None)
}

/// Reads a stream: the data of all chunks, and the error at its end.
pub(crate) async fn chunks(reply: StreamReply) -> (Vec<Json>, Option<String>) {
    let mut stream = match reply.result {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(told(&error))),
    };
    let (mut chunks, mut end) = (Vec::new(), None);
    while let Some(item) = stream.next().await {
        match item {
            Ok(chunk) => chunks.push(serde_json::from_slice(&chunk.data()).expect("JSON")),
            Err(error) => end = Some(told(&error)),
        }
    }
    (chunks, end)
}

/// Returns what the chunks add to one member of a choice's delta, together.
pub(crate) fn joined(chunks: &[Json], choice: u32, member: &str) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].as_array()).flatten();
    let of = choices.filter(|it| it["index"] == choice);
    of.filter_map(|it| it.pointer(&format!("/delta/{member}"))?.as_str()).collect()
}

/// Returns the text that a stream adds to the first choice.
async fn streamed(client: &Client, request: Request) -> String {
    let (chunks, end) = chunks(client.stream(request).await).await;
    assert_eq!(end, None, "{chunks:?}");
    joined(&chunks, 0, "content")
}

kinds! {
    async fn t1_the_texts_of_a_request_pass_on_each_endpoint(world: World) {
        let provider = scripted([]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"shout": true, "side": "Request"}))]).await;
        let call = json!({"id": "1", "type": "function", "function": {"name": "find", "arguments": "{\"q\":1}"}});
        let image = json!({"type": "image_url", "image_url": {"url": "data:x"}});
        let cases = [
            (
                Endpoint::ChatCompletions,
                json!({"model": "m", "messages": [
                    {"role": "system", "content": "one"},
                    {"role": "user", "content": [{"type": "text", "text": "two"}, image]},
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "1", "content": "three"},
                ]}),
                vec![
                    ("system Content", "/messages/0/content", "one"),
                    ("user Content", "/messages/1/content/0/text", "two"),
                    ("assistant Arguments(find)", "/messages/2/tool_calls/0/function/arguments", "{\"q\":1}"),
                    ("tool Content", "/messages/3/content", "three"),
                ],
            ),
            (
                Endpoint::Completions,
                json!({"model": "m", "prompt": ["one", "two"], "suffix": "three"}),
                vec![("- Content", "/prompt/0", "one"), ("- Content", "/prompt/1", "two"), ("- Content", "/suffix", "three")],
            ),
            (
                Endpoint::Responses,
                json!({"model": "m", "instructions": "one", "input": [
                    {"role": "user", "content": "two"},
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "three"}]},
                    {"type": "function_call", "call_id": "1", "name": "find", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "1", "output": "four"},
                ]}),
                vec![
                    ("system Content", "/instructions", "one"),
                    ("user Content", "/input/0/content", "two"),
                    ("user Content", "/input/1/content/0/text", "three"),
                    ("assistant Arguments(find)", "/input/2/arguments", "{}"),
                    ("tool Content", "/input/3/output", "four"),
                ],
            ),
            (Endpoint::Embeddings, json!({"model": "m", "input": "one"}), vec![("- Content", "/input", "one")]),
            (Endpoint::Embeddings, json!({"model": "m", "input": ["one", "two"]}), vec![("- Content", "/input/0", "one"), ("- Content", "/input/1", "two")]),
        ];
        for (endpoint, body, expected) in cases {
            let before = world.of("text").len();
            client.send(request(endpoint, body)).await;
            let sent = provider.calls().pop().expect("a call");
            let texts: Vec<String> = world.of("text").split_off(before).into_iter().filter(|line| line.contains(" Request ")).collect();
            let told: Vec<String> = expected.iter().map(|(place, _, text)| format!("a Request {place} 0: {text}.")).collect();
            assert_eq!(texts, told, "{endpoint}");
            for (_, pointer, text) in expected {
                assert_eq!(sent.pointer(pointer), Some(&json!(text.to_uppercase())), "{endpoint}{pointer}");
            }
        }
    }

    async fn t1_the_texts_of_an_answer_pass_on_each_endpoint(world: World) {
        let message = json!({
            "role": "assistant", "content": "one", "reasoning_content": "two", "refusal": "three",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "find", "arguments": "{\"q\":1}"}}],
        });
        let item = json!({"type": "message", "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": "one", "logprobs": [1]}]});
        let thought = json!({"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "two"}]});
        let call = json!({"type": "function_call", "id": "f", "name": "find", "arguments": "{}"});
        let cases = [
            (
                request(Endpoint::ChatCompletions, json!({"model": "m", "messages": []})),
                json!({"object": "chat.completion", "choices": [{"index": 0, "message": message, "logprobs": {"content": []}, "finish_reason": "stop"}]}),
                vec![
                    ("Content 0", "/choices/0/message/content", "one"),
                    ("Reasoning 0", "/choices/0/message/reasoning_content", "two"),
                    ("Refusal 0", "/choices/0/message/refusal", "three"),
                    ("Arguments(find) 0", "/choices/0/message/tool_calls/0/function/arguments", "{\"q\":1}"),
                ],
            ),
            (
                request(Endpoint::Completions, json!({"model": "m", "prompt": ""})),
                json!({"object": "text_completion", "choices": [{"index": 1, "text": "one", "finish_reason": "stop"}]}),
                vec![("Content 1", "/choices/0/text", "one")],
            ),
            (
                request(Endpoint::Responses, json!({"model": "m", "input": []})),
                json!({"object": "response", "id": "x", "status": "completed", "output": [thought, item, call]}),
                vec![
                    ("Reasoning 0", "/output/0/summary/0/text", "two"),
                    ("Content 1", "/output/1/content/0/text", "one"),
                    ("Arguments(find) 2", "/output/2/arguments", "{}"),
                ],
            ),
        ];
        for (asked, answer, expected) in cases {
            let provider = scripted([Turn::json(&answer)]);
            let name = format!("a{}", expected.len());
            let shouts = world.texts(&name, 1, json!({"shout": true, "side": "Answer"}));
            let client = world.client(&provider, [shouts]).await;
            let reply = client.send(asked).await.result.expect("an answer");
            let answer = |line: &String| line.starts_with(&format!("{name} Answer"));
            let texts: Vec<String> = world.of("text").into_iter().filter(answer).collect();
            let told: Vec<String> = expected.iter().map(|(place, _, text)| format!("{name} Answer assistant {place}: {text}.")).collect();
            assert_eq!(texts, told);
            for (_, pointer, text) in expected {
                assert_eq!(reply.get_str(pointer), Some(&*text.to_uppercase()), "{pointer}");
            }
            for probabilities in ["/choices/0/logprobs", "/output/1/content/0/logprobs"] {
                assert!(matches!(reply.get(probabilities), None | Some("null" | "[]")), "{probabilities} belong to another text");
            }
        }
    }

    async fn t1_a_text_hook_ends_the_request(world: World) {
        let provider = scripted([Turn::text("a bad word"), pieces(&["a b", "ad word"])]);
        let refuses = || json!({"refuse": "bad"});
        let client = world.client(&provider, [world.texts("a", 1, refuses()), world.probe("b", 2, json!({}))]).await;
        let bad = || request(Endpoint::ChatCompletions, json!({"model": "m", "messages": [{"role": "user", "content": "bad"}]}));
        assert_eq!(said(&client.send(bad()).await), "!451 plugin_error: a word that is refused");
        assert_eq!(all(client.stream(bad()).await).await, ["!!451 plugin_error: a word that is refused"]);
        assert_eq!((provider.calls().len(), world.of("pre").len()), (0, 0), "nothing after the refusal runs");
        assert_eq!(said(&client.send(chat("m")).await), "!451 plugin_error: a word that is refused");
        let (chunks, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&chunks, 0, "content").as_str(), end.as_deref()), ("a ", Some("!451 plugin_error: a word that is refused")));
    }

    async fn t1_no_fallback_follows_a_text_hook_that_ended_the_request(world: World) {
        let provider = scripted([Turn::text("a bad word"), pieces(&["bad"])]);
        let client = built(builder(&provider).fallbacks("m", ["n"]), [world.texts("a", 1, json!({"refuse": "bad"}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!451 plugin_error: a word that is refused");
        assert_eq!(all(client.stream(chat("m")).await).await, ["!!451 plugin_error: a word that is refused"]);
        assert_eq!(provider.calls().len(), 2, "calls of the provider");
    }

    async fn t2_an_instance_holds_the_end_of_a_text(world: World) {
        let provider = scripted([pieces(&["a se", "cre", "t and se", "e"]), pieces(&["a ", "b"])]);
        let replaces = world.texts("a", 1, json!({"replace": ["secret", "***"]}));
        let client = world.client(&provider, [replaces]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        let texts: Vec<&str> = sent.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!((texts, end), (vec!["a ", "", "*** and ", "see"], None));
        let answers: Vec<String> = world.of("text").into_iter().filter(|line| line.contains("Answer")).collect();
        let expected = ["a se", "secre", "secret and se", "see", "."];
        assert_eq!(answers, expected.map(|text| format!("a Answer assistant Content 0: {text}")));
    }

    async fn t2_an_instance_holds_a_whole_text(world: World) {
        let provider = scripted([pieces(&["one ", "two ", "three"])]);
        let holds = world.texts("a", 1, json!({"whole": true, "shout": true, "append": "!"}));
        let client = world.client(&provider, [holds]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "content").as_str(), end), ("ONE TWO THREE!", None));
        let reason = sent.last().map(|last| last["choices"][0]["finish_reason"].clone());
        assert_eq!(reason, Some(json!("stop")), "the text comes before the end of its choice");
        let calls = world.of("text").into_iter().filter(|line| line.contains("Answer")).count();
        assert_eq!(calls, 2, "the first piece, and the end");
    }

    async fn t2_the_texts_of_choices_and_members_are_apart(world: World) {
        let call = |arguments: &str| json!([{"index": 0, "function": {"name": "find", "arguments": arguments}}]);
        let stream = [
            delta(0, json!({"role": "assistant", "reasoning_content": "se"}), None),
            delta(1, json!({"content": "se"}), None),
            delta(0, json!({"reasoning_content": "cret"}), None),
            delta(0, json!({"content": ""}), None),
            delta(0, json!({"content": "cret se"}), None),
            delta(0, json!({"tool_calls": call("se")}), None),
            delta(1, json!({"content": "cret"}), Some("stop")),
            delta(0, json!({"tool_calls": call("cret")}), None),
            delta(0, json!({}), Some("tool_calls")),
        ];
        let provider = scripted([Turn::chunks(&stream, None)]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"replace": ["secret", "***"]}))]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(end, None);
        let read = [(0, "reasoning_content"), (0, "content"), (0, "tool_calls/0/function/arguments"), (1, "content")];
        assert_eq!(read.map(|(choice, member)| joined(&sent, choice, member)), ["***", "cret se", "***", "***"]);
        assert_eq!(sent[0]["choices"][0]["delta"]["role"], "assistant", "other members stay where they were");
    }

    async fn t2_a_place_that_is_no_place_is_a_failure(world: World) {
        let provider = scripted([pieces(&["é"]), pieces(&["é"])]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"hold": 1}))]).await;
        assert_eq!(streamed(&client, chat("m")).await, "é", "the text goes on as it was");
        let guard = world.texts("b", 1, json!({"hold": 1})).with_on_error(llmux_core::plugins::OnError::Fail);
        let client = world.client(&provider, [guard]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "content").as_str(), end.as_deref()), ("", Some("!500 plugin_failure: a plugin failed while it handled this request")));
    }

    async fn t2_an_instance_that_holds_too_much_is_passed_by(world: World) {
        let large = "x".repeat(600 * 1024);
        let provider = scripted([pieces(&[&large, &large, "y"]), pieces(&[&large, &large, "y"])]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"whole": true, "shout": true}))]).await;
        assert_eq!(streamed(&client, chat("m")).await, format!("{large}{large}y"));
        let guard = world.texts("b", 1, json!({"whole": true})).with_on_error(llmux_core::plugins::OnError::Fail);
        let client = world.client(&provider, [guard]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "content").as_str(), end.as_deref()), ("", Some("!500 plugin_failure: a plugin failed while it handled this request")));
    }

    async fn t2_the_events_of_a_response_repeat_the_text_that_was_sent(world: World) {
        let item = json!({"type": "message", "id": "i", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "a secret, se", "annotations": []}]});
        let answer = json!({"object": "response", "id": "x", "status": "completed", "output": [item]});
        let whole = llmux_abi::convert::to_chunks(&answer);
        // The text in pieces, numbered anew.
        let mut events = Vec::new();
        for event in whole {
            match event["type"] == "response.output_text.delta" {
                false => events.push(event),
                true => events.extend(["a se", "cret", ", se"].map(|text| {
                    let mut event = event.clone();
                    event["delta"] = json!(text);
                    event
                })),
            }
        }
        events.iter_mut().enumerate().for_each(|(at, event)| event["sequence_number"] = json!(at));
        let provider = scripted([Turn::chunks(&events, None)]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"replace": ["secret", "***"]}))]).await;
        let (sent, end) = chunks(client.stream(request(Endpoint::Responses, json!({"model": "m", "input": "hi"}))).await).await;
        assert_eq!(end, None);
        let deltas: Vec<&str> = sent.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, ["a ", "***", ", ", "se"]);
        let places = ["/text", "/part/text", "/item/content/0/text", "/response/output/0/content/0/text"];
        let repeated = |event: &Json| places.iter().filter_map(|at| Some(event.pointer(at)?.as_str()?.to_owned())).collect::<Vec<_>>();
        let repeated: Vec<String> = sent.iter().flat_map(repeated).filter(|text| !text.is_empty()).collect();
        assert_eq!(repeated, vec!["a ***, se"; 4], "{sent:#?}");
        let numbers: Vec<u64> = sent.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
        assert_eq!(numbers, (0..sent.len() as u64).collect::<Vec<_>>(), "sequence numbers");
    }

    async fn t3_each_split_of_a_text_gives_what_two_instances_make_of_the_whole(world: World) {
        let text = "secret é secsecret 😀 secre secret";
        let expected = text.replace("secret", "s3").replace("s3", "✓");
        let instances = [world.texts("a", 1, json!({"replace": ["s3", "✓"]})), world.texts("b", 2, json!({"replace": ["secret", "s3"]}))];
        let provider = scripted([]);
        let client = world.client(&provider, instances).await;
        let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let splits = places.iter().flat_map(|from| places.iter().map(move |to| (*from, *to))).filter(|(from, to)| from <= to && (to - from) % 5 < 2);
        let mut tried = 0;
        for (from, to) in splits {
            provider.push(pieces(&[&text[..from], &text[from..to], &text[to..]]));
            assert_eq!(streamed(&client, chat("m")).await, expected, "split at {from} and {to}");
            tried += 1;
        }
        assert!(tried > 100, "{tried} splits");
        provider.push(Turn::text(text));
        assert_eq!(said(&client.send(chat("m")).await), expected, "the whole text");
    }

    async fn t3_a_stream_that_breaks_sends_no_held_text(world: World) {
        let broken = Error::new(ErrorKind::BadGateway, "cut");
        let provider = scripted([Turn::break_off(vec![json!("allowed se"), json!("cre")], broken)]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"replace": ["secret", "***"]}))]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(joined(&sent, 0, "content"), "allowed ");
        assert!(end.is_some_and(|error| error.contains("cut")));
    }

    async fn t3_a_stream_without_a_reason_sends_what_was_held_at_its_end(world: World) {
        let provider = scripted([Turn::say(vec![json!("a se"), json!("cre")])]);
        let client = world.client(&provider, [world.texts("a", 1, json!({"replace": ["secret", "***"], "append": "!"}))]).await;
        assert_eq!(streamed(&client, chat("m")).await, "a secre!");
    }

    async fn t7_several_instances_read_a_chunk_and_it_keeps_its_bytes(world: World) {
        let events = vec![r#"{ "choices" : [ { "index":0, "delta":{ "content":"\u0061 b" , "x": 1.50 } } ] }"#];
        let provider = scripted([Turn::raw(events.clone())]);
        let instances = ["a", "b"].map(|name| world.texts(name, 1, json!({"replace": ["secret", "***"]})));
        let client = world.client(&provider, instances).await;
        let mut stream = client.stream(chat("m")).await.result.expect("a stream");
        let chunk = stream.next().await.expect("a chunk").expect("a chunk");
        assert_eq!(chunk.data(), events[0], "what nobody edits is not written again");
        while stream.next().await.is_some() {}
        let read: Vec<String> = world.of("text").into_iter().filter(|line| line.contains("Answer")).collect();
        let told = |name: &str, text: &str| format!("{name} Answer assistant Content 0: {text}");
        assert_eq!(read, [told("b", "a b"), told("a", "a b"), told("b", "."), told("a", ".")]);
    }

    async fn t2_a_stream_of_too_many_texts_is_refused(world: World) {
        let events: Vec<String> = (0..5000)
            .map(|at| json!({"choices": [{"index": at, "delta": {"content": "x"}}]}).to_string())
            .collect();
        let provider = scripted([Turn::bytes(String::new(), events, None)]);
        let client = world.client(&provider, [world.texts("a", 1, json!({}))]).await;
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!(sent.len(), 4096);
        assert!(end.is_some_and(|error| error.contains("more than 4096 texts")));
    }

    async fn t8_a_failed_text_hook_is_rolled_back(world: World) {
        let provider = scripted([Turn::text("a word"), Turn::text("a word"), pieces(&["a w", "ord", " more"])]);
        let instances = [world.texts("a", 1, json!({"fail": "word"})), world.texts("b", 2, json!({"panic": "word"}))];
        let client = world.client(&provider, instances).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), header(reply.headers(), "x-texts")), ("a word", None));
        let guard = world.texts("c", 1, json!({"fail": "word"})).with_on_error(llmux_core::plugins::OnError::Fail);
        let client = built(builder(&provider), [guard]).await;
        assert_eq!(said(&client.send(chat("m")).await), "!500 plugin_failure: a plugin failed while it handled this request");
        let (sent, end) = chunks(client.stream(chat("m")).await).await;
        assert_eq!((joined(&sent, 0, "content").as_str(), end), ("a word more", None), "no piece has the whole word");
    }
}
