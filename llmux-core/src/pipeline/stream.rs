//! The way of a stream: from wherever its chunks come, through the chunk hooks, to the client.
//!
//! The client reads through a channel of a few places: one that reads slowly slows the upstream (rule S6).
//! Nothing here knows where the client is.

use std::{sync::LazyLock, time::Duration};

use memchr::memmem::Finder;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Head, InFlight,
    body::Chunk,
    call::Calls,
    chain::{self, Answered, Entered},
    hook::{FailureKind, HookKind, Said, Subject},
    outcome::{Ending, Report, Usage},
    snapshot::{Entry, Snapshot},
};
use crate::{
    boundary::PluginStream,
    client::upstream,
    document::Document,
    error::{Error, ErrorKind},
    provider::{Event, Events},
};
use llmux_abi::raw::flow::{HOOK_DROP, HOOK_END, HOOK_REPLACE};

/// What goes to the reader of a stream.
pub(crate) enum Sent {
    /// The stream has begun: before its first chunk.
    Start(Head),
    /// A chunk.
    Chunk(Chunk),
    /// An error: the last item. Before `Start`, it is the answer to the request.
    Failed(Head, Error),
}

/// How one attempt to stream ended.
pub(crate) struct Attempt {
    pub(crate) result: Result<(), Error>,
    /// Has the client seen anything of it?
    pub(crate) begun: bool,
    pub(crate) may_fall_back: bool,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) chunks: u64,
    pub(crate) usage: Option<Usage>,
}

/// Where chunks come from.
enum Source {
    Upstream(Events),
    Ready(std::vec::IntoIter<Event>),
    Plugin(Box<PluginStream>),
}

/// A stream under way.
struct Flow<'r> {
    request: &'r mut InFlight,
    snapshot: &'r Snapshot,
    reader: &'r mpsc::Sender<Sent>,
    /// Of the chunk hooks.
    calls: Calls,
    /// Chunks on their way, each with how many instances it has yet to pass; the next one last.
    on_the_way: Vec<(Chunk, usize)>,
    /// Does the caller want the usage chunk?
    wants_usage: bool,
    attempt: Attempt,
}

/// Runs one attempt: pre chain, chunks, end.
pub(crate) async fn attempt(
    request: &mut InFlight,
    snapshot: &Snapshot,
    reader: &mpsc::Sender<Sent>,
) -> Attempt {
    let mut flow = Flow::new(request, snapshot, reader);
    let opened = flow.open().await;
    flow.attempt.result = match opened {
        Ok(source) => flow.forward(source).await,
        Err(error) => Err(error),
    };
    flow.end().await;
    flow.attempt
}

/// Takes one chunk to the reader, as if it came from the provider.
#[cfg(feature = "testing")]
pub(crate) async fn through(
    request: &mut InFlight,
    snapshot: &Snapshot,
    event: Event,
    reader: &mpsc::Sender<Sent>,
) -> Result<(), Error> {
    let mut flow = Flow::new(request, snapshot, reader);
    flow.attempt.begun = true;
    flow.take_in(event).await
}

impl<'r> Flow<'r> {
    fn new(request: &'r mut InFlight, snapshot: &'r Snapshot, reader: &'r mpsc::Sender<Sent>) -> Self {
        let attempt = Attempt {
            result: Ok(()),
            begun: false,
            may_fall_back: true,
            first_chunk: None,
            chunks: 0,
            usage: None,
        };
        let wants_usage = request.original.get("/stream_options/include_usage") == Some("true");
        let calls = Calls::new(request.shared.config.post_hook_timeout).until(&request.cancel);
        Flow { request, snapshot, reader, calls, on_the_way: Vec::new(), wants_usage, attempt }
    }

    /// The pre chain, and where the chunks come from after it.
    async fn open(&mut self) -> Result<Source, Error> {
        match chain::pre(self.request, self.snapshot, HookKind::PreStream).await {
            Entered::Through => upstream::stream(self.request).await.map(Source::Upstream),
            Entered::Answered(Answered::Response(response)) => Ok(Source::of(&response)),
            Entered::Answered(Answered::Stream(stream)) => Ok(Source::Plugin(stream)),
            Entered::Answered(Answered::Error(error, allow_fallback)) => {
                self.attempt.may_fall_back = allow_fallback;
                Err(error)
            }
            Entered::Ended(error) => Err(error),
        }
    }

