//! Rule F10: providers of every model.

use std::sync::Arc;

use llmux_core::{Client, client::RetryConfig, provider::OpenAi};
use llmux_testing::{ScriptedResponse, ScriptedServer};
use llmux_tests::{
    Turn, scripted,
    world::{chat, said},
};

const ANSWER: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"from any"},"finish_reason":"stop"}]}"#;
const LIST: &str =
    r#"{"object":"list","data":[{"id":"listed","object":"model"},{"id":"m","object":"model"}]}"#;

async fn client(any: &ScriptedServer) -> Client {
    let any = OpenAi::builder("any", any.base_url()).build().expect("a provider");
    let named = scripted([Turn::text("named"), Turn::text("named")]);
    let builder = Client::builder().retry(RetryConfig::default().with_max_retries(0));
    let builder = builder.provider("any", Arc::new(any), ["*"]).provider("p", Arc::new(named), ["m"]);
    builder.build().await.expect("a client")
}

#[tokio::test]
async fn f10_names_of_the_list_that_no_other_provider_has_are_served() {
    let answers = [ScriptedResponse::json(200, LIST), ScriptedResponse::json(200, ANSWER)];
    let upstream = ScriptedServer::start(answers).await;
    let client = client(&upstream).await;
    let reply = client.send(chat("listed")).await;
    assert_eq!((&*said(&reply), reply.deployment()), ("from any", Some("any/listed")));
    assert_eq!(said(&client.send(chat("m")).await), "named", "another provider names it");
    let unknown = client.send(chat("other")).await;
    assert_eq!(unknown.result.expect_err("no such model").status(), 404);
    let models: Vec<String> = client.listed_models().await.into_iter().map(|(model, _)| model).collect();
    assert_eq!(models, ["m", "listed"]);
    let asked: Vec<String> = upstream.requests().iter().map(|request| request.path.clone()).collect();
    assert!(asked[0].ends_with("/models") && asked[1].ends_with("/chat/completions"), "{asked:?}");
    assert_eq!(asked.len(), 2, "the list is asked for once");
}

#[tokio::test]
async fn f10_without_a_list_every_name_passes() {
    for no_list in [ScriptedResponse::json(404, "{}"), ScriptedResponse::json(200, ANSWER)] {
        let upstream = ScriptedServer::start([no_list, ScriptedResponse::json(200, ANSWER)]).await;
        let client = client(&upstream).await;
        let reply = client.send(chat("anything")).await;
        assert_eq!((&*said(&reply), reply.deployment()), ("from any", Some("any/*")));
        let body = String::from_utf8(upstream.requests()[1].body.to_vec()).expect("text");
        assert!(body.contains("\"anything\""), "{body}");
    }
}

#[tokio::test]
async fn f11_a_provider_of_every_model_has_its_stored_responses() {
    let answer = || ScriptedResponse::json(200, ANSWER);
    let lists = ScriptedResponse::json(200, LIST);
    let upstream = ScriptedServer::start([lists, answer(), answer(), answer()]).await;
    let listing = client(&upstream).await;
    listing.listed_models().await;
    let upstream_of_all = ScriptedServer::start([ScriptedResponse::json(404, "{}"), answer()]).await;
    let unlisted = client(&upstream_of_all).await;
    unlisted.listed_models().await;
    for (client, upstream, home, model, is_served, sent) in [
        (&listing, &upstream, "any/listed", "listed", true, "listed"),
        (&listing, &upstream, "any/listed", "m", true, "m"),
        (&listing, &upstream, "any/listed", "other", false, "listed"),
        (&unlisted, &upstream_of_all, "any/*", "anything", true, "anything"),
    ] {
        assert_eq!(client.model_of(home).as_deref(), home.strip_prefix("any/"));
        assert_eq!(client.serves_beside(home, model), is_served, "{model}");
        let reply = client.send(chat(model).with_deployment(home)).await;
        assert_eq!(said(&reply), "from any", "{model}");
        let request = upstream.requests().pop().expect("a request");
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(body["model"], sent);
    }
    assert_eq!(listing.model_of("south/listed"), None);
}
