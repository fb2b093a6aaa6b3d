//! One request of a rehearsal: what was seen around the plugin, put in order.

use llmux_core::testing::{HarnessReply, Log, Traffic};
use serde_json::{Map, Value, json};

use super::bookend::{Look, Seen, Side};

/// What came of one request.
pub(crate) struct Run {
    pub(crate) sample: String,
    pub(crate) endpoint: &'static str,
    pub(crate) stream: bool,
    /// The request before the plugin, and behind it, if it got there.
    pub(crate) request: Change,
    /// The response or the error before the plugin, if there was one, and what the plugin made of it. Not of streams.
    pub(crate) response: Change,
    /// The chunks, each with its event's name, before the plugin and behind it.
    pub(crate) chunks: [Vec<(String, String)>; 2],
    /// Did the plugin answer in the provider's place?
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

/// A body at two places.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// What one of the plugin's hooks did.
pub(crate) struct HookRun {
    pub(crate) hook: &'static str,
    pub(crate) calls: u64,
    /// Of all calls together.
    pub(crate) nanos: f64,
    pub(crate) traffic: Traffic,
}

impl Run {
    /// What the looks and the reply say together. Hooks, logs and failures are added by whoever knows them.
    pub(crate) fn of(looks: &[Look], reply: &HarnessReply, stream: bool) -> Self {
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
        for look in looks {
            let outer = look.side == Side::Outer;
            match &look.seen {
                Seen::Request(text) if outer => run.request.before = Some(text.clone()),
                Seen::Request(text) => run.request.after = Some(text.clone()),
                Seen::Response(text) | Seen::Error(text) if outer => run.response.after = Some(text.clone()),
                Seen::Response(text) | Seen::Error(text) => run.response.before = Some(text.clone()),
                Seen::Chunk(event, data) => {
                    run.chunks[usize::from(outer)].push((event.clone(), data.clone()))
                }
                Seen::End | Seen::Complete => {}
            }
        }
        run
    }

    /// For scripts.
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

/// JSON, or the text as a string.
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// What each hook of the plugin between the bookends read and wrote: what was counted between two looks is the
/// hook's that stands between them. Of a plugin that answered itself, the post hook's is part of the pre hook's.
pub(crate) fn traffic(looks: &[Look], hook: &str) -> Traffic {
    let mut sum = Traffic::default();
    for pair in looks.windows(2) {
        let [first, second] = pair else { continue };
        let between = match (first.side, &first.seen) {
            (Side::Outer, Seen::Request(_)) => ["pre_hook", "pre_stream_hook"].contains(&hook),
            (Side::Inner, Seen::Response(_) | Seen::Error(_)) => hook == "post_hook",
            (Side::Outer, Seen::Chunk(..)) if second.side == Side::Inner => false,
            (_, Seen::Chunk(..)) if second.seen == Seen::End => {
                // Between the last chunk and the end, only the one that was dropped, or the end's own hook.
                hook == if first.side == Side::Inner { "on_stream_chunk" } else { "post_stream_hook" }
            }
            (_, Seen::Chunk(..)) => hook == "on_stream_chunk",
            (Side::Inner, Seen::End) => hook == "post_stream_hook",
            (Side::Inner, Seen::Complete) => hook == "on_complete",
            _ => false,
        };
        if between {
            sum += second.called - first.returned;
        }
    }
    sum
}
