//! The deployments that serve each model.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::provider::Provider;

/// A model at a provider.
pub(crate) struct Deployment {
    /// `provider/model`, for contexts and logs.
    pub(crate) id: Arc<str>,
    /// The provider's name in the configuration.
    pub(crate) provider_name: Arc<str>,
    /// The model's name at the provider.
    pub(crate) upstream_model: Arc<str>,
    pub(crate) provider: Arc<dyn Provider>,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// The deployments of every model, in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Deployments {
    by_model: HashMap<Arc<str>, Vec<Arc<Deployment>>>,
    /// The models in the order in which they were added.
    models: Vec<Arc<str>>,
}

impl Deployments {
    /// Adds a deployment of a model.
    pub(crate) fn add(
        &mut self,
        model: &str,
        upstream_model: &str,
        provider_name: &Arc<str>,
        provider: &Arc<dyn Provider>,
    ) {
        let deployment = Deployment {
            id: format!("{provider_name}/{upstream_model}").into(),
            provider_name: provider_name.clone(),
            upstream_model: upstream_model.into(),
            provider: provider.clone(),
        };
        if !self.by_model.contains_key(model) {
            self.models.push(model.into());
        }
        self.by_model.entry(model.into()).or_default().push(Arc::new(deployment));
    }

    /// Returns the deployments of a model; none if no provider serves it.
    pub(crate) fn of(&self, model: &str) -> &[Arc<Deployment>] {
        self.by_model.get(model).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns every model with the providers that serve it.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.models
            .iter()
            .map(|model| (&**model, self.of(model).iter().map(|deployment| &*deployment.provider_name)))
    }
}
