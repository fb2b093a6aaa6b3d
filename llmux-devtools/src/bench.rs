//! `llmux plugin bench`: measures what a library's hooks cost, next to a plugin that does nothing.
//!
//! The two plugins take turns, request by request, so that other load of the machine affects both alike. Each request
//! passes a whole client, and the host's own counts of the hooks give the time and the bytes of each call.
//!
//! The program calls [`bench_plugin`].

use std::{collections::BTreeMap, io::IsTerminal, sync::Arc};

use llmux_abi::prelude::*;
use llmux_core::{
    Client, ClientBuilder, PluginSpec,
    isolation::ChildProgram,
    plugins::{HookInfo, Isolation, PluginsConfig},
    provider::Echo,
};
use llmux_terminal::{
    CliError, Result as CliResult, Tone, colors, duration, paint, print, print_error, print_json, print_table,
};
use serde_json::{Value, json};

use crate::{
    args::BenchArgs,
    run::hooks_between,
    sample::{Sample, samples},
    trial::{models, pipeline, refused, writable_by_others},
};

/// A plugin that does nothing at every hook.
struct Noop;

impl Plugin for Noop {
    type Config = NoConfig;

    fn new(_: NoConfig, _: Host) -> Result<Self> {
        Ok(Self)
    }

    // Written out, because the host does not call a hook that is not written.
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

/// A client with one plugin, and the costs of its hooks.
struct Measured {
    client: Client,
    hooks: Vec<HookInfo>,
    costs: BTreeMap<&'static str, Costs>,
    /// Number of answers by status.
    statuses: BTreeMap<u16, u32>,
}

/// The costs of one hook in all measured requests.
#[derive(Default)]
struct Costs {
    /// Nanoseconds of a call in each request.
    times: Vec<f64>,
    bytes_read: u64,
    bytes_written: u64,
}

impl Measured {
    async fn new(builder: ClientBuilder) -> CliResult<Self> {
        let client = builder.build().await.map_err(|error| refused(&error))?;
        let (hooks, costs, statuses) = Default::default();
        Ok(Self { client, hooks, costs, statuses })
    }

    /// Sends one request, and waits until its last hook has run. `counts` is false while warming up.
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
        // The hooks behind the reply must not run beside the next request.
        while !self.client.is_idle() {
            tokio::task::yield_now().await;
        }
        let plugin = self.client.plugins().list().into_iter().next();
        let hooks = plugin.map(|plugin| plugin.hooks).unwrap_or_default();
        if counts {
            *self.statuses.entry(status).or_default() += 1;
            for run in hooks_between(&self.hooks, &hooks) {
                let costs = self.costs.entry(run.hook).or_default();
                costs.times.push(run.nanos / run.calls as f64);
                costs.bytes_read += run.bytes_read;
                costs.bytes_written += run.bytes_written;
            }
        }
        self.hooks = hooks;
    }

    fn sort(&mut self) {
        self.costs.values_mut().for_each(|costs| costs.times.sort_by(f64::total_cmp));
    }

    fn percentile(&self, hook: &str, share: f64) -> Option<f64> {
        let times = &self.costs.get(hook)?.times;
        let rank = (times.len() as f64 * share).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied()
    }

    fn failures(&self) -> u64 {
        self.hooks.iter().map(|hook| hook.failures).sum()
    }
}

/// Costs of one hook.
struct Row {
    hook: &'static str,
    /// p50 and p99 of the plugin, then of the plugin that does nothing, in nanoseconds.
    times: [f64; 4],
    /// p50 and p99 of the plugin in a child process, in nanoseconds.
    isolated: Option<[f64; 2]>,
    /// Bytes read and bytes written, in a request on average.
    bytes: [f64; 2],
}

