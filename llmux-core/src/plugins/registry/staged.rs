//! The instances of a change under way, which nothing uses before the change is published.

use std::sync::Arc;

use super::{instance::Instance, retire::Retirement};

/// The instances of a change under way. Those that were made for it are retired when this is dropped before it is
/// published, whatever the reason: an error, or a caller that stops waiting.
pub(super) struct Staged {
    retirement: Arc<Retirement>,
    /// The instances that run.
    pub(super) before: Vec<Instance>,
    /// The instances after the change.
    pub(super) instances: Vec<Instance>,
}

impl Staged {
    pub(super) fn new(retirement: &Arc<Retirement>, before: Vec<Instance>) -> Self {
        Self { retirement: retirement.clone(), instances: before.clone(), before }
    }

    /// Returns the names of the instances that are made when their old ones are gone (rule D4).
    pub(super) fn pending(&self) -> Vec<String> {
        let pending = self.instances.iter().filter(|instance| instance.pending.is_some());
        pending.map(|instance| instance.name().to_owned()).collect()
    }

    /// Returns the instances before and after the change. They are kept.
    pub(super) fn publish(mut self) -> (Vec<Instance>, Vec<Instance>) {
        (std::mem::take(&mut self.before), std::mem::take(&mut self.instances))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for instance in Instance::missing(std::mem::take(&mut self.instances), &self.before) {
            self.retirement.begin(instance);
        }
    }
}
