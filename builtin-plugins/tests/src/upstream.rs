//! A provider in this process that counts its calls. The name of the model selects its behavior.
//!
//! | model | answer |
//! |---|---|
//! | `gated…` | the answer waits for a permit of [`Upstream::gate`] |
//! | `fail…` | status 418, which is not retried |
//! | `fail-once…` | as `fail…`, but only for the first call |
//! | `cut…` | a stream breaks off after two chunks, a response is an error |
//! | `hang…` | a stream stands still after its first two chunks, a response never arrives |
//! | `hang-once…` | as `hang…`, but only for the first call |
//! | `long…` | the text is 5 000 characters long |
//! | `slow…` | an answer takes two seconds, a stream from its first chunk on |
//! | `status-X` | a response object with this status; `status-broken` is completed and names an error |
//! | any other | an answer with the number of its call, in JSON of an unusual format |

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream};
use llmux_core::{
    Document, Error, ErrorKind,
    provider::{Call, Event, Events, Provider},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Provider that counts its calls.
pub struct Upstream {
    calls: AtomicUsize,
    bodies: Mutex<Vec<Value>>,
    /// Gate of the models `gated…`: each answer takes a permit.
    pub gate: Semaphore,
}

/// Duration of a slow answer.
const SLOW: Duration = Duration::from_secs(2);

/// Tokens in the usage of every answer: of the prompt, of the answer.
const TOKENS: (u64, u64) = (3, 4);

impl Upstream {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), bodies: Mutex::default(), gate: Semaphore::new(0) })
    }

    /// Returns the number of calls.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the bodies of all calls.
    pub fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a call. Returns its number, from 1, its model, and whether the call must fail.
    async fn enter(&self, call: &Call) -> Result<(usize, String), Error> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let body: Value = serde_json::from_slice(&call.body).expect("a provider is sent JSON");
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        if model.starts_with("gated") {
            self.gate.acquire().await.expect("the gate stays").forget();
        }
        if model.contains("fail-once") && number == 1
            || model.contains("fail") && !model.contains("fail-once")
        {
            let error = json!({"message": "no tea: sk-abcdefghijklmnop0123456789", "type": "teapot", "param": null, "code": null});
            return Err(Error::from_parts(ErrorKind::Provider, 418, error, None));
        }
        Ok((number, model))
    }
}

/// Returns the answer of the responses endpoint. Its HTTP status is 200, whatever the status of the response object.
fn response_object(number: usize, status: &str) -> Document {
    let (status, error) = match status {
        "broken" => ("completed", json!({"code": "server_error", "message": "no tea"})),
        other => (other, Value::Null),
    };
    let id = format!("n-{number}");
    Document::from_value(
        &json!({"id": id, "object": "response", "status": status, "error": error, "output": []}),
    )
}

fn hangs(model: &str, number: usize) -> bool {
    model.starts_with("hang") && (number == 1 || !model.starts_with("hang-once"))
}

fn text(model: &str, number: usize) -> String {
    match model.starts_with("long") {
        true => "ä".repeat(5_000),
        false => format!("answer {number}"),
    }
}

impl Provider for Upstream {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Document, Error>> {
        Box::pin(async move {
            let (number, model) = self.enter(&call).await?;
            if hangs(&model, number) {
                std::future::pending::<()>().await;
            }
            if model.starts_with("cut") {
                return Err(Error::new(ErrorKind::BadGateway, "cut").into_final());
            }
            if model.starts_with("slow") {
                tokio::time::sleep(SLOW).await;
            }
            if let Some(status) = model.strip_prefix("status-") {
                return Ok(response_object(number, status));
            }
            let (prompt, completion) = TOKENS;
            let total = prompt + completion;
            // White space, the order of members, escapes and an unknown member: all of it is to survive.
            let body = format!(
                "{{ \"zeta\" : 1e2,\n \"id\":\"n-{number}\", \"object\":\"chat.completion\",\"created\":1,\"model\":\"{model}\", \
                 \"choices\":[{{\"finish_reason\":\"stop\",\"index\":0,\"message\":{{\"content\":\"{}\\u0021\",\"role\":\"assistant\"}}}}], \
                 \"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}}} }}",
                text(&model, number)
            );
            Ok(Document::parse(body).expect("JSON"))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Events, Error>> {
        Box::pin(async move {
            let (number, model) = self.enter(&call).await?;
            let (prompt, completion) = TOKENS;
            let chunk = |rest: &str| {
                let data = format!(
                    "{{ \"id\":\"n-{number}\",\"object\":\"chat.completion.chunk\",\"created\":1, \"model\":\"{model}\",{rest} }}"
                );
                Ok(Event { name: None, data: Bytes::from(data) })
            };
            let delta = |delta: &str, reason: &str| {
                chunk(&format!("\"choices\":[{{\"index\":0, \"delta\":{delta},\"finish_reason\":{reason}}}]"))
            };
            let usage = format!(
                "\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{}}}",
                prompt + completion
            );
            let chunks = vec![
                delta("{\"role\":\"assistant\",\"content\":\"\"}", "null"),
                delta(&format!("{{\"content\":\"{}\"}}", text(&model, number)), "null"),
                delta("{\"content\":\"\\u0021\"}", "null"),
                delta("{}", "\"stop\""),
                chunk(&usage),
            ];
            let all = stream::iter(chunks);
            Ok(match &*model {
                cut if cut.starts_with("cut") => {
                    let broken = Err(Error::new(ErrorKind::BadGateway, "the upstream broke off"));
                    all.take(2).chain(stream::iter([broken])).boxed()
                }
                slow if slow.starts_with("slow") => {
                    let pause = stream::once(tokio::time::sleep(SLOW)).filter_map(async |()| None);
                    let mut chunks = all.collect::<Vec<_>>().await.into_iter();
                    let first = stream::iter(chunks.next());
                    first.chain(pause).chain(stream::iter(chunks)).boxed()
                }
                hang if hangs(hang, number) => all.take(2).chain(stream::pending()).boxed(),
                _ => all.boxed(),
            })
        })
    }
}

/// Turns an error into one that is not retried.
trait Final {
    fn into_final(self) -> Error;
}

impl Final for Error {
    fn into_final(self) -> Error {
        Error::from_parts(
            ErrorKind::Provider,
            409,
            json!({"message": self.message(), "type": "bad_gateway"}),
            None,
        )
    }
}
