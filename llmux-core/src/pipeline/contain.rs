//! Contains panics of the host itself, and of an embedder's provider, in one request.
//!
//! Each stage of a request runs inside [`contained`], so that the stages after it still run: hooks see the error, and
//! `on_complete` is called once. Deliberately absent: panics of plugins, which `boundary` contains.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use llmux_abi::host::panic_message;

use crate::error::Error;

/// Runs one stage of a request. A panic becomes an error with the status 500.
pub(super) async fn contained<T>(
    request_id: &str,
    stage: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    AssertUnwindSafe(stage).catch_unwind().await.unwrap_or_else(|payload| {
        tracing::error!(request_id, "panicked while it handled a request: {}", panic_message(&*payload));
        // A payload may panic when it is dropped.
        std::mem::forget(payload);
        Err(Error::internal())
    })
}
