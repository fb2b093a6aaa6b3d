//! Entry of the fuzz targets to the decoder of streams. It exists only under `cfg(fuzzing)`, which `cargo fuzz` sets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Events, end_of_stream::EndOfStream, secret::Secrets, sse};
use crate::Endpoint;

/// Decodes a provider's stream that arrives in these parts.
pub fn events(endpoint: Endpoint, parts: Vec<Bytes>) -> Events {
    let input = stream::iter(parts.into_iter().map(Ok)).boxed();
    let end = EndOfStream::new(endpoint, Arc::new(Secrets::default()));
    sse::events(input, Duration::from_secs(3_600), end)
}
