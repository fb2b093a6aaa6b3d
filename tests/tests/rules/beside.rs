//! Rules B1 to B6: the hooks beside the call of a provider, with requests that do not stream.

use std::{
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use llmux_core::{
    Client,
    client::{DeploymentConfig, RetryConfig},
    plugins::OnError,
    provider::OpenAi,
};
use llmux_tests::{
    Capture, Kind, Turn, World, in_process, kinds, scripted,
    world::{builder, built, chat, header, said},
};
use serde_json::json;
use tokio::time::Instant;

const REFUSED: &str = "!451 refused: refused by a";
const FAILED: &str = "!500 plugin_failure: a plugin failed while it handled this request";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

kinds! {
    async fn b1_a_hook_sees_the_request_as_the_pre_chain_left_it_and_keeps_its_state(world: World) {
        let provider = scripted([]);
        let edit = json!({"pre": [{"do": "set", "pointer": "/messages/0/content", "value": "edited"}]});
        let client = world.client(&provider, [world.probe("p", 9, edit), world.beside("a", 1, json!({}))]).await;
        assert_eq!(said(&client.send(chat("m")).await), "again");
        world.finish(&client).await;
        let beside = world.lines().into_iter().filter(|line| line.starts_with("a.") || line == "p.pre" || line == "p.post");
        let all: Vec<_> = beside.collect();
        assert_eq!(all, ["p.pre", "a.beside 1 m - edited", "a.ended", "p.post", "a.state 1"]);
    }

    async fn b1_values_and_headers_are_merged_by_priority_after_all_verdicts(world: World) {
        let provider = scripted([]);
        let hook = |name: &str, wait: u64| {
            json!({"wait": wait, "values": {"order": name, name: "1"}, "headers": {"x-order": name, format!("x-{name}"): "1"}})
        };
        let probe = json!({
            "pre": [{"do": "value", "key": "order", "value": "0"}],
            "post": [{"do": "tell", "what": "value:order"}],
        });
        // The hook with the lower number is the last to end.
        let plugins = [world.beside("b", 2, hook("b", 0)), world.beside("a", 1, hook("a", 200)), world.probe("p", 3, probe)];
        let client = world.client(&provider, plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(said(&reply), "again");
        let headers = ["x-order", "x-a", "x-b"].map(|name| header(reply.headers(), name));
        assert_eq!(headers, [Some("b"), Some("1"), Some("1")]);
        assert_eq!(world.of("post"), ["p", "p value:order = String(\"0b\")"], "each hook has a context of its own");
    }

    async fn b1_a_retry_and_another_deployment_do_not_start_it_again_and_a_fallback_does(world: World) {
        let error = || Turn::error(503, "no");
        let (first, second) = (scripted([error(), error()]), scripted([error(), error(), Turn::text("fell back")]));
        let retry = RetryConfig::default().with_max_retries(1);
        let of = |model: &str, order| DeploymentConfig::new(model).with_order(order);
        let builder = builder(&first)
            .provider("one", Arc::new(first.clone()), [of("x", 1)])
            .provider("two", Arc::new(second.clone()), [of("x", 2), of("y", 1)])
            .retry(retry);
        let client = built(builder, [world.beside("a", 1, json!({}))]).await;
        let reply = client.send(chat("x").with_fallbacks(["y"])).await;
        assert_eq!(said(&reply), "fell back");
        assert_eq!((first.calls().len(), second.calls().len()), (2, 3));
        assert_eq!(world.of("beside"), ["a 1 x - hi", "a 2 y - hi"]);
    }

    async fn b1_a_short_circuit_does_not_start_it(world: World) {
        let provider = scripted([]);
        let cached = json!({"pre": [{"do": "respond", "body": {"cached": true}, "cached": true}]});
        let plugins = [world.beside("a", 1, json!({"refuse": 451})), world.probe("p", 9, cached)];
        let client = world.client(&provider, plugins).await;
        assert!(client.send(chat("m")).await.result.is_ok());
        assert!(client.stream(chat("m")).await.result.is_ok());
        assert_eq!((world.of("beside").len(), provider.calls().len()), (0, 0));
    }

    async fn b2_all_hooks_must_allow_the_answer(world: World) {
        for refusing in ["a", "b", "c"] {
            let provider = scripted([]);
            let hook = |name: &str, at| match name == refusing {
                true => world.beside(name, at, json!({"wait": 30, "refuse": 451})),
                false => world.beside(name, at, json!({"wait": 10})),
            };
            let client = world.client(&provider, [hook("a", 1), hook("b", 2), hook("c", 3)]).await;
            assert_eq!(said(&client.send(chat("m")).await), format!("!451 refused: refused by {refusing}"));
            for name in ["a", "b", "c"] {
                assert_eq!(world.of("ended").iter().filter(|it| *it == name).count(), world.of("beside").len() / 3);
            }
        }
    }

    async fn b2_no_hook_of_the_way_back_runs_before_all_verdicts(world: World) {
        let provider = scripted([]);
        let plugins = [world.beside("a", 1, json!({"wait": 50})), world.probe("p", 2, json!({}))];
        let client = world.client(&provider, plugins).await;
        client.send(chat("m")).await.result.expect("an answer");
        let order: Vec<_> = world.lines().into_iter().filter(|line| line == "a.ended" || line == "p.post").collect();
        assert_eq!(order, ["a.ended", "p.post"]);
    }

    async fn b3_a_refusal_drops_the_call_and_cancels_the_other_hooks(world: World) {
        let provider = scripted([Turn::hang()]);
        let plugins = [
            world.beside("a", 2, json!({"wait": 100, "refuse": 451, "headers": {"x-a": "1"}})),
            world.beside("b", 1, json!({"headers": {"x-b": "1"}})),
            world.beside("c", 3, json!({"hang": true})),
        ];
        let client = world.client(&provider, plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!((said(&reply).as_str(), provider.open()), (REFUSED, 0));
        world.wait_for("c.cancelled", 1).await;
        assert_eq!((world.of("ended"), provider.calls().len()), (vec!["b".to_owned(), "a".to_owned()], 1));
        let headers = ["x-a", "x-b"].map(|name| header(reply.headers(), name));
        assert_eq!(headers, [Some("1"), None], "those of the hook that refused");
    }

    async fn b4_post_hooks_see_the_refusal_and_may_recover_it(world: World) {
        let provider = scripted([Turn::hang()]);
        let recover = json!({"post": [{"do": "tell", "what": "kind"}, {"do": "recover", "body": {"id": "spare"}}]});
        let plugins = [world.beside("a", 1, json!({"wait": 10, "refuse": 451})), world.probe("p", 2, recover)];
        let client = world.client(&provider, plugins).await;
        let reply = client.send(chat("m")).await;
        assert_eq!(reply.result.expect("a response").get_str("/id"), Some("spare"));
        assert_eq!(world.of("post"), ["p", "p kind = error 451 refused"]);
    }

    async fn b4_a_fallback_follows_only_if_the_refusal_allows_it(world: World) {
        for (allow, expected, calls) in [(false, REFUSED, 1), (true, "again", 2)] {
            let provider = scripted([Turn::hang()]);
            let hook = json!({"wait": 10, "refuse": 451, "model": "m", "allow_fallback": allow});
            let client = world.client(&provider, [world.beside("a", 1, hook)]).await;
            let reply = client.send(chat("m").with_fallbacks(["n"])).await;
            assert_eq!((said(&reply).as_str(), provider.calls().len()), (expected, calls), "{allow}");
        }
    }

    async fn b4_the_report_names_the_instance_and_has_the_usage_that_was_reported(world: World) {
        let seen = ["answered_by", "attempts", "usage"].map(|what| json!({"do": "tell", "what": what}));
        let seen = json!({"complete": seen});
        let hook = json!({"wait": 60, "refuse": 451});
        let provider = scripted([Turn::hang(), Turn::text("too late"), Turn::error(429, "no")]);
        let plugins = [world.beside("a", 1, hook), world.probe("p", 2, seen)];
        let client = world.client(&provider, plugins).await;
        for _ in 0..3 {
            assert_eq!(said(&client.send(chat("m")).await), REFUSED);
        }
        world.finish(&client).await;
        let told = |what: &str| {
            let line = format!("p {what} = ");
            world.of("complete").iter().filter_map(|it| it.strip_prefix(&line).map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut attempts = told("attempts");
        attempts.sort();
        assert_eq!(attempts, ["p/m 200 7 by a", "p/m 429 - by a", "p/m 451 - by a"]);
        assert_eq!(told("answered_by"), ["Plugin(\"a\")"; 3]);
        assert_eq!(told("usage").iter().filter(|it| *it == "7").count(), 1);
    }

    async fn b5_a_failure_allows_by_default_and_refuses_with_fail(world: World) {
        let provider_header = json!({"provider_header": "x-own"});
        for failing in [json!({"fail": true}), json!({"panic": true}), provider_header] {
            let provider = scripted([]);
            let mut config = failing.clone();
            config["headers"] = json!({"x-a": "1"});
            let client = world.client(&provider, [world.beside("a", 1, config.clone())]).await;
            let reply = client.send(chat("m")).await;
            assert_eq!((said(&reply).as_str(), header(reply.headers(), "x-a")), ("again", None), "{failing}");
            config["wait"] = json!(10);
            let provider = scripted([Turn::hang()]);
            let recover = json!({"post": [{"do": "recover", "body": {"id": "spare"}}]});
            let guard = world.beside("a", 1, config).with_on_error(OnError::Fail);
            let client = world.client(&provider, [guard, world.probe("p", 2, recover)]).await;
            let reply = client.send(chat("m").with_fallbacks(["n"])).await;
            assert_eq!((said(&reply).as_str(), provider.calls().len()), (FAILED, 1), "{failing}");
        }
    }

    async fn b1_a_caller_that_leaves_cancels_the_hooks(world: World) {
        let logs = Capture::llmux();
        let provider = scripted([]);
        let seen = json!({"post": [{"do": "tell", "what": "kind"}]});
        let client = world.client(&provider, [world.beside("a", 1, json!({"hang": true})), world.probe("p", 2, seen)]).await;
        world.leave("a.beside 1 m - hi", client.send(chat("m"))).await;
        world.wait_for("a.cancelled", 1).await;
        world.finish(&client).await;
        assert_eq!(world.of("post"), ["p", "p kind = error 499 cancelled"]);
        assert_eq!(world.of("state"), ["a 1"]);
        assert_eq!(logs.with(&["a plugin failed"]), Vec::<String>::new(), "it has not run into its timeout");
    }

    async fn b6_a_hook_delays_an_answer_by_the_time_by_which_it_is_slower(world: World) {
        assert_eq!(time(&world, 3000, 5000).await.as_secs(), 5);
        assert_eq!(time(&world, 5000, 3000).await.as_secs(), 5);
        assert_eq!(time(&world, 5000, 5000).await.as_secs(), 5);
    }

    async fn b5_a_hook_past_the_timeout_of_a_pre_hook_is_cancelled(world: World) {
        for (times, on_error, expected) in [(1, OnError::Continue, "again"), (2, OnError::Fail, FAILED)] {
            let provider = scripted([]);
            let guard = world.beside("a", 1, json!({"hang": true})).with_on_error(on_error);
            let client = world.client(&provider, [guard]).await;
            let begin = Instant::now();
            assert_eq!(said(&client.send(chat("m")).await), expected);
            // The first poll counts with the processor's clock, which does not pause.
            assert!((9..=10).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
            world.wait_for("a.cancelled", times).await;
        }
    }

    async fn b4_the_log_names_the_instance_that_cancelled_the_call(world: World) {
        let logs = Capture::llmux();
        let provider = scripted([Turn::hang()]);
        let client = world.client(&provider, [world.beside("a", 1, json!({"wait": 10, "refuse": 451}))]).await;
        client.send(chat("m")).await;
        let lines =
            logs.with(&["the call of the provider is cancelled", "instance=a", "deployment=p/m", "status=451"]);
        assert_eq!(lines.len(), 1, "{:?}", logs.lines());
    }
}

in_process! {
    "A call of an isolated hook always waits (rule I1)." {
        async fn b3_a_hook_that_refuses_without_waiting_spares_the_call(world: World) {
            let provider = scripted([]);
            let client = world.client(&provider, [world.beside("a", 1, json!({"refuse": 451}))]).await;
            assert_eq!((said(&client.send(chat("m")).await).as_str(), provider.calls().len()), (REFUSED, 0));
        }
    }
    "Two child processes never answer in one poll (rule I1)." {
        async fn b3_the_refusal_of_the_lowest_number_is_used(world: World) {
            for (a, b, expected) in [(50, 50, "a"), (0, 0, "a"), (80, 20, "b")] {
                let provider = scripted([Turn::hang()]);
                let hook = |wait: u64| json!({"wait": wait, "refuse": 451});
                let plugins = [world.beside("b", 2, hook(b)), world.beside("a", 1, hook(a))];
                let client = world.client(&provider, plugins).await;
                assert_eq!(said(&client.send(chat("m")).await), format!("!451 refused: refused by {expected}"));
            }
        }
    }
}

/// The time of an answer that takes `answer`, beside a hook that takes `hook` milliseconds.
async fn time(world: &World, answer: u64, hook: u64) -> Duration {
    let provider = scripted([Turn::text("it").after(millis(answer))]);
    let client = world.client(&provider, [world.beside("a", 1, json!({"wait": hook}))]).await;
    let begin = Instant::now();
    assert_eq!(said(&client.send(chat("m")).await), "it");
    begin.elapsed()
}

/// Accepts one connection, reads a request, and gives the connection away.
fn silent_provider() -> (String, mpsc::Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut bytes = [0; 4096];
            let read = socket.read(&mut bytes).expect("a request");
            request.extend_from_slice(&bytes[..read]);
        }
        sender.send(socket).expect("the test waits");
    });
    (url, receiver)
}

#[tokio::test]
async fn b3_the_connection_of_the_call_is_closed_before_the_client_has_the_refusal() {
    let world = World::new(Kind::Compiled);
    let (url, sockets) = silent_provider();
    let provider = Arc::new(OpenAi::builder("up", url).build().expect("a provider"));
    let hook = json!({"wait": 300, "refuse": 451});
    let client = built(Client::builder().provider("up", provider, ["m"]), [world.beside("a", 1, hook)]).await;
    let reply = client.send(chat("m")).await;
    // Nothing is awaited from here on: what the socket says was there before the reply.
    let mut socket = sockets.recv_timeout(Duration::from_secs(10)).expect("the request was sent");
    socket.set_nonblocking(true).expect("set");
    let read = socket.read(&mut [0; 16]).map_err(|error| error.kind());
    assert!(matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)), "{read:?}");
    assert_eq!(said(&reply), REFUSED);
}
