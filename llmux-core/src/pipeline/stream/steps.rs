//! The steps of one instance in a stream: its text hook, its tool call hook, its chunk hook, and the answer as a whole.

use super::{STEPS, Streaming};
use crate::{
    error::Error,
    pipeline::{
        body::Chunk,
        chunks::Chunks,
        hook::{Answer, Decision},
        in_flight::InFlight,
        kind::{FailureKind, HookKind},
        outcome::Outcome,
        report::AnsweredBy,
        snapshot::Entry,
        text::Pieces,
        tool_call::ToolCalls,
        turn::{Stop, Turn},
        whole::{Collected, Whole, assembled},
    },
};

/// Chunks that go on in the place of one, from a step on; `None` if the chunk itself goes on.
type Passed = Option<(Vec<Chunk>, usize)>;

impl Streaming<'_> {
    /// Passes a chunk through the text hook and the tool call hook of one instance.
    pub(super) async fn parts(
        &mut self,
        chunk: &mut Chunk,
        (at, entry): (usize, &Entry),
        from: usize,
    ) -> Result<Passed, Error> {
        let (text_step, tool_step) = (STEPS * at + 2, STEPS * at + 1);
        if from > text_step && entry.has(HookKind::Text) {
            let released = match self.lend(at, entry) {
                (mut turn, Some(texts), _) => texts.pass(&mut turn, chunk).await,
                _ => Ok(Vec::new()),
            };
            let mut released = released.map_err(|stop| self.stopped(stop, entry))?;
            if !released.is_empty() {
                // The chunk itself follows the texts that go on before it.
                released.push(chunk.clone());
                return Ok(Some((released, text_step)));
            }
        }
        if from > tool_step && entry.has(HookKind::ToolCall) {
            let instead = match self.lend(at, entry) {
                (mut turn, _, Some(calls)) => calls.pass(&mut turn, chunk).await,
                _ => Ok(None),
            };
            if let Some(chunks) = instead.map_err(|stop| self.stopped(stop, entry))? {
                return Ok(Some((chunks, tool_step)));
            }
        }
        Ok(None)
    }

    /// Returns the turn of an instance, with the texts and the tool calls of the stream.
    fn lend<'s>(
        &'s mut self,
        at: usize,
        entry: &'s Entry,
    ) -> (Turn<'s>, Option<&'s mut Pieces>, Option<&'s mut ToolCalls>) {
        let InFlight { context, states, .. } = &mut *self.request;
        let held = &mut self.held;
        let turn = Turn { calls: &mut self.calls, place: (at, entry), context, states, held };
        (turn, self.texts.as_deref_mut(), self.tool_calls.as_deref_mut())
    }

    /// Keeps a chunk for the instance that receives the answer as a whole.
    pub(super) fn collect(&mut self, chunk: &Chunk, at: usize, entry: &Entry) -> Result<Passed, Error> {
        let config = &self.request.shared.config;
        match Whole::of(&mut self.wholes, at).collect(chunk, config) {
            Collected::Kept => Ok(Some((Vec::new(), STEPS * at))),
            Collected::Passes => Ok(None),
            Collected::TooMuch(chunks) => {
                tracing::warn!(
                    instance = &*entry.name,
                    request_id = &*self.request.context.request_id,
                    "a stream is too large or too slow to be one answer: raise `[pipeline] max_whole_stream_bytes` or \
                     `whole_stream_timeout`"
                );
                match entry.fails_request {
                    true => Err(Error::plugin_failure()),
                    false => Ok(Some((chunks, STEPS * at))),
                }
            }
        }
    }

    /// Returns the error of a hook that ended the stream.
    fn stopped(&mut self, stop: Stop, entry: &Entry) -> Error {
        match stop {
            Stop::Ended(error) => {
                self.request.end_by(entry.name.clone());
                error
            }
            Stop::Failed => Error::plugin_failure(),
            Stop::Cancelled => self.request.cancel.error(),
        }
    }

    /// Calls one chunk hook.
    pub(super) async fn hook(
        &mut self,
        chunk: &mut Chunk,
        at: usize,
        entry: &Entry,
    ) -> Result<Passed, Error> {
        let InFlight { context, states, .. } = &mut *self.request;
        let called = self.calls.call(HookKind::Chunk, (at, entry), context, states, chunk).await;
        let reply = &mut self.calls.reply;
        match called {
            Ok(Decision::Drop) => Ok(Some((Vec::new(), STEPS * at))),
            Ok(Decision::Replace) => {
                let limit = self.request.shared.config.max_body_bytes;
                let emitted = std::mem::take(&mut reply.emitted).into_iter();
                Ok(Some((emitted.map(|event| Chunk::new(event, limit)).collect(), STEPS * at)))
            }
            Ok(Decision::End) => match std::mem::take(&mut reply.answer) {
                Answer::End(error) => {
                    let name = entry.name.clone();
                    self.request.answered_by = AnsweredBy::Instance { name, cached: false };
                    Err(error)
                }
                // `HookReply::check` has refused it.
                _ => Err(Error::plugin_failure()),
            },
            Ok(_) => Ok(None),
            Err(failure) if failure.kind == FailureKind::Cancelled => Err(self.request.cancel.error()),
            Err(_) if entry.fails_request => Err(Error::plugin_failure()),
            Err(_) => Ok(None),
        }
    }

    /// Ends what an instance still holds of a stream that completed.
    pub(super) async fn finish(&mut self, at: usize, entry: &Entry) -> Result<(), Error> {
        self.finish_texts(at, entry).await?;
        self.finish_tool_calls(at, entry).await?;
        self.finish_whole(at, entry).await
    }

    /// Ends the texts that an instance still holds, because the provider has not said that they end.
    async fn finish_texts(&mut self, at: usize, entry: &Entry) -> Result<(), Error> {
        if !entry.has(HookKind::Text) {
            return Ok(());
        }
        self.calls.restart().await;
        let released = match self.lend(at, entry) {
            (mut turn, Some(texts), _) => texts.finish(&mut turn).await,
            _ => Ok(Vec::new()),
        };
        for chunk in released.map_err(|stop| self.stopped(stop, entry))? {
            self.pass(chunk, STEPS * at + 2).await?;
        }
        Ok(())
    }

    /// Calls the hook for the tool calls that an instance still holds, because the provider has not said that they end.
    async fn finish_tool_calls(&mut self, at: usize, entry: &Entry) -> Result<(), Error> {
        if !entry.has(HookKind::ToolCall) {
            return Ok(());
        }
        self.calls.restart().await;
        let released = match self.lend(at, entry) {
            (mut turn, _, Some(calls)) => calls.finish(&mut turn).await,
            _ => Ok(Vec::new()),
        };
        for chunk in released.map_err(|stop| self.stopped(stop, entry))? {
            self.pass(chunk, STEPS * at + 1).await?;
        }
        Ok(())
    }

    /// Calls the post hook of an instance that receives the answer as a whole, and passes the answer on (rule T6).
    async fn finish_whole(&mut self, at: usize, entry: &Entry) -> Result<(), Error> {
        let Some(chunks) = Whole::take(&mut self.wholes, at) else { return Ok(()) };
        let chunks = match assembled(&chunks) {
            None => chunks,
            Some(answer) => {
                let limit = self.request.shared.config.max_body_bytes;
                let mut outcome = Outcome::new(Ok(answer), self.request.sent(), limit);
                self.calls.restart().await;
                let InFlight { context, states, .. } = &mut *self.request;
                let called =
                    self.calls.call(HookKind::Post, (at, entry), context, states, &mut outcome).await;
                match called {
                    Err(failure) if failure.kind == FailureKind::Cancelled => {
                        return Err(self.request.cancel.error());
                    }
                    Err(_) if entry.fails_request => return Err(Error::plugin_failure()),
                    _ => {}
                }
                let is_replaced = outcome.take_replaced();
                if is_replaced {
                    self.request.answered_by =
                        AnsweredBy::Instance { name: entry.name.clone(), cached: false };
                }
                match is_replaced || outcome.body().edits() > 0 {
                    false => chunks,
                    true => Chunks::events_of(&outcome.into_result()?)
                        .map(|event| Chunk::new(event, limit))
                        .collect(),
                }
            }
        };
        for chunk in chunks {
            self.pass(chunk, STEPS * at).await?;
        }
        Ok(())
    }
}
