//! `llmux plugin bench`: what a library's hooks cost, next to a plugin that does nothing.
//!
//! The two take turns request by request, so that what else the machine does hits both alike. Every request goes the
//! whole way through a client, and afterwards the host's own counts of the hooks say how long each call took. Bytes
//! are counted apart from that, in a rehearsal, since counting takes time of its own.

use std::{collections::BTreeMap, io::IsTerminal, sync::Arc};

use llmux_abi::prelude::*;
use llmux_core::{
    Client, ClientBuilder, PluginSpec,
    plugins::{HookInfo, PluginsConfig},
    provider::Echo,
    testing::Traffic,
};
use serde_json::{Value, json};

use super::{
    authors::Bench,
    rehearsal::{Rehearsal, Sample, models, pipeline, refused, samples, since, writable_by_others},
};
use crate::terminal::{
    cli_error::{CliError, Result as Done},
    output::{self, Tone},
};

/// How many requests the bytes are counted over, at most.
const COUNTED: u32 = 100;

/// Does nothing, at every hook.
struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    // Written out: a hook that is not written is not called.
    async fn pre_hook(&self, _: &mut Context<'_>, _: &mut Request<'_>) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    async fn post_hook(&self, _: &mut Context<'_>, _: &mut Outcome<'_>) -> Result<()> {
        Ok(())
    }

    async fn on_stream_chunk(&self, _: &mut Context<'_>, _: &mut Chunk<'_>) -> Result<ChunkFlow> {
        Ok(ChunkFlow::Forward)
    }

    async fn post_stream_hook(&self, _: &mut Context<'_>, _: &mut StreamEnd<'_>) -> Result<()> {
        Ok(())
    }

    async fn on_complete(&self, _: &mut Context<'_>, _: &Completion<'_>) {}
}

/// A client with one plugin, and what its hooks have taken.
struct Subject {
    client: Client,
    hooks: Vec<HookInfo>,
    /// Of each hook, the nanoseconds of a call in each request.
    times: BTreeMap<&'static str, Vec<f64>>,
    /// How often each status was answered.
    statuses: BTreeMap<u16, u32>,
}

impl Subject {
    async fn new(builder: ClientBuilder) -> Done<Self> {
        let client = builder.build().await.map_err(|error| refused(&error))?;
        let (hooks, times, statuses) = Default::default();
        Ok(Self { client, hooks, times, statuses })
    }

    /// One request, to the last of its hooks.
    async fn send(&mut self, sample: &Sample, stream: bool, counts: bool) {
        let request = sample.request.clone();
        let status = if stream {
            let mut reply = self.client.stream(request).await;
            let mut status = 200;
            match &mut reply.result {
                Ok(chunks) => {
                    while let Some(chunk) = chunks.next().await {
                        status = chunk.map_or_else(|error| error.status(), |_| status);
                    }
                }
                Err(error) => status = error.status(),
            }
            status
        } else {
            self.client.send(request).await.result.map_or_else(|error| error.status(), |_| 200)
        };
        // What a completed request leaves behind must not run beside the next one.
        while !self.client.is_idle() {
            tokio::task::yield_now().await;
        }
        let plugin = self.client.plugins().list().into_iter().next();
        let hooks = plugin.map(|plugin| plugin.hooks).unwrap_or_default();
        if counts {
            *self.statuses.entry(status).or_default() += 1;
            for (hook, calls, nanos) in since(&self.hooks, &hooks) {
                self.times.entry(hook).or_default().push(nanos / calls as f64);
            }
        }
        self.hooks = hooks;
    }

    fn sort(&mut self) {
        self.times.values_mut().for_each(|times| times.sort_by(f64::total_cmp));
    }

    fn percentile(&self, hook: &str, share: f64) -> Option<f64> {
        let times = self.times.get(hook)?;
        let rank = (times.len() as f64 * share).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied()
    }

    fn failures(&self) -> u64 {
        self.hooks.iter().map(|hook| hook.failures).sum()
    }
}

/// What one hook costs.
struct Row {
    hook: &'static str,
    /// p50 and p99 of the plugin's, then of the one that does nothing.
    times: [f64; 4],
    /// Per request.
    traffic: [f64; 2],
}

