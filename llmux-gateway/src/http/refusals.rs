//! Requests that a listener refuses by itself: counted by reason, and logged with the address of the client.
//!
//! `api` and `admin::router` note each refusal, and `/metrics` of both listeners shows the counts. A flood of refusals does
//! not fill the log: per listener and reason, lines beyond a burst are left out, and the next line has their number.
//! Deliberately absent: errors of providers and plugins, which are no refusals of a listener.

use std::{
    fmt::Write,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use axum::response::Response;
use http::Method;
use llmux_terminal::visible;
use tokio::time::Instant;

/// Reasons that have a count of their own. A reason is the code of the error. The last stands for all others.
const REASONS: [&str; 21] = [
    "invalid_api_key",
    "different_api_keys",
    "invalid_admin_token",
    "read_only_token",
    "origin_refused",
    "wrong_host",
    "query_refused",
    "unknown_path",
    "wrong_method",
    "unsupported_type",
    "unsupported_encoding",
    "broken_encoding",
    "broken_body",
    "body_timeout",
    "request_too_large",
    "too_many_bytes",
    "too_many_requests",
    "too_many_requests_of_key",
    "too_many_fallbacks",
    "invalid_json",
    "other",
];
/// Number of lines that may follow each other at once.
const BURST: u64 = 20;
/// Shortest time between two lines after a burst.
const EVERY: Duration = Duration::from_secs(1);
/// Largest number of characters of a path in the log.
const MOST_OF_A_PATH: usize = 256;

/// Mark of a response that refuses a request, with the code of the error.
#[derive(Clone)]
pub(crate) struct Refused(pub(crate) Box<str>);

/// A listener.
#[derive(Clone, Copy)]
pub(crate) enum Listener {
    Main,
    Admin,
}

/// The request that was refused.
pub(crate) struct Request<'r> {
    pub(crate) method: &'r Method,
    pub(crate) path: &'r str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) request_id: Option<&'r str>,
}

/// The refusals of both listeners.
pub(crate) struct Refusals {
    start: Instant,
    reasons: [[Reason; REASONS.len()]; 2],
}

#[derive(Default)]
struct Reason {
    count: AtomicU64,
    /// Lines that were left out since the last one.
    left_out: AtomicU64,
    /// Time at which the burst is used up no more, in milliseconds since the start.
    full_until: AtomicU64,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), reasons: Default::default() }
    }

    /// Counts and logs a response if it refuses its request.
    pub(crate) fn note(&self, listener: Listener, request: &Request<'_>, response: &Response) {
        let Some(Refused(code)) = response.extensions().get() else { return };
        let at = REASONS.iter().position(|reason| *reason == &**code).unwrap_or(REASONS.len() - 1);
        let reason = &self.reasons[listener as usize][at];
        reason.count.fetch_add(1, Relaxed);
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Some(left_out) = reason.may_log(now) else { return };
        let what = match listener {
            Listener::Main => "refused",
            Listener::Admin => "the admin API refused",
        };
        let path: String = request.path.chars().take(MOST_OF_A_PATH).collect();
        tracing::warn!(
            status = response.status().as_u16(),
            reason = REASONS[at],
            client = request.client.map(tracing::field::display),
            request_id = request.request_id,
            left_out = (left_out > 0).then_some(left_out),
            "{what} {} {}",
            request.method,
            visible(&path)
        );
    }

    /// Returns the counts in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        const NAME: &str = "llmux_listener_refusals_total";
        let mut text = format!(
            "# HELP {NAME} Requests that a listener refused by itself, by the reason\n# TYPE {NAME} counter\n"
        );
        for (listener, reasons) in ["main", "admin"].iter().zip(&self.reasons) {
            for (name, reason) in REASONS.iter().zip(reasons) {
                let count = reason.count.load(Relaxed);
                if count > 0 {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "{NAME}{{listener=\"{listener}\",reason=\"{name}\"}} {count}");
                }
            }
        }
        text
    }
}

impl Reason {
    /// Returns the number of lines that were left out if another may be logged now.
    fn may_log(&self, now: u64) -> Option<u64> {
        let every = u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX);
        let next = |full_until: u64| {
            let from = full_until.max(now);
            (from - now <= every * (BURST - 1)).then_some(from + every)
        };
        match self.full_until.fetch_update(Relaxed, Relaxed, next) {
            Ok(_) => Some(self.left_out.swap(0, Relaxed)),
            Err(_) => {
                self.left_out.fetch_add(1, Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_most_of_its_lines_are_left_out() {
        let reason = Reason::default();
        let logged = (0..500).filter(|_| reason.may_log(1000).is_some()).count();
        assert_eq!(logged as u64, BURST);
        assert_eq!(reason.may_log(1999), None, "less than a second later");
        assert_eq!(reason.may_log(2000), Some(500 - BURST + 1), "the number of lines that were left out");
        assert_eq!(reason.may_log(2001), None);
        assert_eq!((0..100).filter(|_| reason.may_log(1_000_000).is_some()).count() as u64, BURST);
    }
}
