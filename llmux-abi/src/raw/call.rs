//! The parameters of the functions that a plugin implements: one table for each kind of function.
//!
//! A table of parameters is host memory, lent until the function returns. Its fields are lent for longer: until the hook is
//! ready, or the future that the hook returned is dropped. A later version appends parameters, and a plugin that does not
//! know them does not read them.

use abi_stable::{
    StableAbi,
    sabi_types::RRef,
    std_types::{ROption, RStr},
};

use super::{
    context::RawContext,
    document::RawDocument,
    flow::{RawAnswer, RawMemory},
    host::RawHost,
    outcome::{RawOutcome, RawReport},
};

/// An instance inside the plugin. The host may call its hooks from several threads at once.
#[repr(C)]
#[derive(StableAbi)]
pub struct InstanceObject {
    opaque: [u8; 0],
}

/// Parameters of [`PluginModule::create`](super::plugin::PluginModule::create).
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CreateCallRef)))]
#[sabi(missing_field(option))]
pub struct CreateCall<'a> {
    /// The name of the instance.
    pub name: RStr<'a>,
    /// The configuration: JSON that fits the schema.
    pub config: RStr<'a>,
    /// The host. Borrowed: a plugin that keeps it calls `retain`.
    pub host: RawHost,
    /// The instance that the new one replaces. It comes from the same image, is lent until the function returns, and goes on
    /// to serve requests meanwhile. Absent: the new instance replaces none, or one of another image.
    pub old: ROption<RRef<'a, InstanceObject>>,
    /// The answer, for the reason of a refusal.
    #[sabi(last_prefix_field)]
    pub answer: RawAnswer<'a>,
}

/// Parameters of a hook before or beside the provider's call.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RequestCallRef)))]
#[sabi(missing_field(option))]
pub struct RequestCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The request's body, to read and to edit; read-only beside the provider's call.
    pub request: RawDocument<'a>,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Parameters of a hook after the provider.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = OutcomeCallRef)))]
#[sabi(missing_field(option))]
pub struct OutcomeCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The outcome, to read and to edit.
    pub outcome: RawOutcome<'a>,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Parameters of a hook for one chunk of a stream.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ChunkCallRef)))]
#[sabi(missing_field(option))]
pub struct ChunkCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The name of the event; empty for none.
    pub event: RStr<'a>,
    /// The data of the event, to read and to edit.
    pub chunk: RawDocument<'a>,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// `side`: a text of the request.
pub const TEXT_REQUEST: u32 = 0;
/// `side`: a text of the answer.
pub const TEXT_ANSWER: u32 = 1;

/// `channel`: the words of a message or of an input.
pub const TEXT_CONTENT: u32 = 0;
/// `channel`: the reasoning of a model, or its summary.
pub const TEXT_REASONING: u32 = 1;
/// `channel`: the words with which a model refuses.
pub const TEXT_REFUSAL: u32 = 2;
/// `channel`: the arguments of a tool call, which are JSON as a rule.
pub const TEXT_ARGUMENTS: u32 = 3;
/// `channel`: the words of spoken audio.
pub const TEXT_TRANSCRIPT: u32 = 4;

/// Parameters of a hook for one text of a request or an answer.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = TextCallRef)))]
#[sabi(missing_field(option))]
pub struct TextCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The text: what the plugin held of it, and what follows.
    pub text: RStr<'a>,
    /// The role of the message; `assistant` for an answer; empty for a text without a role.
    pub role: RStr<'a>,
    /// The name of the tool that a text of the channel [`TEXT_ARGUMENTS`] calls; empty otherwise, and if it is unknown.
    pub tool: RStr<'a>,
    /// [`TEXT_REQUEST`] or [`TEXT_ANSWER`].
    pub side: u32,
    /// [`TEXT_CONTENT`] to [`TEXT_TRANSCRIPT`]. A later version may add channels.
    pub channel: u32,
    /// The index of the choice or of the output item; 0 for a text of the request.
    pub choice: u32,
    /// Distinguishes the texts of an answer: the pieces of one text have the same number.
    pub number: u32,
    /// True if the text ends here.
    pub is_end: bool,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Parameters of a hook for one tool call of an answer.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ToolCallRef)))]
#[sabi(missing_field(option))]
pub struct ToolCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The identifier that the result of the call will name; empty for none.
    pub id: RStr<'a>,
    /// The name of the tool; empty if the answer has none.
    pub name: RStr<'a>,
    /// The arguments of the call, whole.
    pub arguments: RStr<'a>,
    /// The index of the choice or of the output item.
    pub choice: u32,
    /// True if the arguments are JSON.
    pub is_json: bool,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Parameters of a hook at the end of a stream or of a request.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ReportCallRef)))]
#[sabi(missing_field(option))]
pub struct ReportCall<'a> {
    /// The context of the request.
    pub context: RawContext<'a>,
    /// The report of the end.
    pub report: RawReport<'a>,
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}

/// Parameters of [`PluginTable::cleanup`](super::plugin::PluginTable::cleanup).
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CleanupCallRef)))]
#[sabi(missing_field(option))]
pub struct CleanupCall<'a> {
    /// The answer of this call.
    pub answer: RawAnswer<'a>,
    /// The memory of this call.
    #[sabi(last_prefix_field)]
    pub memory: RawMemory<'a>,
}
