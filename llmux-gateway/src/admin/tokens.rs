//! Tokens of the admin listener: the configured ones, or the local one, and the role of each.
//!
//! `router` checks every request with it. Only SHA-256 hashes are kept. Deliberately absent: HTTP responses, which `router`
//! makes, and the file of the local token, which is `local_token`'s.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, header};
use llmux_terminal::{CliError, Result};
use subtle::ConstantTimeEq;

use crate::{
    config::{
        file::{Loaded, Role},
        hash::{self, Hash},
    },
    http::auth::bearer,
};

/// The tokens of the admin listener.
pub(crate) struct AdminTokens {
    tokens: Vec<Token>,
    /// True if reading needs no token.
    reading_is_free: bool,
}

struct Token {
    name: Arc<str>,
    hash: Hash,
    role: Role,
}

/// Reason why the admin API refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    NoToken,
    WrongToken,
    ReadOnly,
}

impl AdminTokens {
    /// Returns the configured tokens.
    ///
    /// # Errors
    ///
    /// If a name or a hash is there twice, or a hash is not 64 hexadecimal digits.
    pub(crate) fn of(loaded: &Loaded) -> Result<Self> {
        let configured = &loaded.config.admin_tokens;
        loaded.unique("an admin token", configured.iter().map(|token| &token.name))?;
        let mut tokens: Vec<Token> = Vec::new();
        for token in configured {
            let hash = hash::check(loaded, &token.sha256)?;
            if tokens.iter().any(|other| other.hash == hash) {
                return Err(
                    loaded.problem(Some(token.sha256.span()), "another admin token has the same hash")
                );
            }
            tokens.push(Token { name: token.name.get_ref().as_str().into(), hash, role: token.role });
        }
        Ok(Self { tokens, reading_is_free: false })
    }

    /// Returns true if no token is configured. Then the listener must be on loopback, and changes need the local token.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Returns the local token, which this user's command line can read. Reading the API needs no token then.
    pub(crate) fn local(token: &str) -> Self {
        let token = Token { name: "local".into(), hash: hash::of(token), role: Role::Admin };
        Self { tokens: vec![token], reading_is_free: true }
    }

    /// Refuses a listener that other machines can reach, if no token is configured.
    pub(crate) fn check_listener(&self, address: SocketAddr) -> Result<()> {
        if self.is_empty() && !address.ip().is_loopback() {
            return Err(CliError::new(format!(
                "the admin listener {address} can be reached from other machines, so it needs a token: add an [[admin_token]], or listen on 127.0.0.1"
            )));
        }
        Ok(())
    }

    /// Returns the name of the request's token, or `anonymous` if it has none and needs none.
    ///
    /// # Errors
    ///
    /// If the token is missing, wrong, or does not permit changes.
    pub(crate) fn allow(&self, headers: &HeaderMap, is_change: bool) -> Result<Arc<str>, Denied> {
        if !headers.contains_key(header::AUTHORIZATION) {
            return match self.reading_is_free && !is_change {
                true => Ok("anonymous".into()),
                false => Err(Denied::NoToken),
            };
        }
        let given = hash::of(bearer(headers).ok_or(Denied::WrongToken)?);
        // Compares with every token in full, so that the time tells nothing about a token.
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
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a header"))).collect()
    }

    #[test]
    fn the_local_token_is_asked_for_changes_only() {
        let tokens = AdminTokens::local("secret");
        assert!(tokens.allow(&headers(&[]), false).is_ok());
        assert_eq!(tokens.allow(&headers(&[]), true), Err(Denied::NoToken));
        assert_eq!(tokens.allow(&headers(&["Bearer other"]), true), Err(Denied::WrongToken));
        assert_eq!(tokens.allow(&headers(&["Bearer secret"]), true).as_deref(), Ok("local"));
    }
}
