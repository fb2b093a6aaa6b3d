//! Tests of the local limiter, on a clock that the tests control.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::Config;

struct Held {
    local: Local,
    millis: Arc<AtomicU64>,
}

impl Held {
    fn new(config: serde_json::Value) -> Self {
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let millis = Arc::new(AtomicU64::new(1_000));
        let time = Arc::clone(&millis);
        let clock = Clock::new(move || Duration::from_millis(time.load(Ordering::Relaxed)));
        let limits = config.limits().expect("limits");
        Self { local: Local::new(&limits, config.max_keys, &clock), millis }
    }

    fn advance(&self, millis: u64) {
        self.millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Settles a request that has reserved nothing.
    fn uses(&self, key: u64, used: u64) {
        self.local.settle(key, Settlement { requests: 0, reserved: 0, used });
    }

    fn allows(&self, key: u64) -> bool {
        self.local.decide(key, 0).refused.is_none()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn an_empty_bucket_refuses_until_it_fills() {
    let held = Held::new(serde_json::json!({"requests_per_second": 2, "burst": 3}));
    for remaining in [2, 1, 0] {
        let decision = held.local.decide(1, 0);
        assert_eq!(decision.refused, None);
        assert_eq!(decision.remaining, remaining);
        assert_eq!(decision.reset, millis(500) * (3 - remaining));
    }
    let refused = held.local.decide(1, 0);
    assert_eq!(refused.refused, Some(Refusal { what: Limit::Requests, retry_after: millis(500) }));
    assert_eq!((refused.remaining, refused.reset), (0, millis(1_500)));
    assert!(held.allows(2), "another key has its own bucket");
    held.advance(499);
    assert!(!held.allows(1));
    held.advance(1);
    assert!(held.allows(1));
    assert!(!held.allows(1));
}

#[test]
fn tokens_may_go_into_debt_and_are_paid_back() {
    let held = Held::new(serde_json::json!({"requests_per_second": 1000, "tokens_per_minute": 60}));
    held.uses(1, 50);
    assert!(held.allows(1), "ten are left");
    held.uses(1, 30);
    let refusal = held.local.decide(1, 0).refused.expect("a refusal at a balance of -20");
    assert_eq!(refusal, Refusal { what: Limit::Tokens, retry_after: millis(21_000) });
    held.advance(20_999);
    assert!(!held.allows(1));
    held.advance(1);
    assert!(held.allows(1));
}

#[test]
fn tokens_are_reserved_until_the_request_is_settled() {
    let held =
        Held::new(serde_json::json!({"requests_per_second": 1000, "burst": 1, "tokens_per_minute": 60}));
    let reserve = |tokens| held.local.decide(1, tokens).refused.map(|refusal| refusal.what);
    assert_eq!(reserve(60), None);
    held.advance(1);
    assert_eq!(reserve(60), Some(Limit::Tokens), "the first request holds them all");
    held.local.settle(1, Settlement { requests: 0, reserved: 60, used: 20 });
    assert_eq!(reserve(39), None);
    assert_eq!(reserve(1), Some(Limit::Requests), "a refused request reserves nothing");
    held.advance(1);
    assert_eq!(reserve(0), None, "one token is left");
}

#[test]
fn further_attempts_are_charged_as_requests() {
    let held = Held::new(serde_json::json!({"requests_per_second": 1, "burst": 2}));
    assert!(held.allows(1));
    held.local.settle(1, Settlement { requests: 3, reserved: 0, used: 0 });
    let refusal = held.local.decide(1, 0).refused.expect("two requests too many");
    assert_eq!(refusal, Refusal { what: Limit::Requests, retry_after: millis(3_000) });
}

#[test]
fn a_million_keys_do_not_stay() {
    let held = Held::new(serde_json::json!({"requests_per_second": 1, "burst": 2, "max_keys": 1600}));
    for key in 0..1_000_000_u64 {
        // The multiplication spreads the keys like hashes.
        held.local.decide(key.wrapping_mul(0x9E37_79B9_7F4A_7C15), 0);
        assert!(key % 100_000 != 0 || held.local.requests.len() <= 1600 + SHARDS);
    }
    held.advance(10_000);
    assert!(held.local.prunable().prune());
    assert_eq!(held.local.requests.len(), 0);
}

#[test]
fn keys_beyond_the_bound_share_a_bucket_and_evict_nobody() {
    let held = Held::new(serde_json::json!({"requests_per_second": 0.001, "burst": 1, "max_keys": 16}));
    assert!(held.allows(1));
    let allowed = (2..1_000).filter(|key| held.allows(*key)).count();
    assert!(allowed < 10, "{allowed} keys of one shard went through");
    assert!(!held.allows(1), "a busy key is not evicted");
}
