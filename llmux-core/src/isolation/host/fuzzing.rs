//! Entry of the fuzz targets to the frames of a child. It exists only under `cfg(fuzzing)`, which `cargo fuzz` sets, and in
//! the tests of this crate.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::{connection::Connection, services::Services};
use crate::{
    Endpoint,
    boundary::host::{HostServices, HostShared},
    document::Document,
    isolation::{
        apply::apply,
        frame::{self, Frame, Kind},
        protocol::{self as message, decode},
        rebuild::Subject,
    },
    pipeline::{
        Clock, Limit,
        context::RequestContext,
        headers::Headers,
        hook::{CallContext, HookInput, HookReply, StateSlot},
        kind::HookKind,
    },
};

/// Hooks with a call under way, in the order of the calls' numbers, from [`FIRST`].
const HOOKS: [HookKind; 9] = [
    HookKind::Pre,
    HookKind::PreStream,
    HookKind::Post,
    HookKind::Chunk,
    HookKind::PostStream,
    HookKind::Complete,
    HookKind::Text,
    HookKind::ToolCall,
    HookKind::Beside,
];
/// Number of the first call.
const FIRST: u64 = 1 << 40 | 1;
/// Body of each call, and the size up to which it may be edited.
const TEXT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"n":1}"#;
const LIMIT: usize = 1000;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// Passes bytes to the host as a child would, in parts of this size, while each hook has a call under way. Applies the
/// replies.
///
/// # Panics
///
/// If a reply harms the host: a body that is no JSON any more, or is too large.
pub fn receive(bytes: &[u8], size: usize) {
    let shared = Arc::new(HostShared {
        runtime: RUNTIME.handle().clone(),
        http: None,
        metrics: Arc::default(),
        epoch: Instant::now(),
        mirror: None,
    });
    let _runtime = RUNTIME.enter();
    let services = Services::new(HostServices::new("fuzzed", None, shared.clone()), shared.runtime.clone());
    let connection = Connection::new(1, services, shared, None);
    let call = |kind| {
        let call = (connection.number(), Kind::Call);
        (kind, connection.call(call, Some(kind), Vec::new(), &()).expect("it is sent"))
    };
    let calls = HOOKS.map(call);
    let mut buffer = BytesMut::new();
    'all: for part in bytes.chunks(size.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match frame::take(&mut buffer).map(|frame| frame.map(|frame| connection.received(frame))) {
                Ok(Some(Ok(()))) => {}
                Ok(None) => break,
                // The child is killed.
                Ok(Some(Err(_))) | Err(_) => break 'all,
            }
        }
    }
    for (kind, mut reply) in calls {
        if let Ok(reply) = reply.try_recv()
            && let Ok(reply) = decode::<message::Reply<'_>>(&reply)
        {
            applied(kind, reply);
        }
    }
    connection.end("the input is over".into());
}

fn applied(kind: HookKind, message: message::Reply<'_>) {
    let text = Bytes::from_static(TEXT.as_bytes());
    let frame = Frame { kind: Kind::Call, number: FIRST, message: text.clone() };
    let subject = subject(kind, &frame.message);
    let mut subject = Subject::of(&subject, &frame).expect("a subject");
    let mut request = RequestContext::new(
        Endpoint::ChatCompletions,
        false,
        "m".into(),
        "r".into(),
        None,
        Headers::Map(Arc::default()),
        None,
    );
    let mut state = StateSlot::default();
    let limit = Limit { started: Clock::start(), timeout: Duration::from_secs(1) };
    let mut context = CallContext { request: &mut request, state: &mut state, limit, kind };
    let (mut input, mut reply) = (subject.lend(kind), HookReply::default());
    let _ = apply(message, &mut context, &mut input, &mut reply);
    let body = match &mut input {
        HookInput::Pre(body) | HookInput::PreStream(body) => &mut **body,
        HookInput::Chunk(chunk) => &mut chunk.body,
        HookInput::Post(outcome) => outcome.body(),
        HookInput::PostStream(report) | HookInput::Complete(report) => &mut report.request,
        HookInput::Beside(body) => {
            assert_eq!(body.bytes(), text, "a request can only be read beside the call");
            return;
        }
        // The edit is in the reply, and the pipeline checks it.
        HookInput::Text(_) | HookInput::ToolCall(_) => return,
    };
    let bytes = body.bytes();
    assert!(bytes.len() <= LIMIT, "{} bytes", bytes.len());
    assert!(Document::parse_lenient(bytes.clone()).is_ok(), "{bytes:?}");
    if matches!(kind, HookKind::PostStream | HookKind::Complete) {
        assert_eq!(bytes, text, "a report cannot be edited");
    }
}