    /// Passes chunks on until the source ends, a hook ends the stream, or the client goes away.
    async fn forward(&mut self, mut source: Source) -> Result<(), Error> {
        let cancel = self.request.cancel.clone();
        let idle = self.request.shared.config.stream_idle_timeout;
        loop {
            let next = source.next(self.request, idle);
            let event = match cancel.guard(next).await {
                None => return Err(chain::cancelled()),
                Some(None) => return Ok(()),
                Some(Some(event)) => event?,
            };
            self.calls.restart();
            self.take_in(event).await?;
        }
    }

    /// A chunk from the source: what it says of the usage, then its way through the hooks.
    async fn take_in(&mut self, event: Event) -> Result<(), Error> {
        if states_usage(&event.data)
            && let Ok(document) = Document::parse(event.data.clone())
            && let Some(usage) = Usage::of(&document)
        {
            self.attempt.usage = Some(usage);
        }
        let chunk = Chunk::new(event, self.request.shared.config.max_body_bytes);
        self.pass(chunk, self.request.ran).await
    }

    /// Takes a chunk through the chunk hooks of the instances before `from`, last one first, and sends what
    /// comes out.
    async fn pass(&mut self, chunk: Chunk, from: usize) -> Result<(), Error> {
        self.on_the_way.push((chunk, from));
        while let Some((mut chunk, from)) = self.on_the_way.pop() {
            let mut instead = None;
            for (at, entry) in self.snapshot.with(HookKind::Chunk, from).rev() {
                match self.hook(&mut chunk, at, entry).await {
                    Ok(Passed::On) => {}
                    Ok(Passed::Instead(chunks)) => {
                        instead = Some((chunks, at));
                        break;
                    }
                    Err(error) => {
                        self.on_the_way.clear();
                        return Err(error);
                    }
                }
            }
            match instead {
                None => self.send(chunk).await?,
                Some((chunks, at)) => {
                    let limit = self.request.shared.config.max_body_bytes;
                    let chunks = chunks.into_iter().rev().map(|event| (Chunk::new(event, limit), at));
                    self.on_the_way.extend(chunks);
                }
            }
        }
        Ok(())
    }

    /// One chunk hook.
    async fn hook(&mut self, chunk: &mut Chunk, at: usize, entry: &Entry) -> Result<Passed, Error> {
        let called = self.calls.call(entry, at, &mut self.request.context, Subject::Chunk(chunk)).await;
        let answer = &mut self.calls.answer;
        match called {
            Ok(HOOK_DROP) => Ok(Passed::Instead(Vec::new())),
            Ok(HOOK_REPLACE) => Ok(Passed::Instead(std::mem::take(&mut answer.emitted))),
            Ok(HOOK_END) => match std::mem::take(&mut answer.said) {
                Said::End(error) => Err(error),
                // `Answer::check` has refused it.
                _ => Err(chain::plugin_failure()),
            },
            Ok(_) => Ok(Passed::On),
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(chain::cancelled()),
            Err(_) if entry.fails_request => Err(chain::plugin_failure()),
            Err(_) => Ok(Passed::On),
        }
    }

    /// Gives a chunk to the client, as fast as it reads.
    async fn send(&mut self, chunk: Chunk) -> Result<(), Error> {
        if !self.wants_usage && self.request.context.endpoint.ends_with_done() && is_usage_only(&chunk) {
            return Ok(());
        }
        self.begin().await?;
        if self.attempt.first_chunk.is_none() {
            self.attempt.first_chunk = Some(self.request.context.started.elapsed());
        }
        self.attempt.chunks += 1;
        self.give(Sent::Chunk(chunk)).await
    }

    async fn begin(&mut self) -> Result<(), Error> {
        if !self.attempt.begun {
            let head = self.request.head();
            self.give(Sent::Start(head)).await?;
            self.attempt.begun = true;
        }
        Ok(())
    }