/// Runs the command.
pub(crate) async fn run(options: Bench) -> Done<()> {
    let stream = options.question.stream;
    let sample = samples(&options.question)?.into_iter().next();
    let sample = sample.ok_or_else(|| CliError::new("there is no request to measure"))?;
    let builder = || {
        Ok(Client::builder()
            .pipeline(pipeline(&options.plugin))
            .plugins(PluginsConfig { allow_insecure_permissions: true, ..PluginsConfig::default() })
            .provider("echo", Arc::new(Echo::new()), models(&options.plugin, &options.question)?))
    };
    let spec = PluginSpec::path(&options.plugin.file).config(options.plugin.config.clone());
    let mut plugin = Subject::new(builder()?.plugin(spec)).await?;
    let mut noop = Subject::new(builder()?.plugin(PluginSpec::of::<Noop>("noop"))).await?;
    let progress = Progress::new(options.requests);
    for _ in 0..(options.requests / 10).clamp(1, 1000) {
        plugin.send(&sample, stream, false).await;
        noop.send(&sample, stream, false).await;
    }
    for at in 0..options.requests {
        progress.show(at);
        // Whoever comes second finds the caches as the first one left them.
        let [first, second] = if at % 2 == 0 { [&mut plugin, &mut noop] } else { [&mut noop, &mut plugin] };
        first.send(&sample, stream, true).await;
        second.send(&sample, stream, true).await;
    }
    progress.end();
    plugin.sort();
    noop.sort();
    let failures = plugin.failures();
    let info = plugin.client.plugins().list().into_iter().next();
    let (name, version) = info.map(|it| (it.plugin, it.version)).unwrap_or_default();
    let rows = rows(&plugin, &noop, &bytes(&options, &sample).await?);
    if options.json {
        output::print_json(&json!({
            "plugin": {"name": name, "version": version, "path": options.plugin.file.to_string_lossy()},
            "request_name": sample.name, "stream": stream, "requests": options.requests,
            "statuses": plugin.statuses, "failures": failures, "debug_build": cfg!(debug_assertions),
            "note": writable_by_others(&options.plugin.file),
            "hooks": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&options, &sample, &plugin, rows)?;
    }
    let cleanup = plugin.client.shutdown(options.plugin.timeout).await;
    if failures > 0 {
        return Err(CliError::new(format!(
            "{failures} hook calls of `{name}` failed; `llmux plugin try` shows why"
        )));
    }
    match cleanup.errors.first() {
        Some((name, why)) => Err(CliError::new(format!("a hook failed: `{name}` in cleanup: {why}"))),
        None => Ok(()),
    }
}

/// The bytes that each hook read and wrote, in a request.
async fn bytes(options: &Bench, sample: &Sample) -> Done<BTreeMap<&'static str, [f64; 2]>> {
    let mut rehearsal = Rehearsal::start(&options.plugin, &options.question, None).await?;
    let mut sums: BTreeMap<&'static str, Traffic> = BTreeMap::new();
    let requests = options.requests.min(COUNTED);
    for _ in 0..requests {
        for hook in rehearsal.run(sample, options.question.stream).await.hooks {
            *sums.entry(hook.hook).or_default() += hook.traffic;
        }
    }
    rehearsal.end().await;
    let mean = |bytes: u64| bytes as f64 / f64::from(requests);
    Ok(sums.into_iter().map(|(hook, sum)| (hook, [mean(sum.read), mean(sum.written)])).collect())
}

fn rows(plugin: &Subject, noop: &Subject, bytes: &BTreeMap<&'static str, [f64; 2]>) -> Vec<Row> {
    // In the order of the list, which is that of a request.
    let hooks = plugin.hooks.iter().filter(|hook| plugin.times.contains_key(hook.hook));
    let row = |hook: &HookInfo| {
        let time = |of: &Subject, share| of.percentile(hook.hook, share).unwrap_or_default();
        Row {
            hook: hook.hook,
            times: [time(plugin, 0.5), time(plugin, 0.99), time(noop, 0.5), time(noop, 0.99)],
            traffic: bytes.get(hook.hook).copied().unwrap_or_default(),
        }
    };
    hooks.map(row).collect()
}

impl Row {
    /// How many times the plugin that does nothing; unknown where that was not called, or in no time at all.
    fn ratio(&self) -> Option<f64> {
        let [plugin, _, noop, _] = self.times;
        (noop > 0.0).then(|| plugin / noop)
    }

    fn to_json(&self) -> Value {
        let [p50, p99, noop_p50, noop_p99] = self.times;
        let [read, written] = self.traffic;
        json!({
            "hook": self.hook, "p50_ns": p50, "p99_ns": p99, "noop_p50_ns": noop_p50, "noop_p99_ns": noop_p99,
            "ratio": self.ratio(), "bytes_read": read, "bytes_written": written,
        })
    }
}

fn print(options: &Bench, sample: &Sample, plugin: &Subject, rows: Vec<Row>) -> Done<()> {
    let rows = rows.into_iter().map(|row| {
        let [p50, p99, noop_p50, noop_p99] = row.times.map(|time| match time {
            0.0 => "-".to_owned(),
            time => output::duration(time),
        });
        let [read, written] = row.traffic;
        vec![
            (row.hook.to_owned(), Tone::Plain),
            (p50, Tone::Good),
            (p99, Tone::Good),
            (noop_p50, Tone::Muted),
            (noop_p99, Tone::Muted),
            (row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.1}x")), Tone::Plain),
            (format!("{read:.0}"), Tone::Plain),
            (format!("{written:.0}"), Tone::Plain),
        ]
    });
    let header = ["HOOK", "P50", "P99", "NO-OP P50", "NO-OP P99", "RATIO", "BYTES READ", "BYTES WRITTEN"];
    output::print_table(&header, rows.collect())?;
    let statuses = plugin.statuses.iter().map(|(status, count)| format!("{count} answered {status}"));
    let statuses = statuses.collect::<Vec<_>>().join(", ");
    let kind = if options.question.stream { "streams" } else { "requests" };
    let mut end =
        format!("{} {kind} ({}): {statuses}; bytes are per request\n", options.requests, sample.name);
    let colors = output::colors(&std::io::stdout());
    let mut note = |text: &str| end += &(output::paint(&format!("note: {text}"), Tone::Muted, colors) + "\n");
    if let Some(text) = writable_by_others(&options.plugin.file) {
        note(&text);
    }
    if cfg!(debug_assertions) {
        note("this `llmux` is a debug build, in which everything costs many times what it should");
    }
    output::print(&end)
}

/// How far it is, for somebody who watches.
struct Progress {
    total: u32,
    watched: bool,
}

impl Progress {
    fn new(total: u32) -> Self {
        Self { total, watched: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: u32) {
        if self.watched && done.is_multiple_of((self.total / 100).max(1)) {
            eprint!("\r{done} of {} requests", self.total);
        }
    }

    fn end(&self) {
        if self.watched {
            eprint!("\r\u{1b}[K");
        }
    }
}
