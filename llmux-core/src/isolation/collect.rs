//! Turns what a hook left into the message of a reply: its decision, its answer, and what it changed. The child uses it.

use bytes::Bytes;

use super::{
    frame::{self, Kind, TooLarge},
    lend::{pairs, value},
    protocol as message,
    rebuild::{Subject, text},
};
use crate::pipeline::{
    body::{Body, Edit},
    context::RequestContext,
    hook::{Answer, Decision, HookReply, Subject as _},
    kind::{Failure, FailureKind},
    outcome::Outcome,
    text::Hold,
};

/// A call that has ended, in the child.
pub(super) struct Ended<'a> {
    pub(super) decision: Decision,
    pub(super) reply: &'a HookReply,
    pub(super) context: &'a RequestContext,
    pub(super) subject: &'a mut Subject,
    pub(super) keeps_state: bool,
    /// Nanoseconds of the longest poll.
    pub(super) longest_poll: u64,
}

/// Writes the reply to a call.
///
/// # Errors
///
/// If the reply is larger than a message may be.
pub(super) fn write(buffer: &mut Vec<u8>, number: u64, ended: Ended<'_>) -> Result<(), TooLarge> {
    let Ended { decision, reply, context, subject, keeps_state, longest_poll } = ended;
    let traffic = traffic(subject);
    let answer = answer_text(&reply.answer);
    let document = changed_document(subject);
    let has_failed = reply.failure.is_some() || matches!(decision, Decision::Fail(_));
    let change = if has_failed { message::Change::None } else { change(subject, document.as_ref()) };
    // The host undoes all that a failed hook did.
    let sets = !has_failed && context.collected.is_touched();
    let has_effects = !reply.is_empty() || sets || !matches!(change, message::Change::None);
    let effects = || message::Effects {
        answer: match &reply.answer {
            Answer::None => message::Answer::None,
            Answer::Response(_) => message::Answer::Response(text(&answer)),
            Answer::Stream(_) => message::Answer::Stream,
            Answer::Error(_, allow_fallback) => message::Answer::Error(text(&answer), *allow_fallback),
            Answer::End(_) => message::Answer::End(text(&answer)),
        },
        cached: reply.cached,
        metadata: reply.metadata.iter().map(|(key, it)| (&**key, value(it))).collect(),
        emitted: reply
            .emitted
            .iter()
            .map(|event| message::Event { name: event.name.as_deref(), data: text(&event.data) })
            .collect(),
        text: reply.text.as_deref(),
        hold: match reply.hold {
            Hold::Nothing => message::Hold::Nothing,
            Hold::From(at) => message::Hold::From(at as u64),
            Hold::Whole => message::Hold::Whole,
        },
        tool_call: reply.tool_call.as_ref().map(|(name, arguments)| (&**name, &**arguments)),
        failure: reply.failure.as_ref().map(failure),
        written: reply.written,
        collected: if sets { collected(context) } else { <_>::default() },
        change,
    };
    let message = message::Reply {
        decision: match decision {
            Decision::Continue => message::Decision::Continue,
            Decision::ShortCircuit => message::Decision::ShortCircuit,
            Decision::Drop => message::Decision::Drop,
            Decision::Replace => message::Decision::Replace,
            Decision::End => message::Decision::End,
            Decision::Fail(code) => message::Decision::Fail(code),
        },
        keeps_state,
        longest_poll,
        traffic,
        effects: has_effects.then(effects).map(Box::new),
    };
    frame::write(buffer, Kind::Reply, number, &message)
}

/// Returns the message of a failure.
pub(super) fn failure(failure: &Failure) -> message::Failure<'_> {
    message::Failure { is_panic: failure.kind == FailureKind::Panic, message: &failure.message }
}

fn answer_text(answer: &Answer) -> Bytes {
    match answer {
        Answer::None | Answer::Stream(_) => Bytes::new(),
        Answer::Response(document) => document.to_bytes(),
        Answer::Error(error, _) | Answer::End(error) => error.document().to_bytes(),
    }
}

fn traffic(subject: &mut Subject) -> (u64, u64) {
    let traffic = match subject {
        Subject::Request(body) => body.take_traffic(),
        Subject::Outcome(outcome) => outcome.take_traffic(),
        Subject::Chunk(chunk) => chunk.body.take_traffic(),
        Subject::Report(report) => report.take_traffic(),
        Subject::Text(text) => text.take_traffic(),
        Subject::ToolCall(call) => call.take_traffic(),
    };
    (traffic.read, traffic.written)
}

fn collected(context: &RequestContext) -> message::Collected<'_> {
    let collected = &context.collected;
    message::Collected {
        values: collected.changed_values().map(|(key, it)| (&**key, value(it))).collect(),
        response_headers: pairs(collected.changed_response_headers()),
        provider_headers: pairs(collected.changed_provider_headers()),
    }
}

/// Returns the whole document of the subject, if it is sent.
fn changed_document(subject: &mut Subject) -> Option<Bytes> {
    let body = match subject {
        Subject::Outcome(outcome) if outcome.is_replaced() => return Some(outcome.body().bytes()),
        Subject::Outcome(outcome) => outcome.body(),
        Subject::Request(body) => body,
        Subject::Chunk(chunk) => &mut chunk.body,
        Subject::Report(_) | Subject::Text(_) | Subject::ToolCall(_) => return None,
    };
    let size = |edit: &Edit| match edit {
        Edit::Set(pointer, json) | Edit::Insert(pointer, json) => pointer.len() + json.len() + 8,
        Edit::Remove(pointer) => pointer.len() + 4,
    };
    let edits: usize = body.journal().iter().map(size).sum();
    if edits == 0 {
        // A document that the plugin did not read is not parsed.
        return None;
    }
    let document = body.document()?;
    (edits > document.size()).then(|| document.to_bytes())
}

fn change<'m>(subject: &'m mut Subject, document: Option<&'m Bytes>) -> message::Change<'m> {
    let body: &Body = match subject {
        Subject::Outcome(outcome) => match (outcome.is_replaced(), document) {
            (true, Some(json)) => {
                return message::Change::Replaced { is_error: Outcome::is_error(outcome), json: text(json) };
            }
            _ => outcome.body(),
        },
        Subject::Request(body) => body,
        Subject::Chunk(chunk) => &chunk.body,
        Subject::Report(_) | Subject::Text(_) | Subject::ToolCall(_) => return message::Change::None,
    };
    match (document, body.journal()) {
        (_, []) => message::Change::None,
        (Some(json), _) => message::Change::Whole(text(json)),
        (None, edits) => message::Change::Edits(edits.iter().map(edit).collect()),
    }
}

fn edit(edit: &Edit) -> message::Edit<'_> {
    match edit {
        Edit::Set(pointer, json) => message::Edit::Set(pointer, json),
        Edit::Insert(pointer, json) => message::Edit::Insert(pointer, json),
        Edit::Remove(pointer) => message::Edit::Remove(pointer),
    }
}
