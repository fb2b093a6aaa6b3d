//! The route of the admin API for providers: their deployments, with state and figures.
//!
//! `router` has accepted the request before. Deliberately absent: changes, which are the configuration's.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use llmux_core::client::DeploymentInfo;
use serde::Serialize;
use serde_json::json;

use super::state::Admin;
use crate::http::reply;

/// A provider, and its deployments.
#[derive(Serialize)]
struct ProviderInfo {
    name: String,
    deployments: Vec<DeploymentInfo>,
}

pub(crate) async fn providers(State(admin): State<Arc<Admin>>) -> Response {
    let mut providers: Vec<ProviderInfo> = Vec::new();
    for deployment in admin.client.deployments() {
        match providers.iter_mut().find(|provider| provider.name == deployment.provider) {
            Some(provider) => provider.deployments.push(deployment),
            None => providers
                .push(ProviderInfo { name: deployment.provider.clone(), deployments: vec![deployment] }),
        }
    }
    reply::json_value(StatusCode::OK, &json!({"providers": providers}))
}
