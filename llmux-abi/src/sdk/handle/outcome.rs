//! The outcome of a request, and the report of how it ended.

use abi_stable::sabi_types::RMut;

use super::document::{Document, edited};
use crate::{
    raw::outcome::{OutcomeObject, OutcomeTableRef, RawOutcome, RawReport},
    sdk::error::Result,
};

/// An outcome.
pub(crate) struct OutcomeHandle<'a> {
    object: RMut<'a, OutcomeObject>,
    table: OutcomeTableRef,
}

impl<'a> OutcomeHandle<'a> {
    pub(crate) fn new(raw: RawOutcome<'a>) -> Self {
        // SAFETY: the host lends the object for this time, see the head.
        Self { object: unsafe { RMut::from_raw(raw.object) }, table: raw.table }
    }

    pub(crate) fn kind(&self) -> u32 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.table.kind()(self.object.as_rref()) }
    }

    /// `None` if the outcome has no document.
    pub(crate) fn body(&mut self) -> Option<Document<'_>> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.table.body()(self.object.reborrow()) }.into_option().map(Document::new)
    }

    pub(crate) fn request(&self) -> Document<'_> {
        // SAFETY: the host's table and object belong together, see the head.
        Document::new(unsafe { self.table.request()(self.object.as_rref()) })
    }

    pub(crate) fn recover(&mut self, response: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.table.recover()(self.object.reborrow(), response.into()) };
        edited(code, "")
    }

    pub(crate) fn fail(&mut self, error: &str) -> Result<()> {
        // SAFETY: the host's table and object belong together, see the head.
        let code = unsafe { self.table.fail()(self.object.reborrow(), error.into()) };
        edited(code, "")
    }
}

/// A report.
pub(crate) struct ReportHandle<'a> {
    raw: RawReport<'a>,
}

impl<'a> ReportHandle<'a> {
    pub(crate) fn new(raw: RawReport<'a>) -> Self {
        Self { raw }
    }

    pub(crate) fn kind(&self) -> u32 {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.kind()(self.raw.object) }
    }

    pub(crate) fn number(&self, which: u32) -> Option<i64> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.number()(self.raw.object, which) }.into_option()
    }

    pub(crate) fn document(&self, which: u32) -> Option<Document<'_>> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.document()(self.raw.object, which) }.into_option().map(Document::new)
    }

    pub(crate) fn text(&self, which: u32) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.raw.table.text()(self.raw.object, which) };
        text.into_option().map(|text| text.as_str())
    }

    pub(crate) fn attempt_text(&self, attempt: u32, which: u32) -> Option<&str> {
        // SAFETY: the host's table and object belong together, see the head.
        let text = unsafe { self.raw.table.attempt_text()(self.raw.object, attempt, which) };
        text.into_option().map(|text| text.as_str())
    }

    pub(crate) fn attempt_number(&self, attempt: u32, which: u32) -> Option<i64> {
        // SAFETY: the host's table and object belong together, see the head.
        unsafe { self.raw.table.attempt_number()(self.raw.object, attempt, which) }.into_option()
    }
}
