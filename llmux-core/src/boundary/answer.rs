//! The answer table: an [`Answer`], for plugins to fill. What they say is copied and checked here.

use std::sync::Arc;

use abi_stable::{prefix_type::WithMetadata, sabi_types::RMut, std_types::RStr};
use bytes::Bytes;
use llmux_abi::raw::{
    flow::{AnswerObject, AnswerTable, AnswerTableRef, FAILURE_PANIC, RawAnswer},
    stream::RawStream,
    value::RawValue,
};

use super::{PluginStream, context::owned, traffic};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    pipeline::hook::{Answer, Failure, FailureKind, Said},
    provider::Event,
};

struct Table;

impl Table {
    abi_stable::staticref! {
        const TABLE: WithMetadata<AnswerTable> = WithMetadata::new(AnswerTable {
            respond,
            respond_stream,
            reject,
            metadata,
            emit,
            end_stream,
            failed,
        });
    }
}

/// A handle on an answer.
pub(super) fn handle(answer: &mut Answer) -> RawAnswer<'_> {
    // SAFETY: a reference is a valid pointer for its lifetime.
    let object = unsafe { RMut::from_raw(std::ptr::from_mut(answer).cast::<AnswerObject>()) };
    RawAnswer { object, table: AnswerTableRef(Table::TABLE.as_prefix()) }
}

fn answer<'a>(object: RMut<'a, AnswerObject>) -> &'a mut Answer {
    // SAFETY: objects of this table are answers, lent mutably for `'a` (see `handle`).
    unsafe { object.transmute_into_mut() }
}

/// The document of a response that a plugin gave; a failure of the hook if there is none.
fn parse_response(answer: &mut Answer, json: RStr<'_>) -> Option<Document> {
    traffic::written(json.len());
    if !answer.has_room(json.len()) {
        return None;
    }
    match Document::parse(Bytes::copy_from_slice(json.as_bytes())) {
        Ok(document) => Some(document),
        Err(error) => {
            answer.failure = Some(Failure::error(format!("the response: {error}")));
            None
        }
    }
}

/// The error of an error document that a plugin gave; a failure of the hook if there is none.
fn parse_error(answer: &mut Answer, json: RStr<'_>) -> Option<Error> {
    traffic::written(json.len());
    if !answer.has_room(json.len()) {
        return None;
    }
    match Error::from_json(ErrorKind::Rejected, json.as_str()) {
        Ok(error) => Some(error),
        Err(why) => {
            answer.failure = Some(Failure::error(why));
            None
        }
    }
}

unsafe extern "C" fn respond(object: RMut<'_, AnswerObject>, json: RStr<'_>) {
    let answer = answer(object);
    if let Some(document) = parse_response(answer, json) {
        if document.is_object() {
            answer.said = Said::Respond(document);
        } else {
            answer.failure = Some(Failure::error("the response: a response is a JSON object"));
        }
    }
}

unsafe extern "C" fn respond_stream(object: RMut<'_, AnswerObject>, stream: RawStream) {
    let answer = answer(object);
    answer.has_room(0);
    answer.said = Said::Stream(Box::new(PluginStream::new(stream)));
}

unsafe extern "C" fn reject(object: RMut<'_, AnswerObject>, error: RStr<'_>, allow_fallback: bool) {
    let answer = answer(object);
    if let Some(error) = parse_error(answer, error) {
        answer.said = Said::Reject(error, allow_fallback);
    }
}

unsafe extern "C" fn metadata(object: RMut<'_, AnswerObject>, key: RStr<'_>, value: RawValue<'_>) {
    let answer = answer(object);
    if let Some(value) = owned(value)
        && answer.has_room(key.len() + value.size())
    {
        answer.metadata.push((Arc::from(key.as_str()), value));
    }
}

unsafe extern "C" fn emit(object: RMut<'_, AnswerObject>, event: RStr<'_>, data: RStr<'_>) {
    traffic::written(data.len());
    let answer = answer(object);
    if answer.has_room(data.len() + event.len()) {
        let name = (!event.is_empty()).then(|| Arc::from(event.as_str()));
        answer.emitted.push(Event { name, data: Bytes::copy_from_slice(data.as_bytes()) });
    }
}

unsafe extern "C" fn end_stream(object: RMut<'_, AnswerObject>, error: RStr<'_>) {
    let answer = answer(object);
    if let Some(error) = parse_error(answer, error) {
        answer.said = Said::End(error);
    }
}

unsafe extern "C" fn failed(object: RMut<'_, AnswerObject>, kind: u32, message: RStr<'_>) {
    const MAX_MESSAGE: usize = 4096;
    let kind = if kind == FAILURE_PANIC { FailureKind::Panic } else { FailureKind::Error };
    let message = message.as_str();
    let end = message.floor_char_boundary(MAX_MESSAGE);
    answer(object).failure = Some(Failure { kind, message: message[..end].to_owned() });
}
