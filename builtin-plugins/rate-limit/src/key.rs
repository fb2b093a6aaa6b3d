//! The key whose limit a request counts against.
//!
//! A key has two forms. Its hash, computed without building the text, finds the bucket in this process. Its text names
//! the key in Redis and for other plugins, and is built only when one of these needs it. Two different keys never have
//! the same text: the parts are joined by `|`, which is escaped inside the parts.
//!
//! The hash is 64 bits of SipHash with a random secret of the process: a client cannot choose values that collide with
//! the bucket of another key.

use std::{
    collections::hash_map::RandomState,
    fmt::Write,
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

use llmux_abi::{Context, Error, Result};
use llmux_request_part::Part;
use sha2::{Digest, Sha256};

use crate::config::KeyConfig;

/// The longest text of a key, in bytes. A longer text is replaced by its hash, which bounds the size of a key that a
/// client chooses.
const MAX_TEXT: usize = 200;

type Closure = Arc<dyn Fn(&Context<'_>) -> String + Send + Sync>;

/// The rule that gives the key of a request.
pub(crate) struct Key {
    source: Source,
    secret: RandomState,
}

enum Source {
    Parts(Vec<Part>),
    Closure(Closure),
}

impl Key {
    pub(crate) fn from_config(config: &KeyConfig) -> Result<Self> {
        let parts = match config {
            KeyConfig::One(part) => std::slice::from_ref(part),
            KeyConfig::Many(parts) if parts.is_empty() => {
                return Err(Error::new("`key` is an empty list; write `global` for one limit for all"));
            }
            KeyConfig::Many(parts) => parts,
        };
        let part =
            |text: &String| Part::parse(text).map_err(|error| Error::new(format!("key {}", error.message())));
        let parts = parts.iter().map(part).collect::<Result<_>>()?;
        Ok(Self { source: Source::Parts(parts), secret: RandomState::new() })
    }

    pub(crate) fn from_closure(closure: Closure) -> Self {
        Self { source: Source::Closure(closure), secret: RandomState::new() }
    }

    /// Returns the hash of the key, which finds its bucket in this process.
    pub(crate) fn hash(&self, ctx: &Context<'_>) -> u64 {
        let mut hasher = self.secret.build_hasher();
        match &self.source {
            // All requests have the same parts, so only the values need hashing.
            Source::Parts(parts) => {
                for part in parts {
                    part.with_value(ctx, |value| value.hash(&mut hasher));
                }
            }
            Source::Closure(closure) => closure(ctx).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Returns the text of the key, at most [`MAX_TEXT`] bytes.
    pub(crate) fn text(&self, ctx: &Context<'_>) -> String {
        let mut text = String::with_capacity(64);
        match &self.source {
            Source::Parts(parts) => {
                for part in parts {
                    part.with_value(ctx, |value| push_part(&mut text, part, value));
                }
            }
            Source::Closure(closure) => text = closure(ctx),
        }
        bounded(text)
    }
}

/// Appends `name:value`. If the request has no value, appends only the name; for an API key, `global`.
fn push_part(text: &mut String, part: &Part, value: Option<&str>) {
    if !text.is_empty() {
        text.push('|');
    }
    let (kind, name) = part.name();
    let Some(value) = value else {
        let is_api_key = matches!(part, Part::ApiKey);
        text.push_str(if is_api_key { "global" } else { kind });
        return escape(text, name);
    };
    text.push_str(kind);
    escape(text, name);
    text.push(':');
    escape(text, value);
}

fn escape(text: &mut String, value: &str) {
    if !value.contains(['|', ':', '%']) {
        return text.push_str(value);
    }
    for character in value.chars() {
        match character {
            '|' => text.push_str("%7C"),
            ':' => text.push_str("%3A"),
            '%' => text.push_str("%25"),
            other => text.push(other),
        }
    }
}

fn bounded(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut hashed = String::from("sha256:");
    for byte in Sha256::digest(&text) {
        let _ = write!(hashed, "{byte:02x}");
    }
    hashed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[(&str, Option<&str>)]) -> String {
        let mut text = String::new();
        for (part, value) in parts {
            push_part(&mut text, &Part::parse(part).expect(part), *value);
        }
        text
    }

    #[test]
    fn a_key_reads_as_what_it_is_made_of() {
        assert_eq!(text(&[("api_key", Some("k1"))]), "api_key:k1");
        assert_eq!(text(&[("api_key", None)]), "global");
        assert_eq!(
            text(&[("user", Some("ann")), ("header:X-Tenant", Some("t"))]),
            "user:ann|header:x-tenant:t"
        );
    }

    #[test]
    fn no_value_makes_one_key_look_like_another() {
        let pair = |user, model| text(&[("user", user), ("model", model)]);
        let keys = [
            pair(Some("a|model:b"), Some("c")),
            pair(Some("a"), Some("b|model:c")),
            pair(Some("a%7Cmodel%3Ab"), Some("c")),
            pair(None, Some("c")),
            pair(Some(""), Some("c")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{key}");
        }
    }

    #[test]
    fn a_long_key_is_hashed() {
        let (one, other) = (bounded("a".repeat(1_000)), bounded("a".repeat(1_001)));
        assert_ne!(one, other);
        assert!(one.starts_with("sha256:") && one.len() == 71, "{one}");
    }

    #[test]
    fn what_is_no_key_is_refused_by_name() {
        let one = Key::from_config(&KeyConfig::One("team:x".to_owned())).err().expect("no such part");
        assert!(one.message().contains("key `team:x`"), "{one}");
        assert!(Key::from_config(&KeyConfig::Many(Vec::new())).is_err());
    }
}
