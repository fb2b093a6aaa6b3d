//! The key of a request: requests with equal keys share an answer.
//!
//! A key is a hash of the endpoint, the tenant, the parts that the operator names in `vary`, and the body. The tenant is
//! the id of the API key: two tenants never share an answer unless the operator sets `shared`. Every member of the body
//! counts, known or not, except the members that cannot change the answer.
//!
//! No client can find two bodies with one key. For answers in memory the hash is HighwayHash with a secret of the instance.
//! Storage outside of this process needs the same keys in all hosts, and so a hash without a secret: BLAKE3.

use std::{fmt, sync::Arc};

use highway::{HighwayHash, HighwayHasher};
use llmux_abi::{Context, Error, Request, Result};
use llmux_request_part::Part;

use crate::{canonical::canonical, parts::for_each_part};

/// Members of a body that cannot change the content of the answer: they set its form or name the user.
const LEAVE_OUT: [&str; 4] = ["stream", "stream_options", "user", "metadata"];

/// The key closure of a host that compiles the plugin in.
pub(crate) type KeyClosure = Arc<dyn Fn(&Context<'_>, &Request<'_>) -> Option<String> + Send + Sync>;

/// The key that an answer is stored under. `Display` writes it as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns the bytes of the key. For a [`CacheBackend`](crate::CacheBackend) they are a BLAKE3 hash, which is the same
    /// in all hosts.
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

/// The secret of an instance whose keys stay in this process.
pub(crate) struct Secret([u64; 4]);

impl Secret {
    pub(crate) fn random() -> Result<Self> {
        let mut secret = [0; 4];
        for part in &mut secret {
            *part = getrandom::u64().map_err(|error| {
                Error::new(format!("the system has no random numbers for the keys of the cache: {error}"))
            })?;
        }
        Ok(Self(secret))
    }
}

/// Makes keys.
pub(crate) struct KeyMaker {
    secret: Option<Secret>,
    closure: Option<KeyClosure>,
    shared: bool,
    vary: Vec<Part>,
}

impl KeyMaker {
    /// Without a secret, all hosts make the same keys.
    pub(crate) fn new(
        secret: Option<Secret>,
        closure: Option<KeyClosure>,
        shared: bool,
        vary: Vec<Part>,
    ) -> Self {
        Self { secret, closure, shared, vary }
    }

    /// Returns the key of a request, or `None` if the request must not be cached.
    pub(crate) fn key(&self, ctx: &Context<'_>, request: &Request<'_>) -> Option<Key> {
        if !is_cacheable(ctx.endpoint()) {
            return None;
        }
        let mut hash = Hash::new(self.secret.as_ref(), ctx.endpoint());
        hash.part(if self.shared { None } else { ctx.key_id() });
        for part in &self.vary {
            part.with_value(ctx, |value| hash.part(value));
        }
        match &self.closure {
            Some(closure) => hash.part(Some(&closure(ctx, request)?)),
            None => hash.body(request.text("")?)?,
        }
        Some(hash.key())
    }
}

/// Returns false for an endpoint whose answer is not JSON, and for the endpoints of a stored response, whose answer changes.
fn is_cacheable(endpoint: &str) -> bool {
    endpoint != "audio/speech" && !endpoint.starts_with("responses/")
}

/// The hash of a key. Each part is preceded by its length, so that different parts never give the same input.
#[expect(clippy::large_enum_variant, reason = "the key of an answer in memory allocates nothing")]
enum Hash {
    Secret(HighwayHasher),
    Shared(Box<blake3::Hasher>),
}

impl Hash {
    fn new(secret: Option<&Secret>, endpoint: &str) -> Self {
        let mut hash = match secret {
            Some(Secret(secret)) => Self::Secret(HighwayHasher::new(highway::Key(*secret))),
            None => Self::Shared(Box::default()),
        };
        hash.part(Some(endpoint));
        hash
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Secret(hasher) => hasher.append(bytes),
            Self::Shared(hasher) => _ = hasher.update(bytes),
        }
    }

    /// Adds a part. A missing part differs from an empty one.
    fn part(&mut self, part: Option<&str>) {
        self.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        self.update(part.unwrap_or_default().as_bytes());
    }

    /// Adds the body, as the last part. `None` if it is not JSON.
    fn body(&mut self, json: &str) -> Option<()> {
        for_each_part(canonical(json, &LEAVE_OUT)?, |part| self.update(part));
        Some(())
    }

    fn key(self) -> Key {
        match self {
            Self::Secret(hasher) => {
                let mut key = [0; 32];
                for (bytes, number) in key.as_chunks_mut().0.iter_mut().zip(hasher.finalize256()) {
                    *bytes = number.to_le_bytes();
                }
                Key(key)
            }
            Self::Shared(hasher) => Key(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(secret: Option<&Secret>, endpoint: &str, tenant: Option<&str>, body: &str) -> Key {
        let mut hash = Hash::new(secret, endpoint);
        hash.part(tenant);
        hash.body(body).expect("JSON");
        hash.key()
    }

    #[test]
    fn endpoint_tenant_body_and_secret_all_count() {
        let secret = Secret::random().expect("a secret");
        let other = Secret::random().expect("a secret");
        let keys = [
            hash(None, "chat/completions", None, "[]"),
            hash(None, "completions", None, "[]"),
            hash(None, "chat/completions", Some(""), "[]"),
            hash(None, "chat/completions", Some("a"), "[]"),
            hash(None, "chat/completions", Some("a"), "[1]"),
            hash(None, "chat/completionsa", None, "[]"),
            hash(Some(&secret), "chat/completions", None, "[]"),
            hash(Some(&secret), "chat/completions", None, "[1]"),
            hash(Some(&other), "chat/completions", None, "[]"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
        assert_eq!(keys[0], hash(None, "chat/completions", None, " [ ]"));
        assert_eq!(keys[6], hash(Some(&secret), "chat/completions", None, " [ ]"));
    }

    #[test]
    fn keys_without_a_secret_stay_the_same() {
        // Hosts of different builds share the answers of one Redis.
        let key = hash(None, "chat", Some("tenant"), r#"{"messages": [], "model": "m"}"#);
        let input = b"\x04\0\0\0\0\0\0\0chat\x06\0\0\0\0\0\0\0tenant{\"model\":\"m\"\"messages\":[]}";
        assert_eq!(key.as_bytes(), blake3::hash(input).as_bytes());
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
        super::Hash::new(None, &number.to_string()).key()
    }
}
