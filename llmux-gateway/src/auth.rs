//! Who may do what: client keys on the main listener, tokens on the admin listener.
//!
//! Only SHA-256 hashes are kept. Deliberately absent: HTTP answers (`api` and `admin` give those) and the file of
//! the local token (`local_token`).

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use http::{HeaderMap, header};
use llmux_core::pipeline::Identity;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    config::{Loaded, Role},
    problem::{Problem, Result},
    setup::check_hash,
};

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// The hash of a key or token.
pub(crate) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// 64 hexadecimal digits.
pub(crate) fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(hash)
}

/// The secret in `Authorization: Bearer …`. Two such headers are none: which one counts would be a guess.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret)
}

/// The client keys of the main listener.
pub(crate) struct ApiKeys {
    /// Found by hash: how long a look-up takes says nothing about a key. What is compared with a guess is chosen by
    /// a hash of the hash, under a secret of this process (std's hasher), so a near miss meets nothing to be near to.
    keys: HashMap<Hash, Arc<Identity>>,
}

impl ApiKeys {
    pub(crate) fn of(loaded: &Loaded) -> Result<Self> {
        let configured = &loaded.config.api_keys;
        loaded.unique("an API key", configured.iter().map(|key| &key.id))?;
        let mut keys = HashMap::new();
        for key in configured {
            let identity =
                Identity { key_id: key.id.get_ref().clone(), user: key.user.clone(), team: key.team.clone() };
            if keys.insert(check_hash(loaded, &key.sha256)?, Arc::new(identity)).is_some() {
                return Err(loaded.problem(Some(key.sha256.span()), "another API key has the same hash"));
            }
        }
        Ok(Self { keys })
    }

    /// Who sends a request: nobody where no keys are configured, and `Err` where the key is missing or wrong.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Identity>>, ()> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let identity = bearer(headers).and_then(|key| self.keys.get(&hash(key)));
        identity.map(|identity| Some(identity.clone())).ok_or(())
    }
}

/// The tokens of the admin listener.
pub(crate) struct AdminTokens {
    tokens: Vec<Token>,
    /// May anybody who reaches the listener look?
    reading_is_free: bool,
}

struct Token {
    name: Arc<str>,
    hash: Hash,
    role: Role,
}

/// Why a request to the admin API was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    NoToken,
    WrongToken,
    ReadOnly,
}

impl AdminTokens {
    /// The configured tokens.
    pub(crate) fn of(loaded: &Loaded) -> Result<Self> {
        let configured = &loaded.config.admin_tokens;
        loaded.unique("an admin token", configured.iter().map(|token| &token.name))?;
        let mut tokens: Vec<Token> = Vec::new();
        for token in configured {
            let hash = check_hash(loaded, &token.sha256)?;
            if tokens.iter().any(|other| other.hash == hash) {
                return Err(
                    loaded.problem(Some(token.sha256.span()), "another admin token has the same hash")
                );
            }
            tokens.push(Token { name: token.name.get_ref().as_str().into(), hash, role: token.role });
        }
        Ok(Self { tokens, reading_is_free: false })
    }

    /// Are none configured? Then the listener must be on loopback, and `local` is the token for changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// A token that this user's command line knows; reading is free.
    pub(crate) fn local(token: &str) -> Self {
        let token = Token { name: "local".into(), hash: hash(token), role: Role::Admin };
        Self { tokens: vec![token], reading_is_free: true }
    }

    /// Refuses an address that others reach without a token.
    pub(crate) fn check_listener(&self, address: SocketAddr) -> Result<()> {
        if self.is_empty() && !address.ip().is_loopback() {
            return Err(Problem::new(format!(
                "the admin listener {address} is reached from other machines, so it needs a token: add an [[admin_token]], or listen on 127.0.0.1"
            )));
        }
        Ok(())
    }

    /// Who asks, if they may: the token's name, or `anonymous`.
    pub(crate) fn allow(&self, headers: &HeaderMap, is_change: bool) -> Result<Arc<str>, Denied> {
        if !headers.contains_key(header::AUTHORIZATION) {
            return match self.reading_is_free && !is_change {
                true => Ok("anonymous".into()),
                false => Err(Denied::NoToken),
            };
        }
        let given = hash(bearer(headers).ok_or(Denied::WrongToken)?);
        // Every token is compared in full, so that time tells nothing.
        let mut found = None;
        for token in &self.tokens {
            if bool::from(token.hash.ct_eq(&given)) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Denied::WrongToken)?;
        match is_change && token.role != Role::Admin {
            true => Err(Denied::ReadOnly),
            false => Ok(token.name.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
    fn the_local_token_is_asked_for_changes_only() {
        let tokens = AdminTokens::local("secret");
        assert!(tokens.allow(&headers(&[]), false).is_ok());
        assert_eq!(tokens.allow(&headers(&[]), true), Err(Denied::NoToken));
        assert_eq!(tokens.allow(&headers(&["Bearer other"]), true), Err(Denied::WrongToken));
        assert_eq!(tokens.allow(&headers(&["Bearer secret"]), true).as_deref(), Ok("local"));
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        assert_eq!(parse_hash(&"0aF".repeat(22)[..64]).map(|hash| hash[0]), Some(0x0a));
        assert_eq!(parse_hash("00"), None);
        assert_eq!(parse_hash(&"zz".repeat(32)), None);
    }
}
