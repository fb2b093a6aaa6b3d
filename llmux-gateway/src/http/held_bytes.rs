//! The bytes of bodies that the listener holds: bounded, so that many large requests at once are refused instead of filling
//! the memory.
//!
//! `api` reserves bytes while it reads a body, and holds them until the response has ended. Deliberately absent: the size of
//! one body, which `body` bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use llmux_core::{Error, ErrorKind};
use serde_json::json;

use super::inflight_requests::Place;

/// The bytes that all requests hold.
#[derive(Default)]
pub(crate) struct HeldBytes(AtomicUsize);

/// The bytes that one request holds. They are free again when this is dropped.
pub(crate) struct Held {
    all: Arc<HeldBytes>,
    bytes: usize,
    max: usize,
    /// The request's place among the requests in flight.
    place: Option<Place>,
}

impl HeldBytes {
    /// Returns a request's share, which is empty. All shares together have at most `max` bytes.
    pub(crate) fn share(self: &Arc<Self>, max: usize) -> Held {
        Held { all: self.clone(), bytes: 0, max, place: None }
    }
}

impl Held {
    /// Holds the request's place for as long as its bytes.
    pub(crate) fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Adds bytes to the share.
    ///
    /// # Errors
    ///
    /// 503 if there is no room for them.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        let before = self.all.0.fetch_add(bytes, Relaxed);
        // One request always has room, however large it is.
        if before > self.bytes - bytes && before.saturating_add(bytes) > self.max {
            let message = "too many bytes of requests are in flight; try again";
            let error =
                json!({"message": message, "type": "server_error", "param": null, "code": "too_many_bytes"});
            let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            let wait = Some(Duration::from_secs(1));
            return Err(Error::from_parts(ErrorKind::InvalidRequest, status, error, wait));
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_all_requests_are_bounded_and_one_request_always_has_room() {
        let all = Arc::<HeldBytes>::default();
        let mut large = all.share(100);
        large.add(80).expect("room");
        large.add(80).expect("the only one");
        let mut other = all.share(100);
        let refused = other.add(1).expect_err("no room");
        assert_eq!((refused.status(), refused.code()), (503, Some("too_many_bytes")));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
        drop((large, other));
        all.share(100).add(100).expect("room again");
    }
}
