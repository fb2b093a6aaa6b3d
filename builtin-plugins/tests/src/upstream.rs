//! A provider in this process that counts its calls. The name of the model selects its behavior.
//!
//! | model | answer |
//! |---|---|
//! | `gated…` | the answer waits for a permit of [`Upstream::gate`] |
//! | `fail…` | status 402, which is not retried |
//! | `fail-once…` | as `fail…`, but only for the first call |
//! | `cut…` | a stream breaks off after two chunks, a response is an error |
//! | `hang…` | a stream stands still after its first two chunks, a response never arrives |
//! | `hang-once…` | as `hang…`, but only for the first call |
//! | `late…` | the usage of a stream comes a second after the end of its text |
//! | `long…` | the text is 5 000 characters long |
//! | `slow…` | an answer takes two seconds, a stream from its first chunk on |
//! | `status-X` | a response object with this status; `status-broken` is completed and names an error |
//! | any other | an answer with the number of its call, in JSON of an unusual format |

use std::{sync::Arc, time::Duration};

use llmux_core::{Error, ErrorKind};
use llmux_testing::{ScriptedProvider, Turn, turn::Asked};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Provider that counts its calls.
pub struct Upstream {
    provider: ScriptedProvider,
    /// Gate of the models `gated…`: each answer takes a permit.
    pub gate: Arc<Semaphore>,
}

/// Duration of a slow answer.
const SLOW: Duration = Duration::from_secs(2);

/// Usage of every answer.
const USAGE: &str = "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}";

impl Upstream {
    pub(crate) fn new() -> Arc<Self> {
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let turn = Turn::by(move |asked| {
            let model = asked.body["model"].as_str().unwrap_or_default();
            let turn = turn(model, asked);
            if model.starts_with("gated") { turn.with_permit_of(&held) } else { turn }
        });
        Arc::new(Self { provider: ScriptedProvider::new([]).otherwise(turn), gate })
    }

    /// Returns the provider itself, for a client or a server.
    pub(crate) fn provider(&self) -> ScriptedProvider {
        self.provider.clone()
    }

    /// Returns the number of calls.
    pub fn calls(&self) -> usize {
        self.provider.bodies().len()
    }

    /// Returns the bodies of all calls.
    pub fn bodies(&self) -> Vec<Value> {
        self.provider.calls()
    }
}

/// Returns the answer of a model.
fn turn(model: &str, asked: &Asked) -> Turn {
    let is_first = asked.number == 1;
    if model.contains("fail") && (is_first || !model.contains("fail-once")) {
        // It is not retried, and a fallback follows.
        return refusal(402, "no tea: sk-abcdefghijklmnop0123456789", "teapot");
    }
    if let Some(status) = model.strip_prefix("status-").filter(|_| !asked.stream) {
        return Turn::bytes(response_object(asked.number, status).to_string(), Vec::new(), None);
    }
    let answer = |pause| Turn::bytes(response(model, asked.number), chunks(model, asked.number), pause);
    match (model, asked.stream) {
        _ if model.starts_with("hang") && (is_first || !model.starts_with("hang-once")) => {
            answer(None).cut_after(2, None)
        }
        // It is not retried.
        _ if model.starts_with("cut") && !asked.stream => refusal(409, "cut", "bad_gateway"),
        _ if model.starts_with("cut") => {
            answer(None).cut_after(2, Some(Error::new(ErrorKind::BadGateway, "the upstream broke off")))
        }
        _ if model.starts_with("late") && asked.stream => answer(Some((4, SLOW / 2))),
        _ if model.starts_with("slow") && asked.stream => answer(Some((1, SLOW))),
        _ if model.starts_with("slow") => answer(None).after(SLOW),
        _ => answer(None),
    }
}

fn refusal(status: u16, message: &str, kind: &str) -> Turn {
    let error = json!({"message": message, "type": kind, "param": null, "code": null});
    Turn::fail(Error::from_parts(ErrorKind::Provider, status, error, None))
}

/// Returns the answer of the responses endpoint. Its HTTP status is 200, whatever the status of the response object.
fn response_object(number: usize, status: &str) -> Value {
    let (status, error) = match status {
        "broken" => ("completed", json!({"code": "server_error", "message": "no tea"})),
        other => (other, Value::Null),
    };
    let id = format!("n-{number}");
    let item = json!({"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": text("", number), "annotations": []}]});
    json!({"id": id, "object": "response", "status": status, "error": error, "output": [item]})
}

fn text(model: &str, number: usize) -> String {
    match model.starts_with("long") {
        true => "ä".repeat(5_000),
        false => format!("answer {number}"),
    }
}

/// Returns a response with white space, an unusual order of members, escapes and an unknown member. All of it must
/// reach the client.
fn response(model: &str, number: usize) -> String {
    format!(
        "{{ \"zeta\" : 1e2,\n \"id\":\"n-{number}\", \"object\":\"chat.completion\",\"created\":1,\"model\":\"{model}\", \
         \"choices\":[{{\"finish_reason\":\"stop\",\"index\":0,\"message\":{{\"content\":\"{}\\u0021\",\"role\":\"assistant\"}}}}], \
         {USAGE} }}",
        text(model, number)
    )
}

/// Returns the chunks of the same answer.
fn chunks(model: &str, number: usize) -> Vec<String> {
    let chunk = |rest: &str| {
        format!(
            "{{ \"id\":\"n-{number}\",\"object\":\"chat.completion.chunk\",\"created\":1, \"model\":\"{model}\",{rest} }}"
        )
    };
    let delta = |delta: &str, reason: &str| {
        chunk(&format!("\"choices\":[{{\"index\":0, \"delta\":{delta},\"finish_reason\":{reason}}}]"))
    };
    vec![
        delta("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
        delta(&format!("{{\"content\":\"{}\"}}", text(model, number)), "null"),
        delta("{\"content\":\"\\u0021\"}", "null"),
        delta("{}", "\"stop\""),
        chunk(&format!("\"choices\":[],{USAGE}")),
    ]
}
