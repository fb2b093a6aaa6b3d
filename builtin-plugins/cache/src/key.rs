//! The key of a request: requests with equal keys share an answer.
//!
//! A key is a SHA-256 over the endpoint, the tenant, the parts that the operator names in `vary`, and the body. The
//! tenant is the id of the API key: two tenants never share an answer unless the operator sets `shared`. Every member of
//! the body counts, known or not, except the members that cannot change the answer.

use std::{fmt, sync::Arc};

use llmux_abi::{Context, Request};
use llmux_request_part::Part;
use sha2::{Digest, Sha256};

use crate::canonical::canonical;

/// Members of a body that cannot change the content of the answer: they set its form or name the user.
const LEAVE_OUT: [&str; 4] = ["stream", "stream_options", "user", "metadata"];

/// The key closure of a host that compiles the plugin in.
pub(crate) type KeyClosure = Arc<dyn Fn(&Context<'_>, &Request<'_>) -> Option<String> + Send + Sync>;

/// The key that an answer is stored under. `Display` writes it as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns the bytes of the key, a SHA-256 hash.
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
    vary: Vec<Part>,
}

impl KeyMaker {
    pub(crate) fn new(closure: Option<KeyClosure>, shared: bool, vary: Vec<Part>) -> Self {
        Self { closure, shared, vary }
    }

    /// Returns the key of a request, or `None` if the request must not be cached.
    pub(crate) fn key(&self, ctx: &Context<'_>, request: &Request<'_>) -> Option<Key> {
        if !is_cacheable(ctx.endpoint()) {
            return None;
        }
        let what = match &self.closure {
            Some(closure) => closure(ctx, request)?.into_bytes(),
            None => canonical(request.text("")?, &LEAVE_OUT)?,
        };
        let mut hash = Hash::new(ctx.endpoint());
        hash.part(if self.shared { None } else { ctx.key_id() });
        for part in &self.vary {
            part.with_value(ctx, |value| hash.part(value));
        }
        Some(hash.key(&what))
    }
}

/// Returns false for an endpoint whose answer is not JSON, and for the endpoints of a stored response, whose answer changes.
fn is_cacheable(endpoint: &str) -> bool {
    endpoint != "audio/speech" && !endpoint.starts_with("responses/")
}

/// The hash of a key. Each part is preceded by its length, so that different parts never give the same input.
struct Hash(Sha256);

impl Hash {
    fn new(endpoint: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.part(Some(endpoint));
        hash
    }

    /// Adds a part. A missing part differs from an empty one.
    fn part(&mut self, part: Option<&str>) {
        self.0.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        self.0.update(part.unwrap_or_default());
    }

    fn key(mut self, what: &[u8]) -> Key {
        self.0.update(what);
        Key(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(endpoint: &str, tenant: Option<&str>, what: &[u8]) -> Key {
        let mut hash = Hash::new(endpoint);
        hash.part(tenant);
        hash.key(what)
    }

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
    fn bytes_and_stored_responses_are_not_cached() {
        for (endpoint, cacheable) in
            [("responses", true), ("moderations", true), ("audio/speech", false), ("responses/get", false)]
        {
            assert_eq!(is_cacheable(endpoint), cacheable, "{endpoint}");
        }
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
        super::Hash::new("test").key(&number.to_le_bytes())
    }
}
