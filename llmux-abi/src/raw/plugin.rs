//! The module and the hook table, which a plugin implements and the host calls.

use abi_stable::{StableAbi, sabi_types::RRef, std_types::ROption};
use async_ffi::FfiContext;

use super::{
    call::{
        ChunkCallRef, CleanupCallRef, CreateCallRef, InstanceObject, OutcomeCallRef, ReportCallRef,
        RequestCallRef, TextCallRef, ToolCallRef,
    },
    context::StateObject,
    flow::{HookPoll, RawAnswer},
    host::RawHost,
};

/// An instance. Plugin memory; the host owns the handle and returns it once, through `drop`, after the last hook has
/// returned and `cleanup` has run.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawInstance {
    /// The instance.
    pub object: *mut InstanceObject,
    /// The hooks of the instance.
    pub table: PluginTableRef,
}

/// The module of a plugin: makes instances. Exported by a library, or compiled into the host.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// Makes an instance, new or in the place of an old one. Called once for each instance, on a thread that may block. The
    /// host owns the returned instance. Absent: the plugin refuses, with the reason in the answer's `failed`; an old instance
    /// then stays.
    pub create: for<'a> unsafe extern "C" fn(call: CreateCallRef<'a>) -> ROption<RawInstance>,
    /// Hands out the JSON Schema of the configuration through the answer's `respond`. Called before `create`, on a thread
    /// that may block. Returns a code.
    #[sabi(last_prefix_field)]
    pub config_schema: unsafe extern "C" fn(answer: RawAnswer<'_>) -> u32,
    /// Called once for each loaded image, before any other function, and never for a plugin compiled into the host. The
    /// library then forwards its log events and panic messages to the host, which is borrowed. If absent, they stay in
    /// the library.
    pub attach: unsafe extern "C" fn(host: RawHost),
}

/// The hooks of an instance, implemented by the plugin. A hook that is absent or empty does nothing and is not called;
/// instead of an absent `pre_stream_hook` the host calls `pre_hook`.
///
/// The host calls hooks on any of its threads, several at once for different requests. The call itself polls the hook
/// once, with the host's waker, and returns `Ready` or the rest as a future, which the host owns. The table of parameters is
/// lent until the call returns. Everything that its fields lend is host memory and stays valid and in place until the hook
/// is ready or that future is dropped.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginTableRef)))]
#[sabi(missing_field(option))]
pub struct PluginTable {
    /// Frees the state of one request (`ContextTable::state`). Called once for each state, after `on_complete`.
    pub drop_state: unsafe extern "C" fn(state: *mut StateObject),
    /// Frees the instance. Called once, after `cleanup`, on a thread that may block.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut InstanceObject),
    /// Called before the provider, for each attempt that does not stream. Returns `HOOK_CONTINUE`, `HOOK_SHORT_CIRCUIT` or
    /// `HOOK_FAILED`.
    pub pre_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: RequestCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called after the provider, for each attempt that does not stream. Returns `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub post_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: OutcomeCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called instead of `pre_hook` when the request streams. Returns the same codes.
    pub pre_stream_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: RequestCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called for every chunk, in order: the event's name (empty for none) and its data. Returns `HOOK_CONTINUE`,
    /// `HOOK_DROP`, `HOOK_REPLACE`, `HOOK_END` or `HOOK_FAILED`.
    pub on_stream_chunk: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: ChunkCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called once for every stream, at its end; may `emit` last chunks. Returns `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub post_stream_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: ReportCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called once for every client request, after the client has the response. Returns `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub on_complete: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: ReportCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called once for every instance, after its last hook. Returns `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub cleanup: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: CleanupCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called for each text of a request, after the pre hooks of this instance, and for each text of an answer, before its hooks
    /// for a chunk or an outcome. In a stream, it is called for each piece of a text. It may edit the text or hold its end
    /// (`AnswerTable::edit_text`, `hold_text`). Returns `HOOK_CONTINUE`, `HOOK_END` with the error that ends the request, or
    /// `HOOK_FAILED`. Since 0.2.2.
    pub on_text: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: TextCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called for each tool call of an answer, whole, before any part of it is sent, and before the hooks of this instance for a
    /// chunk or an outcome. It may edit the call (`AnswerTable::edit_tool_call`). Returns `HOOK_CONTINUE`, `HOOK_DROP` to remove
    /// the call, `HOOK_END` with the error that ends the request, or `HOOK_FAILED`. Since 0.2.2.
    pub on_tool_call: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: ToolCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Called after the pre hooks of all instances, while the provider is called, for each attempt that calls one. The hooks of
    /// several instances run at the same time. The request is read-only. The context belongs to this call: headers of the
    /// response and values that the hook sets reach the request when the hook has ended. Nothing of the provider's answer is
    /// sent before the hook has ended. Returns `HOOK_CONTINUE`, `HOOK_SHORT_CIRCUIT` with an error (`AnswerTable::reject`), which
    /// cancels the provider's call, or `HOOK_FAILED`. Since 0.2.2.
    pub beside: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            call: RequestCallRef<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
}
