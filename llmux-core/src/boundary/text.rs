//! The parameters of a text hook: a [`Text`] of the pipeline, lent to the plugin.

use abi_stable::std_types::RStr;
use llmux_abi::{
    host::Parameters,
    raw::{
        call::{
            TEXT_ANSWER, TEXT_ARGUMENTS, TEXT_CONTENT, TEXT_REASONING, TEXT_REFUSAL, TEXT_REQUEST,
            TEXT_TRANSCRIPT, TextCall,
        },
        context::RawContext,
        flow::{RawAnswer, RawMemory},
    },
};

use crate::pipeline::text::{Channel, Side, Text};

/// Returns the parameters of a call.
pub(super) fn parameters<'f>(
    text: &'f Text<'_>,
    context: RawContext<'f>,
    answer: RawAnswer<'f>,
    memory: RawMemory<'f>,
) -> Parameters<TextCall<'f>> {
    Parameters::new(TextCall {
        context,
        text: RStr::from_str(&text.text),
        role: RStr::from_str(&text.role),
        tool: RStr::from_str(&text.tool),
        side: match text.side {
            Side::Request => TEXT_REQUEST,
            Side::Answer => TEXT_ANSWER,
        },
        channel: match text.channel {
            Channel::Content => TEXT_CONTENT,
            Channel::Reasoning => TEXT_REASONING,
            Channel::Refusal => TEXT_REFUSAL,
            Channel::Arguments => TEXT_ARGUMENTS,
            Channel::Transcript => TEXT_TRANSCRIPT,
        },
        choice: text.choice,
        number: text.number,
        is_end: text.is_end,
        answer,
        memory,
    })
}
