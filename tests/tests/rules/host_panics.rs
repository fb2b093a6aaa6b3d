//! Rule E5 on the side of the host: a panic of the host itself, or of an embedder's provider, ends one request with an
//! error, and every hook is called as for any other error.

use std::sync::Arc;

use futures_util::{StreamExt, future::BoxFuture, stream};
use llmux_core::{
    Client, Document, Error, ErrorKind, PluginSpec,
    pipeline::PipelineConfig,
    provider::{Answer, Call, Event, Events, Provider},
};
use llmux_tests::{
    kinds, scripted,
    world::{builder, built, chat, plugins},
};
use serde_json::json;

/// A provider that panics; the name of the model selects the place.
#[derive(Debug)]
struct Panicking;

impl Provider for Panicking {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
        let at_once = model(&call) == "at-once";
        assert!(!at_once, "before there is a future");
        Box::pin(async { panic!("in the future") })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
        let model = model(&call);
        assert!(model != "at-once", "before there is a future");
        Box::pin(async move {
            assert!(model == "later", "in the future");
            let chunk = Event { name: None, data: json!({"choices": []}).to_string().into() };
            let events: Events = stream::iter(0..3)
                .map(move |at| if at < 2 { Ok(chunk.clone()) } else { panic!("in a chunk") })
                .boxed();
            Ok(events.into())
        })
    }
}

fn model(call: &Call) -> String {
    let body: serde_json::Value = serde_json::from_slice(&call.body).expect("JSON");
    body["model"].as_str().expect("a model").to_owned()
}

async fn client(instances: impl IntoIterator<Item = PluginSpec>) -> Client {
    let builder = Client::builder().provider("p", Arc::new(Panicking), ["at-once", "soon", "later"]);
    built(builder.plugins(plugins().with_allow_insecure_permissions(true)), instances).await
}

kinds! {
    async fn e5_a_panic_of_a_provider_ends_one_request_and_no_hook_is_forgotten(world: World) {
        let tell = json!([{"do": "tell", "what": "ending"}, {"do": "tell", "what": "status"}]);
        let client = client([world.probe("a", 1, json!({"complete": tell}))]).await;
        for model in ["at-once", "soon"] {
            let error = client.send(chat(model)).await.result.expect_err("an error");
            assert_eq!((error.kind(), error.status()), (ErrorKind::Internal, 500), "{model}");
            assert!(!error.message().contains("future"), "the reason is for the log: {}", error.message());
            let error = client.stream(chat(model)).await.result.err().expect("an error");
            assert_eq!((error.kind(), error.status()), (ErrorKind::Internal, 500), "{model}, streaming");
        }
        let mut chunks = client.stream(chat("later")).await.result.expect("a stream");
        let mut last = None;
        while let Some(chunk) = chunks.next().await {
            last = Some(chunk.map(drop));
        }
        let error = last.expect("an item").expect_err("the last item is the error");
        assert_eq!(error.kind(), ErrorKind::Internal);
        drop(chunks);
        let report = world.finish(&client).await;
        assert!(report.drained && report.errors.is_empty(), "{report:?}");
        assert_eq!(world.count("a.post"), 2, "{:#?}", world.lines());
        assert_eq!(world.count("a.post_stream"), 3, "{:#?}", world.lines());
        assert_eq!(world.count("a.complete"), 5, "{:#?}", world.lines());
        assert_eq!(world.count("a.complete status = 500"), 5, "{:#?}", world.lines());
    }

    async fn c1_an_instance_whose_completions_wait_costs_the_others_nothing(world: World) {
        let gate = world.text_path("gate");
        let config = PipelineConfig::default().with_max_waiting_completions(4);
        let slow = world.probe("slow", 2, json!({"complete": [{"do": "wait_until", "path": gate}]}));
        let plugins = [world.probe("other", 1, json!({})), slow];
        let client = built(builder(&scripted([])).pipeline(config), plugins).await;
        for _ in 0..3 {
            assert!(client.send(chat("m")).await.result.is_ok());
        }
        world.wait_for("other.complete", 2).await;
        assert_eq!(world.count("slow.complete"), 1, "the others found its places taken");
        std::fs::write(&gate, "").expect("the gate opens");
        world.wait_for("other.complete", 3).await;
        let metrics = client.render_metrics();
        assert!(metrics.contains("llmux_dropped_completions_total 2"), "two calls of one instance: {metrics}");
    }

    async fn c1_the_completions_that_wait_are_bounded_in_bytes(world: World) {
        let gate = world.text_path("gate");
        let config = PipelineConfig::default().with_max_waiting_completion_bytes(1);
        let waits = world.probe("a", 1, json!({"complete": [{"do": "wait_until", "path": gate}]}));
        let client = built(builder(&scripted([])).pipeline(config), [waits]).await;
        client.send(chat("m")).await;
        world.wait_for("a.complete", 1).await;
        client.send(chat("m")).await;
        std::fs::write(&gate, "").expect("the gate opens");
        world.finish(&client).await;
        assert_eq!(world.count("a.complete"), 1, "one request has a place, however large it is");
    }
}
