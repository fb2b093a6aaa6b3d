//! The deployment of a stored response, for requests that continue, retrieve, delete or cancel it.
//!
//! `router` asks it. It knows the deployments of the configuration, and those of providers of every model.

use std::sync::Arc;

use super::{
    any_model::AnyModels,
    deployment::{Deployment, Deployments, Member, OfModel},
};

/// Returns a deployment by its id, with a model that it serves.
pub(super) fn find<'d>(
    deployments: &'d Deployments,
    any: &AnyModels,
    id: &'d str,
) -> Option<(&'d str, Arc<Deployment>)> {
    let named = deployments.find(id).map(|(model, deployment)| (model, deployment.clone()));
    named.or_else(|| any.find(id))
}

/// Returns a deployment of a model at a provider.
pub(super) fn at_provider(
    deployments: &Deployments,
    any: &AnyModels,
    model: &str,
    provider_name: &str,
) -> Option<Arc<Deployment>> {
    let named = deployments.at_provider(model, provider_name).cloned();
    named.or_else(|| any.at_provider(model, provider_name))
}

/// Returns the only deployment for a request that is pinned to that of a stored response; `None` if it is gone.
///
/// The provider has the response, not the model there: another model of the same provider may be asked to continue it. If
/// the model has no deployment at that provider, the request goes to the deployment of the response.
pub(super) fn of(deployments: &Deployments, any: &AnyModels, model: &str, pinned: &str) -> Option<OfModel> {
    let (_, home) = find(deployments, any, pinned)?;
    let of_model = deployments.of(model).into_iter().flat_map(|of| &of.members);
    let same = of_model.map(|member| &member.deployment).find(|deployment| deployment.id == home.id).cloned();
    let beside = same.or_else(|| at_provider(deployments, any, model, &home.provider_name));
    let member = Member { deployment: beside.unwrap_or(home), weight: 1, order: 1 };
    Some(OfModel::new(vec![member], 0))
}