fn subject(kind: HookKind, text: &[u8]) -> message::Subject<'_> {
    let body = || message::Body { text: message::Part::Here(text), limit: Some(LIMIT as u64) };
    match kind {
        HookKind::Post => message::Subject::Outcome(message::Outcome {
            is_error: false,
            is_plugin_failure: false,
            is_binary: false,
            body: body(),
            limit: LIMIT as u64,
            request: message::Part::Here(text),
        }),
        HookKind::Beside => message::Subject::Request(message::Body { limit: None, ..body() }),
        HookKind::Chunk => message::Subject::Chunk { event: None, body: body() },
        HookKind::PostStream | HookKind::Complete => message::Subject::Report(Box::new(message::Report {
            ending: 0,
            status: 200,
            latency: 1,
            first_chunk: None,
            chunks: None,
            is_unfinished: false,
            usage: None,
            answered_by: message::AnsweredBy::Provider,
            attempts: Vec::new(),
            request: message::Part::Here(text),
            response: None,
            error: None,
        })),
        HookKind::Text => message::Subject::Text(message::Text {
            text: TEXT,
            role: "user",
            tool: "",
            is_answer: true,
            channel: 0,
            choice: 0,
            number: 0,
            is_end: false,
        }),
        HookKind::ToolCall => message::Subject::ToolCall(message::ToolCall {
            id: "id",
            name: "tool",
            arguments: TEXT,
            choice: 0,
            is_json: true,
        }),
        _ => message::Subject::Request(body()),
    }
}

/// Returns frames that a child of this program sends, to begin with.
pub fn seeds() -> Vec<Vec<u8>> {
    let reply = |change, answer| message::Reply {
        decision: message::Decision::Continue,
        keeps_state: true,
        longest_poll: 1,
        traffic: (2, 3),
        effects: Some(Box::new(message::Effects {
            answer,
            cached: false,
            metadata: vec![("key", message::Value::Integer(1)), ("other", message::Value::Json("[1]"))],
            emitted: vec![message::Event { name: Some("event"), data: "{}" }],
            text: Some("a text"),
            hold: message::Hold::From(2),
            tool_call: Some(("other", "{}")),
            failure: None,
            written: 1,
            collected: message::Collected {
                values: vec![("key", message::Value::String("text"))],
                response_headers: vec![("x-name", "value")],
                provider_headers: vec![("x-name", "value")],
            },
            change,
        })),
    };
    let edits = || {
        use message::Edit::{Insert, Remove, Set};
        message::Change::Edits(vec![
            Set("/model", "\"n\""),
            Insert("/messages/0", "{\"role\":\"system\"}"),
            Remove("/n"),
        ])
    };
    let mut seeds = Vec::new();
    let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut seed = vec![7];
        write(&mut seed);
        seeds.push(seed);
    };
    for at in 0..HOOKS.len() as u64 {
        let send = |buffer: &mut Vec<u8>, reply: &message::Reply<'_>| {
            frame::write(buffer, Kind::Reply, FIRST + at, reply).expect("small");
        };
        let quiet = message::Reply { effects: None, ..reply(message::Change::None, message::Answer::None) };
        add(&|buffer| send(buffer, &quiet));
        add(&|buffer| send(buffer, &reply(edits(), message::Answer::None)));
        add(&|buffer| send(buffer, &reply(message::Change::Whole("[{}]"), message::Answer::Stream)));
        let replaced =
            || message::Change::Replaced { is_error: true, json: "{\"error\":{\"message\":\"m\"}}" };
        add(&|buffer| send(buffer, &reply(replaced(), message::Answer::Response("{}"))));
    }
    add(&|buffer| {
        let labels = vec!["label"];
        let kind = message::MetricKind::Histogram(vec![0.1, 1.0]);
        let metric =
            message::Metric { id: 1, kind, name: "name_total", help: "help", labels: labels.clone() };
        frame::write(buffer, Kind::Metric, 0, &metric).expect("small");
        let record = message::Record { id: 1, labels, value: 0.5 };
        frame::write(buffer, Kind::Record, 0, &record).expect("small");
        let log = message::Log { level: 3, source: "source", message: "message", fields: Some("{\"a\":1}") };
        frame::write(buffer, Kind::Log, 0, &log).expect("small");
        let fetch = message::Fetch {
            method: "GET",
            url: "http://127.0.0.1/",
            headers: vec![("name", "value")],
            body: b"body",
            timeout: 1000,
            max_body: 10,
            streams: true,
        };
        frame::write(buffer, Kind::Fetch, 1, &fetch).expect("small");
        frame::write_empty(buffer, Kind::More, 1);
        frame::write_empty(buffer, Kind::DropFetch, 1);
    });
    add(&|buffer| frame::write(buffer, Kind::Idle, 1, &Some(7_u64)).expect("small"));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_damaged_frames_of_a_child_do_not_harm_the_host() {
        for seed in seeds() {
            let whole = &seed[1..];
            for size in [1, 7, whole.len()] {
                receive(whole, size);
            }
            for at in 0..whole.len() {
                receive(&whole[..at], whole.len());
                for value in [0, 1, whole[at].wrapping_add(1), 0xff] {
                    let mut damaged = whole.to_vec();
                    damaged[at] = value;
                    receive(&damaged, damaged.len());
                }
            }
        }
    }
}
