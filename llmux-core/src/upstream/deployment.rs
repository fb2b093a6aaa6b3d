//! The deployments that serve each model.

use std::{
    collections::HashMap,
    fmt, ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use super::{figures::Figures, health::Health};
use crate::{
    provider::{Echo, Provider},
    setters::setters,
};

/// Largest weight of a deployment.
pub(super) const MAX_WEIGHT: u32 = 100;

/// A model at a provider, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentConfig {
    /// The name that requests use; `*` for every name that no other provider serves (rule F10).
    pub model: String,
    /// The model's name at the provider. Default: the same name.
    pub upstream_model: String,
    /// Share of the load among the deployments of the model that have the same `order`, 1 to 100. Default 1.
    pub weight: u32,
    /// Place in the order of the deployments of the model. A higher one is tried only if the lower ones rest or have
    /// failed. Default 1.
    pub order: u32,
}

setters! { DeploymentConfig:
    /// Sets the model's name at the provider.
    with_upstream_model: upstream_model: String;
    /// Sets the share of the load.
    with_weight: weight: u32;
    /// Sets the place in the order.
    with_order: order: u32;
}

impl DeploymentConfig {
    /// A deployment of a model that has the same name at the provider.
    pub fn new(model: impl Into<String>) -> Self {
        let model = model.into();
        Self { upstream_model: model.clone(), model, weight: 1, order: 1 }
    }
}

/// A deployment that a builder was given.
pub(crate) struct Added {
    pub(crate) provider_name: Arc<str>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) config: DeploymentConfig,
}

/// A model at a provider.
pub(crate) struct Deployment {
    /// `provider/model`, for contexts and logs.
    pub(crate) id: Arc<str>,
    /// The provider's name in the configuration.
    pub(crate) provider_name: Arc<str>,
    /// The model's name at the provider.
    pub(crate) upstream_model: Arc<str>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(super) record: Arc<Record>,
}

/// The health and the figures of a deployment, which a new configuration keeps.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) health: Health,
    pub(super) figures: Figures,
    /// True once the deployment has refused `stream_options` (rule S8).
    pub(super) refuses_usage: AtomicBool,
}

impl Deployment {
    /// A deployment of which only the names are known. No request goes to it.
    pub(crate) fn named(id: &str, provider_name: &str) -> Self {
        let (provider, record) = (Arc::new(Echo::new()), Arc::default());
        Self {
            id: id.into(),
            provider_name: provider_name.into(),
            upstream_model: id.into(),
            provider,
            record,
        }
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// A deployment among those of a model.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) deployment: Arc<Deployment>,
    pub(super) weight: u32,
    pub(super) order: u32,
}

/// The members of one order, and their turns.
#[derive(Debug)]
pub(super) struct Group {
    /// Places of the members in [`OfModel::members`].
    pub(super) members: Vec<usize>,
    /// Places of the members, each as often as its weight says, evenly mixed, starting with the first configured one.
    pub(super) turns: Vec<usize>,
    /// Number of requests that the group has had.
    pub(super) next: AtomicUsize,
}

/// The deployments of one model.
#[derive(Debug, Default)]
pub(super) struct OfModel {
    /// In the order of the configuration.
    pub(super) members: Vec<Member>,
    /// By ascending `order`.
    pub(super) groups: Vec<Group>,
}

/// The deployments of every model.
#[derive(Debug, Default)]
pub(crate) struct Deployments {
    by_model: HashMap<Arc<str>, OfModel>,
    /// The models in the order in which they were added.
    models: Vec<Arc<str>>,
}

impl Deployments {
    /// Makes the deployments. Those whose provider is the same object as in `previous` keep their record.
    pub(super) fn new(added: Vec<Added>, previous: Option<&Self>) -> Self {
        let mut records: HashMap<Arc<str>, Arc<Record>> = HashMap::new();
        let mut all = Self::default();
        for Added { provider_name, provider, config } in added {
            let id: Arc<str> = format!("{provider_name}/{}", config.upstream_model).into();
            let kept = || previous?.record(&id, &provider);
            let record = records.entry(id.clone()).or_insert_with(|| kept().unwrap_or_default()).clone();
            let upstream_model = config.upstream_model.into();
            let deployment = Arc::new(Deployment { id, provider_name, upstream_model, provider, record });
            let model: Arc<str> = config.model.into();
            if !all.by_model.contains_key(&model) {
                all.models.push(model.clone());
            }
            let weight = config.weight.clamp(1, MAX_WEIGHT);
            let member = Member { deployment, weight, order: config.order };
            all.by_model.entry(model).or_default().members.push(member);
        }
        all.by_model.values_mut().for_each(OfModel::group);
        all
    }

