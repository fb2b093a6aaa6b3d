//! Rule T1: long strings of answers that are no texts.

use llmux_core::{Endpoint, Request, pipeline::PipelineConfig};
use llmux_tests::{
    Turn, kinds, scripted,
    world::{builder, built, told},
};
use serde_json::{Value as Json, json};

use super::texts::{chunks, request};

kinds! {
    async fn t1_an_answer_with_a_long_string_that_is_no_text_is_refused(world: World) {
        let (long, short) = ("x".repeat(65), "x".repeat(64));
        let message = |member: &str, value: &Json| {
            let mut message = json!({"role": "assistant", "content": long, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": long}}]});
            message[member] = value.clone();
            json!({"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        };
        let item = |member: &str, value: &Json| {
            let mut item = json!({"type": "message", "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": long, "annotations": []}]});
            item[member] = value.clone();
            json!({"object": "response", "id": "x", "status": "completed", "output": [item]})
        };
        let provider = scripted([]);
        let guard = |name| world.texts(name, 1, json!({}));
        let config = PipelineConfig::default().with_refuse_unknown_text(true);
        let strict = built(builder(&provider).pipeline(config.clone()), [guard("a")]).await;
        let lenient = world.client(&provider, [guard("b")]).await;
        let without = built(builder(&provider).pipeline(config), [world.probe("c", 1, json!({}))]).await;
        let chat = || request(Endpoint::ChatCompletions, json!({"model": "m", "messages": []}));
        let response = || request(Endpoint::Responses, json!({"model": "m", "input": []}));
        let (unknown, nested, known) = (json!(long), json!([{"a/b": long}]), json!([{"a": short}]));
        let cases: [(_, &dyn Fn() -> Request, _); 6] = [
            (message("new", &unknown), &chat, Some("/choices/0/message/new")),
            (message("new", &nested), &chat, Some("/choices/0/message/new/0/a~1b")),
            (message("new", &known), &chat, None),
            (item("new", &unknown), &response, Some("/output/0/new")),
            (item("new", &nested), &response, Some("/output/0/new/0/a~1b")),
            (item("new", &known), &response, None),
        ];
        for (answer, asked, refused) in cases {
            for client in [&strict, &lenient, &without] {
                provider.push(Turn::json(&answer));
                provider.push(Turn::json(&answer));
                let plain = client.send(asked()).await.result.err().map(|error| told(&error));
                let (_, streamed) = chunks(client.stream(asked()).await).await;
                let refused = refused.filter(|_| std::ptr::eq(client, &strict));
                assert_eq!((plain.is_some(), streamed.is_some()), (refused.is_some(), refused.is_some()), "{plain:?} {streamed:?}");
                if let (Some(place), Some(plain), Some(streamed)) = (refused, plain, streamed) {
                    let streamed_place = place.replace("/message/", "/delta/").replace("/output/0", "/item");
                    assert!(plain.starts_with("!502") && plain.contains(&format!("`{place}`")), "{plain}");
                    assert!(streamed.contains(&format!("`{streamed_place}`")), "{streamed}");
                }
            }
        }
    }
}
