//! `llmux plugin try` on the example `moderation`: the verdict of a hook beside the call, and its failure.

use llmux_testing::{ScriptedResponse, ScriptedServer};
use serde_json::json;

use crate::{authors::plugin, support::example};

#[tokio::test]
async fn e3_try_tells_a_guard_that_failed_from_one_that_answered() {
    let moderation = example("llmux-abi", "moderation");
    // Nobody listens there, and its manifest says `on_error = fail`.
    let arguments = ["--config", r#"{"url": "http://127.0.0.1:1/"}"#, "--sample", "chat"];
    let (code, out, error) = plugin("try", &moderation, &arguments).await;
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(out.contains("\nrequest: unchanged\nerror (500): unchanged\n"), "{out}");
    assert!(!out.contains("short circuit") && !out.contains("verdict"), "{out}");
    assert!(out.contains("\nfailed\n    `moderation` in beside: "), "{out}");
}

#[tokio::test]
async fn try_shows_the_verdict_of_a_hook_beside_the_call() {
    let moderation = example("llmux-abi", "moderation");
    for (flagged, expected, status) in [
        (false, "verdict: the plugin allowed the answer", "200"),
        (true, "verdict: the plugin refused the request beside the call of the provider", "400"),
    ] {
        let judged = json!({"results": [{"flagged": flagged}]}).to_string();
        let service = ScriptedServer::start([ScriptedResponse::json(200, judged)]).await;
        let config = json!({"url": service.base_url()}).to_string();
        let (code, out, error) = plugin("try", &moderation, &["--config", &config, "--sample", "chat"]).await;
        assert_eq!((code, &*error), (Some(0), ""), "{out}");
        assert!(out.contains(&format!("\nrequest: unchanged\n{expected}\n")), "{out}");
        assert!(out.contains(status) && !out.contains("short circuit"), "{out}");
    }
}