    async fn give(&mut self, sent: Sent) -> Result<(), Error> {
        let given = self.request.cancel.guard(self.reader.send(sent)).await;
        given.and_then(Result::ok).ok_or_else(chain::cancelled)
    }

    /// The end: every instance that had its turn is told, last one first; what it emits passes the others
    /// before they are told (rule S4).
    async fn end(&mut self) {
        let mut report = self.report();
        let mut calls = Calls::new(self.request.shared.config.post_hook_timeout);
        let snapshot = self.snapshot;
        for (at, entry) in snapshot.with(HookKind::PostStream, self.request.ran).rev() {
            let subject = Subject::PostStream(&mut report);
            let called = calls.call(entry, at, &mut self.request.context, subject).await;
            let result = match called {
                Ok(_) if report.ending == Ending::Completed => {
                    let mut result = Ok(());
                    let limit = self.request.shared.config.max_body_bytes;
                    for event in std::mem::take(&mut calls.answer.emitted) {
                        result = self.pass(Chunk::new(event, limit), at).await;
                        if result.is_err() {
                            break;
                        }
                    }
                    result
                }
                Err(_) if entry.fails_request && report.ending == Ending::Completed => {
                    Err(chain::plugin_failure())
                }
                _ => Ok(()),
            };
            if let Err(error) = result {
                self.attempt.result = Err(error);
                report = self.report();
            }
        }
        if self.attempt.result.is_ok()
            && let Err(error) = self.begin().await
        {
            self.attempt.result = Err(error);
        }
    }

    fn report(&self) -> Report {
        let result = self.attempt.result.as_ref().map(|()| None);
        let latency = self.request.context.started.elapsed();
        let report = Report::of(result, self.request.sent(), latency);
        self.attempt.describe(report)
    }
}

impl Attempt {
    /// Adds the numbers of a stream to a report.
    pub(crate) fn describe(&self, report: Report) -> Report {
        Report { first_chunk: self.first_chunk, chunks: Some(self.chunks), usage: self.usage, ..report }
    }
}

/// What became of a chunk at a hook.
enum Passed {
    On,
    Instead(Vec<Event>),
}

impl Source {
    /// The chunks of a response that a plugin answered with.
    fn of(response: &Document) -> Self {
        let value = response.get("").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let events: Vec<Event> =
            llmux_abi::convert::to_chunks(&value).iter().map(|chunk| named(chunk.to_string())).collect();
        Source::Ready(events.into_iter())
    }

    async fn next(&mut self, request: &mut InFlight, idle: Duration) -> Option<Result<Event, Error>> {
        match self {
            Source::Upstream(events) => futures_util::StreamExt::next(events).await,
            Source::Ready(events) => events.next().map(Ok),
            Source::Plugin(stream) => match timeout(idle, stream.next()).await {
                Ok(Ok(Some(event))) if event.name.is_none() && !request.context.endpoint.ends_with_done() => {
                    Some(Ok(named(String::from_utf8_lossy(&event.data).into_owned())))
                }
                Ok(Ok(event)) => event.map(Ok),
                Ok(Err(error)) => Some(Err(error)),
                Err(_) => Some(Err(Error::new(ErrorKind::Timeout, "the stream stood still for too long"))),
            },
        }
    }
}

/// An event of this data, named by its `type` as on the responses endpoint.
fn named(data: String) -> Event {
    let document = Document::parse(data.clone()).ok();
    let name = document.as_ref().and_then(|document| document.get_str("/type"));
    Event { name: name.map(Into::into), data: data.into() }
}

/// Does this text have a member `usage` that is an object? A sieve in front of parsing.
fn states_usage(data: &[u8]) -> bool {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    let name = NAME.needle();
    NAME.find_iter(data).any(|at| {
        let rest = &data[at + name.len()..];
        rest.iter().find(|byte| !matches!(byte, b' ' | b':' | b'\t')) == Some(&b'{')
    })
}

/// Is this the chunk that only states the usage (rule S8)?
fn is_usage_only(chunk: &Chunk) -> bool {
    states_usage(&chunk.data())
        && chunk.document().is_some_and(|document| document.len("/choices").is_none_or(|len| len == 0))
}
