//! Applies a child's reply to the parts of a request that a call was lent. Everything is checked here: a child may send
//! anything.
//!
//! `hooks` uses it in the host. An error says what is wrong with the reply, and the call has then failed; the pipeline
//! undoes what was applied before. Deliberately absent: the bounds of the pipeline itself, which its own types keep.

use std::sync::Arc;

use bytes::Bytes;

use super::protocol as message;
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{
        body::{Body, EditRefused},
        collected::{Collected, Refused, StoredValue},
        hook::{Answer, CallContext, Decision, HookInput, HookReply},
        kind::{Failure, FailureKind, HookKind},
        text::Hold,
    },
    provider::Event,
};

/// Longest message of a failure, in bytes.
const MAX_FAILURE: usize = 4096;

/// Applies a reply, except for an answer that is a stream. Returns the decision.
///
/// # Errors
///
/// A part of the reply that this host does not accept, or the failure that the hook reported.
pub(super) fn apply(
    message: message::Reply<'_>,
    context: &mut CallContext<'_>,
    input: &mut HookInput<'_>,
    reply: &mut HookReply,
) -> Result<Decision, Failure> {
    reply.longest_poll = message.longest_poll;
    count(input, message.traffic);
    if let Some(effects) = &message.effects {
        reply.written = effects.written;
        if let Some(reported) = &effects.failure {
            return Err(failure(reported));
        }
    }
    let decision = match message.decision {
        message::Decision::Continue => Decision::Continue,
        message::Decision::ShortCircuit => Decision::ShortCircuit,
        message::Decision::Drop => Decision::Drop,
        message::Decision::Replace => Decision::Replace,
        message::Decision::End => Decision::End,
        // The pipeline says what this code means, as for a plugin in the host.
        message::Decision::Fail(code) => return Ok(Decision::Fail(code)),
    };
    if let Some(effects) = &message.effects {
        self::effects(effects, context, input, reply)?;
    }
    Ok(decision)
}

fn effects(
    effects: &message::Effects<'_>,
    context: &mut CallContext<'_>,
    input: &mut HookInput<'_>,
    reply: &mut HookReply,
) -> Result<(), Failure> {
    collected(&effects.collected, context)?;
    change(&effects.change, input)?;
    reply.cached = effects.cached;
    for (key, value) in &effects.metadata {
        let value = stored(value);
        room(reply, key.len() + value.size())?;
        reply.metadata.push((Arc::from(*key), value));
    }
    for event in &effects.emitted {
        room(reply, event.data.len() + event.name.map_or(0, str::len))?;
        reply.emitted.push(self::event(event));
    }
    if let Some(text) = effects.text {
        room(reply, text.len())?;
        reply.text = Some(text.to_owned());
    }
    if let Some((name, arguments)) = effects.tool_call {
        room(reply, name.len() + arguments.len())?;
        reply.tool_call = Some((name.to_owned(), arguments.to_owned()));
    }
    reply.hold = match effects.hold {
        message::Hold::Nothing => Hold::Nothing,
        message::Hold::From(at) => Hold::From(at.try_into().unwrap_or(usize::MAX)),
        message::Hold::Whole => Hold::Whole,
    };
    if reply.hold != Hold::Nothing {
        room(reply, 0)?;
    }
    match effects.answer {
        message::Answer::None | message::Answer::Stream => {}
        message::Answer::Response(json) => {
            room(reply, json.len())?;
            reply.answer = Answer::Response(response(json)?);
        }
        message::Answer::Error(json, allow_fallback) => {
            room(reply, json.len())?;
            reply.answer = Answer::Error(error(json)?, allow_fallback);
        }
        message::Answer::End(json) => {
            room(reply, json.len())?;
            reply.answer = Answer::End(error(json)?);
        }
    }
    Ok(())
}

/// Returns an event that a child sent.
pub(super) fn event(message::Event { name, data }: &message::Event<'_>) -> Event {
    let name = name.filter(|name| !name.is_empty()).map(Arc::from);
    Event { name, data: Bytes::copy_from_slice(data.as_bytes()) }
}

/// Returns an error document that a child sent.
///
/// # Errors
///
/// If it is none.
pub(super) fn error(json: &str) -> Result<Error, Failure> {
    Error::from_json(ErrorKind::Rejected, json).map_err(Failure::error)
}

/// Returns a failure that a child reported.
pub(super) fn failure(message::Failure { is_panic, message }: &message::Failure<'_>) -> Failure {
    let kind = if *is_panic { FailureKind::Panic } else { FailureKind::Error };
    Failure { kind, message: message[..message.floor_char_boundary(MAX_FAILURE)].to_owned() }
}

fn room(reply: &mut HookReply, bytes: usize) -> Result<(), Failure> {
    match reply.has_room(bytes) {
        true => Ok(()),
        false => Err(reply.failure.take().unwrap_or_else(|| Failure::error("answered with too much"))),
    }
}

fn response(json: &str) -> Result<Document, Failure> {
    let document = Document::parse(Bytes::copy_from_slice(json.as_bytes()))
        .map_err(|error| Failure::error(format!("the response: {error}")))?;
    match document.is_object() {
        true => Ok(document),
        false => Err(Failure::error("the response: a response must be a JSON object")),
    }
}

