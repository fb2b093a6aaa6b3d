//! The answer of a hook, inside the host.

use abi_stable::sabi_types::RMut;

use super::value::lend;
use crate::{
    raw::{
        flow::{AnswerObject, AnswerTableRef, FAILURE_ERROR, FAILURE_PANIC, RawAnswer},
        stream::RawStream,
    },
    sdk::value::Value,
};

/// The answer of a hook, inside the host.
pub(crate) struct Answer<'a> {
    object: RMut<'a, AnswerObject>,
    table: AnswerTableRef,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(raw: RawAnswer<'a>) -> Self {
        // SAFETY: the host lends the object for this time, see the head.
        Self { object: unsafe { RMut::from_raw(raw.object) }, table: raw.table }
    }

    fn object(&mut self) -> RMut<'_, AnswerObject> {
        self.object.reborrow()
    }

    pub(crate) fn respond(&mut self, json: &str) {
        let respond = self.table.respond();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { respond(self.object(), json.into()) }
    }

    /// Passes a stream to the host, which then owns it.
    pub(crate) fn respond_stream(&mut self, stream: RawStream) {
        let respond_stream = self.table.respond_stream();
        // SAFETY: the host's table and object belong together, see the head. The stream is passed by value.
        unsafe { respond_stream(self.object(), stream) }
    }

    pub(crate) fn reject(&mut self, error: &str, allow_fallback: bool) {
        let reject = self.table.reject();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { reject(self.object(), error.into(), allow_fallback) }
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &Value) {
        let metadata = self.table.metadata();
        // SAFETY: the host's table and object belong together, see the head.
        lend(value, |raw| unsafe { metadata(self.object(), key.into(), raw) })
    }

    /// States that the answer is a copy of an earlier one.
    pub(crate) fn cached(&mut self) {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.table.cached()(self.object()) }
    }

    pub(crate) fn emit(&mut self, event: &str, data: &str) {
        let emit = self.table.emit();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { emit(self.object(), event.into(), data.into()) }
    }

    pub(crate) fn end_stream(&mut self, error: &str) {
        let end_stream = self.table.end_stream();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { end_stream(self.object(), error.into()) }
    }

    /// Puts another text in the place of the one that the hook received. The host has this function if it calls the hook.
    pub(crate) fn edit_text(&mut self, text: &str) {
        if let Some(edit_text) = self.table.edit_text() {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { edit_text(self.object(), text.into()) }
        }
    }

    /// Holds the end of a text.
    pub(crate) fn hold_text(&mut self, from: usize) {
        if let Some(hold_text) = self.table.hold_text() {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { hold_text(self.object(), from) }
        }
    }

    /// Holds a text until it ends.
    pub(crate) fn hold_whole_text(&mut self) {
        if let Some(hold_whole_text) = self.table.hold_whole_text() {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { hold_whole_text(self.object()) }
        }
    }

    /// Puts another name and other arguments in the place of those of a tool call.
    pub(crate) fn edit_tool_call(&mut self, name: &str, arguments: &str) {
        if let Some(edit_tool_call) = self.table.edit_tool_call() {
            // SAFETY: the host's table and object belong together, see the head.
            unsafe { edit_tool_call(self.object(), name.into(), arguments.into()) }
        }
    }

    pub(crate) fn failed(&mut self, message: &str) {
        self.say_failed(FAILURE_ERROR, message);
    }

    pub(crate) fn panicked(&mut self, message: &str) {
        self.say_failed(FAILURE_PANIC, message);
    }

    fn say_failed(&mut self, kind: u32, message: &str) {
        let failed = self.table.failed();
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { failed(self.object(), kind, message.into()) }
    }
}
