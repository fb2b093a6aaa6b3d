//! What is shown of a body: without what looks like a credential, and cut at a number of characters.
//!
//! Two nets, since neither catches all. Members whose name says that they hold a credential are replaced (a
//! request may carry them, for a tool server that the provider is to call). And in any text, words are
//! masked that begin as keys do. A credential that a user spells in some other way is beyond this.

use std::sync::Arc;

use serde_json::Value;

/// A host's own rewriting.
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

/// How a credential in a text begins; what follows it up to white space or a quote is masked.
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

/// Shows bodies.
pub(crate) struct Bodies {
    most_chars: usize,
    redact: Option<Redact>,
}

impl Bodies {
    pub(crate) fn new(most_chars: usize, redact: Option<Redact>) -> Self {
        Self { most_chars, redact }
    }

    /// More bytes than this are never needed to show a text.
    pub(crate) fn most_bytes(&self) -> usize {
        // A character has at most four bytes; the rest is room to see the end of a credential at the cut.
        self.most_chars * 4 + 256
    }

    /// What is shown of JSON text.
    pub(crate) fn json(&self, json: &str) -> String {
        if let Ok(mut value) = serde_json::from_str::<Value>(json)
            && redact_members(&mut value, false)
        {
            return self.text(&value.to_string());
        }
        // As it came, in its own order, where there was nothing to hide.
        self.text(json)
    }

    /// What is shown of any text.
    pub(crate) fn text(&self, text: &str) -> String {
        // Masking is done on little more than is shown, at whatever border is near.
        let near = text.floor_char_boundary(self.most_bytes());
        let mut masked = mask(&text[..near]);
        if near < text.len() {
            // What is left of a credential at this border may be too short to be known as one.
            masked.truncate(masked.floor_char_boundary(masked.len().saturating_sub(24)));
        }
        if let Some(redact) = &self.redact {
            masked = redact(&masked);
        }
        cut(masked, self.most_chars)
    }
}

/// Cuts after so many characters.
fn cut(mut text: String, chars: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Replaces the strings under names that say secret, at any depth. Were there any?
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
            // All headers: a name of their own is as good as `authorization`.
            let name: String =
                name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
            let secret_here = SECRET_MEMBERS.contains(&name.as_str()) && value.is_string();
            let headers = name == "headers" && value.is_object();
            redact_members(value, secret_here || headers || is_secret) | found
        }),
        _ => false,
    }
}

/// Masks the words that begin as credentials do.
fn mask(text: &str) -> String {
    // ASCII only, so that every place in it is the same place in `text`.
    let lower = text.to_ascii_lowercase();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &lower[at..];
        let follows_word = lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let found = SECRET_WORDS.iter().find_map(|(prefix, least)| {
            let word = rest.strip_prefix(prefix).filter(|_| !follows_word)?;
            // A backslash does not end it: JSON may write any of these characters as an escape.
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
