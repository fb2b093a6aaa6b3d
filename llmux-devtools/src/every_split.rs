//! `llmux plugin try --split every`: one request for each split of the streamed answer, and a comparison of what the client
//! reads.
//!
//! `try_plugin` calls it. The splits and the comparison are the harness's, as in an author's test. Deliberately absent: the
//! observers of a trial, which would slow down many requests and show nothing here.

use llmux_core::{Request, isolation::ChildProgram};
use llmux_terminal::{CliError, Progress, Result, Tone, colors, paint, print, print_json};
use llmux_testing::{Harness, HarnessReply, SplitDifference, Splits};
use serde_json::{Value, json};

use crate::{
    args::TryArgs,
    sample::Sample,
    trial::{Recorded, builder, instance, models, refused, unload, writable_by_others},
};

/// Result of one sample.
struct Tried {
    sample: String,
    endpoint: &'static str,
    splits: usize,
    end: End,
}

enum End {
    /// The plugin answered in place of the provider, or refused the request.
    NotPassedOn,
    /// Every client read the same as this reply, or ended with its error.
    Same(HarnessReply),
    /// The split of this number, from 1, changes what a client reads.
    Different(usize, SplitDifference),
}

/// Runs the library at every split of the answer to each sample, and prints whether the client always reads the same.
///
/// # Errors
///
/// If an argument is wrong, the library is refused, a client reads something else at one of the splits, or a hook failed.
pub(crate) async fn try_every_split(
    options: &TryArgs,
    samples: &[Sample],
    child: ChildProgram,
) -> Result<()> {
    let recorded = options.response.as_deref().map(Recorded::read).transpose()?;
    let harness = builder(&options.plugin, &options.request, child)?.try_build().await;
    let harness = harness.map_err(|error| refused(&error))?;
    let plugin = instance(&harness)?;
    let note = writable_by_others(&options.plugin.file);
    let is_colored = colors(&std::io::stdout());
    if let Some(note) = note.as_ref().filter(|_| !options.json) {
        print(&format!("{}\n", paint(&format!("note: {note}"), Tone::Muted, is_colored)))?;
    }
    let provider = Harness::builder().models(models(&options.plugin, &options.request)?).build().await;
    let mut all = Vec::new();
    for sample in samples {
        let tried = try_sample(&harness, &provider, recorded.as_ref(), sample).await?;
        if !options.json {
            print(&tried.page(is_colored))?;
        }
        all.push(tried);
    }
    harness.completed().await;
    let cleanup = unload(&harness).await;
    if options.json {
        let requests: Vec<Value> = all.iter().map(Tried::to_json).collect();
        print_json(&json!({
            "plugin": {
                "name": plugin.plugin, "version": plugin.version,
                "sha256": plugin.sha256, "path": options.plugin.file.to_string_lossy(),
            },
            "note": note, "requests": requests, "failures": cleanup,
        }))?;
    }
    if all.iter().any(|tried| matches!(tried.end, End::Different(..))) {
        return Err(CliError::new("a split of the answer changes what a client reads"));
    }
    match &*cleanup {
        [] => Ok(()),
        [first, ..] => Err(CliError::new(format!("a hook failed: {first}"))),
    }
}

/// Finds the answer to a sample, and sends the sample for each split of it.
async fn try_sample(
    harness: &Harness,
    provider: &Harness,
    recorded: Option<&Recorded>,
    sample: &Sample,
) -> Result<Tried> {
    let before = harness.sent().len();
    if let Some(recorded) = recorded {
        recorded.script(harness);
    }
    harness.stream_request(sample.request.clone()).await;
    let mut tried = Tried {
        sample: sample.name.clone(),
        endpoint: sample.endpoint.path(),
        splits: 0,
        end: End::NotPassedOn,
    };
    let Some(body) = harness.sent().into_iter().nth(before) else { return Ok(tried) };
    // The plugin can end the stream early. The provider alone gives the whole answer.
    if let Some(recorded) = recorded {
        recorded.script(provider);
    }
    let request = Request::of(sample.endpoint, &body).map_err(CliError::new)?;
    let answer = provider.stream_request(request).await;
    let failed = |why: &dyn std::fmt::Display| CliError::new(format!("--split: {}: {why}", sample.name));
    if let Some(error) = answer.error() {
        return Err(failed(&format!("the answer of the provider is an error, which has no texts: {error}")));
    }
    let splits = Splits::of_chunks(answer.chunks()).map_err(|why| failed(&why))?;
    tried.splits = splits.count();
    let mut progress = Progress::new("splits", tried.splits);
    let mut number = 0;
    let result = harness.try_every_split(&sample.request, &splits, |done| {
        number = done + 1;
        progress.set(done);
    });
    tried.end = match result.await {
        Ok(reply) => End::Same(reply),
        Err(difference) if difference.text.is_some() => End::Different(number, difference),
        Err(difference) => End::Different(tried.splits, difference),
    };
    Ok(tried)
}

impl Tried {
    /// Returns the result as text.
    fn page(&self, is_colored: bool) -> String {
        let Self { sample, splits, .. } = self;
        let (text, tone) = match &self.end {
            End::NotPassedOn => (
                format!("{sample}: the plugin did not pass the request on, so there is no answer to split"),
                Tone::Plain,
            ),
            End::Same(reply) => match reply.error() {
                None => (
                    format!("{sample}: {splits} splits of the answer: every client reads the same"),
                    Tone::Good,
                ),
                Some(error) => {
                    let (status, message) = (error.status(), error.message());
                    let same = format!("every client gets the same error ({status}): {message:?}");
                    (format!("{sample}: {splits} splits of the answer: {same}"), Tone::Good)
                }
            },
            End::Different(number, difference) => {
                let text =
                    format!("{sample}: split {number} of {splits} changes what a client reads: {difference}");
                (text, Tone::Bad)
            }
        };
        let lines = text.lines().map(|line| format!("{}\n", paint(line, tone, is_colored)));
        lines.collect()
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "request_name": self.sample, "endpoint": self.endpoint, "splits": self.splits,
            "passed_on": !matches!(self.end, End::NotPassedOn), "error": null, "difference": null,
        });
        match &self.end {
            End::NotPassedOn => {}
            End::Same(reply) => {
                let error = reply.error().map(|error| error.document().to_bytes());
                json["error"] =
                    error.and_then(|error| serde_json::from_slice(&error).ok()).unwrap_or_default();
            }
            End::Different(number, difference) => {
                json["difference"] = json!({
                    "split": number, "text": difference.text, "pieces": difference.pieces,
                    "read": difference.read, "expected": difference.expected, "failures": difference.failures,
                });
            }
        }
        json
    }
}
