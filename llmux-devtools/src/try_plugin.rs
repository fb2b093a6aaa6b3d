//! `llmux plugin try`: runs a library on sample requests, and prints what it did to each.
//!
//! The program calls [`try_plugin`]. Deliberately absent: how a request is run and recorded, which is `trial`'s.

use std::fmt::Write;

use llmux_core::isolation::ChildProgram;
use llmux_terminal::{CliError, Result, Tone, colors, duration, paint, print, print_json};
use serde_json::{Value, json};

use crate::{
    args::TryArgs,
    every_split::try_every_split,
    layout,
    run::{Run, Verdict},
    sample::samples,
    trial::{Trial, writable_by_others},
};

/// Runs a library on sample requests, and prints what it did to each. `child` is the program of child processes.
///
/// # Errors
///
/// If an argument is wrong, the library is refused, one of its hooks failed, or a client reads something else at a split.
pub async fn try_plugin(options: TryArgs, child: ChildProgram) -> Result<()> {
    let samples = samples(&options.request)?;
    if options.split.is_some() {
        return try_every_split(&options, &samples, child).await;
    }
    let mut trial =
        Trial::start(&options.plugin, &options.request, options.response.as_deref(), child).await?;
    let note = writable_by_others(&options.plugin.file);
    let page = Page { colors: colors(&std::io::stdout()) };
    let start_logs = trial.new_logs();
    if !options.json {
        let plugin = &trial.plugin;
        let mut head = format!(
            "{} {}, priority {}, {}\n",
            plugin.plugin,
            plugin.version.as_deref().unwrap_or_default(),
            plugin.priority,
            options.plugin.file.display()
        );
        if let Some(note) = &note {
            let _ = writeln!(head, "{}", paint(&format!("note: {note}"), Tone::Muted, page.colors));
        }
        if !start_logs.is_empty() {
            page.list(&mut head, "logged by the construction", start_logs.iter().map(ToString::to_string));
        }
        print(&head)?;
    }
    let (mut runs, mut failures) = (Vec::new(), Vec::new());
    for sample in &samples {
        for _ in 0..options.times {
            let run = trial.run(sample, options.request.stream).await;
            failures.extend(run.failures.iter().cloned());
            match options.json {
                true => runs.push(run.to_json()),
                false => print(&page.run(&run))?,
            }
        }
    }
    let (plugin, metrics) = (trial.plugin.clone(), trial.metrics());
    let cleanup = trial.end().await;
    failures.extend(cleanup.iter().cloned());
    if options.json {
        let logs: Vec<String> = start_logs.iter().map(ToString::to_string).collect();
        print_json(&json!({
            "plugin": {
                "name": plugin.plugin, "version": plugin.version, "priority": plugin.priority,
                "on_error": plugin.on_error, "sha256": plugin.sha256, "path": options.plugin.file.to_string_lossy(),
            },
            "note": note, "start_logs": logs, "runs": runs, "metrics": metrics, "failures": failures,
        }))?;
    } else if !metrics.is_empty() || !cleanup.is_empty() {
        let mut end = format!("\n{}\n", page.title("at the end"));
        page.list(&mut end, "failed", cleanup);
        // The buckets of a histogram say little to a reader.
        page.list(&mut end, "metrics", metrics.into_iter().filter(|line| !line.contains("_bucket{")));
        print(&end)?;
    }
    match &*failures {
        [] => Ok(()),
        [one] => Err(CliError::new(format!("a hook failed: {one}"))),
        [first, others @ ..] => {
            Err(CliError::new(format!("{} hooks failed, the first: {first}", others.len() + 1)))
        }
    }
}

/// Layout of runs for a terminal or a pipe.
struct Page {
    colors: bool,
}

