//! One request and its answer: headers, bodies, errors, time limits.

use std::time::Duration;

use futures_util::StreamExt;
use llmux_core::{
    Endpoint, ErrorKind, Progress,
    provider::{OpenAi, Provider, ProviderSettings, Secret, TYPES},
};
use llmux_testing::{ScriptedResponse, ScriptedServer};

use crate::{CHUNK, DONE, KEY, OK, builder, call, chat, collect, provider, send, stream};

#[tokio::test]
async fn a_request_goes_out_as_it_was_given() {
    for endpoint in Endpoint::ALL {
        let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
        let provider = OpenAi::builder("here", format!("{}/?api-version=2024", upstream.base_url()))
            .api_key(format!("{KEY}\n"))
            .header("OpenAI-Organization", "org")
            .build()
            .unwrap();
        provider.send(call(endpoint)).await.unwrap();
        let requests = upstream.requests();
        let [request] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, format!("/v1/{endpoint}?api-version=2024"));
        assert_eq!(request.body, call(endpoint).body);
        for (name, value) in [
            ("content-type", Some("application/json")),
            ("accept", Some("application/json")),
            ("authorization", Some("Bearer sk-a-very-secret-key")),
            ("openai-organization", Some("org")),
            ("x-request-id", Some("request-7")),
            ("content-length", Some("24")),
            ("accept-encoding", None),
            ("transfer-encoding", None),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_header_of_ones_own_goes_before_the_usual_one() {
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
    let provider = builder(&upstream).header("authorization", "Custom it").build().unwrap();
    provider.send(chat()).await.unwrap();
    let request = upstream.requests().remove(0);
    let sent: Vec<_> = request.headers.iter().filter(|(name, _)| name == "authorization").collect();
    assert_eq!(sent, [&("authorization".into(), "Custom it".into())]);
}

#[tokio::test]
async fn a_url_with_a_user_is_sent_as_basic_authorization() {
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
    let url = upstream.base_url().replace("http://", "http://user:password@");
    OpenAi::builder("here", url).build().unwrap().send(chat()).await.unwrap();
    assert_eq!(upstream.requests()[0].header("authorization"), Some("Basic dXNlcjpwYXNzd29yZA=="));
}

#[tokio::test]
async fn a_response_comes_back_byte_for_byte() {
    for body in [OK, " {\"a\" : 1.50}\n", "{}"] {
        assert_eq!(send(ScriptedResponse::json(200, body)).await.unwrap().to_bytes(), body);
    }
    let in_pieces =
        ScriptedResponse::sse(["{\"a\":", "[1,", "2.0]}"]).header("content-type", "application/json");
    assert_eq!(send(in_pieces).await.unwrap().to_bytes(), "{\"a\":[1,2.0]}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let upstream = ScriptedServer::start([
        ScriptedResponse::json(200, OK),
        ScriptedResponse::json(429, "{}"),
        ScriptedResponse::sse([CHUNK, DONE]),
        // The end of the body comes after the end of the stream, and is still read.
        ScriptedResponse::sse([CHUNK, DONE]).then_pause(Duration::from_millis(30)),
        ScriptedResponse::json(200, OK),
    ])
    .await;
    let provider = provider(&upstream);
    let rest = || tokio::time::sleep(Duration::from_millis(150));
    for _ in 0..2 {
        let _ = provider.send(chat()).await;
    }
    for _ in 0..2 {
        assert_eq!(collect(provider.stream(chat()).await.unwrap().content).await.len(), 1);
        rest().await;
    }
    provider.send(chat()).await.unwrap();
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_error_keeps_what_the_provider_said() {
    let body =
        r#"{"error":{"message":"slow down","type":"rate_limit","param":"x","code":"rpm","hint":{"a":[1]}}}"#;
    let answer = || ScriptedResponse::json(429, body).header("retry-after", "7");
    for error in [send(answer()).await.unwrap_err(), stream(answer()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Provider);
        assert_eq!(error.status(), 429);
        assert_eq!(error.message(), "slow down");
        assert_eq!(error.error_type(), "rate_limit");
        assert_eq!(error.code(), Some("rpm"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.document().get("/error/hint"), Some(r#"{"a":[1]}"#));
        assert_eq!(error.progress(), Progress::Answered);
    }
}

#[tokio::test]
async fn every_wrong_answer_is_an_error_of_its_kind() {
    use ErrorKind::{BadGateway, Provider};
    let page = "<html><h1>Bad Gateway</h1></html>";
    let cut = || ScriptedResponse::json(503, "over").header("content-length", "100").then_close();
    let moved = ScriptedResponse::json(302, "{}").header("location", "http://127.0.0.1:1/");
    let empty = ScriptedResponse::raw("HTTP/1.1 204 No Content\r\n\r\n");
    // An expected message that ends with `…` is only the beginning.
    let cases = [
        (ScriptedResponse::json(401, r#"{"error":{"message":"bad key"}}"#), Provider, 401, "bad key"),
        (
            ScriptedResponse::json(502, page),
            Provider,
            502,
            "the provider answered with status 502: Bad Gateway",
        ),
        (ScriptedResponse::json(500, ""), Provider, 500, "the provider answered with status 500"),
        (cut(), Provider, 503, "the provider answered with status 503: over"),
        (
            ScriptedResponse::json(200, r#"{"error":{"message":"no credit","code":402}}"#),
            Provider,
            402,
            "no credit",
        ),
        (
            moved,
            BadGateway,
            502,
            "the provider answered with status 302 (to http://127.0.0.1:1/), which is no answer",
        ),
        (
            ScriptedResponse::json(304, ""),
            BadGateway,
            502,
            "the provider answered with status 304, which is no answer",
        ),
        (empty, BadGateway, 502, "the provider answered with status 204, no content type and an empty body"),
        (
            ScriptedResponse::json(200, "[1]"),
            BadGateway,
            502,
            "the provider answered with status 200, content type application/json and a JSON value that is no object: [1]",
        ),
        (
            ScriptedResponse::json(200, "{\"a\":}"),
            BadGateway,
            502,
            "the provider answered with status 200, content type application/json and invalid JSON (…",
        ),
        (cut().status(200), BadGateway, 502, "the response broke off: …"),
        (ScriptedResponse::raw(""), BadGateway, 502, "the provider did not answer: …"),
        (ScriptedResponse::raw("what?\r\n\r\n"), BadGateway, 502, "the provider did not answer: …"),
        (
            ScriptedResponse::raw("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            BadGateway,
            502,
            "the provider …",
        ),
    ];
    for (answer, kind, status, message) in cases {
        let what = format!("{answer:?}");
        let error = send(answer).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, status), "{error} from {what}");
        match message.strip_suffix('…') {
            Some(begin) => assert!(error.message().starts_with(begin), "{error} from {what}"),
            None => assert_eq!(error.message(), message, "{what}"),
        }
        assert!(error.message().len() < 300, "{error}");
    }
}

#[tokio::test]
async fn a_response_object_with_an_error_of_its_own_is_a_response() {
    let body = r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"m"}}"#;
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, body)]).await;
    let document = provider(&upstream).send(call(Endpoint::Responses)).await.unwrap();
    assert_eq!(document.content.to_bytes(), body);
}

#[tokio::test]
async fn no_error_shows_a_credential() {
    // An upstream that repeats every credential in every form.
    let said = format!("key {KEY}, password hunter22, query query-key, header header-key");
    let answers = [
        ScriptedResponse::json(401, format!(r#"{{"error":{{"message":"{said}","{KEY}":["{said}"]}}}}"#)),
        ScriptedResponse::json(401, said.clone()),
        ScriptedResponse::json(200, format!(r#"{{"error":"{said}"}}"#)),
        ScriptedResponse::raw(said.clone()),
        ScriptedResponse::sse([format!("data: {{\"error\":\"{said}\"}}\n\n")]),
    ];
    let mut errors = Vec::new();
    for (user, key) in [("user:hunter22@", None), ("", Some(KEY))] {
        let provider = |base_url: String| {
            let base_url = format!("{}?key=query-key", base_url.replace("//", &format!("//{user}")));
            let builder = OpenAi::builder("here", base_url).header("x-key", "header-key");
            key.into_iter().fold(builder, |builder, key| builder.api_key(key)).build().unwrap()
        };
        let own =
            [if key.is_some() { KEY } else { "hunter22" }, "query-key", "header-key", "key=", "127.0.0.1"];
        let nowhere = provider("http://127.0.0.1:1/v1".into());
        errors.push((nowhere.send(chat()).await.unwrap_err(), own));
        for answer in &answers {
            let upstream = ScriptedServer::start([answer.clone(), answer.clone()]).await;
            let provider = provider(upstream.base_url());
            errors.push((provider.send(chat()).await.unwrap_err(), own));
            match provider.stream(chat()).await {
                Ok(mut events) => errors.push((events.content.next().await.unwrap().unwrap_err(), own)),
                Err(error) => errors.push((error, own)),
            }
        }
    }
    assert_eq!(errors.len(), 22);
    for (error, secrets) in errors {
        let shown = format!("{error:?} {error}");
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_connect_error() {
    // A port that was bound and released, so that no process listens on it.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // It speaks no TLS, and waits for a request while the client waits for its hello.
    let upstream = ScriptedServer::start([]).await;
    let urls = [format!("http://{nobody}/v1"), upstream.base_url().replace("http:", "https:")];
    let mut errors = Vec::new();
    for url in urls {
        let limit = Duration::from_millis(100);
        let provider = OpenAi::builder("here", url).connect_timeout(limit).build().unwrap();
        errors.push(provider.send(chat()).await.unwrap_err());
        errors.push(provider.stream(chat()).await.err().unwrap());
    }
    for error in errors {
        assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, 502));
        assert!(error.message().starts_with("the provider could not be reached: "), "{error}");
        assert_eq!(error.progress(), Progress::NotSent);
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn silence_is_a_timeout_before_and_within_an_answer() {
    let limit = Duration::from_millis(100);
    let slow = || ScriptedResponse::json(200, "{").header("content-length", "9").then_hang();
    for answer in [ScriptedResponse::hang(), slow()] {
        let upstream = ScriptedServer::start([answer.clone(), answer]).await;
        let plain = builder(&upstream).timeout(limit).build().unwrap().send(chat()).await.unwrap_err();
        let stream =
            builder(&upstream).idle_timeout(limit).build().unwrap().stream(chat()).await.err().unwrap();
        for error in [plain, stream] {
            assert_eq!((error.kind(), error.status()), (ErrorKind::Timeout, 504), "{error}");
        }
    }
    let upstream = ScriptedServer::start([ScriptedResponse::sse([CHUNK]).then_hang()]).await;
    let provider = builder(&upstream).timeout(Duration::ZERO).idle_timeout(limit).build().unwrap();
    let events = collect(provider.stream(chat()).await.unwrap().content).await;
    assert_eq!(events[1..], ["!timeout: the provider sent nothing for 100ms"]);
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_refused() {
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
    let announced = ScriptedResponse::json(200, body.clone());
    let pieces = body.as_bytes().chunks(1_000).map(<[u8]>::to_vec);
    let in_pieces = ScriptedResponse::sse(pieces).header("content-type", "application/json");
    for answer in [announced, in_pieces] {
        let upstream = ScriptedServer::start([answer.clone(), answer]).await;
        let limited = |limit| builder(&upstream).max_response_bytes(limit).build().unwrap();
        let document = limited(body.len()).send(chat()).await.unwrap();
        assert_eq!(document.content.to_bytes(), body);
        let error = limited(body.len() - 1).send(chat()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadGateway);
        assert_eq!(
            error.message(),
            format!("the provider's response has more than {} bytes", body.len() - 1)
        );
    }
}

#[tokio::test]
async fn an_endless_error_is_cut_and_still_an_error() {
    let flood = ScriptedResponse::sse(vec!["no ".repeat(100_000); 20])
        .header("content-type", "text/plain")
        .status(500);
    let error = send(flood.then_hang()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Provider, 500));
    assert!(error.message().ends_with('…') && error.message().len() < 300, "{error}");
}

#[tokio::test]
async fn a_configuration_makes_a_provider_by_its_type() {
    let upstream = ScriptedServer::start([ScriptedResponse::json(200, OK)]).await;
    let mut settings = ProviderSettings::new("here");
    settings.base_url = Some(upstream.base_url());
    settings.api_key = Some(Secret::new(KEY));
    settings.headers = vec![("x-team".into(), "blue".into())];
    settings.stream_usage = false;
    let mut shown = settings.clone();
    shown.base_url = Some("http://user:hunter22@host?hunter22".into());
    let shown = format!("{shown:?}");
    assert!(!shown.contains(KEY) && !shown.contains("hunter22") && !shown.contains("blue"), "{shown}");
    assert_eq!(TYPES.iter().map(|kind| kind.name).collect::<Vec<_>>(), ["openai", "echo"]);
    let build = |name: &str, settings: &ProviderSettings| {
        (TYPES.iter().find(|kind| kind.name == name).unwrap().build)(settings)
    };

    let openai = build("openai", &settings).unwrap();
    openai.send(chat()).await.unwrap();
    assert_eq!(upstream.requests()[0].header("x-team"), Some("blue"));
    assert!(!openai.stream_usage());

    let document = build("echo", &settings).unwrap().send(chat()).await.unwrap();
    assert_eq!(document.content.get_str("/id"), Some("chatcmpl-echo"));

    let mut wrong = ProviderSettings::new("here");
    wrong.base_url = Some("nowhere".into());
    let error = build("openai", &wrong).err().unwrap().to_string();
    assert!(error.starts_with("the base URL `nowhere` of provider `here` is not usable"), "{error}");
}
