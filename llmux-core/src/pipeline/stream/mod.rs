//! One attempt to stream: from the origin of the chunks, through the chunk hooks, to the reader.
//!
//! `incoming` makes chunks of events, `ahead` announces them, `steps` has the steps of one instance, and `delivery` gives chunks to the reader. The
//! reader has a channel of a few places: a slow reader slows the upstream (rule S6). Deliberately absent: where the reader is.

mod ahead;
mod delivery;
mod incoming;
mod steps;

use std::pin::pin;

use tokio::{sync::mpsc, task::consume_budget};

use self::incoming::Incoming;
use super::{
    attempt::Attempt,
    body::Chunk,
    call::Calls,
    chain::{self, PreChain, ShortCircuit},
    chunks::{Chunks, Idle},
    contain::{caught, settled},
    early_head::EarlyHead,
    in_flight::{InFlight, KeptBack},
    kind::HookKind,
    numbers::Numbers,
    report::{Ending, Later, Report},
    snapshot::Snapshot,
    stream_item::StreamItem,
    text::{self, Pieces},
    tool_call::ToolCalls,
    upcoming::Upcoming,
    usage::Meter,
    whole::Whole,
};
use crate::{
    error::Error,
    provider::{Event, Events},
};

/// The number of steps of each instance. The one at a place has the text hook as the step `STEPS * place + 2`, then the tool call
/// hook as `STEPS * place + 1`, then the chunk hook as `STEPS * place`. Chunks pass the steps downwards.
const STEPS: usize = 3;

/// One attempt to stream, while it runs.
struct Streaming<'r> {
    request: &'r mut InFlight,
    snapshot: &'r Snapshot,
    reader: &'r mpsc::Sender<StreamItem>,
    early: &'r mut EarlyHead,
    /// The calls of the chunk hooks.
    calls: Calls,
    incoming: Incoming,
    /// True if the next event was announced to an instance.
    is_told: bool,
    /// Chunks that have not passed all hooks, each with the number of steps before it; the next chunk is the last.
    pending: Vec<(Chunk, usize)>,
    /// The chunks that instances receive as one answer; empty if there are no such instances.
    wholes: Vec<Whole>,
    /// The texts of the chunks; `None` if no instance has a text hook.
    texts: Option<Box<Pieces>>,
    /// The tool calls of the chunks; `None` if no instance has a tool call hook.
    tool_calls: Option<Box<ToolCalls>>,
    /// The bytes that text hooks and tool call hooks hold.
    held: usize,
    numbers: Numbers,
    /// True if the caller asked for the usage chunk.
    wants_usage: bool,
    /// The status of the provider's answer.
    status: u16,
    /// `None` if no hook reads the usage.
    meter: Option<Meter>,
    /// The rest of the provider's stream, if it was left at its end, before it stated its usage.
    unread: Option<Events>,
    attempt: Attempt,
}

/// Runs one attempt: pre chain, chunks, end.
pub(crate) async fn attempt(
    request: &mut InFlight,
    snapshot: &Snapshot,
    reader: &mpsc::Sender<StreamItem>,
    early: &mut EarlyHead,
) -> Attempt {
    let mut streaming = Streaming::new(request, snapshot, reader, early);
    let forwarded = caught(async {
        let mut chunks = streaming.open().await?;
        let result = streaming.forward(&mut chunks).await;
        streaming.leave(chunks, &result);
        result
    });
    let forwarded = forwarded.await;
    streaming.attempt.result = settled(&streaming.request.context.request_id, forwarded);
    streaming.report_attempt();
    let ended = caught(streaming.end()).await;
    let ended = settled(&streaming.request.context.request_id, ended);
    streaming.attempt.result = ended.and(streaming.attempt.result);
    streaming.attempt
}

impl<'r> Streaming<'r> {
    fn new(
        request: &'r mut InFlight,
        snapshot: &'r Snapshot,
        reader: &'r mpsc::Sender<StreamItem>,
        early: &'r mut EarlyHead,
    ) -> Self {
        let attempt = Attempt {
            result: Ok(()),
            begun: false,
            may_fall_back: true,
            first_chunk: None,
            chunks: 0,
            is_unfinished: false,
            usage: None,
        };
        let wants_usage = request.original.get("/stream_options/include_usage") == Some("true");
        let calls = Calls::new(request.shared.config.post_hook_timeout).until(&request.cancel);
        let is_read = snapshot.has(HookKind::Complete) || snapshot.has(HookKind::PostStream);
        let texts = snapshot.has(HookKind::Text).then(Box::default);
        let limit = request.shared.config.max_body_bytes;
        let incoming = Incoming::new(limit, |hook| snapshot.has(hook), is_read);
        let tool_calls = snapshot.has(HookKind::ToolCall).then(Box::default);
        let (pending, status, meter) = (Vec::new(), 500, is_read.then(Meter::default));
        Streaming {
            request,
            snapshot,
            reader,
            early,
            calls,
            incoming,
            is_told: false,
            pending,
            wholes: Vec::new(),
            texts,
            tool_calls,
            held: 0,
            numbers: Numbers::default(),
            wants_usage,
            status,
            meter,
            unread: None,
            attempt,
        }
    }

