//! The bound on the names of labels: clients choose the names of models, and providers the types of errors.
//!
//! The first names of each label are kept. Once the bound is reached, a new name is replaced by `other`. A name longer
//! than 128 bytes is always replaced by `other`. Names are never removed, because the metrics reported under them
//! remain.
//!
//! A model's name is kept only once a provider was called for it. Until then it is replaced by `unknown`, so that no
//! client takes the places of real names with invented ones.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::request::{OTHER, RequestMetrics};

/// The label value of a model for which no provider was called.
pub(crate) const UNKNOWN: &str = "unknown";
/// The label value of an empty or missing name.
pub(crate) const NONE: &str = "none";

const MAX_NAME: usize = 128;

/// The names of each label that were kept so far.
pub(crate) struct Labels {
    names: Mutex<Names>,
    most: usize,
}

#[derive(Default)]
struct Names {
    endpoints: HashSet<Arc<str>>,
    models: HashSet<Arc<str>>,
    providers: HashSet<Arc<str>>,
    outcomes: HashSet<Arc<str>>,
}

/// The label values of one request, within the bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bounded {
    pub(crate) endpoint: Arc<str>,
    pub(crate) model: Arc<str>,
    pub(crate) provider: Arc<str>,
    pub(crate) outcome: Arc<str>,
}

impl Labels {
    /// Keeps up to `most` names of each label, in addition to `other`.
    pub(crate) fn new(most: usize) -> Self {
        Self { names: Mutex::default(), most }
    }

    pub(crate) fn bound(&self, request: &RequestMetrics<'_>) -> Bounded {
        let names = &mut *self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Bounded {
            endpoint: self.name(&mut names.endpoints, request.endpoint),
            model: match request.provider {
                Some(_) => self.name(&mut names.models, request.model),
                None => names.models.get(request.model).cloned().unwrap_or_else(|| UNKNOWN.into()),
            },
            provider: self.name(&mut names.providers, request.provider.unwrap_or_default()),
            outcome: self.name(&mut names.outcomes, request.outcome.as_str()),
        }
    }

    fn name(&self, names: &mut HashSet<Arc<str>>, name: &str) -> Arc<str> {
        let name = if name.is_empty() { NONE } else { name };
        if let Some(name) = names.get(name) {
            return Arc::clone(name);
        }
        if names.len() >= self.most || name.len() > MAX_NAME {
            return OTHER.into();
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{RequestOutcome, testing::request};

    fn model(labels: &Labels, model: &str) -> Arc<str> {
        labels.bound(&request(model, RequestOutcome::Success, 1)).model
    }

    #[test]
    fn the_names_of_a_label_are_bounded() {
        let labels = Labels::new(1_000);
        for at in 0..1_000 {
            let name = format!("m{at}");
            assert_eq!(*model(&labels, &name), *name);
        }
        assert_eq!(&*model(&labels, "one more"), OTHER);
        assert_eq!(&*model(&labels, "m7"), "m7", "known names stay");
    }

    #[test]
    fn a_model_has_its_name_once_a_provider_was_called_for_it() {
        let labels = Labels::new(10);
        let refused = RequestMetrics { provider: None, ..request("m", RequestOutcome::Success, 1) };
        assert_eq!(&*labels.bound(&refused).model, UNKNOWN);
        assert_eq!(&*model(&labels, "m"), "m");
        assert_eq!(&*labels.bound(&refused).model, "m", "as an answer from a cache");
    }

    #[test]
    fn long_and_missing_names_have_one_name() {
        let labels = Labels::new(10);
        assert_eq!(&*model(&labels, &"m".repeat(1_000)), OTHER);
        assert_eq!(&*model(&labels, ""), NONE);
    }
}
