//! Rules F6 and F7: other deployments of a model after a failure, and the sharing of its requests. Time is paused.

use std::{sync::Arc, time::Duration};

use llmux_core::{
    Client, ClientBuilder,
    client::{DeploymentConfig, DeploymentState, OtherDeployment, RetryConfig},
    pipeline::Identity,
    plugins::Guards,
    provider::Provider,
};
use llmux_testing::logs::Capture;
use llmux_tests::{
    ScriptedProvider, Turn, scripted,
    world::{all, built, chat, said},
};
use serde_json::json;
use tokio::time::advance;

fn dynamic(provider: &ScriptedProvider) -> Arc<dyn Provider> {
    Arc::new(provider.clone())
}

fn without_retries() -> RetryConfig {
    RetryConfig::default().with_max_retries(0)
}

/// A client of the model `m` at `a`, which always gives `turn`, and at `b`, which answers.
fn pair(turn: Turn) -> (ScriptedProvider, ScriptedProvider, ClientBuilder) {
    let (a, b) = (scripted([]).otherwise(turn), scripted([]).otherwise(Turn::text("from b")));
    let (first, second) = (DeploymentConfig::new("m"), DeploymentConfig::new("m").with_order(2));
    let builder = Client::builder()
        .provider("a", dynamic(&a), [first])
        .provider("b", dynamic(&b), [second])
        .retry(without_retries());
    (a, b, builder)
}

fn state(client: &Client, provider: &str) -> DeploymentState {
    let deployments = client.deployments();
    deployments.iter().find(|it| it.provider == provider).expect("a deployment").state
}

