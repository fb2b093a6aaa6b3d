//! The way of a plugin's log records, metrics and HTTP requests out of a child process.
//!
//! `host` calls it beside its own services, and `isolation` implements it in the child. Deliberately absent: the services
//! that run in the child (`spawn`, `sleep`).

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    http::{HttpResponse, Request},
    paused::Paused,
};
use crate::metrics::MetricKind;

/// The parts of the host's services that leave the child process.
pub(crate) trait Mirror: Send + Sync {
    /// Returns true if the host takes records of this level of the contract.
    fn takes(&self, level: u32) -> bool;

    /// Sends a log record. `fields` is the text of a JSON object.
    fn log(&self, level: u32, source: &str, message: &str, fields: Option<&str>);

    /// Sends the registration of a metric, with its number in this process.
    fn register(&self, id: u64, kind: &MetricKind<'_>, name: &str, help: &str, labels: &[&str]);

    /// Sends a value of a metric.
    fn record(&self, id: u64, labels: &[&str], value: f64);

    /// Sends an HTTP request through the host. Dropping the future, or the response, ends it.
    fn http(&self, request: Request) -> BoxFuture<'static, HttpResponse>;

    /// Returns the clock of this process, if its time is paused.
    fn paused(&self) -> Option<&Arc<Paused>>;
}
