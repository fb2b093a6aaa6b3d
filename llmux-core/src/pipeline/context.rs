//! The context of a request: what all its hooks share. Made when the request enters, kept to its end.
//!
//! Values and response headers belong to one attempt (rule F2); the states of the instances, to the request.
//! Both are copied on write, so that undoing a failed hook costs a reference count.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_abi::REDACTED_HEADERS;
use tokio::time::Instant;

use super::{
    clock::{Clock, Limit},
    snapshot::Snapshot,
};
use crate::{Endpoint, boundary::StateSlot, client::routing::Deployment};

/// Who sent a request, as the host authenticated them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the API key, never the key.
    pub key_id: String,
    /// The user the key belongs to.
    pub user: Option<String>,
    /// The team the key belongs to.
    pub team: Option<String>,
}

/// A value that plugins share (rule X2).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    String(Arc<str>),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// JSON text.
    Json(Arc<str>),
}

impl Value {
    /// How many bytes of text it holds.
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::String(text) | Value::Json(text) => text.len(),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => 0,
        }
    }
}

/// The most values or response headers of one request, and the most bytes of one of them.
const MAX_ENTRIES: usize = 256;
const MAX_ENTRY_BYTES: usize = 1024 * 1024;

/// Why an entry was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// HTTP does not allow it, or the host keeps the name for itself.
    Invalid,
    /// Too many, or too large.
    TooLarge,
}

/// What an attempt collects: undone with a failed hook, fresh for a fallback.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    values: Arc<Vec<(Arc<str>, Value)>>,
    response_headers: Arc<Vec<(HeaderName, HeaderValue)>>,
}

impl Collected {
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> &[(Arc<str>, Value)] {
        &self.values
    }

    pub(crate) fn set_value(&mut self, key: &str, value: Value) -> Result<(), Refused> {
        if value.size() > MAX_ENTRY_BYTES || key.len() > 1024 {
            return Err(Refused::TooLarge);
        }
        let at = self.values.iter().position(|(name, _)| &**name == key);
        match at {
            Some(at) => Arc::make_mut(&mut self.values)[at].1 = value,
            None if self.values.len() == MAX_ENTRIES => return Err(Refused::TooLarge),
            None => Arc::make_mut(&mut self.values).push((key.into(), value)),
        }
        Ok(())
    }

    pub(crate) fn response_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.response_headers
    }

    pub(crate) fn set_response_header(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refused::Invalid)?;
        let value = HeaderValue::from_str(value).map_err(|_| Refused::Invalid)?;
        if RESERVED.contains(&name.as_str()) {
            return Err(Refused::Invalid);
        }
        if value.len() > 8 * 1024 {
            return Err(Refused::TooLarge);
        }
        let at = self.response_headers.iter().position(|(there, _)| *there == name);
        match at {
            Some(at) => Arc::make_mut(&mut self.response_headers)[at].1 = value,
            None if self.response_headers.len() == MAX_ENTRIES => return Err(Refused::TooLarge),
            None => Arc::make_mut(&mut self.response_headers).push((name, value)),
        }
        Ok(())
    }
}

/// Headers that say how the response is framed: the server's business.
const RESERVED: [&str; 8] = [
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "trailer",
    "te",
];

/// A request's context.
pub(crate) struct RequestContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) endpoint: Endpoint,
    pub(crate) is_streaming: bool,
    pub(crate) identity: Option<Arc<Identity>>,
    /// The request's headers, credentials redacted.
    pub(crate) headers: Arc<HeaderMap>,
    /// When the request arrived.
    pub(crate) started: Instant,
    started_at: SystemTime,
    /// The model that the request names now.
    pub(crate) model: Arc<str>,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u32,
    /// The deployment chosen now.
    pub(crate) deployment: Option<Arc<Deployment>>,
    pub(crate) collected: Collected,
    /// A state for each instance of the snapshot, in its order.
    pub(crate) states: Vec<StateSlot>,
    /// The call under way: the instance's place in the snapshot, and when it runs out of time.
    pub(crate) at: usize,
    pub(crate) limit: Limit,
    /// May only be read: the request is complete.
    pub(crate) read_only: bool,
    /// What was collected before the call under way changed it.
    saved: Option<Collected>,
}

impl RequestContext {
    pub(crate) fn new(
        endpoint: Endpoint,
        is_streaming: bool,
        request_id: Arc<str>,
        identity: Option<Arc<Identity>>,
        headers: Arc<HeaderMap>,
        snapshot: &Snapshot,
    ) -> Self {
        let started = Instant::now();
        Self {
            request_id,
            endpoint,
            is_streaming,
            identity,
            headers,
            started,
            started_at: SystemTime::now(),
            model: "".into(),
            attempt: 0,
            deployment: None,
            collected: Collected::default(),
            states: snapshot.entries.iter().map(|entry| entry.instance().state_slot()).collect(),
            at: 0,
            limit: Limit { started: Clock::start(), timeout: Duration::ZERO },
            read_only: false,
            saved: None,
        }
    }

    /// What is collected, for a hook to change.
    pub(crate) fn collected_mut(&mut self) -> &mut Collected {
        if self.saved.is_none() {
            self.saved = Some(self.collected.clone());
        }
        &mut self.collected
    }

    /// Keeps what the call changed.
    pub(crate) fn commit(&mut self) {
        self.saved = None;
    }

    /// Undoes what the call changed.
    pub(crate) fn roll_back(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.collected = saved;
        }
    }

    /// Microseconds since the Unix epoch at which the request arrived.
    pub(crate) fn started_micros(&self) -> i64 {
        let since = self.started_at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        since.as_micros().try_into().unwrap_or(i64::MAX)
    }
}

/// Headers whose values are credentials: plugins and logs see `[redacted]`.
pub(crate) fn redacted(mut headers: HeaderMap) -> HeaderMap {
    for name in REDACTED_HEADERS {
        if let http::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.insert(HeaderValue::from_static("[redacted]"));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_not_changed_by_what_comes_after() {
        let mut collected = Collected::default();
        collected.set_value("a", Value::Integer(1)).expect("set");
        let before = collected.clone();
        collected.set_value("a", Value::Integer(2)).expect("set");
        collected.set_response_header("x-cache", "hit").expect("set");
        assert_eq!(before.value("a"), Some(&Value::Integer(1)));
        assert!(before.response_headers().is_empty());
    }

    #[test]
    fn framing_headers_are_the_servers() {
        let mut collected = Collected::default();
        assert_eq!(collected.set_response_header("Content-Length", "1"), Err(Refused::Invalid));
        assert_eq!(collected.set_response_header("bad name", "1"), Err(Refused::Invalid));
        assert_eq!(collected.set_response_header("x", "a\r\nb"), Err(Refused::Invalid));
    }

    #[test]
    fn entries_are_bounded() {
        let mut collected = Collected::default();
        for at in 0..MAX_ENTRIES {
            collected.set_value(&at.to_string(), Value::Boolean(true)).expect("set");
        }
        assert_eq!(collected.set_value("one more", Value::Boolean(true)), Err(Refused::TooLarge));
    }

    #[test]
    fn x1_credentials_are_redacted() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer sk-secret"));
        headers.append("authorization", HeaderValue::from_static("Bearer sk-second"));
        headers.insert("x-tenant", HeaderValue::from_static("a"));
        let headers = redacted(headers);
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["[redacted]"]);
        assert_eq!(headers["x-tenant"], "a");
    }
}
