//! The result of one attempt to stream.
//!
//! `stream` makes it, `run` reads it.

use std::time::Duration;

use llmux_abi::Usage;

use super::report::Report;
use crate::error::Error;

/// The result of one attempt to stream.
pub(crate) struct Attempt {
    pub(crate) result: Result<(), Error>,
    /// True once the client has received something of it.
    pub(crate) begun: bool,
    pub(crate) may_fall_back: bool,
    pub(crate) first_chunk: Option<Duration>,
    pub(crate) chunks: u64,
    /// True if the provider ended its stream before every choice had a reason (rule S9).
    pub(crate) is_unfinished: bool,
    /// The usage that the provider reported until now, or an estimate.
    pub(crate) usage: Option<Usage>,
}

impl Attempt {
    /// Adds the numbers of a stream to a report.
    pub(crate) fn describe(&self, report: Report) -> Report {
        Report {
            first_chunk: self.first_chunk,
            chunks: Some(self.chunks),
            is_unfinished: self.is_unfinished,
            usage: self.usage,
            ..report
        }
    }
}
