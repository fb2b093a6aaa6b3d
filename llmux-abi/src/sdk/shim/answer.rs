//! Conversion of a hook's result into the codes and the answer of the contract.

use super::stream::stream;
use crate::{
    raw::flow::{HOOK_CONTINUE, HOOK_DROP, HOOK_END, HOOK_FAILED, HOOK_REPLACE, HOOK_SHORT_CIRCUIT},
    sdk::{
        error::Error,
        flow::{ChunkFlow, Flow, Reply, ShortCircuit, StreamFlow, TextFlow, ToolFlow, Verdict},
        handle::Answer,
        host::Host,
        source::Streamed,
        text::{Change, Hold},
        tool_call::ToolCall,
    },
};

/// Reports in the answer that the hook failed.
pub(super) fn failure(error: &Error, answer: &mut Answer<'_>) -> u32 {
    answer.failed(error.message());
    HOOK_FAILED
}

pub(super) fn flow(flow: Flow, answer: &mut Answer<'_>) -> u32 {
    match flow {
        Flow::Continue => HOOK_CONTINUE,
        Flow::ShortCircuit(reply) => short_circuit(reply, answer),
    }
}

pub(super) fn stream_flow(flow: StreamFlow, host: &Host, answer: &mut Answer<'_>) -> u32 {
    match flow {
        StreamFlow::Continue => HOOK_CONTINUE,
        StreamFlow::ShortCircuit(reply) => short_circuit(reply, answer),
        StreamFlow::Stream(Streamed { source, metadata, cached }) => {
            if cached {
                answer.cached();
            }
            for (key, value) in &metadata {
                answer.metadata(key, value);
            }
            answer.respond_stream(stream(source, host));
            HOOK_SHORT_CIRCUIT
        }
    }
}

/// Converts the treatment of a chunk. `event` is the name of the chunk's event; chunks that replace it keep that name.
pub(super) fn chunk_flow(flow: ChunkFlow, event: &str, answer: &mut Answer<'_>) -> u32 {
    match flow {
        ChunkFlow::Forward => HOOK_CONTINUE,
        ChunkFlow::Drop => HOOK_DROP,
        ChunkFlow::Replace(chunks) => {
            for chunk in chunks {
                answer.emit(event, &chunk.to_string());
            }
            HOOK_REPLACE
        }
        ChunkFlow::End(error) => {
            answer.end_stream(&error.to_document());
            HOOK_END
        }
    }
}

/// Converts the treatment of a text.
pub(super) fn text_flow(flow: TextFlow, change: Change, answer: &mut Answer<'_>) -> u32 {
    match flow {
        TextFlow::Continue => {
            if let Some(text) = &change.text {
                answer.edit_text(text);
            }
            match change.hold {
                Hold::Nothing => {}
                Hold::From(at) => answer.hold_text(at),
                Hold::Whole => answer.hold_whole_text(),
            }
            HOOK_CONTINUE
        }
        TextFlow::End(error) => {
            answer.end_stream(&error.to_document());
            HOOK_END
        }
    }
}

/// Converts the treatment of a tool call, with the edits that the hook made.
pub(super) fn tool_flow(flow: ToolFlow, call: &ToolCall<'_>, answer: &mut Answer<'_>) -> u32 {
    match flow {
        ToolFlow::Continue => {
            if let Some((name, arguments)) = call.edited() {
                answer.edit_tool_call(name, arguments);
            }
            HOOK_CONTINUE
        }
        ToolFlow::Remove => HOOK_DROP,
        ToolFlow::End(error) => {
            answer.end_stream(&error.to_document());
            HOOK_END
        }
    }
}

/// Converts the verdict of a hook beside the provider's call.
pub(super) fn verdict(verdict: Verdict, answer: &mut Answer<'_>) -> u32 {
    match verdict {
        Verdict::Allow => HOOK_CONTINUE,
        Verdict::Refuse { error, allow_fallback } => {
            answer.reject(&error.to_document(), allow_fallback);
            HOOK_SHORT_CIRCUIT
        }
    }
}

fn short_circuit(short_circuit: ShortCircuit, answer: &mut Answer<'_>) -> u32 {
    for (key, value) in &short_circuit.metadata {
        answer.metadata(key, value);
    }
    if short_circuit.cached {
        answer.cached();
    }
    match short_circuit.reply {
        Reply::Response(Ok(json)) => answer.respond(json.as_ref()),
        Reply::Response(Err(error)) => {
            answer.failed(&format!("the response cannot be written as JSON: {error}"));
            return HOOK_FAILED;
        }
        Reply::Error { error, allow_fallback } => answer.reject(&error.to_document(), allow_fallback),
    }
    HOOK_SHORT_CIRCUIT
}
