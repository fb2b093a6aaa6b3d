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

    fn allows(&self, key: u64) -> bool {
        self.local.decide(key).refused.is_none()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn an_empty_bucket_refuses_until_it_fills() {
    let held = Held::new(serde_json::json!({"requests_per_second": 2, "burst": 3}));
    for remaining in [2, 1, 0] {
        let decision = held.local.decide(1);
        assert_eq!(decision.refused, None);
        assert_eq!(decision.remaining, remaining);
        assert_eq!(decision.reset, millis(500) * (3 - remaining));
    }
    let refused = held.local.decide(1);
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
    held.local.charge(1, 50);
    assert!(held.allows(1), "ten are left");
    held.local.charge(1, 30);
    let refusal = held.local.decide(1).refused.expect("a refusal at a balance of -20");
    assert_eq!(refusal, Refusal { what: Limit::Tokens, retry_after: millis(21_000) });
    held.advance(20_999);
    assert!(!held.allows(1));
    held.advance(1);
    assert!(held.allows(1));
}

#[test]
fn a_million_keys_do_not_stay() {
    let held = Held::new(serde_json::json!({"requests_per_second": 1, "burst": 2, "max_keys": 1600}));
    for key in 0..1_000_000_u64 {
        // The multiplication spreads the keys like hashes.
        held.local.decide(key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
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
