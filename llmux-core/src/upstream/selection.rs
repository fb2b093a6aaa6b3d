//! The selection of a deployment for a request: by order, by rest, and by the strategy (rule F7).
//!
//! `router` asks it for one deployment after the other. It takes no lock, and allocates nothing for models with up to 64
//! deployments.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::time::Instant;

use super::{
    deployment::{Deployment, Group, OfModel},
    health::{DeploymentState, Turn},
};

/// The rule by which the deployments of a model that have the same order share its requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoutingStrategy {
    /// By their weights, in turn.
    #[default]
    Weighted,
    /// The one that answers fastest, by a moving mean of its latency; one that was never tried comes first, and one that never
    /// answered last. One request of 16 goes by weight, so that the mean of each stays known.
    LeastLatency,
    /// The one with the fewest requests in flight, in proportion to its weight.
    LeastBusy,
}

/// One of this many requests goes by weight, with the strategy by latency.
const EXPLORE: usize = 16;

/// The selection for one request.
pub(super) struct Selection<'d> {
    of: &'d OfModel,
    strategy: RoutingStrategy,
    streams: bool,
    tried: Tried,
    /// Group that was asked last, and the number of this request there.
    request: Option<(usize, usize)>,
    /// True once an active deployment was chosen.
    had_active: bool,
}

impl<'d> Selection<'d> {
    pub(super) fn new(of: &'d OfModel, strategy: RoutingStrategy, streams: bool) -> Self {
        Self { of, strategy, streams, tried: Tried::default(), request: None, had_active: false }
    }

    /// Returns the next deployment to try; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<(&'d Arc<Deployment>, Turn)> {
        let (at, turn) = if self.of.members.len() == 1 {
            // A model's only deployment never rests.
            (!self.tried.has(0)).then_some((0, Turn::Usual))?
        } else {
            self.choose(Instant::now())?
        };
        self.tried.add(at);
        self.had_active |= turn == Turn::Usual;
        Some((&self.of.members[at].deployment, turn))
    }

    fn choose(&mut self, now: Instant) -> Option<(usize, Turn)> {
        let of = self.of;
        for (number, group) in of.groups.iter().enumerate() {
            let is_open = |at: &&usize| !self.tried.has(**at);
            let mut open = group.members.iter().filter(is_open).peekable();
            if open.peek().is_none() {
                continue;
            }
            if let Some(at) = open.find(|at| of.members[**at].deployment.record.health.take_probe(now)) {
                return Some((*at, Turn::Probe));
            }
            let request = match self.request {
                Some((asked, request)) if asked == number => request,
                _ => group.next.fetch_add(1, Relaxed),
            };
            self.request = Some((number, request));
            if let Some(at) = self.active(group, request, now) {
                return Some((at, Turn::Usual));
            }
        }
        if self.had_active {
            return None;
        }
        let resting = (0..of.members.len()).filter(|at| !self.tried.has(*at));
        let rest = |at: &usize| of.members[*at].deployment.record.health.rests_for(now);
        let first = resting.min_by_key(|at| (of.members[*at].order, rest(at)))?;
        Some((first, Turn::LastResort))
    }

    /// Returns an active deployment of a group that was not tried.
    fn active(&self, group: &Group, request: usize, now: Instant) -> Option<usize> {
        let members = &self.of.members;
        let is_active = |at: &usize| {
            let record = &members[*at].deployment.record;
            !self.tried.has(*at) && record.health.state(now) == DeploymentState::Active
        };
        match self.strategy {
            // These requests have numbers of their own, so that they reach each deployment.
            RoutingStrategy::LeastLatency if request % EXPLORE == EXPLORE - 1 => {
                rotated(&group.turns, request / EXPLORE).find(is_active)
            }
            RoutingStrategy::LeastLatency => {
                let mean = |at: &usize| {
                    let figures = &members[*at].deployment.record.figures;
                    match figures.latency.mean(self.streams) {
                        // One that was tried and never answered is not known to be fast.
                        0 if figures.tries.load(Relaxed) > 0 => u64::MAX,
                        mean => mean,
                    }
                };
                rotated(&group.members, request).filter(is_active).min_by_key(mean)
            }
            RoutingStrategy::LeastBusy => {
                let busy = |at: &usize| {
                    let in_flight = members[*at].deployment.record.figures.in_flight.load(Relaxed);
                    // In proportion to the weight, which is at most 100.
                    (in_flight + 1).saturating_mul(10_000) / u64::from(members[*at].weight)
                };
                rotated(&group.members, request).filter(is_active).min_by_key(busy)
            }
            RoutingStrategy::Weighted => rotated(&group.turns, request).find(is_active),
        }
    }
}

/// Returns all elements, starting with that of this number.
fn rotated(list: &[usize], number: usize) -> impl Iterator<Item = usize> {
    let (before, from) = list.split_at(number % list.len().max(1));
    from.iter().chain(before).copied()
}

/// The deployments that a request was given to.
#[derive(Default)]
struct Tried {
    /// One bit for each of the first 64.
    first: u64,
    others: Vec<usize>,
}

impl Tried {
    fn has(&self, at: usize) -> bool {
        if at < 64 { self.first & (1 << at) != 0 } else { self.others.contains(&at) }
    }

    fn add(&mut self, at: usize) {
        if at < 64 { self.first |= 1 << at } else { self.others.push(at) }
    }
}

#[cfg(test)]
mod tests;
