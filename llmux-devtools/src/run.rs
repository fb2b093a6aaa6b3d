//! One request of a trial: the records of the observers in order, with the reply, the logs and the hooks.
//!
//! `trial` makes it; `try_plugin` shows it. Deliberately absent: how it is laid out for a terminal.

use llmux_core::testing::Traffic;
use llmux_testing::{HarnessReply, Log};
use serde_json::{Map, Value, json};

use crate::observer::{Event, Observation, Side};

/// One request, and everything that happened to it.
pub(crate) struct Run {
    pub(crate) sample: String,
    pub(crate) endpoint: &'static str,
    pub(crate) stream: bool,
    /// The request before the plugin, and behind it unless the plugin stopped it.
    pub(crate) request: Change,
    /// The response or the error before the plugin, if there was one, and behind it. Empty for streams.
    pub(crate) response: Change,
    /// The chunks before the plugin and behind it, each with the name of its event.
    pub(crate) chunks: [Vec<(String, String)>; 2],
    /// True if the plugin answered in place of the provider.
    pub(crate) short_circuit: bool,
    pub(crate) status: u16,
    /// The error that the request or its stream ended with.
    pub(crate) error: Option<Value>,
    pub(crate) text: String,
    pub(crate) values: Map<String, Value>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) logs: Vec<Log>,
    pub(crate) failures: Vec<String>,
    pub(crate) hooks: Vec<HookRun>,
}

/// A body before the plugin and behind it.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// The calls of one hook of the plugin.
pub(crate) struct HookRun {
    pub(crate) hook: &'static str,
    pub(crate) calls: u64,
    /// Duration of all calls together.
    pub(crate) nanos: f64,
    pub(crate) traffic: Traffic,
}

impl Run {
    /// Combines the observations and the reply. The caller adds hooks, logs and failures.
    pub(crate) fn of(observations: &[Observation], reply: &HarnessReply, stream: bool) -> Self {
        let mut run = Run {
            sample: String::new(),
            endpoint: "",
            stream,
            request: Change::default(),
            response: Change::default(),
            chunks: Default::default(),
            short_circuit: false,
            status: reply.status(),
            error: reply.error().map(|error| read(&String::from_utf8_lossy(&error.document().to_bytes()))),
            text: reply.text(),
            values: reply.values(),
            headers: reply.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            logs: Vec::new(),
            failures: Vec::new(),
            hooks: Vec::new(),
        };
        for observation in observations {
            let outer = observation.side == Side::Outer;
            match &observation.event {
                Event::Request(text) if outer => run.request.before = Some(text.clone()),
                Event::Request(text) => run.request.after = Some(text.clone()),
                Event::Response(text) | Event::Error(text) if outer => {
                    run.response.after = Some(text.clone())
                }
                Event::Response(text) | Event::Error(text) => run.response.before = Some(text.clone()),
                Event::Chunk(event, data) => {
                    run.chunks[usize::from(outer)].push((event.clone(), data.clone()))
                }
                Event::End | Event::Complete => {}
            }
        }
        run
    }

    /// Returns the run as JSON, for scripts.
    pub(crate) fn to_json(&self) -> Value {
        let body = |text: &Option<String>| text.as_deref().map(read);
        let change = |change: &Change| json!({"before": body(&change.before), "after": body(&change.after)});
        let chunks = |chunks: &[(String, String)]| -> Vec<Value> {
            chunks.iter().map(|(event, data)| json!({"event": event, "data": read(data)})).collect()
        };
        let logs = self
            .logs
            .iter()
            .map(|log| json!({"level": log.level.as_str(), "target": log.target, "message": log.message}));
        let hooks = self.hooks.iter().map(|hook| {
            json!({
                "hook": hook.hook, "calls": hook.calls, "total_us": hook.nanos / 1e3,
                "bytes_read": hook.traffic.read, "bytes_written": hook.traffic.written,
            })
        });
        json!({
            "request_name": self.sample, "endpoint": self.endpoint, "stream": self.stream,
            "request": change(&self.request), "response": change(&self.response),
            "chunks": {"before": chunks(&self.chunks[0]), "after": chunks(&self.chunks[1])},
            "short_circuit": self.short_circuit, "status": self.status, "error": self.error, "text": self.text,
            "values": self.values, "headers": self.headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "logs": logs.collect::<Vec<_>>(), "failures": self.failures, "hooks": hooks.collect::<Vec<_>>(),
        })
    }
}

/// Returns the text as JSON, or as a string if it is not JSON.
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Returns the bytes that one hook of the plugin read and wrote: those counted between the two observations around each of
/// its calls. If the plugin answered itself, the bytes of its post hook count as the pre hook's.
pub(crate) fn traffic(observations: &[Observation], hook: &str) -> Traffic {
    let mut sum = Traffic::default();
    for pair in observations.windows(2) {
        let [first, second] = pair else { continue };
        let between = match (first.side, &first.event) {
            (Side::Outer, Event::Request(_)) => ["pre_hook", "pre_stream_hook"].contains(&hook),
            (Side::Inner, Event::Response(_) | Event::Error(_)) => hook == "post_hook",
            (Side::Outer, Event::Chunk(..)) if second.side == Side::Inner => false,
            (_, Event::Chunk(..)) if second.event == Event::End => {
                // Between the last chunk and the end stands a chunk that was dropped, or the hook of the end.
                hook == if first.side == Side::Inner { "on_stream_chunk" } else { "post_stream_hook" }
            }
            (_, Event::Chunk(..)) => hook == "on_stream_chunk",
            (Side::Inner, Event::End) => hook == "post_stream_hook",
            (Side::Inner, Event::Complete) => hook == "on_complete",
            _ => false,
        };
        if between {
            sum += second.called - first.returned;
        }
    }
    sum
}
