//! The answer table: a [`HookReply`] for plugins to fill. Everything that a plugin gives is copied and checked here.

use std::{marker::PhantomData, sync::Arc};

use abi_stable::{prefix_type::WithMetadata, sabi_types::RMut, std_types::RStr};
use bytes::Bytes;
use llmux_abi::{
    host::guarded,
    raw::{
        flow::{AnswerObject, AnswerTable, AnswerTableRef, FAILURE_PANIC, RawAnswer},
        stream::RawStream,
        value::RawValue,
    },
};

use super::{context::owned, stream::PluginStream};
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{
        hook::{Answer, HookReply},
        kind::{Failure, FailureKind},
        text::Hold,
    },
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
            cached,
            edit_text,
            hold_text,
            hold_whole_text,
            edit_tool_call,
        });
    }
}

/// Makes a handle on a reply.
pub(super) fn handle(reply: &mut HookReply) -> RawAnswer<'_> {
    let object = std::ptr::from_mut(reply).cast::<AnswerObject>();
    RawAnswer { object, table: AnswerTableRef(Table::TABLE.as_prefix()), lent: PhantomData }
}

fn reply<'a>(object: RMut<'a, AnswerObject>) -> &'a mut HookReply {
    // SAFETY: objects of this table are replies, lent mutably for `'a` (see `handle`).
    unsafe { object.transmute_into_mut() }
}

/// Parses a response that a plugin gave. If it is not JSON, the hook has failed.
fn parse_response(reply: &mut HookReply, json: RStr<'_>) -> Option<Document> {
    reply.written += json.len() as u64;
    if !reply.has_room(json.len()) {
        return None;
    }
    match Document::parse(Bytes::copy_from_slice(json.as_bytes())) {
        Ok(document) => Some(document),
        Err(error) => {
            reply.failure = Some(Failure::error(format!("the response: {error}")));
            None
        }
    }
}

/// Parses an error document that a plugin gave. If it is none, the hook has failed.
fn parse_error(reply: &mut HookReply, json: RStr<'_>) -> Option<Error> {
    reply.written += json.len() as u64;
    if !reply.has_room(json.len()) {
        return None;
    }
    match Error::from_json(ErrorKind::Rejected, json.as_str()) {
        Ok(error) => Some(error),
        Err(why) => {
            reply.failure = Some(Failure::error(why));
            None
        }
    }
}

unsafe extern "C" fn respond(object: RMut<'_, AnswerObject>, json: RStr<'_>) {
    guarded((), || {
        let reply = reply(object);
        if let Some(document) = parse_response(reply, json) {
            if document.is_object() {
                reply.answer = Answer::Response(document);
            } else {
                reply.failure = Some(Failure::error("the response: a response must be a JSON object"));
            }
        }
    })
}

unsafe extern "C" fn respond_stream(object: RMut<'_, AnswerObject>, stream: RawStream) {
    guarded((), || {
        let reply = reply(object);
        if stream.object.is_null() {
            reply.failure = Some(Failure::error("answered with a stream whose object is null"));
            return;
        }
        reply.has_room(0);
        reply.answer = Answer::Stream(Box::new(PluginStream::new(stream)));
    })
}

unsafe extern "C" fn reject(object: RMut<'_, AnswerObject>, error: RStr<'_>, allow_fallback: bool) {
    guarded((), || {
        let reply = reply(object);
        if let Some(error) = parse_error(reply, error) {
            reply.answer = Answer::Error(error, allow_fallback);
        }
    })
}

unsafe extern "C" fn metadata(object: RMut<'_, AnswerObject>, key: RStr<'_>, value: RawValue<'_>) {
    guarded((), || {
        let reply = reply(object);
        if let Some(value) = owned(value)
            && reply.has_room(key.len() + value.size())
        {
            reply.metadata.push((Arc::from(key.as_str()), value));
        }
    })
}

unsafe extern "C" fn emit(object: RMut<'_, AnswerObject>, event: RStr<'_>, data: RStr<'_>) {
    guarded((), || {
        let reply = reply(object);
        reply.written += data.len() as u64;
        if reply.has_room(data.len() + event.len()) {
            let name = (!event.is_empty()).then(|| Arc::from(event.as_str()));
            reply.emitted.push(Event { name, data: Bytes::copy_from_slice(data.as_bytes()) });
        }
    })
}

unsafe extern "C" fn end_stream(object: RMut<'_, AnswerObject>, error: RStr<'_>) {
    guarded((), || {
        let reply = reply(object);
        if let Some(error) = parse_error(reply, error) {
            reply.answer = Answer::End(error);
        }
    })
}

unsafe extern "C" fn failed(object: RMut<'_, AnswerObject>, kind: u32, message: RStr<'_>) {
    guarded((), || {
        const MAX_MESSAGE: usize = 4096;
        let kind = if kind == FAILURE_PANIC { FailureKind::Panic } else { FailureKind::Error };
        let message = message.as_str();
        let end = message.floor_char_boundary(MAX_MESSAGE);
        reply(object).failure = Some(Failure { kind, message: message[..end].to_owned() });
    })
}

unsafe extern "C" fn cached(object: RMut<'_, AnswerObject>) {
    guarded((), || {
        let reply = reply(object);
        reply.has_room(0);
        reply.cached = true;
    })
}

unsafe extern "C" fn edit_text(object: RMut<'_, AnswerObject>, text: RStr<'_>) {
    guarded((), || {
        let reply = reply(object);
        reply.written += text.len() as u64;
        if reply.has_room(text.len()) {
            match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => reply.text = Some(text.to_owned()),
                Err(_) => reply.failure = Some(Failure::error("the edited text is not UTF-8")),
            }
        }
    })
}

unsafe extern "C" fn hold_text(object: RMut<'_, AnswerObject>, from: usize) {
    guarded((), || {
        let reply = reply(object);
        reply.has_room(0);
        reply.hold = Hold::From(from);
    })
}

unsafe extern "C" fn hold_whole_text(object: RMut<'_, AnswerObject>) {
    guarded((), || {
        let reply = reply(object);
        reply.has_room(0);
        reply.hold = Hold::Whole;
    })
}

unsafe extern "C" fn edit_tool_call(object: RMut<'_, AnswerObject>, name: RStr<'_>, arguments: RStr<'_>) {
    guarded((), || {
        let reply = reply(object);
        reply.written += (name.len() + arguments.len()) as u64;
        if reply.has_room(name.len() + arguments.len()) {
            let text = |text: RStr<'_>| std::str::from_utf8(text.as_bytes()).map(str::to_owned);
            match (text(name), text(arguments)) {
                (Ok(name), Ok(arguments)) => reply.tool_call = Some((name, arguments)),
                _ => reply.failure = Some(Failure::error("the edited tool call is not UTF-8")),
            }
        }
    })
}
