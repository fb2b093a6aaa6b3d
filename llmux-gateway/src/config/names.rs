//! Names in the table `[server]`: origins of web pages, and names of the server itself. A wrong one is refused when the
//! file is read.
//!
//! `server` reads them; `http::web_pages` compares them with the headers of a request.

use http::Uri;
use serde::{Deserialize, Deserializer, de::Error};

/// The origin of a web page, in the form in which browsers send it: `scheme://host[:port]`, in lower case and without the
/// port that the scheme implies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

/// A DNS name of the server, in lower case and without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostName(String);

impl Origin {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, String> {
        let refused = |why| Err(format!("`{text}` is no origin of a web page: {why}"));
        match text {
            "*" => return refused("it would let every web page use this server; name each origin"),
            "null" => {
                return refused("every page without an address has this origin; serve the page over HTTP");
            }
            _ => {}
        }
        let lower = text.to_ascii_lowercase();
        let Some((scheme, authority)) = lower.split_once("://") else {
            return refused("an origin is scheme://host or scheme://host:port");
        };
        let is_whole = lower.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some(scheme)
                && uri.authority().is_some_and(|it| it.as_str() == authority && !it.host().is_empty())
        });
        if !is_whole || authority.contains(['@', '*']) {
            return refused("an origin is scheme://host or scheme://host:port, in ASCII and without a path");
        }
        let implied = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        Ok(Self(lower.strip_suffix(implied).unwrap_or(&lower).to_owned()))
    }
}

impl HostName {
    fn parse(text: &str) -> Result<Self, String> {
        let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
        let name = text.strip_suffix('.').unwrap_or(text);
        match !name.is_empty() && name.chars().all(is_name) {
            true => Ok(Self(name.to_ascii_lowercase())),
            false => Err(format!(
                "`{text}` is no name of a host: a name is in ASCII, without a scheme, a port or a wildcard"
            )),
        }
    }

    /// Returns true if it is the host that a request names.
    pub(crate) fn is(&self, host: &str) -> bool {
        host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, expected) in [
            ("https://app.example", Some("https://app.example")),
            ("HTTPS://App.Example:443", Some("https://app.example")),
            ("http://app.example:80", Some("http://app.example")),
            ("https://app.example:80", Some("https://app.example:80")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("app://obsidian.md", Some("app://obsidian.md")),
            ("*", None),
            ("null", None),
            ("", None),
            ("app.example", None),
            ("https://", None),
            ("https://:443", None),
            ("https://app.example/", None),
            ("https://app.example/path", None),
            ("https://app.example?q", None),
            ("https://*.example", None),
            ("https://ann@app.example", None),
            ("https://app.example, https://b.example", None),
            ("https://\u{e4}.example", None),
        ] {
            assert_eq!(Origin::parse(text).ok().as_ref().map(Origin::as_str), expected, "{text:?}");
        }
    }

    #[test]
    fn the_name_of_a_host_has_no_port_and_its_case_does_not_count() {
        let name = HostName::parse("LLMux-admin.ns.svc.").expect("a name");
        for host in ["llmux-admin.ns.svc", "LLMUX-ADMIN.ns.svc", "llmux-admin.ns.svc."] {
            assert!(name.is(host), "{host}");
        }
        for host in ["llmux-admin.ns.svc.evil.example", "ns.svc", "", ".", "llmux-admin.ns.svc.."] {
            assert!(!name.is(host), "{host:?}");
        }
        for wrong in ["", ".", "a:80", "http://a", "*", "*.a", "a b", "\u{e4}", "[::1]"] {
            assert!(HostName::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
