//! The context of a request: what all its hooks share. Made when the request enters, kept to its end.
//!
//! Values and response headers belong to one attempt (rule F2); the states of the instances, to the request.
//! A hook that fails leaves no trace in the former: what it set anew is kept until the call has ended.

use std::{
    cell::RefCell,
    mem,
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
#[derive(Debug, Default)]
pub(crate) struct Collected {
    values: Entries<Arc<str>, Value>,
    response_headers: Entries<HeaderName, HeaderValue>,
}

/// Named things in the order in which they were set, and a way back to how they were before a call.
#[derive(Debug)]
struct Entries<K, V> {
    list: Vec<(K, V)>,
    /// How many of them a failed call leaves.
    kept: usize,
    /// What they were, of those that the call under way has set anew.
    replaced: Vec<(usize, V)>,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { list: Vec::new(), kept: 0, replaced: Vec::new() }
    }
}

impl<K, V> Entries<K, V> {
    fn position(&self, is: impl Fn(&K) -> bool) -> Option<usize> {
        self.list.iter().position(|(key, _)| is(key))
    }

    /// Sets the entry at a place, or a new one.
    fn set(&mut self, at: Option<usize>, key: impl FnOnce() -> K, value: V) -> Result<(), Refused> {
        match at {
            Some(at) => {
                let before = mem::replace(&mut self.list[at].1, value);
                if at < self.kept && self.replaced.iter().all(|(replaced, _)| *replaced != at) {
                    self.replaced.push((at, before));
                }
            }
            None if self.list.len() == MAX_ENTRIES => return Err(Refused::TooLarge),
            None => self.list.push((key(), value)),
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.kept = self.list.len();
        self.replaced.clear();
    }

    fn roll_back(&mut self) {
        self.list.truncate(self.kept);
        for (at, before) in self.replaced.drain(..) {
            self.list[at].1 = before;
        }
    }
}

impl Collected {
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.values().iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> &[(Arc<str>, Value)] {
        &self.values.list
    }

    pub(crate) fn set_value(
        &mut self,
        key: impl AsRef<str> + Into<Arc<str>>,
        value: Value,
    ) -> Result<(), Refused> {
        let name = key.as_ref();
        if value.size() > MAX_ENTRY_BYTES || name.len() > 1024 {
            return Err(Refused::TooLarge);
        }
        let at = self.values.position(|there| &**there == name);
        self.values.set(at, || key.into(), value)
    }

    pub(crate) fn response_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.response_headers.list
    }

    pub(crate) fn set_response_header(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let name = response_header(name)?;
        let value = HeaderValue::from_str(value).map_err(|_| Refused::Invalid)?;
        if value.len() > 8 * 1024 {
            return Err(Refused::TooLarge);
        }
        let at = self.response_headers.position(|there| *there == name);
        self.response_headers.set(at, || name, value)
    }

    /// Keeps what the call changed.
    pub(crate) fn commit(&mut self) {
        self.values.commit();
        self.response_headers.commit();
    }

    /// Undoes what the call changed.
    pub(crate) fn roll_back(&mut self) {
        self.values.roll_back();
        self.response_headers.roll_back();
    }
}

/// The name of a header that plugins may set. Few names are set again and again, and reading one anew would cost
/// more than all else about it, so each thread keeps some.
fn response_header(name: &str) -> Result<HeaderName, Refused> {
    const MOST: usize = 32;
    thread_local! {
        static NAMES: RefCell<Vec<HeaderName>> = const { RefCell::new(Vec::new()) };
    }
    NAMES.with_borrow_mut(|names| {
        if let Some(known) = names.iter().find(|known| known.as_str() == name) {
            return Ok(known.clone());
        }
        let read = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refused::Invalid)?;
        if is_reserved_header(&read) {
            return Err(Refused::Invalid);
        }
        if names.len() < MOST {
            names.push(read.clone());
        }
        Ok(read)
    })
}

/// Response headers that only the server sets: what frames the body, what concerns one connection (RFC 9110, 7.6.1), and
/// the request's id.
const RESERVED: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Returns true if plugins may not set this response header: it frames the body (`content-length`, `content-type`,
/// `content-encoding`, `transfer-encoding`, `trailer`), concerns one connection (`connection`, `keep-alive`,
/// `proxy-connection`, `te`, `upgrade`), or is `x-request-id`.
///
/// A plugin that sets one gets an error, and the header is not set. A server may therefore send every header of a reply
/// as it is.
pub fn is_reserved_header(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
}

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
}

impl RequestContext {
    pub(crate) fn new(
        endpoint: Endpoint,
        is_streaming: bool,
        model: Arc<str>,
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
            model,
            attempt: 0,
            deployment: None,
            collected: Collected::default(),
            states: snapshot.entries.iter().map(|entry| entry.instance().state_slot()).collect(),
            at: 0,
            limit: Limit { started: Clock::start(), timeout: Duration::ZERO },
            read_only: false,
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
    let is_credential = |name: &&HeaderName| REDACTED_HEADERS.contains(&name.as_str());
    let credentials: Vec<_> = headers.keys().filter(is_credential).cloned().collect();
    for name in credentials {
        headers.insert(name, HeaderValue::from_static("[redacted]"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_what_a_failed_call_set_is_undone_and_nothing_else() {
        let mut collected = Collected::default();
        collected.set_value("a", Value::Integer(1)).expect("set");
        collected.commit();
        collected.set_value("a", Value::Integer(2)).expect("set");
        collected.set_value("a", Value::Integer(3)).expect("set");
        collected.set_value("b", Value::Integer(4)).expect("set");
        collected.set_value("b", Value::Integer(5)).expect("set");
        collected.set_response_header("x-cache", "hit").expect("set");
        collected.roll_back();
        assert_eq!(collected.values(), [("a".into(), Value::Integer(1))]);
        assert!(collected.response_headers().is_empty());
        collected.set_value("a", Value::Integer(6)).expect("set");
        collected.commit();
        collected.roll_back();
        assert_eq!(collected.value("a"), Some(&Value::Integer(6)));
    }

    #[test]
    fn reserved_headers_are_refused() {
        let mut collected = Collected::default();
        for name in RESERVED {
            let name = name.to_ascii_uppercase();
            assert_eq!(collected.set_response_header(&name, "1"), Err(Refused::Invalid), "{name}");
        }
        assert_eq!(collected.set_response_header("bad name", "1"), Err(Refused::Invalid));
        assert_eq!(collected.set_response_header("x", "a\r\nb"), Err(Refused::Invalid));
    }

    #[test]
    fn entries_are_bounded() {
        let mut collected = Collected::default();
        for at in 0..MAX_ENTRIES {
            collected.set_value(at.to_string(), Value::Boolean(true)).expect("set");
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
        for name in REDACTED_HEADERS {
            // A name in any other case could not be asked for.
            let name = HeaderName::from_static(name);
            let headers =
                redacted([(name.clone(), HeaderValue::from_static("secret"))].into_iter().collect());
            assert_eq!(headers[&name], "[redacted]", "{name}");
        }
    }
}
