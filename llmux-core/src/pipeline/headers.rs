//! The headers of a request, or of a provider's answer to it, as plugins read them: without credentials.
//!
//! `context` holds them. The host has a map. A child process has the text that the host sent, and looks into it only if a
//! plugin asks for a header.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_abi::REDACTED_HEADERS;

/// The value of a credential, as plugins and logs have it.
const REDACTED: &str = "[redacted]";

/// Headers that plugins read.
#[derive(Clone)]
pub(crate) enum Headers {
    Map(Arc<HeaderMap>),
    /// The text of a map, from [`to_text`](Self::to_text).
    Text(Bytes),
}

impl Headers {
    /// Returns the first value of a header, if it consists of visible ASCII characters, and `[redacted]` for a credential.
    /// The name's case does not matter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = match self {
            Self::Map(map) => map.get(name)?.as_bytes(),
            Self::Text(text) => {
                let mut lines = text.split(|byte| *byte == b'\n');
                loop {
                    let (line, value) = (lines.next()?, lines.next()?);
                    if line.eq_ignore_ascii_case(name.as_bytes()) {
                        break value;
                    }
                }
            }
        };
        if is_credential(name) {
            return Some(REDACTED);
        }
        let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
        std::str::from_utf8(value).ok().filter(|value| value.as_bytes().iter().all(is_visible))
    }

    /// Returns the map; `None` in a child process.
    pub(crate) fn map(&self) -> Option<&Arc<HeaderMap>> {
        match self {
            Self::Map(map) => Some(map),
            Self::Text(_) => None,
        }
    }

    /// Returns true if both are one map.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Map(map), Self::Map(other)) if Arc::ptr_eq(map, other))
    }

    /// Returns the text of the headers: each name in a line, followed by a line with its value. Credentials are redacted.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let map = match self {
            Self::Map(map) => map,
            Self::Text(text) => return text.to_vec(),
        };
        let size = map.iter().map(|(name, value)| name.as_str().len() + value.len().max(REDACTED.len()) + 2);
        let mut text = Vec::with_capacity(size.sum());
        for (name, value) in &**map {
            let value = if is_credential(name.as_str()) { REDACTED.as_bytes() } else { value.as_bytes() };
            // Neither a name nor a value can contain a line feed.
            for line in [name.as_str().as_bytes(), value] {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        text
    }
}

/// Replaces the values of credentials by `[redacted]`, for plugins and logs.
pub(crate) fn redacted(mut headers: HeaderMap) -> HeaderMap {
    let is_credential = |name: &&HeaderName| is_credential(name.as_str());
    let credentials: Vec<_> = headers.keys().filter(is_credential).cloned().collect();
    for name in credentials {
        headers.insert(name, HeaderValue::from_static(REDACTED));
    }
    headers
}

/// Returns true for the name of a credential, in any case.
fn is_credential(name: &str) -> bool {
    /// The marks of all names of credentials. Few other names have one of them.
    const MARKS: u128 = {
        let (mut marks, mut at) = (0, 0);
        while at < REDACTED_HEADERS.len() {
            marks |= mark(REDACTED_HEADERS[at]);
            at += 1;
        }
        marks
    };
    MARKS & mark(name) != 0 && REDACTED_HEADERS.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Returns one bit for the length and the first letter of a name.
const fn mark(name: &str) -> u128 {
    let Some(first) = name.as_bytes().first() else { return 0 };
    1 << ((name.len() * 8 + first.to_ascii_lowercase() as usize) % 128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).expect("a value"));
        }
        map
    }

    #[test]
    fn x1_credentials_are_redacted() {
        let headers = map(&[
            ("authorization", b"Bearer sk-secret"),
            ("authorization", b"Bearer sk-second"),
            ("x-tenant", b"a"),
        ]);
        let headers = redacted(headers);
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["[redacted]"]);
        assert_eq!(headers["x-tenant"], "a");
        for name in REDACTED_HEADERS {
            // A name in any other case could not be asked for.
            let name = HeaderName::from_static(name);
            let headers =
                map(&[]).into_iter().chain([(Some(name.clone()), "secret".parse().expect("a value"))]);
            let headers = redacted(headers.filter_map(|(name, value)| Some((name?, value))).collect());
            assert_eq!(headers[&name], "[redacted]", "{name}");
        }
    }

    #[test]
    fn x1_a_map_and_its_text_read_the_same() {
        let map = map(&[
            ("x-empty", b""),
            ("x-tenant", b"a\tb c"),
            ("x-tenant", b"second"),
            ("x-latin", b"caf\xe9"),
            ("x-utf-8", "caf\u{e9}".as_bytes()),
            ("set-cookie", b"secret"),
            ("x-api-key", b"caf\xe9"),
        ]);
        let headers = Headers::Map(Arc::new(map));
        let text = headers.to_text();
        assert!(!text.windows(6).any(|part| part == b"secret"), "{text:?}");
        let text = Headers::Text(text.into());
        assert_eq!(text.to_text(), headers.to_text());
        for (name, value) in [
            ("x-empty", Some("")),
            ("X-Tenant", Some("a\tb c")),
            ("x-latin", None),
            ("x-utf-8", None),
            ("Set-Cookie", Some("[redacted]")),
            ("x-api-key", Some("[redacted]")),
            ("second", None),
            ("", None),
            ("x-ten", None),
        ] {
            assert_eq!((headers.get(name), text.get(name)), (value, value), "{name}");
        }
        for none in [&map_of_none(), &Headers::Text(Bytes::new())] {
            assert_eq!((none.get(""), none.get("x")), (None, None));
        }
    }

    fn map_of_none() -> Headers {
        Headers::Map(Arc::default())
    }
}
