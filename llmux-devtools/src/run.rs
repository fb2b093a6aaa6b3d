//! One request of a trial: the records of the observers in order, with the reply, the logs and the hooks.
//!
//! `trial` makes it; `try_plugin` shows it. Deliberately absent: how it is laid out for a terminal.

use llmux_core::plugins::HookInfo;
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
    /// The verdict of the plugin's hook beside the call; `None` if it was not called, or if its failure ended the request.
    pub(crate) verdict: Option<Verdict>,
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

/// The verdict of a hook beside the provider's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Refused,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Allowed => "allowed",
            Verdict::Refused => "refused",
        }
    }
}

/// A body before the plugin and behind it.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// The calls of one hook of the plugin, all together.
#[derive(Clone, Debug)]
pub(crate) struct HookRun {
    pub(crate) hook: &'static str,
    pub(crate) calls: u64,
    /// Duration in nanoseconds.
    pub(crate) nanos: f64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
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
            verdict: None,
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
                Event::End | Event::Complete(_) => {}
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
                "bytes_read": hook.bytes_read, "bytes_written": hook.bytes_written,
            })
        });
        json!({
            "request_name": self.sample, "endpoint": self.endpoint, "stream": self.stream,
            "request": change(&self.request), "response": change(&self.response),
            "chunks": {"before": chunks(&self.chunks[0]), "after": chunks(&self.chunks[1])},
            "short_circuit": self.short_circuit, "verdict": self.verdict.map(Verdict::as_str), "status": self.status, "error": self.error, "text": self.text,
            "values": self.values, "headers": self.headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "logs": logs.collect::<Vec<_>>(), "failures": self.failures, "hooks": hooks.collect::<Vec<_>>(),
        })
    }
}

/// Returns the text as JSON, or as a string if it is not JSON.
fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Returns the hooks that were called between two lists of an instance's hooks.
pub(crate) fn hooks_between(before: &[HookInfo], after: &[HookInfo]) -> Vec<HookRun> {
    let hooks = after.iter().map(|hook| {
        let earlier = before.iter().find(|earlier| earlier.hook == hook.hook);
        let since = |count: fn(&HookInfo) -> u64| count(hook) - earlier.map_or(0, count);
        let earlier_us = earlier.map_or(0.0, |earlier| earlier.total_us);
        HookRun {
            hook: hook.hook,
            calls: since(|it| it.calls),
            nanos: ((hook.total_us - earlier_us) * 1e3).round(),
            bytes_read: since(|it| it.bytes_read),
            bytes_written: since(|it| it.bytes_written),
        }
    });
    hooks.filter(|run| run.calls > 0).collect()
}