impl Page {
    fn title(&self, text: &str) -> String {
        match self.colors {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// Adds a title and its lines; adds nothing if there are no lines.
    fn list(&self, out: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            let tone = if title == "failed" { Tone::Bad } else { Tone::Plain };
            let _ = writeln!(out, "{}", paint(title, tone, self.colors));
            // Writing to a string does not fail.
            lines.for_each(|line| {
                let _ = writeln!(out, "    {}", paint(&line.replace('\n', " "), tone, self.colors));
            });
        }
    }

    fn run(&self, run: &Run) -> String {
        let stream = if run.stream { ", streaming" } else { "" };
        let mut out =
            format!("\n{}\n", self.title(&format!("{}: POST /v1/{}{stream}", run.sample, run.endpoint)));
        self.request(&mut out, run);
        if run.short_circuit {
            let status = run.status;
            let _ = writeln!(
                out,
                "short circuit: the plugin answered in place of the provider, with status {status}"
            );
        }
        let _ = match run.verdict {
            None => Ok(()),
            Some(Verdict::Allowed) => writeln!(out, "verdict: the plugin allowed the answer"),
            Some(Verdict::Refused) => {
                writeln!(out, "verdict: the plugin refused the request beside the call of the provider")
            }
        };
        match run.stream {
            true => self.chunks(&mut out, run),
            false => self.response(&mut out, run),
        }
        if run.error.as_ref().is_some_and(|error| error["error"]["code"] == "model_not_found") {
            let note = "note: the provider of this command serves each model that --model names";
            let _ = writeln!(out, "{}", paint(note, Tone::Muted, self.colors));
        }
        let values = run.values.iter().map(|(key, value)| format!("{key} = {value}"));
        let title =
            if run.short_circuit { "values and metadata in the context" } else { "values in the context" };
        self.list(&mut out, title, values);
        let headers = run.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        self.list(&mut out, "response headers", headers);
        self.list(&mut out, "logged", run.logs.iter().map(ToString::to_string));
        self.list(&mut out, "failed", run.failures.iter().cloned());
        self.hooks(&mut out, run);
        out
    }

    fn request(&self, out: &mut String, run: &Run) {
        let (Some(before), after) = (&run.request.before, &run.request.after) else { return };
        match after {
            Some(after) => self.difference(out, "request", before, after),
            None => {
                let _ = writeln!(out, "request: not passed on");
            }
        }
    }

    fn response(&self, out: &mut String, run: &Run) {
        let kind = if run.error.is_some() { "error" } else { "response" };
        let is_error =
            |text: &str| serde_json::from_str(text).is_ok_and(|it: Value| it.get("error").is_some());
        match (&run.response.before, &run.response.after) {
            (Some(before), Some(after)) => {
                let changed = match (is_error(before), is_error(after)) {
                    (true, false) => "error, changed into a response",
                    (false, true) => "response, changed into an error",
                    _ => kind,
                };
                self.difference(out, &format!("{changed} ({})", run.status), before, after);
            }
            (None, Some(after)) => self.difference(out, &format!("{kind} ({})", run.status), "", after),
            _ => {
                let message = run.error.as_ref().and_then(|error| error["error"]["message"].as_str());
                let _ = writeln!(out, "{kind} ({}): {}", run.status, message.unwrap_or_default());
            }
        }
    }

    fn chunks(&self, out: &mut String, run: &Run) {
        let [before, after] = layout::chunk_lines(&run.chunks);
        let (count, difference) = (after.len(), layout::difference(&before, &after, self.colors));
        let _ = match (&*difference, count) {
            ("", 0) => writeln!(out, "chunks: none"),
            (difference, _) if run.short_circuit => {
                write!(out, "chunks: {count}, of the plugin's own answer\n{difference}")
            }
            ("", _) => writeln!(out, "chunks: {count}, unchanged"),
            (difference, _) => {
                write!(out, "chunks: {} before the plugin, {count} behind it\n{difference}", before.len())
            }
        };
        if !run.text.is_empty() {
            let _ = writeln!(out, "text: {:?}", run.text);
        }
        if let Some(error) = &run.error {
            let _ = writeln!(out, "ended with an error ({}): {}", run.status, error["error"]["message"]);
        }
    }

    fn difference(&self, out: &mut String, title: &str, before: &str, after: &str) {
        let lines = |text: &str| if text.is_empty() { Vec::new() } else { layout::lines(text) };
        let difference = layout::difference(&lines(before), &lines(after), self.colors);
        let _ = match &*difference {
            "" => writeln!(out, "{title}: unchanged"),
            difference => write!(out, "{title}\n{difference}"),
        };
    }

    fn hooks(&self, out: &mut String, run: &Run) {
        let _ = writeln!(out, "hooks");
        for hook in &run.hooks {
            let calls = if hook.calls == 1 { String::new() } else { format!(", {} calls", hook.calls) };
            let _ = writeln!(
                out,
                "    {:<17} {:>9}{calls}, {} bytes read, {} written",
                hook.hook,
                duration(hook.nanos),
                hook.bytes_read,
                hook.bytes_written
            );
        }
    }
}
