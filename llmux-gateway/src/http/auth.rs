//! Client keys of the main listener, and the secrets in the headers of a request.
//!
//! `api` checks every request with it; `admin::tokens` reads the header with it. Only SHA-256 hashes are kept. Deliberately
//! absent: HTTP responses, which `api` makes.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use http::{HeaderMap, header};
use llmux_core::pipeline::Identity;
use llmux_terminal::{CliError, Result};

use crate::config::{
    file::Loaded,
    hash::{self, Hash},
};

/// Returns the secret in `Authorization: Bearer …`. Two such headers count as none, because it is unknown which one is
/// meant.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

/// Headers that hold a key as it is: those of Azure's clients and of Anthropic's.
const PLAIN: [&str; 2] = ["api-key", "x-api-key"];

/// Reason why a request has no valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    Missing,
    Invalid,
    /// Two headers hold different keys (rule F9).
    Different,
}

/// Returns the key of a request: in `Authorization: Bearer …`, `api-key` or `x-api-key`. The same key may be there several
/// times. An `Authorization` of another scheme does not count beside another header, because it may be meant for a proxy.
fn key(headers: &HeaderMap) -> Result<&str, KeyError> {
    let plain = PLAIN.iter().flat_map(|name| headers.get_all(*name)).filter(|value| !value.is_empty());
    let mut found = bearer(headers);
    if found.is_none() && headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        return Err(KeyError::Invalid);
    }
    for value in plain {
        let key = value.to_str().map_err(|_| KeyError::Invalid)?;
        if found.get_or_insert(key) != &key {
            return Err(KeyError::Different);
        }
    }
    found.ok_or(match headers.contains_key(header::AUTHORIZATION) {
        true => KeyError::Invalid,
        false => KeyError::Missing,
    })
}

/// The client keys of the main listener.
pub(crate) struct ApiKeys {
    /// Identities by the hash of their key. The time of a look-up tells nothing about a key: std's hasher chooses the
    /// entry that is compared by a hash of the hash, with a secret of this process.
    keys: HashMap<Hash, Arc<Identity>>,
}

impl ApiKeys {
    /// Returns the configured keys.
    ///
    /// # Errors
    ///
    /// If an id or a hash is there twice, or a hash is not 64 hexadecimal digits.
    pub(crate) fn of(loaded: &Loaded) -> Result<Self> {
        let configured = &loaded.config.api_keys;
        loaded.unique("an API key", configured.iter().map(|key| &key.id))?;
        let mut keys = HashMap::new();
        for key in configured {
            let identity =
                Identity { key_id: key.id.get_ref().clone(), user: key.user.clone(), team: key.team.clone() };
            if keys.insert(hash::check(loaded, &key.sha256)?, Arc::new(identity)).is_some() {
                return Err(loaded.problem(Some(key.sha256.span()), "another API key has the same hash"));
            }
        }
        Ok(Self { keys })
    }

    /// Returns true if no key is configured. Then every client is served.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Refuses a listener that other machines can reach, if no key is configured, unless it is `open`.
    pub(crate) fn check_listener(&self, address: SocketAddr, open: bool) -> Result<()> {
        if self.is_empty() && !open && !address.ip().is_loopback() {
            return Err(CliError::new(format!(
                "the listener {address} can be reached from other machines, so it needs an API key: add an [[api_key]], listen on 127.0.0.1, or set `open = true` in [server] to serve every client"
            )));
        }
        Ok(())
    }

    /// Returns the identity of the sender; `None` if no keys are configured.
    ///
    /// # Errors
    ///
    /// If the key is missing or wrong. Also, with or without configured keys, if headers hold different keys.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, KeyError> {
        match key(headers) {
            Err(KeyError::Different) => Err(KeyError::Different),
            _ if self.is_empty() => Ok(None),
            Err(error) => Err(error),
            Ok(key) => self.keys.get(&hash::of(key)).cloned().map(Some).ok_or(KeyError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a header"))).collect()
    }

    #[test]
    fn a_bearer_is_one_header_of_the_right_scheme() {
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&headers(&["bearer abc"])), Some("abc"));
        assert_eq!(bearer(&headers(&["BEARER  abc "])), Some("abc"));
        for wrong in [
            &[][..],
            &[""],
            &["abc"],
            &["Basic abc"],
            &["Bearer"],
            &["Bearer  "],
            &["Bearer\tabc"],
            &["Bearerabc"],
            &["Bearer a", "Bearer b"],
            &["Bearer a", "Basic b"],
        ] {
            assert_eq!(bearer(&headers(wrong)), None, "{wrong:?}");
        }
        let mut foreign = HeaderMap::new();
        foreign.insert(header::AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xe4bc").expect("a header"));
        assert_eq!(bearer(&foreign), None, "not ASCII");
    }

    #[test]
    fn f9_a_key_is_in_one_of_three_headers_and_different_keys_are_refused() {
        use KeyError::{Different, Invalid, Missing};
        for (given, expected) in [
            (&[][..], Err(Missing)),
            (&[("authorization", "Bearer a")], Ok("a")),
            (&[("api-key", "a")], Ok("a")),
            (&[("x-api-key", "a")], Ok("a")),
            (
                &[("authorization", "Bearer a"), ("api-key", "a"), ("x-api-key", "a"), ("x-api-key", "a")],
                Ok("a"),
            ),
            (&[("authorization", "Bearer a"), ("api-key", "b")], Err(Different)),
            (&[("authorization", "Bearer a"), ("x-api-key", "b")], Err(Different)),
            (&[("api-key", "a"), ("x-api-key", "b")], Err(Different)),
            (&[("x-api-key", "a"), ("x-api-key", "b")], Err(Different)),
            (&[("authorization", "Bearer a"), ("x-api-key", "")], Ok("a")),
            (&[("authorization", "Basic abc"), ("x-api-key", "a")], Ok("a")),
            (&[("authorization", "Basic abc")], Err(Invalid)),
            (&[("authorization", "Bearer b"), ("authorization", "Bearer a")], Err(Invalid)),
            (&[("authorization", "Bearer b"), ("authorization", "Bearer a"), ("api-key", "a")], Err(Invalid)),
            (&[("x-goog-api-key", "a")], Err(Missing)),
        ] {
            let headers: HeaderMap = given
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(key(&headers), expected, "{given:?}");
        }
        let foreign = HeaderValue::from_bytes(b"\xe4bc").expect("a header");
        let foreign: HeaderMap = [(HeaderName::from_static("api-key"), foreign)].into_iter().collect();
        assert_eq!(key(&foreign), Err(Invalid), "not ASCII");
    }
}