    /// Runs the pre chain and opens the origin of the chunks.
    async fn open(&mut self) -> Result<Chunks, Error> {
        match chain::pre(self.request, self.snapshot, HookKind::PreStream).await {
            PreChain::Continue => {
                let accepted = self.stream_upstream().await;
                self.status = accepted.as_ref().map_or_else(Error::first_status, |_| 200);
                self.count_kept_back();
                accepted.map(|events| Chunks::Provider(Upcoming::new(events)))
            }
            PreChain::ShortCircuit(ShortCircuit::Response(response)) => Ok(Chunks::of(&response)),
            PreChain::ShortCircuit(ShortCircuit::Stream(stream, instance)) => {
                let request_id = self.request.context.request_id.clone();
                Ok(Chunks::Plugin { stream, instance, request_id })
            }
            PreChain::ShortCircuit(ShortCircuit::Error(error, allow_fallback)) => {
                self.attempt.may_fall_back = allow_fallback;
                Err(error)
            }
            PreChain::Fail(error) => Err(error),
        }
    }

    /// Sends the request to the provider. If nothing arrives for too long, the head of the answer is sent meanwhile.
    async fn stream_upstream(&mut self) -> Result<Events, Error> {
        let accepted = self.early.accepted();
        if accepted.is_none() {
            return self.request.stream_upstream(self.snapshot, None).await;
        }
        let head = self.request.head();
        let asked = self.request.stream_upstream(self.snapshot, accepted);
        let events = self.early.wait(self.reader, head, asked).await?;
        self.early.accept();
        Ok(events)
    }

    /// Measures the part of a stream that a hook beside the call has kept back.
    fn count_kept_back(&mut self) {
        let Some(KeptBack { status, events, .. }) = self.request.kept_back.take() else { return };
        self.status = status;
        if let Some(meter) = &mut self.meter {
            for Event { data, .. } in &events {
                meter.read(self.request.context.endpoint, data, self.incoming.repeat(data));
            }
        }
    }

    /// Passes chunks on until they end, a hook ends the stream, or the request must end.
    async fn forward(&mut self, chunks: &mut Chunks) -> Result<(), Error> {
        let cancel = self.request.cancel.clone();
        let is_provider = matches!(chunks, Chunks::Provider(_));
        let told = self.told();
        let mut idle = Idle::new(self.request.shared.config.stream_idle_timeout);
        loop {
            // A source may be ready for ever while hooks drop its chunks: the task must be left now and then, so that
            // others run, and so that a caller that goes away is noticed.
            consume_budget().await;
            let left = idle.left(chunks, self.attempt.chunks)?;
            let next = {
                let next = pin!(chunks.next(self.request.context.endpoint, left));
                match self.attempt.begun || !self.early.waits() {
                    true => cancel.guard(next).await?,
                    false => self.early.wait(self.reader, self.request.head(), cancel.guard(next)).await?,
                }
            };
            let event = match next {
                None => {
                    let has_chunks = is_provider && self.request.context.endpoint.ends_with_done();
                    let is_finished = self.meter.as_ref().is_none_or(Meter::has_finished);
                    self.attempt.is_unfinished = has_chunks && !is_finished;
                    return Ok(());
                }
                Some(Ok(event)) => event,
                Some(Err(error)) => {
                    self.status = error.status();
                    return Err(error);
                }
            };
            if self.attempt.begun
                && let (Some(told), Chunks::Provider(events)) = (told, &mut *chunks)
            {
                self.announce(told, &event, events).await;
            }
            let repeat = self.incoming.repeat(&event.data);
            if is_provider && let Some(meter) = &mut self.meter {
                meter.read(self.request.context.endpoint, &event.data, repeat);
            }
            let chunk = self.incoming.chunk(event, repeat);
            if self.request.shared.config.refuse_unknown_text
                && self.texts.is_some()
                && let Some(document) = chunk.document()
            {
                text::check(document, self.request.context.endpoint)?;
            }
            self.pass(chunk, STEPS * self.request.ran).await?;
        }
    }

