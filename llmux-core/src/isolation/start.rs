//! The start of an isolated instance, and the refusal on systems without one.
//!
//! `plugins::registry` calls it, on every system.

use std::sync::Arc;

use super::plan::{Plan, StartError, Supervised};
use crate::pipeline::hook::Hooks;

/// An instance that runs in a child process, and the view of its child.
pub(crate) type Started = (Box<dyn Hooks>, Arc<dyn Supervised>);

/// Starts an instance in a child process. `check` receives the schema of the configuration.
///
/// # Errors
///
/// The reason for which the child does not run, or the error of `check`.
#[cfg(target_os = "linux")]
pub(crate) async fn start<E: From<StartError>>(
    plan: Plan,
    config: String,
    check: impl FnOnce(&str) -> Result<(), E> + Send,
) -> Result<Started, E> {
    use super::host::{hooks::IsolatedHooks, supervisor::Supervisor};
    let (supervisor, hooks) = Supervisor::start(plan, config, check).await?;
    Ok((Box::new(IsolatedHooks::new(supervisor.clone(), hooks)), supervisor))
}

/// Loads a library in a child process that then ends, and returns the schema of the configuration.
///
/// # Errors
///
/// The reason for which there is no schema.
#[cfg(target_os = "linux")]
pub(crate) async fn schema(plan: &Plan) -> Result<String, StartError> {
    super::host::supervisor::Supervisor::schema(plan).await
}

#[cfg(not(target_os = "linux"))]
const UNSUPPORTED: &str = "isolation = \"process\" needs Linux; remove it, or run this host on Linux";

/// Refuses: a child that outlives its host cannot be excluded on this system.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn start<E: From<StartError>>(
    _: Plan,
    _: String,
    _: impl FnOnce(&str) -> Result<(), E> + Send,
) -> Result<Started, E> {
    Err(StartError::NoChild(UNSUPPORTED.to_owned()).into())
}

/// Refuses, as `start` does.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn schema(_: &Plan) -> Result<String, StartError> {
    Err(StartError::NoChild(UNSUPPORTED.to_owned()))
}
