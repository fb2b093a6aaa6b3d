//! The messages with which a child uses the services of the host: log, metrics, HTTP.

use serde::{Deserialize, Serialize};

/// A log record of the plugin.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Log<'a> {
    pub(in crate::isolation) level: u32,
    pub(in crate::isolation) source: &'a str,
    pub(in crate::isolation) message: &'a str,
    /// The fields, as the text of a JSON object.
    pub(in crate::isolation) fields: Option<&'a str>,
}

/// A metric that the plugin registers.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Metric<'a> {
    /// Number of the metric in the child.
    pub(in crate::isolation) id: u64,
    pub(in crate::isolation) kind: MetricKind,
    pub(in crate::isolation) name: &'a str,
    pub(in crate::isolation) help: &'a str,
    #[serde(borrow)]
    pub(in crate::isolation) labels: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::isolation) enum MetricKind {
    Counter,
    Gauge,
    Histogram(Vec<f64>),
}

/// A value of a metric.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Record<'a> {
    pub(in crate::isolation) id: u64,
    #[serde(borrow)]
    pub(in crate::isolation) labels: Vec<&'a str>,
    pub(in crate::isolation) value: f64,
}

/// An HTTP request of the plugin.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Fetch<'a> {
    pub(in crate::isolation) method: &'a str,
    pub(in crate::isolation) url: &'a str,
    #[serde(borrow)]
    pub(in crate::isolation) headers: Vec<(&'a str, &'a str)>,
    #[serde(with = "serde_bytes")]
    pub(in crate::isolation) body: &'a [u8],
    /// Milliseconds.
    pub(in crate::isolation) timeout: u64,
    pub(in crate::isolation) max_body: u64,
    /// True if the plugin takes the body in pieces.
    pub(in crate::isolation) streams: bool,
}

/// A part of the response to a [`Fetch`].
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) enum Fetched<'a> {
    /// The head, with the whole body, or `None` if pieces follow.
    Head {
        status: u16,
        #[serde(borrow)]
        headers: Vec<(&'a str, &'a str)>,
        #[serde(with = "serde_bytes")]
        body: Option<&'a [u8]>,
    },
    #[serde(with = "serde_bytes")]
    Piece(&'a [u8]),
    End,
    /// Codes of the contract, and the reason.
    Failed {
        kind: u32,
        reason: &'a str,
    },
}