/// Measures a library's hooks, and prints a table. `child` is the program of child processes.
///
/// # Errors
///
/// If an argument is wrong, the library is refused, or one of its hooks failed.
pub async fn bench_plugin(options: BenchArgs, child: ChildProgram) -> CliResult<()> {
    let stream = options.request.stream;
    let sample = samples(&options.request)?.into_iter().next();
    let sample = sample.ok_or_else(|| CliError::new("there is no request to measure"))?;
    let builder = || {
        Ok(Client::builder()
            .pipeline(pipeline(&options.plugin))
            .plugins(
                PluginsConfig::default()
                    .with_allow_insecure_permissions(true)
                    .with_child(Some(child.clone())),
            )
            .provider("echo", Arc::new(Echo::new()), models(&options.plugin, &options.request)?))
    };
    let spec = || PluginSpec::path(&options.plugin.file).with_config(options.plugin.config.clone());
    let mut plugin = Measured::new(builder()?.plugin(spec())).await?;
    let mut isolated = match options.plugin.isolated {
        true => {
            let spec = spec().with_isolation(Isolation::Process);
            Some(Measured::new(builder()?.plugin(spec)).await?)
        }
        false => None,
    };
    let mut noop = Measured::new(builder()?.plugin(PluginSpec::of::<Noop>("noop"))).await?;
    let progress = Progress::new(options.requests);
    for _ in 0..(options.requests / 10).clamp(1, 1000) {
        plugin.send(&sample, stream, false).await;
        noop.send(&sample, stream, false).await;
        if let Some(isolated) = &mut isolated {
            isolated.send(&sample, stream, false).await;
        }
    }
    for at in 0..options.requests {
        progress.show(at);
        // The second request finds the caches as the first one left them, so the order alternates.
        let [first, second] = if at % 2 == 0 { [&mut plugin, &mut noop] } else { [&mut noop, &mut plugin] };
        first.send(&sample, stream, true).await;
        second.send(&sample, stream, true).await;
        if let Some(isolated) = &mut isolated {
            isolated.send(&sample, stream, true).await;
        }
    }
    progress.end();
    plugin.sort();
    noop.sort();
    if let Some(isolated) = &mut isolated {
        isolated.sort();
    }
    let failures = plugin.failures() + isolated.as_ref().map_or(0, Measured::failures);
    let info = plugin.client.plugins().list().into_iter().next();
    let (name, version) = info.map(|it| (it.plugin, it.version)).unwrap_or_default();
    let rows = rows(&plugin, &noop, isolated.as_ref(), options.requests);
    if options.json {
        print_json(&json!({
            "plugin": {"name": name, "version": version, "path": options.plugin.file.to_string_lossy()},
            "request_name": sample.name, "stream": stream, "requests": options.requests,
            "statuses": plugin.statuses, "failures": failures, "debug_build": cfg!(debug_assertions),
            "note": writable_by_others(&options.plugin.file),
            "hooks": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        }))?;
    } else {
        show(&options, &sample, &plugin, rows)?;
    }
    let mut errors = plugin.client.shutdown(options.plugin.timeout).await.errors;
    if let Some(isolated) = isolated {
        errors.extend(isolated.client.shutdown(options.plugin.timeout).await.errors);
    }
    if failures > 0 {
        return Err(CliError::new(format!(
            "{failures} hook calls of `{name}` failed; `llmux plugin try` shows why"
        )));
    }
    match errors.first() {
        Some((name, why)) => Err(CliError::new(format!("a hook failed: `{name}` in cleanup: {why}"))),
        None => Ok(()),
    }
}

fn rows(plugin: &Measured, noop: &Measured, isolated: Option<&Measured>, requests: u32) -> Vec<Row> {
    let mean = |bytes: u64| bytes as f64 / f64::from(requests);
    // In the order of the list, which is the order in a request.
    let row = |hook: &HookInfo| {
        let hook = hook.hook;
        let costs = plugin.costs.get(hook)?;
        let time = |of: &Measured, share| of.percentile(hook, share).unwrap_or_default();
        Some(Row {
            hook,
            times: [time(plugin, 0.5), time(plugin, 0.99), time(noop, 0.5), time(noop, 0.99)],
            isolated: isolated.map(|isolated| [time(isolated, 0.5), time(isolated, 0.99)]),
            bytes: [mean(costs.bytes_read), mean(costs.bytes_written)],
        })
    };
    plugin.hooks.iter().filter_map(row).collect()
}

