//! Headers that carry the key, and certificates that cannot be read.

use llmux_core::provider::{OpenAi, Provider, ProviderSettings, TYPES};
use llmux_testing::{ScriptedResponse, ScriptedServer};

use crate::{KEY, OK, builder, chat};

#[tokio::test]
async fn a_key_in_a_header_of_its_own_is_sent_as_it_is() {
    for (name, header, value) in
        [("api-key", "api-key", KEY), ("Authorization", "authorization", "Bearer sk-a-very-secret-key")]
    {
        let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
        builder(&upstream).api_key_header(name).build().unwrap().send(chat()).await.unwrap();
        let request = upstream.requests().remove(0);
        assert_eq!(request.header(header), Some(value), "{name}");
        assert_eq!(request.header("authorization").is_some(), header == "authorization", "{name}");
    }
    let error =
        OpenAi::builder("here", "http://host").api_key(KEY).api_key_header("a b").build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the header `a b` of provider `here` has a name or a value that HTTP does not know"
    );
}

#[test]
fn certificates_are_read_for_https_alone_and_refused_with_the_provider_s_name() {
    let build = |base_url: &str| {
        let mut settings = ProviderSettings::new("here");
        settings.base_url = Some(base_url.into());
        settings.ca = Some(b"no certificate".to_vec());
        (TYPES.iter().find(|kind| kind.name == "openai").unwrap().build)(&settings)
    };
    assert!(build("http://host/v1").is_ok());
    let error = build("https://host/v1").err().unwrap().to_string();
    let expected = "the connections of provider `here` cannot be prepared: `ca_file` has no certificate";
    assert!(error.starts_with(expected), "{error}");
}
