//! The progress of a request at a provider when it failed, which decides whether it may be sent again (rule F1).
//!
//! Providers set it on an [`Error`](crate::Error), and the upstream reads it. Deliberately absent: the decision, which is
//! the upstream's.

/// The progress that an exchange with a provider had made when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Progress {
    /// The provider certainly did not process the request: there was no connection, or nothing was written to it.
    NotSent,
    /// The request was written to a connection that had been kept from an earlier one. The connection closed at most
    /// one second later, before the first byte of an answer: the provider most likely closed it while it was idle.
    Stale,
    /// At least a part of the request was written, and no answer has begun. The provider may have processed it.
    Sent,
    /// The head of an answer has arrived, and its body broke off.
    HeadReceived,
    /// A whole answer has arrived.
    Answered,
}