fn stored(value: &message::Value<'_>) -> StoredValue {
    match value {
        message::Value::String(text) => StoredValue::String(Arc::from(*text)),
        message::Value::Integer(integer) => StoredValue::Integer(*integer),
        message::Value::Float(float) => StoredValue::Float(*float),
        message::Value::Boolean(boolean) => StoredValue::Boolean(*boolean),
        message::Value::Json(text) => StoredValue::Json(Arc::from(*text)),
    }
}

/// Sets the values and headers of a message.
///
/// # Errors
///
/// The first one that the pipeline refuses.
pub(super) fn set_collected(
    collected: &mut Collected,
    message: &message::Collected<'_>,
) -> Result<(), Refused> {
    for (key, value) in &message.values {
        collected.set_value(*key, stored(value))?;
    }
    for (name, value) in &message.response_headers {
        collected.set_response_header(name, value)?;
    }
    for (name, value) in &message.provider_headers {
        collected.set_provider_header(name, value)?;
    }
    Ok(())
}

fn collected(message: &message::Collected<'_>, context: &mut CallContext<'_>) -> Result<(), Failure> {
    let message::Collected { values, response_headers, provider_headers } = message;
    let is_empty = values.is_empty() && response_headers.is_empty() && provider_headers.is_empty();
    if is_empty {
        return Ok(());
    }
    let may_set_provider_headers = matches!(context.kind, HookKind::Pre | HookKind::PreStream);
    if context.request.read_only || !(provider_headers.is_empty() || may_set_provider_headers) {
        return Err(Failure::error("set a value or a header that this hook may only read"));
    }
    set_collected(&mut context.request.collected, message)
        .map_err(|_| Failure::error("set a value or a header that the host does not accept"))
}

fn count(input: &mut HookInput<'_>, (read, written): (u64, u64)) {
    let (read, written) = (read.try_into().unwrap_or(usize::MAX), written.try_into().unwrap_or(usize::MAX));
    let body = match input {
        HookInput::Pre(body) | HookInput::PreStream(body) => &**body,
        HookInput::Beside(body) => *body,
        HookInput::Chunk(chunk) => &chunk.body,
        HookInput::Post(outcome) => outcome.body(),
        HookInput::PostStream(report) | HookInput::Complete(report) => &report.request,
        // The pipeline counts the bytes of a text and of a tool call.
        HookInput::Text(_) | HookInput::ToolCall(_) => return,
    };
    body.count_read(read);
    body.count_written(written);
}

fn change(change: &message::Change<'_>, input: &mut HookInput<'_>) -> Result<(), Failure> {
    if let message::Change::Replaced { is_error, json } = change {
        let HookInput::Post(outcome) = input else {
            return Err(Failure::error("replaced the outcome in a hook that has none"));
        };
        let by = if *is_error { Err(error(json)?) } else { Ok(response(json)?) };
        return outcome.replace(by).map_err(refused);
    }
    let body = match input {
        HookInput::Pre(body) | HookInput::PreStream(body) => &mut **body,
        HookInput::Chunk(chunk) => &mut chunk.body,
        HookInput::Post(outcome) => outcome.body(),
        HookInput::PostStream(_)
        | HookInput::Complete(_)
        | HookInput::Text(_)
        | HookInput::ToolCall(_)
        | HookInput::Beside(_) => match change {
            message::Change::None => return Ok(()),
            _ => return Err(Failure::error("edited a subject that can only be read")),
        },
    };
    match change {
        message::Change::None | message::Change::Replaced { .. } => Ok(()),
        message::Change::Edits(edits) => edits.iter().try_for_each(|edit| self::edit(body, edit)),
        message::Change::Whole(json) => {
            if body.limit().is_some_and(|limit| json.len() > limit) {
                return Err(refused(EditRefused::TooLarge));
            }
            let document = Document::parse_lenient(Bytes::copy_from_slice(json.as_bytes()));
            let document = document.map_err(|error| Failure::error(format!("the document: {error}")))?;
            let replace = |there: &mut Document| {
                *there = document;
                Ok(())
            };
            body.edit(0, replace).map_err(refused)
        }
    }
}

fn edit(body: &mut Body, edit: &message::Edit<'_>) -> Result<(), Failure> {
    let edited = match *edit {
        message::Edit::Set(pointer, json) => {
            body.edit(pointer.len() + json.len(), |document| document.set(pointer, json))
        }
        message::Edit::Insert(pointer, json) => {
            body.edit(pointer.len() + json.len(), |document| document.insert(pointer, json))
        }
        message::Edit::Remove(pointer) => body.edit(0, |document| document.remove(pointer)),
    };
    edited.map_err(refused)
}

fn refused(why: EditRefused) -> Failure {
    let why = match why {
        EditRefused::NoSuchPlace => "there is no such place",
        EditRefused::InvalidJson => "it is not JSON",
        EditRefused::ReadOnly => "the document can only be read",
        EditRefused::TooLarge => "the document would be too large",
    };
    Failure::error(format!("an edit that the host does not accept: {why}"))
}
