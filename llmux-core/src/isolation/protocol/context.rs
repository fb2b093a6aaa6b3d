//! The messages with the context of a request, and with what plugins have set in it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The context of a request.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Context<'a> {
    pub(in crate::isolation) request_id: &'a str,
    /// Path of the endpoint.
    pub(in crate::isolation) endpoint: &'a str,
    pub(in crate::isolation) model: &'a str,
    pub(in crate::isolation) attempt: u32,
    pub(in crate::isolation) is_streaming: bool,
    pub(in crate::isolation) read_only: bool,
    /// Time of arrival, in microseconds since the Unix epoch.
    pub(in crate::isolation) started: i64,
    #[serde(borrow)]
    pub(in crate::isolation) deployment: Option<Deployment<'a>>,
    #[serde(borrow)]
    pub(in crate::isolation) identity: Option<Identity<'a>>,
    pub(in crate::isolation) client: Option<&'a str>,
    #[serde(borrow)]
    pub(in crate::isolation) headers: Headers<'a>,
    /// Headers of the provider's answer, credentials redacted; `None` if there is no answer.
    #[serde(borrow)]
    pub(in crate::isolation) provider_headers: Option<Headers<'a>>,
    /// True if the child keeps this context for later calls of the request.
    pub(in crate::isolation) is_kept: bool,
}

/// The headers of a request, or of the provider's answer to it.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) enum Headers<'a> {
    /// The text of `pipeline::headers`.
    #[serde(borrow, with = "serde_bytes")]
    Given(Cow<'a, [u8]>),
    /// The headers of the context that the child has kept.
    Kept,
}

/// The values and headers that plugins have set. From the child: those that the call has set.
#[derive(Default, Serialize, Deserialize)]
pub(in crate::isolation) struct Collected<'a> {
    #[serde(borrow)]
    pub(in crate::isolation) values: Vec<(&'a str, Value<'a>)>,
    #[serde(borrow)]
    pub(in crate::isolation) response_headers: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    pub(in crate::isolation) provider_headers: Vec<(&'a str, &'a str)>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Deployment<'a> {
    pub(in crate::isolation) id: &'a str,
    pub(in crate::isolation) provider: &'a str,
}

#[derive(Serialize, Deserialize)]
pub(in crate::isolation) struct Identity<'a> {
    pub(in crate::isolation) key_id: &'a str,
    pub(in crate::isolation) user: Option<&'a str>,
    pub(in crate::isolation) team: Option<&'a str>,
}

/// A value that plugins share.
#[derive(Serialize, Deserialize)]
pub(in crate::isolation) enum Value<'a> {
    String(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Json(&'a str),
}
