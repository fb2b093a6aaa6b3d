//! Code of `documents.md`: three ways to read and edit a body. Compiled and run by `llmux-abi/example-tests`.

use llmux_abi::{prelude::*, types::ChatRequest};
use llmux_core::PluginSpec;
use llmux_testing::Harness;
use serde_json::{Value as Json, json};

/// By view: the common members.
fn by_view(request: &mut Request<'_>) -> Result<()> {
    if request.model() == "fast" {
        request.set_model("gpt-4o-mini")?;
    }
    let asked = request.last_user_text().unwrap_or_default();
    debug!(messages = request.messages().len(), bytes = asked.len(), "asked");
    request.prepend_message("system", "Be brief.")?;
    Ok(())
}

/// By pointer: any member, known to the SDK or not.
fn by_pointer(request: &mut Request<'_>) -> Result<()> {
    if request.get::<f64>("/temperature").is_some_and(|temperature| temperature > 1.0) {
        request.set("/temperature", 1.0)?;
    }
    request.set("/metadata", json!({"a/b": 1}))?; // adds the member, or replaces it
    request.set("/metadata/a~1b", 2)?; // `/` in a name is `~1`, `~` is `~0`
    request.set("/messages/-", json!({"role": "user", "content": "Thanks."}))?; // `-`: after the last element
    request.insert("/messages/0", json!({"role": "system", "content": "Be kind."}))?; // shifts the rest
    request.remove("/logit_bias")?; // `false` if there was none
    Ok(())
}

/// By struct: a copy that is edited and written back as a whole.
fn by_struct(request: &mut Request<'_>) -> Result<()> {
    let mut chat: ChatRequest = request.parse()?;
    chat.messages.retain(|message| message.role != "system");
    request.replace(chat)
}

/// Reads everything, then edits: strings are borrowed from the host until the first edit.
fn mask(request: &mut Request<'_>) -> Result<()> {
    let edits: Vec<(String, String)> = request
        .messages()
        .filter_map(|message| Some((message.pointer("content"), message.content()?)))
        .filter(|(_, content)| content.contains("swordfish"))
        .map(|(pointer, content)| (pointer, content.replace("swordfish", "*********")))
        .collect();
    for (pointer, content) in edits {
        request.set(&pointer, content)?;
    }
    Ok(())
}

/// Edits the request in the way that its user names.
struct Editor;

impl Plugin for Editor {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn pre_hook(&self, _ctx: &mut Context<'_>, request: &mut Request<'_>) -> Result<Flow> {
        match request.get_str("/user").unwrap_or_default() {
            "view" => by_view(request)?,
            "pointer" => by_pointer(request)?,
            "struct" => by_struct(request)?,
            "mask" => mask(request)?,
            _ => request.set("/no/such/place", true)?,
        }
        Ok(Flow::Continue)
    }
}

/// Body that the provider receives.
async fn edited(mut body: Json, way: &str) -> Json {
    let harness = Harness::builder()
        .spec(PluginSpec::of::<Editor>("editor"))
        .models(["fast", "gpt-4o-mini"])
        .build()
        .await;
    body["user"] = way.into();
    harness.chat(&body).await.assert_ok();
    harness.sent().remove(0)
}

fn user(content: &str) -> Json {
    json!({"role": "user", "content": content})
}

#[tokio::test]
async fn a_view_edits_the_members_that_everybody_uses() {
    let sent = edited(json!({"model": "fast", "messages": [user("Hi")]}), "view").await;
    assert_eq!(sent["model"], "gpt-4o-mini");
    assert_eq!(sent["messages"], json!([{"role": "system", "content": "Be brief."}, user("Hi")]));
}

#[tokio::test]
async fn a_pointer_edits_any_member() {
    let body = json!({"temperature": 1.9, "logit_bias": {}, "messages": [user("Hi")]});
    let sent = edited(body, "pointer").await;
    assert_eq!((&sent["temperature"], &sent["metadata"]), (&json!(1.0), &json!({"a/b": 2})));
    assert_eq!(sent.get("logit_bias"), None);
    let kind = json!({"role": "system", "content": "Be kind."});
    assert_eq!(sent["messages"], json!([kind, user("Hi"), user("Thanks.")]));
}

#[tokio::test]
async fn a_struct_keeps_the_members_that_it_does_not_name() {
    let system = json!({"role": "system", "content": "Be brief."});
    let sent = edited(json!({"seed": 7, "messages": [system, user("Hi")]}), "struct").await;
    assert_eq!((&sent["messages"], &sent["seed"]), (&json!([user("Hi")]), &json!(7)));
}

#[tokio::test]
async fn what_is_read_may_decide_what_is_edited() {
    let sent = edited(json!({"messages": [user("say swordfish"), user("Hi")]}), "mask").await;
    assert_eq!(sent["messages"], json!([user("say *********"), user("Hi")]));
}

#[tokio::test]
async fn an_edit_of_a_place_that_is_not_there_says_so() {
    let harness = Harness::builder().spec(PluginSpec::of::<Editor>("editor")).build().await;
    let reply = harness.chat("Hi").await;
    assert_eq!(
        reply.failures(),
        ["`editor` in pre_hook: cannot edit `/no/such/place`: there is no such place"]
    );
}
