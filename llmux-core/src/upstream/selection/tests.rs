//! Tests of the selection, without providers.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    provider::{Echo, Provider},
    upstream::{
        deployment::{Added, DeploymentConfig, Deployments},
        failure::Effect,
    },
};

/// Deployments of the model `m` at providers with these names, weights and orders.
fn deployments(of: &[(&str, u32, u32)]) -> Deployments {
    let added = of.iter().map(|(name, weight, order)| Added {
        provider_name: (*name).into(),
        provider: Arc::new(Echo::new()) as Arc<dyn Provider>,
        config: DeploymentConfig::new("m").with_weight(*weight).with_order(*order),
    });
    Deployments::new(added.collect(), None)
}

/// All deployments that one request would try, and the turn of each.
fn all(deployments: &Deployments, strategy: RoutingStrategy) -> Vec<(&str, Turn)> {
    let mut selection = Selection::new(deployments.of("m").expect("served"), strategy, false);
    let next = || selection.next().map(|(deployment, turn)| (&*deployment.provider_name, turn));
    std::iter::from_fn(next).collect()
}

fn first(deployments: &Deployments, strategy: RoutingStrategy) -> &str {
    all(deployments, strategy)[0].0
}

fn member<'d>(deployments: &'d Deployments, name: &str) -> &'d Arc<Deployment> {
    let members = &deployments.of("m").expect("served").members;
    let found = members.iter().find(|member| *member.deployment.provider_name == *name);
    &found.expect("a member").deployment
}

fn rest(deployments: &Deployments, name: &str) {
    member(deployments, name).record.health.settle(Effect::Rests, Turn::Usual, None, true);
}

#[tokio::test(start_paused = true)]
async fn f7_the_load_is_shared_by_weight_from_the_first_configured_on() {
    let of = deployments(&[("a", 2, 1), ("b", 1, 1)]);
    let firsts: Vec<_> = (0..6).map(|_| first(&of, RoutingStrategy::Weighted)).collect();
    assert_eq!(firsts, ["a", "b", "a", "a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn f7_a_higher_order_comes_after_every_lower_one() {
    let of = deployments(&[("c", 9, 3), ("a", 1, 1), ("b", 1, 2), ("d", 1, 1)]);
    let order = |names: &[&'static str]| names.iter().map(|name| (*name, Turn::Usual)).collect::<Vec<_>>();
    assert_eq!(all(&of, RoutingStrategy::Weighted), order(&["a", "d", "b", "c"]));
    assert_eq!(all(&of, RoutingStrategy::Weighted), order(&["d", "a", "b", "c"]));
    rest(&of, "a");
    rest(&of, "d");
    assert_eq!(all(&of, RoutingStrategy::Weighted), order(&["b", "c"]), "the lower ones rest");
}

#[tokio::test(start_paused = true)]
async fn f7_one_request_probes_after_the_rest_while_the_others_go_elsewhere() {
    let of = deployments(&[("a", 1, 1), ("b", 1, 1)]);
    rest(&of, "a");
    assert_eq!(all(&of, RoutingStrategy::Weighted), [("b", Turn::Usual)]);
    tokio::time::advance(Duration::from_secs(30)).await;
    for strategy in [RoutingStrategy::Weighted, RoutingStrategy::LeastBusy, RoutingStrategy::LeastLatency] {
        let probe = all(&of, strategy);
        assert_eq!(probe, [("a", Turn::Probe), ("b", Turn::Usual)], "{strategy:?}");
        assert_eq!(all(&of, strategy), [("b", Turn::Usual)], "{strategy:?}, another request");
        member(&of, "a").record.health.abandon();
    }
}

#[tokio::test(start_paused = true)]
async fn f7_if_all_rest_all_are_tried_and_the_only_one_never_rests() {
    let of = deployments(&[("a", 1, 1), ("b", 1, 1)]);
    rest(&of, "b");
    tokio::time::advance(Duration::from_secs(1)).await;
    rest(&of, "a");
    let resort = [("b", Turn::LastResort), ("a", Turn::LastResort)];
    assert_eq!(all(&of, RoutingStrategy::Weighted), resort, "that whose rest ends first comes first");
    let only = deployments(&[("a", 1, 1)]);
    rest(&only, "a");
    assert_eq!(all(&only, RoutingStrategy::Weighted), [("a", Turn::Usual)]);
}

#[tokio::test(start_paused = true)]
async fn f7_least_busy_counts_requests_in_flight_in_proportion_to_the_weight() {
    let of = deployments(&[("a", 1, 1), ("b", 2, 1)]);
    let busy = |name: &str, count| member(&of, name).record.figures.in_flight.store(count, Relaxed);
    for (a, b, expected) in [(1, 0, "b"), (1, 2, "b"), (0, 3, "a"), (2, 9, "a")] {
        busy("a", a);
        busy("b", b);
        assert_eq!(first(&of, RoutingStrategy::LeastBusy), expected, "{a} and {b} in flight");
    }
    let equal = deployments(&[("a", 1, 1), ("b", 1, 1)]);
    let firsts: Vec<_> = (0..4).map(|_| first(&equal, RoutingStrategy::LeastBusy)).collect();
    assert_eq!(firsts, ["a", "b", "a", "b"], "equal ones take turns");
}

#[tokio::test(start_paused = true)]
async fn f7_least_latency_takes_the_fastest_and_keeps_the_others_measured() {
    let of = deployments(&[("a", 1, 1), ("b", 1, 1)]);
    let took = |name: &str, millis| {
        member(&of, name).record.figures.latency.record(Duration::from_millis(millis), false);
    };
    assert_eq!(first(&of, RoutingStrategy::LeastLatency), "a");
    took("a", 900);
    assert_eq!(first(&of, RoutingStrategy::LeastLatency), "b", "its latency is not known yet");
    took("b", 100);
    let slow = |name: &str| {
        let firsts: Vec<_> = (0..64).map(|_| first(&of, RoutingStrategy::LeastLatency)).collect();
        firsts.iter().filter(|first| **first == name).count()
    };
    assert_eq!(slow("a"), 2, "one of two in 16");
    for _ in 0..40 {
        took("b", 5_000);
    }
    assert_eq!(slow("b"), 2, "the other one of two in 16");
    let of = deployments(&[("a", 1, 1), ("b", 1, 1)]);
    member(&of, "a").record.figures.tries.store(1, Relaxed);
    let latency = &member(&of, "b").record.figures.latency;
    latency.record(Duration::from_millis(100), false);
    assert_eq!(first(&of, RoutingStrategy::LeastLatency), "b", "the other one has never answered");
}