impl Row {
    /// Returns the time as a multiple of the time of the plugin that does nothing; `None` if that took no time.
    fn ratio(&self) -> Option<f64> {
        let [plugin, _, noop, _] = self.times;
        (noop > 0.0).then(|| plugin / noop)
    }

    fn to_json(&self) -> Value {
        let [p50, p99, noop_p50, noop_p99] = self.times;
        let [read, written] = self.bytes;
        json!({
            "hook": self.hook, "p50_ns": p50, "p99_ns": p99, "noop_p50_ns": noop_p50, "noop_p99_ns": noop_p99,
            "isolated_p50_ns": self.isolated.map(|[p50, _]| p50), "isolated_p99_ns": self.isolated.map(|[_, p99]| p99),
            "ratio": self.ratio(), "bytes_read": read, "bytes_written": written,
        })
    }
}

fn show(options: &BenchArgs, sample: &Sample, plugin: &Measured, rows: Vec<Row>) -> CliResult<()> {
    let rows = rows.into_iter().map(|row| {
        let shown = |time: f64| if time == 0.0 { "-".to_owned() } else { duration(time) };
        let [p50, p99, noop_p50, noop_p99] = row.times.map(shown);
        let isolated = row.isolated.into_iter().flatten().map(|time| (shown(time), Tone::Good));
        let [read, written] = row.bytes;
        let mut cells = vec![(row.hook.to_owned(), Tone::Plain), (p50, Tone::Good), (p99, Tone::Good)];
        cells.extend(isolated);
        cells.extend([
            (noop_p50, Tone::Muted),
            (noop_p99, Tone::Muted),
            (row.ratio().map_or("-".to_owned(), |ratio| format!("{ratio:.1}x")), Tone::Plain),
            (format!("{read:.0}"), Tone::Plain),
            (format!("{written:.0}"), Tone::Plain),
        ]);
        cells
    });
    let isolated: &[&str] = if options.plugin.isolated { &["ISOLATED P50", "ISOLATED P99"] } else { &[] };
    let rest = ["NO-OP P50", "NO-OP P99", "RATIO", "BYTES READ", "BYTES WRITTEN"];
    print_table(&[&["HOOK", "P50", "P99"], isolated, &rest].concat(), rows.collect())?;
    let statuses = plugin.statuses.iter().map(|(status, count)| format!("{count} answered {status}"));
    let statuses = statuses.collect::<Vec<_>>().join(", ");
    let kind = if options.request.stream { "streams" } else { "requests" };
    let mut end =
        format!("{} {kind} ({}): {statuses}; bytes are per request\n", options.requests, sample.name);
    let colors = colors(&std::io::stdout());
    let mut note = |text: &str| end += &(paint(&format!("note: {text}"), Tone::Muted, colors) + "\n");
    if let Some(text) = writable_by_others(&options.plugin.file) {
        note(&text);
    }
    if cfg!(debug_assertions) {
        note("this `llmux` is a debug build; a release build is many times faster");
    }
    print(&end)
}

/// Progress on standard error, if that is a terminal.
struct Progress {
    total: u32,
    is_shown: bool,
}

impl Progress {
    fn new(total: u32) -> Self {
        Self { total, is_shown: std::io::stderr().is_terminal() }
    }

    fn show(&self, done: u32) {
        if self.is_shown && done.is_multiple_of((self.total / 100).max(1)) {
            print_error(&format!("\r{done} of {} requests", self.total));
        }
    }

    fn end(&self) {
        if self.is_shown {
            print_error("\r\u{1b}[K");
        }
    }
}
