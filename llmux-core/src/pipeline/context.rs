//! The context of a request, shared by all its hooks. It is made when the request enters and kept to its end.
//!
//! Values and response headers belong to one attempt (rule F2). What a failed hook set is undone (rule E1).

use std::{
    cell::RefCell,
    mem,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_abi::{REDACTED_HEADERS, Value};
use tokio::time::Instant;

use crate::{Endpoint, upstream::Deployment};

/// The authenticated sender of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the API key, never the key.
    pub key_id: String,
    /// The user the key belongs to.
    pub user: Option<String>,
    /// The team the key belongs to.
    pub team: Option<String>,
}

/// A value that plugins share (rule X2), as the host keeps it. A clone is cheap.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StoredValue {
    String(Arc<str>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// JSON text.
    Json(Arc<str>),
}

impl StoredValue {
    /// Returns the number of bytes of its text.
    pub(crate) fn size(&self) -> usize {
        match self {
            StoredValue::String(text) | StoredValue::Json(text) => text.len(),
            StoredValue::Integer(_) | StoredValue::Float(_) | StoredValue::Boolean(_) => 0,
        }
    }

    /// Returns the value as embedders read it. JSON text that does not parse reads as null.
    pub(crate) fn to_value(&self) -> Value {
        match self {
            StoredValue::String(text) => Value::String(text.to_string()),
            StoredValue::Integer(integer) => Value::Integer(*integer),
            StoredValue::Float(float) => Value::Float(*float),
            StoredValue::Boolean(boolean) => Value::Boolean(*boolean),
            StoredValue::Json(text) => Value::Json(serde_json::from_str(text).unwrap_or_default()),
        }
    }
}

/// The most values or response headers of one request, and the most bytes of one of them.
const MAX_ENTRIES: usize = 256;
const MAX_ENTRY_BYTES: usize = 1024 * 1024;

/// The reason for which an entry was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// HTTP does not allow it, or the host reserves the name.
    Invalid,
    /// Too many, or too large.
    TooLarge,
}

/// The values and response headers of one attempt. A fallback starts with empty ones.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    values: Entries<Arc<str>, StoredValue>,
    response_headers: Entries<HeaderName, HeaderValue>,
    /// The headers of the request to the provider. Few plugins set any.
    provider_headers: Option<Box<Entries<HeaderName, HeaderValue>>>,
}

/// Named entries in the order in which they were set, with the values before the current call.
#[derive(Debug)]
struct Entries<K, V> {
    list: Vec<(K, V)>,
    /// Number of entries that stay if the current call fails.
    kept: usize,
    /// Former values of the entries that the current call has replaced.
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

    /// Replaces the entry at a place, or adds one.
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
    pub(crate) fn value(&self, key: &str) -> Option<&StoredValue> {
        self.values().iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> &[(Arc<str>, StoredValue)] {
        &self.values.list
    }

    pub(crate) fn set_value(
        &mut self,
        key: impl AsRef<str> + Into<Arc<str>>,
        value: StoredValue,
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
        let (name, value) = (response_header(name)?, header_value(value)?);
        let at = self.response_headers.position(|there| *there == name);
        self.response_headers.set(at, || name, value)
    }

    pub(crate) fn provider_headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.provider_headers.as_deref().map_or(&[], |headers| &headers.list)
    }

    pub(crate) fn set_provider_header(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let (name, value) = (provider_header(name)?, header_value(value)?);
        let headers = self.provider_headers.get_or_insert_default();
        let at = headers.position(|there| *there == name);
        headers.set(at, || name, value)
    }

    /// Keeps the changes of the current call.
    pub(crate) fn commit(&mut self) {
        self.values.commit();
        self.response_headers.commit();
        self.provider_headers.iter_mut().for_each(|headers| headers.commit());
    }

    /// Undoes the changes of the current call.
    pub(crate) fn roll_back(&mut self) {
        self.values.roll_back();
        self.response_headers.roll_back();
        self.provider_headers.iter_mut().for_each(|headers| headers.roll_back());
    }
}

/// Returns the name of a header that plugins may set. The same few names are set again and again, and parsing one costs
/// more than all the rest, so each thread keeps some.
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

fn header_value(value: &str) -> Result<HeaderValue, Refused> {
    let value = HeaderValue::from_str(value).map_err(|_| Refused::Invalid)?;
    if value.len() > 8 * 1024 { Err(Refused::TooLarge) } else { Ok(value) }
}

