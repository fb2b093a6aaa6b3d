//! Which requests are the same.
//!
//! A key is a SHA-256 over the endpoint, the tenant and the body. The tenant is the id of the API key: two
//! never share an answer unless the operator says so. Of the body, every member counts, known or not, except
//! those that cannot change the answer.

use std::{fmt, sync::Arc};

use llmux_abi::{Context, Request};
use sha2::{Digest, Sha256};

use crate::canonical::canonical;

/// Members of a body that cannot change the answer: its form, and who asked.
const LEAVE_OUT: [&str; 4] = ["stream", "stream_options", "user", "metadata"];

/// What a host that compiles the plugin in says about sameness.
pub(crate) type KeyClosure = Arc<dyn Fn(&Context<'_>, &Request<'_>) -> Option<String> + Send + Sync>;

/// What an answer is stored under. Written (`Display`), it is 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key's bytes: a hash, evenly spread.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).expect("digits are ASCII"))
    }
}

/// Makes keys.
pub(crate) struct KeyMaker {
    closure: Option<KeyClosure>,
    shared: bool,
}

impl KeyMaker {
    pub(crate) fn new(closure: Option<KeyClosure>, shared: bool) -> Self {
        Self { closure, shared }
    }

    /// The key of a request; `None` keeps it out of the cache.
    pub(crate) fn key(&self, ctx: &Context<'_>, request: &Request<'_>) -> Option<Key> {
        let what = match &self.closure {
            Some(closure) => closure(ctx, request)?.into_bytes(),
            None => canonical(request.text("")?, &LEAVE_OUT)?,
        };
        let tenant = if self.shared { None } else { ctx.key_id() };
        Some(hash(ctx.endpoint(), tenant, &what))
    }
}

/// Every part is preceded by its length, so that no two lists of parts read the same.
fn hash(endpoint: &str, tenant: Option<&str>, what: &[u8]) -> Key {
    let mut hash = Sha256::new();
    hash.update((endpoint.len() as u64).to_le_bytes());
    hash.update(endpoint);
    // No tenant differs from one without a name.
    hash.update(tenant.map_or(u64::MAX, |tenant| tenant.len() as u64).to_le_bytes());
    hash.update(tenant.unwrap_or_default());
    hash.update(what);
    Key(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_tenant_and_body_all_count() {
        let keys = [
            hash("chat/completions", None, b"{}"),
            hash("completions", None, b"{}"),
            hash("chat/completions", Some(""), b"{}"),
            hash("chat/completions", Some("a"), b"{}"),
            hash("chat/completions", Some("a{"), b"}"),
            hash("chat/completionsa", None, b"{}"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
        assert_eq!(keys[0], hash("chat/completions", None, b"{}"));
    }

    #[test]
    fn a_key_is_written_as_64_digits() {
        let mut bytes = [0; 32];
        bytes[0] = 0xA0;
        assert_eq!(Key(bytes).to_string(), format!("a0{}", "0".repeat(62)));
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Keys for the tests of other modules.

    use super::Key;

    pub(crate) fn key(number: u64) -> Key {
        super::hash("test", None, &number.to_le_bytes())
    }
}
