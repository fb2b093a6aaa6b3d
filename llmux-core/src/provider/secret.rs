//! Credentials, and their redaction in texts that people read.
//!
//! The builders of providers take a [`Secret`]; [`Secrets`] redacts every secret of one provider in the texts that the
//! provider sends back. Deliberately absent: reading an environment variable or a file, which the program does.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value;

/// A credential. Its `Debug` output hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret. White space around it is removed, since a key file often ends with a line feed.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().into())
    }

    /// The secret itself, to be sent to the provider and never to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The replacement of a secret.
const REDACTED: &str = "[redacted]";

/// Minimum length of a secret that is redacted, in bytes. Shorter ones are placeholders such as `EMPTY` or `ollama`, which
/// ordinary messages may contain.
const MIN_LENGTH: usize = 8;

/// The secrets of one provider. Some providers repeat the API key in an error about it, and the client receives the
/// error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds a secret, unless it is shorter than 8 bytes.
    pub(crate) fn add(&mut self, secret: Secret) {
        if secret.expose().len() >= MIN_LENGTH {
            self.0.push(secret);
            // A secret may contain another one, so the longest is replaced first.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    /// Replaces every secret in a text.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, secret| {
            if text.contains(secret.expose()) {
                Cow::Owned(text.replace(secret.expose(), REDACTED))
            } else {
                text
            }
        })
    }

    /// Replaces every secret in a JSON value, names of members included.
    pub(crate) fn redact_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact(&text).into_owned()),
            Value::Array(elements) => {
                elements.into_iter().map(|element| self.redact_value(element)).collect()
            }
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (self.redact(&name).into_owned(), self.redact_value(value)))
                .collect(),
            other => other,
        }
    }
}

/// Removes user, password, query and fragment from a URL. The URL may be invalid.
pub(crate) fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    // An invalid URL may have an `@` anywhere, so everything before the last one is removed.
    match (url.split_once("://"), url.rsplit_once('@')) {
        (_, None) => url.into(),
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::new("sk-very-secret\n");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.expose(), "sk-very-secret");
    }

    #[test]
    fn secrets_are_redacted_everywhere_in_a_text() {
        let mut secrets = Secrets::default();
        secrets.add("sk-12345".into());
        secrets.add("sk-12345-long".into());
        secrets.add("EMPTY".into());
        assert_eq!(secrets.redact("sk-12345, sk-12345-long and EMPTY"), "[redacted], [redacted] and EMPTY");
        assert_eq!(
            secrets.redact_value(json!({"sk-12345": ["a sk-12345", 1, null]})),
            json!({"[redacted]": ["a [redacted]", 1, null]})
        );
    }
}
