//! The deployments that may serve a request: all of its model, or the one that has a stored response.
//!
//! `router` asks it.

use std::sync::Arc;

use super::{
    deployment::{Deployment, Deployments},
    health::Turn,
    selection::Selection,
};

/// The deployments for one request.
pub(super) enum Candidates<'d> {
    /// The deployment that has a stored response; `None` if it is gone, or was tried.
    Home(Option<&'d Arc<Deployment>>),
    /// The deployments of the model.
    Model(Selection<'d>),
}

impl<'d> Candidates<'d> {
    /// The deployment for a request that is pinned to that of a stored response: the request continues, retrieves, deletes or
    /// cancels this response.
    ///
    /// The provider has the response, not the model there: another model of the same provider may be asked to continue it. If
    /// the model has no deployment at that provider, the request goes to the deployment of the response.
    pub(super) fn home(deployments: &'d Deployments, model: &str, pinned: &str) -> Self {
        let home = deployments.find(pinned).map(|(_, home)| home);
        Self::Home(home.map(|home| {
            let same = deployments.of(model).and_then(|of| {
                of.members.iter().map(|member| &member.deployment).find(|deployment| deployment.id == home.id)
            });
            same.or_else(|| deployments.at_provider(model, &home.provider_name)).unwrap_or(home)
        }))
    }

    /// Returns the next deployment to try; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<(&'d Arc<Deployment>, Turn)> {
        match self {
            Self::Home(home) => home.take().map(|home| (home, Turn::Usual)),
            Self::Model(selection) => selection.next(),
        }
    }
}
