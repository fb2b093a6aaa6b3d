//! The values and headers that plugins have set in one attempt of a request.
//!
//! `context` holds them. What a failed hook set is undone (rule E1); a fallback starts with none (rule F2).

use std::{cell::RefCell, mem, sync::Arc};

use http::{HeaderName, HeaderValue};
use llmux_abi::Value;

use crate::provider::{is_reserved_header, is_reserved_to_provider};

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
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    values: Entries<Arc<str>, StoredValue>,
    response_headers: Entries<HeaderName, HeaderValue>,
    /// The headers of the request to the provider. Few plugins set any.
    provider_headers: Option<Box<Entries<HeaderName, HeaderValue>>>,
    /// True if the current call may have changed something. Most calls change nothing.
    is_touched: bool,
    /// True for a draft: its changes stay apart, also after the call.
    is_draft: bool,
}

/// Named entries in the order in which they were set, with the values before the current call.
#[derive(Clone, Debug)]
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

    /// Returns the entries that the current call has set.
    fn changed(&self) -> impl Iterator<Item = &(K, V)> {
        let replaced = self.replaced.iter().map(|(at, _)| &self.list[*at]);
        replaced.chain(&self.list[self.kept..])
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
        self.is_touched = true;
        let at = self.values.position(|there| &**there == name);
        self.values.set(at, || key.into(), value)
    }

    pub(crate) fn response_headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.response_headers.list
    }

    pub(crate) fn set_response_header(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let (name, value) = (response_header(name)?, header_value(value)?);
        self.is_touched = true;
        let at = self.response_headers.position(|there| *there == name);
        self.response_headers.set(at, || name, value)
    }

    pub(crate) fn provider_headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.provider_headers.as_deref().map_or(&[], |headers| &headers.list)
    }

    pub(crate) fn set_provider_header(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let (name, value) = (provider_header(name)?, header_value(value)?);
        self.is_touched = true;
        let headers = self.provider_headers.get_or_insert_default();
        let at = headers.position(|there| *there == name);
        headers.set(at, || name, value)
    }

    /// Returns the values that the current call has set.
    pub(crate) fn changed_values(&self) -> impl Iterator<Item = &(Arc<str>, StoredValue)> {
        self.values.changed()
    }

    /// Returns the response headers that the current call has set.
    pub(crate) fn changed_response_headers(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.response_headers.changed()
    }

    /// Returns the headers to the provider that the current call has set.
    pub(crate) fn changed_provider_headers(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.provider_headers.iter().flat_map(|headers| headers.changed())
    }

    /// Returns a copy for a hook that runs beside others. [`merge`](Self::merge) takes its changes over.
    pub(crate) fn draft(&self) -> Self {
        Self { is_draft: true, ..self.clone() }
    }

    /// Takes over what a hook has set in a draft. Entries that are too many are left out, and the first one is the error.
    pub(crate) fn merge(&mut self, draft: &Self) -> Result<(), Refused> {
        let mut merged = Ok(());
        for (key, value) in draft.changed_values() {
            merged = merged.and(self.set_value(key.clone(), value.clone()));
        }
        for (name, value) in draft.changed_response_headers() {
            self.is_touched = true;
            let at = self.response_headers.position(|there| there == name);
            merged = merged.and(self.response_headers.set(at, || name.clone(), value.clone()));
        }
        self.commit();
        merged
    }

    /// Returns true if the current call may have changed something.
    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched
    }

    /// Keeps the changes of the current call.
    #[inline]
    pub(crate) fn commit(&mut self) {
        if mem::take(&mut self.is_touched) && !self.is_draft {
            self.commit_entries();
        }
    }

    fn commit_entries(&mut self) {
        self.values.commit();
        self.response_headers.commit();
        self.provider_headers.iter_mut().for_each(|headers| headers.commit());
    }

    /// Undoes the changes of the current call.
    pub(crate) fn roll_back(&mut self) {
        self.is_touched = false;
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
    if is_reserved_to_provider(&name) { Err(Refused::Invalid) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::RESERVED;

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
}