    /// Ends the provider's stream, unless it runs and was left at its end, before it stated its usage.
    fn leave(&mut self, chunks: Chunks, result: &Result<(), Error>) {
        if let Chunks::Provider(events) = chunks
            && result.is_err()
            && self.status == 200
            && self.meter.as_ref().is_some_and(Meter::awaits_usage)
        {
            self.unread = Some(events.into_events());
        }
    }

    /// Reports the provider's answer as it came, whatever hooks made of it.
    fn report_attempt(&mut self) {
        if self.request.context.deployment.is_some() {
            self.attempt.usage =
                self.meter.as_ref().and_then(|meter| meter.usage(self.request.upstream_body()));
        }
        let later = self.unread.take().map(Later::Stream);
        self.request.report_attempt(self.status, self.attempt.usage, later);
    }

    /// Passes a chunk through the steps before `from`, last one first, and sends the result. See [`STEPS`]. The futures that most
    /// chunks do not need are boxed: a future is copied when it starts.
    async fn pass(&mut self, chunk: Chunk, from: usize) -> Result<(), Error> {
        let mut next = Some((chunk, from));
        while let Some((mut chunk, from)) = next {
            // The time before belongs to the provider, or to a slow reader.
            self.calls.restart().await;
            let mut instead = None;
            for (at, entry) in self.snapshot.turns(HookKind::Chunk, from.div_ceil(STEPS)).rev() {
                let mut passed = Ok(None);
                if entry.has(HookKind::Text) || entry.has(HookKind::ToolCall) {
                    passed = Box::pin(self.parts(&mut chunk, (at, entry), from)).await;
                }
                if let Ok(None) = passed
                    && entry.has(HookKind::Chunk)
                {
                    passed = self.hook(&mut chunk, at, entry).await;
                }
                if let Ok(None) = passed
                    && entry.is_whole
                {
                    passed = self.collect(&chunk, at, entry);
                }
                instead = passed.inspect_err(|_| self.pending.clear())?;
                if instead.is_some() {
                    break;
                }
            }
            match instead {
                None if self.withholds(&chunk) => {}
                None => {
                    let has_parts = self.texts.is_some() || self.tool_calls.is_some();
                    if has_parts && !self.request.context.endpoint.ends_with_done() {
                        self.numbers.number(&mut chunk);
                    }
                    if let Some(chunk) = self.send_now(chunk)? {
                        Box::pin(self.send(chunk)).await?;
                    }
                }
                Some((chunks, step)) => {
                    self.pending.extend(chunks.into_iter().rev().map(|chunk| (chunk, step)));
                }
            }
            next = self.pending.pop();
        }
        Ok(())
    }

    /// Calls the end hook of every instance that had its turn, last one first. Chunks that a hook emits pass the other
    /// instances before those see the end (rule S4).
    async fn end(&mut self) -> Result<(), Error> {
        // A panic may have left some.
        self.pending.clear();
        let mut report = self.report();
        let mut calls = Calls::new(self.request.shared.config.post_hook_timeout);
        let snapshot = self.snapshot;
        for (at, entry) in snapshot.turns(HookKind::PostStream, self.request.ran).rev() {
            if report.ending == Ending::Completed
                && let Err(error) = self.finish(at, entry).await
            {
                self.attempt.result = Err(error);
                report = self.report();
            }
            if !entry.has(HookKind::PostStream) {
                continue;
            }
            // `pass` may have waited for the reader.
            calls.restart().await;
            let InFlight { context, states, .. } = &mut *self.request;
            let called = calls.call(HookKind::PostStream, (at, entry), context, states, &mut report).await;
            let result = match called {
                Ok(_) if report.ending == Ending::Completed => {
                    let mut result = Ok(());
                    let limit = self.request.shared.config.max_body_bytes;
                    for event in std::mem::take(&mut calls.reply.emitted) {
                        result = self.pass(Chunk::new(event, limit), STEPS * at).await;
                        if result.is_err() {
                            break;
                        }
                    }
                    result
                }
                Err(_) if entry.fails_request && report.ending == Ending::Completed => {
                    Err(Error::plugin_failure())
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
        Ok(())
    }

    fn report(&self) -> Report {
        let result = self.attempt.result.as_ref().map(|()| None);
        let latency = self.request.context.started.elapsed();
        let report = Report::of(result, self.request.sent(), latency);
        self.attempt.describe(report)
    }
}
