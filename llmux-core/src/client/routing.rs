//! Which deployments serve a model.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::provider::Provider;

/// A model at a provider.
pub(crate) struct Deployment {
    /// `provider/model`, for contexts and logs.
    pub(crate) id: Arc<str>,
    /// The configuration's name for the provider.
    pub(crate) provider_name: Arc<str>,
    /// The model's name there.
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
pub(crate) struct Routes {
    models: HashMap<Arc<str>, Vec<Arc<Deployment>>>,
    /// In the order in which they were added.
    names: Vec<Arc<str>>,
}

impl Routes {
    /// One more deployment of a model.
    pub(crate) fn add(
        &mut self,
        model: &str,
        upstream_model: &str,
        name: &Arc<str>,
        provider: &Arc<dyn Provider>,
    ) {
        let deployment = Deployment {
            id: format!("{name}/{upstream_model}").into(),
            provider_name: name.clone(),
            upstream_model: upstream_model.into(),
            provider: provider.clone(),
        };
        if !self.models.contains_key(model) {
            self.names.push(model.into());
        }
        self.models.entry(model.into()).or_default().push(Arc::new(deployment));
    }

    /// The deployments of a model, unless nobody serves it.
    pub(crate) fn route(&self, model: &str) -> Option<&[Arc<Deployment>]> {
        self.models.get(model).map(Vec::as_slice)
    }

    /// Every model with the providers that serve it.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.names.iter().map(|name| {
            let deployments = self.models.get(name).map(Vec::as_slice).unwrap_or_default();
            (&**name, deployments.iter().map(|deployment| &*deployment.provider_name))
        })
    }
}
