//! The module and the hook table: what a plugin implements.

use abi_stable::{
    StableAbi,
    sabi_types::RRef,
    std_types::{ROption, RStr},
};
use async_ffi::FfiContext;

use super::{
    context::{RawContext, StateObject},
    document::RawDocument,
    flow::{HookPoll, RawAnswer},
    host::RawHost,
    outcome::{RawOutcome, RawReport},
};

/// An instance inside the plugin. The host may call its hooks from several threads at once.
#[repr(C)]
#[derive(StableAbi)]
pub struct InstanceObject {
    opaque: [u8; 0],
}

/// An instance. Plugin memory; the host owns the handle and gives it back once, through `drop`, after the
/// last hook has returned and `cleanup` has run.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawInstance {
    /// The instance.
    pub object: *mut InstanceObject,
    /// Its hooks.
    pub table: PluginTableRef,
}

/// What a library exports, or a host compiled in: the way to instances.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
pub struct PluginModule {
    /// Makes an instance: its name, its configuration (JSON that fits the schema), the host as it sees it
    /// (borrowed: retain what is kept). Absent on failure, with the reason in the answer's `failed`.
    pub create: unsafe extern "C" fn(
        name: RStr<'_>,
        config: RStr<'_>,
        host: RawHost,
        answer: RawAnswer<'_>,
    ) -> ROption<RawInstance>,
    /// Gives the configuration's JSON Schema through the answer's `respond`. Answers a code.
    #[sabi(last_prefix_field)]
    pub config_schema: unsafe extern "C" fn(answer: RawAnswer<'_>) -> u32,
    /// Called once for each loaded image, before anything else, and never for a plugin compiled into the
    /// host: forwards the library's own log events and panic messages to the host (borrowed).
    pub attach: unsafe extern "C" fn(host: RawHost),
}

/// The hooks of an instance, implemented by the plugin. A missing hook, or an empty one, does nothing and is
/// not called; in the place of a missing `pre_stream_hook`, `pre_hook` is.
///
/// Each hook is polled once by the call itself, with the host's waker, and answers `Ready` or hands out the
/// rest as a future. All that a call is lent stays valid and in place until it is ready or that future is
/// dropped.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginTableRef)))]
#[sabi(missing_field(option))]
pub struct PluginTable {
    /// Frees what the instance kept for one request (`ContextTable::state`).
    pub drop_state: unsafe extern "C" fn(state: *mut StateObject),
    /// Frees the instance.
    #[sabi(last_prefix_field)]
    pub drop: unsafe extern "C" fn(object: *mut InstanceObject),
    /// Before the provider: `HOOK_CONTINUE`, `HOOK_SHORT_CIRCUIT` or `HOOK_FAILED`.
    pub pre_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            request: RawDocument<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// After the provider: `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub post_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            outcome: RawOutcome<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// In `pre_hook`'s place when the request streams.
    pub pre_stream_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            request: RawDocument<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// For every chunk: the event's name (empty for none), its data. `HOOK_CONTINUE`, `HOOK_DROP`, `HOOK_REPLACE`, `HOOK_END` or
    /// `HOOK_FAILED`.
    pub on_stream_chunk: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            event: RStr<'a>,
            chunk: RawDocument<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Once for every stream, with how it ended; may `emit` last chunks. `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub post_stream_hook: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            report: RawReport<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Once for every client request, after the caller has its answer. `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub on_complete: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            context: RawContext<'a>,
            report: RawReport<'a>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
    /// Once for every instance, after its last hook. `HOOK_CONTINUE` or `HOOK_FAILED`.
    pub cleanup: Option<
        for<'a> unsafe extern "C" fn(
            object: RRef<'a, InstanceObject>,
            answer: RawAnswer<'a>,
            waker: &mut FfiContext<'_>,
        ) -> HookPoll<'a>,
    >,
}
