//! Contains panics of the host itself, and of an embedder's provider, in one request.
//!
//! Each stage of a request runs inside [`caught`], so that the stages after it still run: hooks see the error, and
//! `on_complete` is called once. Deliberately absent: panics of plugins, which `boundary` contains.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::CatchUnwind};
use llmux_abi::host::panic_message;

use crate::error::Error;

/// The result of a stage, or the payload of its panic.
type Caught<T> = Result<Result<T, Error>, Box<dyn Any + Send>>;

/// Runs one stage of a request. [`settled`] makes an error of its panic.
///
/// The two are apart, and this is no `async fn`, because a stage is large, and a request moves it as rarely as possible.
pub(super) fn caught<F: Future>(stage: F) -> CatchUnwind<AssertUnwindSafe<F>> {
    AssertUnwindSafe(stage).catch_unwind()
}

/// Returns the result of a stage. A panic becomes an error with the status 500.
pub(super) fn settled<T>(request_id: &str, caught: Caught<T>) -> Result<T, Error> {
    caught.unwrap_or_else(|payload| {
        tracing::error!(request_id, "panicked while it handled a request: {}", panic_message(&*payload));
        // A payload may panic when it is dropped.
        std::mem::forget(payload);
        Err(Error::internal())
    })
}
