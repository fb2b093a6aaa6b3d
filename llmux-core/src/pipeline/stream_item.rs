//! The items that the reader of a stream receives.
//!
//! `stream` and `early_head` send them; the client's `ReplyStream` reads them.

use super::{body::Chunk, head::Head};
use crate::error::Error;

/// An item for the reader of a stream.
pub(crate) enum StreamItem {
    /// The stream has begun. This item comes before the first chunk; it comes again if the first one was early.
    Start(Head),
    /// A chunk.
    Chunk(Chunk),
    /// An error, as the last item. Before `Start`, it is the answer to the request.
    Failed(Head, Error),
}

/// An item moves from hand to hand, and the compiler moves up to this many bytes without a call.
const _: () = assert!(size_of::<StreamItem>() <= 128);
