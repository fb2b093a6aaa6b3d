//! `llmux plugin try`: runs a library on sample requests, and shows what it did to each.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{
    authors::Try,
    rehearsal::{Rehearsal, Run, layout, samples, writable_by_others},
};
use crate::terminal::{
    cli_error::{CliError, Result},
    output::{self, Tone, paint},
};

/// Runs the command.
pub(crate) async fn run(options: Try) -> Result<()> {
    let samples = samples(&options.question)?;
    let mut rehearsal =
        Rehearsal::start(&options.plugin, &options.question, options.response.as_deref()).await?;
    let note = writable_by_others(&options.plugin.file);
    let page = Page { colors: output::colors(&std::io::stdout()) };
    let start_logs = rehearsal.new_logs();
    if !options.json {
        let plugin = &rehearsal.plugin;
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
            page.list(&mut head, "logged while it was made", start_logs.iter().map(ToString::to_string));
        }
        output::print(&head)?;
    }
    let (mut runs, mut failures) = (Vec::new(), Vec::new());
    for sample in &samples {
        for _ in 0..options.times {
            let run = rehearsal.run(sample, options.question.stream).await;
            failures.extend(run.failures.iter().cloned());
            match options.json {
                true => runs.push(run.to_json()),
                false => output::print(&page.run(&run))?,
            }
        }
    }
    let (plugin, metrics) = (rehearsal.plugin.clone(), rehearsal.metrics());
    let cleanup = rehearsal.end().await;
    failures.extend(cleanup.iter().cloned());
    if options.json {
        let logs: Vec<String> = start_logs.iter().map(ToString::to_string).collect();
        output::print_json(&json!({
            "plugin": {
                "name": plugin.plugin, "version": plugin.version, "priority": plugin.priority,
                "on_error": plugin.on_error, "sha256": plugin.sha256, "path": options.plugin.file.to_string_lossy(),
            },
            "note": note, "start_logs": logs, "runs": runs, "metrics": metrics, "failures": failures,
        }))?;
    } else if !metrics.is_empty() || !cleanup.is_empty() {
        let mut end = format!("\n{}\n", page.title("in the end"));
        page.list(&mut end, "failed", cleanup);
        // The buckets of a histogram say little to a reader.
        page.list(&mut end, "counted", metrics.into_iter().filter(|line| !line.contains("_bucket{")));
        output::print(&end)?;
    }
    match &*failures {
        [] => Ok(()),
        [one] => Err(CliError::new(format!("a hook failed: {one}"))),
        [first, others @ ..] => {
            Err(CliError::new(format!("{} hooks failed, the first: {first}", others.len() + 1)))
        }
    }
}

/// How runs are shown.
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

    /// A title and its lines; nothing where there are none.
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
            let _ = writeln!(out, "short circuit: it answered in the provider's place, with status {status}");
        }
        match run.stream {
            true => self.chunks(&mut out, run),
            false => self.response(&mut out, run),
        }
        if run.error.as_ref().is_some_and(|error| error["error"]["code"] == "model_not_found") {
            let note = "note: name the model with --model, and the provider here serves it";
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
                let _ = writeln!(out, "request: went no further");
            }
        }
    }

    fn response(&self, out: &mut String, run: &Run) {
        let kind = if run.error.is_some() { "error" } else { "response" };
        let is_error =
            |text: &str| serde_json::from_str(text).is_ok_and(|it: Value| it.get("error").is_some());
        match (&run.response.before, &run.response.after) {
            (Some(before), Some(after)) => {
                let turned = match (is_error(before), is_error(after)) {
                    (true, false) => "error, turned into a response",
                    (false, true) => "response, turned into an error",
                    _ => kind,
                };
                self.difference(out, &format!("{turned} ({})", run.status), before, after);
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
                write!(out, "chunks: {count}, of its own answer\n{difference}")
            }
            ("", _) => writeln!(out, "chunks: unchanged, {count} of them"),
            (difference, _) => write!(out, "chunks: {} came, {count} went on\n{difference}", before.len()),
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
                output::duration(hook.nanos),
                hook.traffic.read,
                hook.traffic.written
            );
        }
    }
}