/// Returns the name of a header to the provider that plugins may set: none that frames the message or concerns one
/// connection, and none that carries a credential.
fn provider_header(name: &str) -> Result<HeaderName, Refused> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refused::Invalid)?;
    let is_reserved = is_reserved_header(&name)
        || matches!(name.as_str(), "host" | "accept" | "accept-encoding" | "expect")
        || REDACTED_HEADERS.contains(&name.as_str());
    if is_reserved { Err(Refused::Invalid) } else { Ok(name) }
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

/// Returns true if plugins may not set this response header: it frames the body, concerns one connection, or is
/// `x-request-id`. A plugin that sets one gets an error. A server may therefore send every header of a reply as it is.
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
    /// The headers of the provider's answer to this attempt.
    pub(crate) provider_headers: Option<Box<HeaderMap>>,
    client: Option<IpAddr>,
    /// The address of the client as text, once a plugin has asked for it.
    client_text: OnceLock<Box<str>>,
    /// Time of the request's arrival.
    pub(crate) started: Instant,
    started_at: SystemTime,
    /// The model that the request names at present.
    pub(crate) model: Arc<str>,
    /// Number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// The deployment that was called last in this attempt; `None` while no provider was called.
    pub(crate) deployment: Option<Arc<Deployment>>,
    pub(crate) collected: Collected,
    /// True once the request is complete: hooks may then only read.
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
        client: Option<IpAddr>,
    ) -> Self {
        let started = Instant::now();
        Self {
            request_id,
            endpoint,
            is_streaming,
            identity,
            headers,
            provider_headers: None,
            client,
            client_text: OnceLock::new(),
            started,
            started_at: SystemTime::now(),
            model,
            attempt: 0,
            deployment: None,
            collected: Collected::default(),
            read_only: false,
        }
    }

    /// Returns a header of the provider's answer to this attempt, credentials redacted.
    pub(crate) fn provider_header(&self, name: &str) -> Option<&str> {
        let value = self.provider_headers.as_deref()?.get(name)?;
        let is_credential = REDACTED_HEADERS.iter().any(|it| it.eq_ignore_ascii_case(name));
        if is_credential { Some(REDACTED) } else { value.to_str().ok() }
    }

    /// Returns the address of the client.
    pub(crate) fn client(&self) -> Option<&str> {
        let client = self.client?;
        Some(self.client_text.get_or_init(|| client.to_string().into()))
    }

    /// Returns the time of arrival, in microseconds since the Unix epoch.
    pub(crate) fn started_micros(&self) -> i64 {
        let since = self.started_at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        since.as_micros().try_into().unwrap_or(i64::MAX)
    }
}

const REDACTED: &str = "[redacted]";

/// Replaces the values of credential headers by `[redacted]`, for plugins and logs.
pub(crate) fn redacted(mut headers: HeaderMap) -> HeaderMap {
    let is_credential = |name: &&HeaderName| REDACTED_HEADERS.contains(&name.as_str());
    let credentials: Vec<_> = headers.keys().filter(is_credential).cloned().collect();
    for name in credentials {
        headers.insert(name, HeaderValue::from_static(REDACTED));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_what_a_failed_call_set_is_undone_and_nothing_else() {
        let mut collected = Collected::default();
        collected.set_value("a", StoredValue::Integer(1)).expect("set");
        collected.commit();
        collected.set_value("a", StoredValue::Integer(2)).expect("set");
        collected.set_value("a", StoredValue::Integer(3)).expect("set");
        collected.set_value("b", StoredValue::Integer(4)).expect("set");
        collected.set_value("b", StoredValue::Integer(5)).expect("set");
        collected.set_response_header("x-cache", "hit").expect("set");
        collected.roll_back();
        assert_eq!(collected.values(), [("a".into(), StoredValue::Integer(1))]);
        assert!(collected.response_headers().is_empty());
        collected.set_value("a", StoredValue::Integer(6)).expect("set");
        collected.commit();
        collected.roll_back();
        assert_eq!(collected.value("a"), Some(&StoredValue::Integer(6)));
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
            collected.set_value(at.to_string(), StoredValue::Boolean(true)).expect("set");
        }
        assert_eq!(collected.set_value("one more", StoredValue::Boolean(true)), Err(Refused::TooLarge));
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
