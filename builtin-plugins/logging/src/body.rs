//! The logged form of a body: credentials replaced, and cut after a number of characters.
//!
//! Two checks find credentials, because neither finds all of them. The value of a member with the name of a
//! credential is replaced (a request may carry one for a tool server that the provider is to call). In any text,
//! words that begin like an API key are masked. A credential in any other form is not found.

use std::sync::Arc;

use serde_json::Value;

/// A host's own redaction of a text.
pub(crate) type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

const REDACTED: &str = "[redacted]";

/// Names of members that hold credentials, in lower case, without `-` and `_`.
const SECRET_MEMBERS: [&str; 13] = [
    "authorization",
    "proxyauthorization",
    "authtoken",
    "apikey",
    "xapikey",
    "cookie",
    "setcookie",
    "password",
    "secret",
    "clientsecret",
    "accesstoken",
    "refreshtoken",
    "bearertoken",
];

/// The beginnings of credentials in a text, each with the least length of the word after it. That word is masked, up
/// to white space, a quote, or another character that cannot be part of a credential.
const SECRET_WORDS: [(&str, usize); 10] = [
    ("bearer ", 8),
    ("basic ", 16),
    ("sk-", 12),
    ("sk_", 12),
    ("gsk_", 12),
    ("aiza", 30),
    ("xai-", 20),
    ("hf_", 20),
    ("pplx-", 20),
    ("nvapi-", 20),
];

/// Makes the logged form of bodies.
pub(crate) struct Bodies {
    most_chars: usize,
    redact: Option<Redact>,
}

impl Bodies {
    pub(crate) fn new(most_chars: usize, redact: Option<Redact>) -> Self {
        Self { most_chars, redact }
    }

    /// Returns the most bytes of a text that are needed to log it.
    pub(crate) fn most_bytes(&self) -> usize {
        // A character has at most four bytes. The other 256 bytes show the end of a credential at the cut.
        self.most_chars * 4 + 256
    }

    /// Returns the logged form of JSON text.
    pub(crate) fn json(&self, json: &str) -> String {
        if let Ok(mut value) = serde_json::from_str::<Value>(json)
            && redact_members(&mut value, false)
        {
            return self.text(&value.to_string());
        }
        // If no member was replaced, the original text is logged, in its own order.
        self.text(json)
    }

    /// Returns the logged form of any text.
    pub(crate) fn text(&self, text: &str) -> String {
        // Only a little more than the logged part is masked, up to the nearest character border.
        let near = text.floor_char_boundary(self.most_bytes());
        let mut masked = mask(&text[..near]);
        if near < text.len() {
            // The part of a credential before this border may be too short to be found.
            masked.truncate(masked.floor_char_boundary(masked.len().saturating_sub(24)));
        }
        if let Some(redact) = &self.redact {
            masked = redact(&masked);
        }
        cut(masked, self.most_chars)
    }
}

/// Cuts a text after `chars` characters and appends `…` to a text that was cut.
fn cut(mut text: String, chars: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Replaces the strings under the names of credentials, at any depth. Returns true if one was replaced.
fn redact_members(value: &mut Value, is_secret: bool) -> bool {
    match value {
        Value::String(text) if is_secret => {
            REDACTED.clone_into(text);
            true
        }
        Value::Array(elements) => {
            elements.iter_mut().fold(false, |found, element| redact_members(element, is_secret) | found)
        }
        Value::Object(members) => members.iter_mut().fold(false, |found, (name, value)| {
            // All headers are replaced: a header with a custom name can hold a credential too.
            let name: String =
                name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
            let secret_here = SECRET_MEMBERS.contains(&name.as_str()) && value.is_string();
            let headers = name == "headers" && value.is_object();
            redact_members(value, secret_here || headers || is_secret) | found
        }),
        _ => false,
    }
}

/// Masks the words that begin like a credential.
fn mask(text: &str) -> String {
    // Only ASCII letters change, so every position in `lower` is the same position in `text`.
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &lower[at..];
        let follows_word = lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let found = SECRET_WORDS.iter().find_map(|(prefix, least)| {
            let word = rest.strip_prefix(prefix).filter(|_| !follows_word)?;
            // A backslash does not end the word: JSON may write any of these characters as an escape.
            let ends = |c: char| !(c.is_ascii_alphanumeric() || "-_.~+/=*\\".contains(c));
            let length = word.find(ends).unwrap_or(word.len());
            (length >= *least).then_some((prefix.len(), length))
        });
        if let Some((prefix, length)) = found {
            masked.push_str(&text[at..at + prefix]);
            masked.push_str(REDACTED);
            at += prefix + length;
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            masked.push_str(&text[at..at + next]);
            at += next;
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(chars: usize) -> Bodies {
        Bodies::new(chars, None)
    }

    #[test]
    fn a_body_is_cut_on_a_character_border() {
        for (text, chars, expected) in
            [("hello", 5, "hello"), ("hello", 4, "hell…"), ("äöü", 2, "äö…"), ("🦀🦀", 1, "🦀…"), ("", 1, "")]
        {
            assert_eq!(bodies(chars).text(text), expected);
        }
        assert_eq!(bodies(3).text(&"ä".repeat(10_000)), "äää…");
    }

    #[test]
    fn credentials_do_not_appear() {
        let key = "sk-abcdefghijklmnop0123456789";
        for body in [
            format!(r#"{{"api_key":"{key}"}}"#),
            format!(r#"{{"tools":[{{"type":"mcp","authorization":"{key}"}}]}}"#),
            format!(r#"{{"tools":[{{"headers":{{"X-Own":"{key}"}}}}]}}"#),
            format!(r#"{{"messages":[{{"content":"my key is {key}, ok?"}}]}}"#),
            format!("Incorrect API key provided: {key}."),
            format!("Authorization: BEARER {key}"),
            format!("not json {key}"),
            r#"{"content":"Bearer 0123456789\u002babcdef\/abcdef"}"#.to_owned(),
            r#"{"content":"AIzaSy-abcdef0123456789abcdef0123456789"}"#.to_owned(),
        ] {
            let shown = bodies(500).json(&body);
            assert!(!shown.contains("abcdef") && shown.contains(REDACTED), "{shown}");
        }
    }

    #[test]
    fn a_credential_at_the_cut_does_not_appear_in_part() {
        let text = format!("{} sk-abcdefghijklmnop0123456789", "x".repeat(490));
        assert!(!bodies(500).text(&text).contains("abc"));
    }

    #[test]
    fn all_else_is_shown_as_it_came() {
        let schema = r#"{ "tools": [{"properties": {"password": {"type": "string"}}}], "b": 1, "a": "task-oriented risk-averse-people" }"#;
        assert_eq!(bodies(500).json(schema), schema);
        let text = "the bearer of this; basic needs; sk-short; äöü";
        assert_eq!(bodies(500).text(text), text);
    }

    #[test]
    fn a_hosts_own_redaction_has_the_last_word() {
        let own = Bodies::new(500, Some(Arc::new(|text: &str| text.replace("Ann", "[name]"))));
        assert_eq!(own.text("hi Ann"), "hi [name]");
    }
}
