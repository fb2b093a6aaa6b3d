//! The requests that the listener handles at once: bounded in total and for each client key.
//!
//! `api` takes a place for each request before it reads the body, and holds it until the response has ended. It takes no
//! lock. Deliberately absent: the bytes of bodies, which `held_bytes` bounds, and rates over time, which a plugin limits.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::StatusCode;
use llmux_core::{Error, ErrorKind};
use serde_json::json;

/// The requests in flight.
#[derive(Default)]
pub(crate) struct InflightRequests {
    all: Arc<AtomicUsize>,
    /// Counts by the id of the key. A key that had a request stays, so that a reload loses no count.
    by_key: ArcSwap<HashMap<String, Arc<AtomicUsize>>>,
}

/// The largest numbers of requests in flight.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) all: Option<NonZeroUsize>,
    pub(crate) per_key: Option<NonZeroUsize>,
}

/// The place of one request. It is free again when this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>, Option<Arc<AtomicUsize>>);

impl InflightRequests {
    /// Takes a place for a request of a key; `None` if no keys are configured.
    ///
    /// # Errors
    ///
    /// 429 if the key has no place left, and 503 if there is none for any request. The client should try again after a
    /// second.
    pub(crate) fn enter(&self, limits: Limits, key: Option<&str>) -> Result<Place, Error> {
        let of_key = key.map(|key| self.of_key(key));
        let mut place = Place(self.all.clone(), None);
        let before = self.all.fetch_add(1, Relaxed);
        if let Some(max) = limits.all.filter(|max| before >= max.get()) {
            let message = format!("this host handles {max} requests already; try again");
            return Err(refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "too_many_requests",
                message,
            ));
        }
        if let Some(count) = of_key {
            let before = count.fetch_add(1, Relaxed);
            place.1 = Some(count);
            if let Some(max) = limits.per_key.filter(|max| before >= max.get()) {
                let message = format!("{max} requests of this API key are in flight already; try again");
                let status = StatusCode::TOO_MANY_REQUESTS;
                return Err(refused(status, "rate_limit_error", "too_many_requests_of_key", message));
            }
        }
        Ok(place)
    }

    fn of_key(&self, key: &str) -> Arc<AtomicUsize> {
        if let Some(count) = self.by_key.load().get(key) {
            return count.clone();
        }
        // The first request of the key.
        let count = Arc::<AtomicUsize>::default();
        let add = |counts: &Arc<HashMap<String, Arc<AtomicUsize>>>| {
            let mut counts = HashMap::clone(counts);
            counts.entry(key.to_owned()).or_insert_with(|| count.clone());
            counts
        };
        self.by_key.rcu(add);
        self.by_key.load().get(key).cloned().unwrap_or(count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self(all, of_key) = self;
        all.fetch_sub(1, Relaxed);
        if let Some(of_key) = of_key {
            of_key.fetch_sub(1, Relaxed);
        }
    }
}

fn refused(status: StatusCode, kind: &str, code: &str, message: String) -> Error {
    let error = json!({"message": message, "type": kind, "param": null, "code": code});
    let wait = Some(Duration::from_secs(1));
    Error::from_parts(ErrorKind::InvalidRequest, status.as_u16(), error, wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(entered: Result<Place, Error>) -> (u16, Option<String>, Option<Duration>) {
        let error = entered.map(drop).expect_err("no place");
        (error.status(), error.code().map(str::to_owned), error.retry_after())
    }

    #[test]
    fn requests_are_bounded_in_total_and_for_each_key() {
        let requests = InflightRequests::default();
        let limits = Limits { all: NonZeroUsize::new(3), per_key: NonZeroUsize::new(2) };
        let first = requests.enter(limits, Some("a")).expect("a place");
        let _second = requests.enter(limits, Some("a")).expect("a place");
        let second = Some(Duration::from_secs(1));
        let of_key = (429, Some("too_many_requests_of_key".to_owned()), second);
        assert_eq!(refusal(requests.enter(limits, Some("a"))), of_key);
        let third = requests.enter(limits, Some("b")).expect("a place of another key");
        let of_all = (503, Some("too_many_requests".to_owned()), second);
        assert_eq!(refusal(requests.enter(limits, Some("b"))), of_all);
        assert_eq!(refusal(requests.enter(limits, None)), of_all, "no keys");
        drop((first, third));
        let _again = requests.enter(limits, Some("a")).expect("a place again");
        assert_eq!(refusal(requests.enter(limits, Some("a"))), of_key, "refusals keep no place");
    }
}