    /// Returns the deployments of a model; `None` if no provider serves it.
    pub(super) fn of(&self, model: &str) -> Option<&OfModel> {
        self.by_model.get(model)
    }

    /// Returns every model with its deployments, in the order of the configuration.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &[Member])> {
        let of = |model: &Arc<str>| self.by_model.get(model).map(|of| of.members.as_slice());
        self.models.iter().map(move |model| (&**model, of(model).unwrap_or_default()))
    }

    /// Returns a deployment by its id, with the first model that it serves.
    pub(super) fn find(&self, id: &str) -> Option<(&str, &Arc<Deployment>)> {
        self.all().find_map(|(model, members)| {
            let found = members.iter().find(|member| *member.deployment.id == *id);
            found.map(|member| (model, &member.deployment))
        })
    }

    /// Returns the first deployment of a model at a provider.
    pub(super) fn at_provider(&self, model: &str, provider_name: &str) -> Option<&Arc<Deployment>> {
        let members = &self.of(model)?.members;
        let found = members.iter().find(|member| *member.deployment.provider_name == *provider_name);
        found.map(|member| &member.deployment)
    }

    /// Returns every model with the providers that serve it.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.all()
            .map(|(model, members)| (model, members.iter().map(|member| &*member.deployment.provider_name)))
    }

    fn record(&self, id: &str, provider: &Arc<dyn Provider>) -> Option<Arc<Record>> {
        let mut members = self.by_model.values().flat_map(|of| &of.members);
        let is_same = |member: &&Member| {
            *member.deployment.id == *id
                && ptr::addr_eq(Arc::as_ptr(&member.deployment.provider), Arc::as_ptr(provider))
        };
        members.find(is_same).map(|member| member.deployment.record.clone())
    }
}

impl OfModel {
    /// The deployments of a model for one request, which is the request of this number.
    pub(super) fn new(members: Vec<Member>, number: usize) -> Self {
        let mut of = Self { members, groups: Vec::new() };
        of.group();
        of.groups.iter_mut().for_each(|group| *group.next.get_mut() = number);
        of
    }

    /// Makes the groups of the members.
    fn group(&mut self) {
        let mut orders: Vec<u32> = self.members.iter().map(|member| member.order).collect();
        orders.sort_unstable();
        orders.dedup();
        let of_order = |order| {
            let has_order = |(at, member): (usize, &Member)| (member.order == order).then_some(at);
            let members: Vec<usize> = self.members.iter().enumerate().filter_map(has_order).collect();
            let weights: Vec<_> = members.iter().map(|at| self.members[*at].weight).collect();
            let turns = turns(&weights).into_iter().map(|at| members[at]).collect();
            Group { members, turns, next: AtomicUsize::new(0) }
        };
        self.groups = orders.into_iter().map(of_order).collect();
    }
}

/// Returns places of weights, each as often as its weight says, evenly mixed, starting with the first one.
fn turns(weights: &[u32]) -> Vec<usize> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    let mut due = vec![0; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        due.iter_mut().zip(&weights).for_each(|(due, weight)| *due += weight);
        // The last maximum of the reverse is the first one.
        let Some(at) = (0..due.len()).rev().max_by_key(|at| due[*at]) else { break };
        due[at] -= total;
        turns.push(at);
    }
    let first = turns.iter().position(|at| *at == 0).unwrap_or(0);
    turns.rotate_left(first);
    turns
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_turns_follow_the_weights_and_start_with_the_first_configured() {
        assert_eq!(turns(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(turns(&[50, 50]), [0, 1]);
        assert_eq!(turns(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(turns(&[1, 3]), [0, 1, 1, 1]);
        assert_eq!(turns(&[7]), [0]);
        let many = turns(&[100, 37, 1]);
        let count = |of| many.iter().filter(|at| **at == of).count();
        assert_eq!((count(0), count(1), count(2), many[0]), (100, 37, 1, 0));
    }
}
