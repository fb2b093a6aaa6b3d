//! Credentials, and how they are kept out of what people read.
//!
//! The builders of providers take a [`Secret`]; [`Secrets`] blots out every secret of one provider in the text
//! that it sends back. Nothing here reads an environment or a file: the program does that.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value;

/// A credential. Its `Debug` shows nothing of it, and it has no `Display`.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// A secret, without the white space around it: a key out of a file often ends with a line feed.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().into())
    }

    /// The secret itself, to be sent and never to be shown.
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

/// What stands where a secret stood.
const BLOT: &str = "[redacted]";

/// Shorter ones are placeholders such as `EMPTY` or `ollama`, and words of honest messages.
const SHORTEST: usize = 8;

/// The secrets of one provider. Some providers repeat the key in the error about it, and an error goes to the
/// client, who must not learn it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds one, unless it is shorter than 8 bytes.
    pub(crate) fn add(&mut self, secret: Secret) {
        if secret.expose().len() >= SHORTEST {
            self.0.push(secret);
            // A secret may hold another one, which must not be cut out of it first.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        }
    }

    /// The text without any of them.
    pub(crate) fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, secret| {
            if text.contains(secret.expose()) {
                Cow::Owned(text.replace(secret.expose(), BLOT))
            } else {
                text
            }
        })
    }

    /// A JSON value without any of them, names of members included.
    pub(crate) fn scrub_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.scrub(&text).into_owned()),
            Value::Array(elements) => elements.into_iter().map(|element| self.scrub_value(element)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (self.scrub(&name).into_owned(), self.scrub_value(value)))
                .collect(),
            other => other,
        }
    }
}

/// A URL, or what was meant to be one, without user, password, query and fragment.
pub(crate) fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    // What cannot be parsed may have its `@` anywhere, so everything before the last one goes.
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
    fn secrets_are_blotted_out_wherever_they_stand() {
        let mut secrets = Secrets::default();
        secrets.add("sk-12345".into());
        secrets.add("sk-12345-long".into());
        secrets.add("EMPTY".into());
        assert_eq!(secrets.scrub("sk-12345, sk-12345-long and EMPTY"), "[redacted], [redacted] and EMPTY");
        assert_eq!(
            secrets.scrub_value(json!({"sk-12345": ["a sk-12345", 1, null]})),
            json!({"[redacted]": ["a [redacted]", 1, null]})
        );
    }
}
