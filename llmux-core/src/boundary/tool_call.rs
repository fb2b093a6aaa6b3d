//! The parameters of a tool call hook: a [`ToolCall`] of the pipeline, lent to the plugin.

use abi_stable::std_types::RStr;
use llmux_abi::{
    host::Parameters,
    raw::{
        call,
        context::RawContext,
        flow::{RawAnswer, RawMemory},
    },
};

use crate::pipeline::tool_call::ToolCall;

/// Returns the parameters of a call.
pub(super) fn parameters<'f>(
    it: &'f ToolCall<'_>,
    context: RawContext<'f>,
    answer: RawAnswer<'f>,
    memory: RawMemory<'f>,
) -> Parameters<call::ToolCall<'f>> {
    Parameters::new(call::ToolCall {
        context,
        id: RStr::from_str(&it.id),
        name: RStr::from_str(&it.name),
        arguments: RStr::from_str(&it.arguments),
        choice: it.choice,
        is_json: it.is_json,
        answer,
        memory,
    })
}