#[tokio::test(start_paused = true)]
async fn f6_the_next_deployment_is_tried_after_what_is_the_providers_fault() {
    for (status, goes_on) in [
        (401, true),
        (402, true),
        (403, true),
        (404, true),
        (429, true),
        (500, true),
        (400, false),
        (413, false),
        (415, false),
        (422, false),
    ] {
        let (a, b, builder) = pair(Turn::error(status, "no"));
        let client = built(builder.fallbacks("m", ["n"]), []).await;
        let expected = if goes_on { "from b".to_owned() } else { format!("!{status} upstream_type: no") };
        assert_eq!(said(&client.send(chat("m")).await), expected);
        let streamed = if goes_on { "from b".to_owned() } else { format!("!!{status} upstream_type: no") };
        assert_eq!(all(client.stream(chat("m")).await).await.concat(), streamed, "stream");
        let answered = if goes_on { 2 } else { 0 };
        assert_eq!(b.calls().len(), answered, "after {status}");
        assert!(!a.calls().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn f6_a_fallback_model_follows_the_same_table() {
    for (status, attempts) in [(401, 2), (404, 2), (503, 2), (400, 1), (422, 1)] {
        let provider = scripted([Turn::error(status, "no"), Turn::text("from n")]);
        let builder =
            Client::builder().provider("p", dynamic(&provider), ["m", "n"]).retry(without_retries());
        let client = built(builder.fallbacks("m", ["n"]), []).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((reply.attempts(), reply.result.is_ok()), (attempts, attempts == 2), "after {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn f6_unsent_goes_on_only_after_what_was_certainly_not_processed() {
    let retry = || without_retries().with_other_deployment(OtherDeployment::Unsent);
    for (status, goes_on) in [(401, true), (429, true), (500, false)] {
        let (_, b, builder) = pair(Turn::error(status, "no"));
        let client = built(builder.retry(retry()), []).await;
        assert_eq!(client.send(chat("m")).await.result.is_ok(), goes_on, "after {status}");
        assert_eq!(b.calls().len(), usize::from(goes_on), "after {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn f6_a_providers_401_reaches_the_client_as_502_and_the_log_names_the_provider() {
    let log = Capture::llmux();
    let provider = scripted([]).otherwise(Turn::error(401, "bad key"));
    let builder = Client::builder().provider("east", dynamic(&provider), ["m"]);
    let client = built(builder, []).await;
    for _ in 0..5 {
        let error = client.send(chat("m")).await.result.expect_err("an error");
        assert_eq!((error.status(), error.code()), (502, Some("provider_authentication")));
        assert_eq!(error.message(), "the provider refused the request with status 401: bad key");
    }
    let lines = log.with(&["provider `east` failed: bad key"]);
    assert_eq!(lines.len(), 1, "once in a while: {lines:?}");
    assert!(lines[0].contains("WARN"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn f6_all_tries_of_a_request_have_one_deadline() {
    for streams in [false, true] {
        let (a, b, builder) = pair(Turn::text("late").after(Duration::from_secs(50)));
        let retry = without_retries().with_deadline(Duration::from_secs(20));
        let client = built(builder.retry(retry).fallbacks("m", ["m"]), []).await;
        let begun = tokio::time::Instant::now();
        let error = match streams {
            false => client.send(chat("m")).await.result.err(),
            true => client.stream(chat("m")).await.result.err(),
        };
        let error = error.expect("an error");
        assert_eq!((error.status(), error.code()), (504, Some("deadline_exceeded")));
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert_eq!((a.calls().len(), b.calls().len()), (1, 0), "no other deployment, and no fallback model");
    }
}

#[tokio::test(start_paused = true)]
async fn f6_a_retry_that_the_deadline_leaves_no_time_for_is_left_out() {
    let down = scripted([]).otherwise(Turn::error(500, "down"));
    let retry = RetryConfig::default()
        .with_max_retries(9)
        .with_initial_backoff(Duration::from_secs(8))
        .with_deadline(Duration::from_secs(3));
    let client = built(Client::builder().provider("p", dynamic(&down), ["m"]).retry(retry), []).await;
    assert_eq!(said(&client.send(chat("m")).await), "!500 upstream_type: down");
    assert_eq!(down.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f7_a_deployment_that_fails_rests_and_one_request_probes_it() {
    let (a, _, builder) = pair(Turn::error(500, "down"));
    let client = built(builder, []).await;
    for _ in 0..5 {
        assert_eq!(said(&client.send(chat("m")).await), "from b");
    }
    assert_eq!((a.calls().len(), state(&client, "a")), (3, DeploymentState::Resting));
    advance(Duration::from_secs(30)).await;
    for _ in 0..5 {
        client.send(chat("m")).await;
    }
    assert_eq!((a.calls().len(), state(&client, "a")), (4, DeploymentState::Resting), "the probe failed");
    advance(Duration::from_secs(59)).await;
    client.send(chat("m")).await;
    assert_eq!(a.calls().len(), 4, "the second rest is twice as long");
    advance(Duration::from_secs(1)).await;
    a.push(Turn::text("from a"));
    a.push(Turn::text("from a"));
    assert_eq!(said(&client.send(chat("m")).await), "from a");
    assert_eq!(
        (said(&client.send(chat("m")).await).as_str(), state(&client, "a")),
        ("from a", DeploymentState::Active)
    );
}

#[tokio::test(start_paused = true)]
async fn f7_while_one_request_probes_the_others_go_elsewhere_and_a_caller_that_leaves_ends_no_probe() {
    let (a, _, builder) = pair(Turn::error(401, "no"));
    let client = built(builder, []).await;
    client.send(chat("m")).await;
    assert_eq!(state(&client, "a"), DeploymentState::Resting, "a 401 counts at once");
    advance(Duration::from_secs(30)).await;
    a.push(Turn::hang());
    let sender = client.clone();
    let probe = tokio::spawn(async move { sender.send(chat("m")).await });
    while a.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&client.send(chat("m")).await), "from b");
    assert_eq!(a.calls().len(), 2);
    probe.abort();
    probe.await.expect_err("aborted");
    while a.open() > 0 {
        tokio::task::yield_now().await;
    }
    a.push(Turn::text("from a"));
    assert_eq!(said(&client.send(chat("m")).await), "from a", "the next request probes it");
}

#[tokio::test(start_paused = true)]
async fn f7_a_client_alone_does_not_stop_a_deployment() {
    let (a, _, builder) = pair(Turn::error(500, "down"));
    let client = built(builder, []).await;
    let ask = async |key: &str| {
        let identity = Arc::new(Identity { key_id: key.into(), ..Identity::default() });
        client.send(chat("m").with_identity(Some(identity))).await;
    };
    for _ in 0..6 {
        ask("one").await;
    }
    assert_eq!((a.calls().len(), state(&client, "a")), (6, DeploymentState::Active));
    ask("two").await;
    assert_eq!(state(&client, "a"), DeploymentState::Resting);
}

#[tokio::test(start_paused = true)]
async fn f7_streams_that_break_off_count_as_the_same_failures_of_plain_requests() {
    for (status, kind, calls, expected) in [
        (502, "server", 3, DeploymentState::Resting),
        (401, "authentication", 1, DeploymentState::Resting),
        (429, "rate_limit", 4, DeploymentState::Active),
    ] {
        let error = llmux_tests::turn::provider_error(status, "off");
        let (a, _, builder) = pair(Turn::break_off(vec![json!("one")], error));
        let client = built(builder, []).await;
        for _ in 0..4 {
            all(client.stream(chat("m")).await).await;
        }
        assert_eq!((a.calls().len(), state(&client, "a")), (calls, expected), "{status}");
        let info = client.deployments().remove(0);
        assert_eq!((info.failures[kind], info.in_flight), (calls as u64, 0), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn f7_a_probe_that_the_deadline_ends_does_not_end_the_rest() {
    let (_, b, builder) = pair(Turn::error(500, "down"));
    let client = built(builder.retry(without_retries().with_deadline(Duration::from_secs(20))), []).await;
    b.push(Turn::error(401, "no"));
    client.send(chat("m")).await;
    assert_eq!(state(&client, "b"), DeploymentState::Resting);
    advance(Duration::from_secs(30)).await;
    b.push(Turn::hang());
    let error = client.send(chat("m")).await.result.expect_err("no answer");
    assert_eq!((b.calls().len(), error.code()), (2, Some("deadline_exceeded")));
    assert_eq!(state(&client, "b"), DeploymentState::Probing, "another request probes it");
}

#[tokio::test(start_paused = true)]
async fn f7_a_models_only_deployment_never_rests_and_its_failures_are_shown() {
    let down = scripted([]).otherwise(Turn::error(500, "down"));
    let builder = Client::builder().provider("p", dynamic(&down), ["m"]).retry(without_retries());
    let client = built(builder, []).await;
    for _ in 0..5 {
        client.send(chat("m")).await;
    }
    let info = client.deployments().remove(0);
    assert_eq!((info.state, info.failures_in_a_row, info.tries), (DeploymentState::Active, 5, 5));
    assert_eq!(info.failures["server"], 5);
    let metrics = client.render_metrics();
    for line in [
        r#"llmux_deployment_state{deployment="p/m",provider="p",state="active"} 1"#,
        r#"llmux_deployment_tries_total{deployment="p/m",provider="p"} 5"#,
        r#"llmux_deployment_failures_total{deployment="p/m",kind="server",provider="p"} 5"#,
        r#"llmux_deployment_failovers_total{deployment="p/m",provider="p"} 0"#,
        r#"llmux_deployment_in_flight{deployment="p/m",provider="p"} 0"#,
        r#"llmux_deployment_latency_seconds_count{deployment="p/m",provider="p"} 0"#,
    ] {
        let sorted = |line: &str| -> Vec<String> {
            let mut parts: Vec<_> = line.split(['{', ',', '}']).map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert!(metrics.lines().any(|it| sorted(it) == sorted(line)), "{line} is not in:\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn f7_equal_deployments_share_the_load_and_failovers_are_counted() {
    let (a, b) = (scripted([]).otherwise(Turn::error(500, "down")), scripted([]).otherwise(Turn::text("b")));
    let builder = Client::builder()
        .provider("a", dynamic(&a), ["m"])
        .provider("b", dynamic(&b), ["m"])
        .retry(without_retries());
    let client = built(builder, []).await;
    for _ in 0..4 {
        assert_eq!(said(&client.send(chat("m")).await), "b");
    }
    assert_eq!((a.calls().len(), b.calls().len()), (2, 4), "the first configured one begins");
    assert_eq!(client.deployments()[0].failovers, 2);
}

#[tokio::test(start_paused = true)]
async fn f7_a_new_configuration_keeps_the_rests_and_figures_of_the_same_provider() {
    let (a, b) = (scripted([]).otherwise(Turn::error(401, "no")), scripted([]).otherwise(Turn::text("b")));
    let (first, second) = (dynamic(&a), dynamic(&b));
    let builder = |first: &Arc<dyn Provider>| {
        Client::builder().provider("a", first.clone(), ["m"]).provider("b", second.clone(), ["m"])
    };
    let client = built(builder(&first), []).await;
    client.send(chat("m")).await;
    client.reconfigure(builder(&first), Guards::Keep).await.expect("changed");
    assert_eq!((state(&client, "a"), client.deployments()[0].tries), (DeploymentState::Resting, 1));
    client.reconfigure(builder(&dynamic(&a)), Guards::Keep).await.expect("changed");
    assert_eq!(
        (state(&client, "a"), client.deployments()[0].tries),
        (DeploymentState::Active, 0),
        "another object"
    );
    assert_eq!(client.deployments()[1].tries, 1);
}

#[tokio::test(start_paused = true)]
async fn x5_the_deployment_is_that_which_was_tried_last() {
    let (_, _, builder) = pair(Turn::error(500, "down"));
    let client = built(builder, []).await;
    assert_eq!(client.send(chat("m")).await.deployment(), Some("b/m"));
    assert_eq!(client.send(chat("unserved")).await.deployment(), None);
}
