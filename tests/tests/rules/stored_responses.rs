//! Rule F11: requests about a stored response go to the deployment that has it.

use llmux_core::{Client, Endpoint, Request, client::RetryConfig};
use llmux_tests::{
    Turn, kinds, scripted,
    world::{built, chat, plugins, said, told},
};
use serde_json::json;

kinds! {
    async fn f11_a_pinned_request_goes_to_its_deployment_without_failover_or_fallback(world: World) {
        let (east, west) = (scripted([]), scripted([Turn::error(503, "down")]));
        let retry = RetryConfig::default().with_max_retries(0);
        let builder = Client::builder()
            .provider("east", std::sync::Arc::new(east.clone()), ["m", "o"])
            .provider("west", std::sync::Arc::new(west.clone()), [("m", "w"), ("n", "n")])
            .fallbacks("m", ["o"])
            .retry(retry)
            .plugins(plugins());
        let sees = json!({"pre": [{"do": "tell", "what": "model"}]});
        let client = built(builder, [world.probe("a", 1, sees)]).await;
        let pinned = |model: &str| chat(model).with_deployment("west/w");
        assert!(said(&client.send(pinned("m")).await).starts_with("!503"), "no failover, and no fallback");
        assert_eq!(said(&client.send(pinned("m")).await), "again");
        assert_eq!(said(&client.send(pinned("n")).await), "again", "another model of the same provider");
        assert_eq!(said(&client.send(pinned("o")).await), "again", "a model of another provider");
        let models: Vec<_> = west.calls().iter().map(|body| body["model"].clone()).collect();
        assert_eq!(models, ["w", "w", "n", "w"]);
        assert!(east.calls().is_empty());
        let gone = client.send(chat("m").with_deployment("south/w")).await;
        assert_eq!(gone.result.expect_err("gone").status(), 404);
        assert_eq!(client.model_of("west/w").as_deref(), Some("m"));
        assert_eq!(client.model_of("south/w"), None);
        assert!(client.serves_beside("west/w", "n") && !client.serves_beside("west/w", "o"));
    }

    async fn f11_hooks_see_the_id_and_the_model_of_a_stored_response(world: World) {
        let provider = scripted([]);
        let sees = json!({"pre": [{"do": "tell", "what": "endpoint"}, {"do": "tell", "what": "model"}, {"do": "tell", "what": "body:/response_id"}]});
        let client = world.client(&provider, [world.probe("a", 1, sees)]).await;
        let body = json!({"model": "m", "response_id": "resp_1"});
        let request = Request::of(Endpoint::ResponseRetrieval, &body).expect("a request");
        let reply = client.send(request.with_deployment("p/m")).await;
        reply.result.as_ref().map_err(told).expect("an answer");
        let expected = ["a endpoint = responses/get", "a model = m", r#"a body:/response_id = "resp_1""#];
        assert_eq!(world.of("pre")[1..], expected);
    }
}
