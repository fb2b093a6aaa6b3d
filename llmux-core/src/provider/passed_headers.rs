//! The headers that pass between a client and a provider: the policy for them, and the lists of an operator (rule F9).
//!
//! `openai` forwards headers of the client by it, the pipeline returns headers of the provider by it, and both refuse the
//! headers of plugins by its policy. Deliberately absent: the headers of one connection, which never pass.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use llmux_abi::REDACTED_HEADERS;

/// The header in which the client receives the provider's request id. The host's own id is in `x-request-id`.
const UPSTREAM_REQUEST_ID: &str = "x-upstream-request-id";

/// The headers in which providers state their request id: OpenAI and most others, Anthropic, Azure, Amazon.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"];

/// The headers that return to the client by default.
const RETURNED: [&str; 5] =
    ["x-ratelimit-*", "x-should-retry", "retry-after-ms", "openai-processing-ms", UPSTREAM_REQUEST_ID];

/// The headers of a trace (<https://www.w3.org/TR/trace-context/>).
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// Response headers that only the server sets: what frames the body, what concerns one connection (RFC 9110, 7.6.1), and
/// the request's id.
pub(crate) const RESERVED: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Returns true if plugins may not set this response header: it frames the body, concerns one connection, or is
/// `x-request-id`. A plugin that sets one gets an error. A server may therefore send every header of a reply as it is.
pub fn is_reserved_header(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
}

/// Returns true if only the host sets this header of a request to a provider: it frames the message, concerns one
/// connection, or carries a credential.
pub(crate) fn is_reserved_to_provider(name: &HeaderName) -> bool {
    is_reserved_header(name)
        || matches!(name.as_str(), "host" | "accept" | "accept-encoding" | "expect")
        || REDACTED_HEADERS.contains(&name.as_str())
}

/// Returns true if this header of a provider never goes to a client: it frames the message, concerns one connection,
/// carries a credential, or decides which web pages may read an answer.
fn is_reserved_to_client(name: &HeaderName) -> bool {
    is_reserved_header(name)
        || name == "host"
        || name.as_str().starts_with("access-control-")
        || REDACTED_HEADERS.contains(&name.as_str())
}

/// Names of headers. A name that ends with `*` stands for all names with that beginning.
#[derive(Clone, Debug, Default)]
struct Names {
    exact: Vec<HeaderName>,
    prefixes: Vec<String>,
}

impl Names {
    /// Parses a list. The error is the first wrong name, with the reason.
    fn parse<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
        is_reserved: fn(&HeaderName) -> bool,
    ) -> Result<Self, (String, &'static str)> {
        let mut parsed = Self::default();
        for name in names {
            let refused = |why| (name.as_ref().to_owned(), why);
            let text = name.as_ref().to_ascii_lowercase();
            let (stem, is_prefix) = match text.strip_suffix('*') {
                Some(stem) => (stem, true),
                None => (&*text, false),
            };
            let stem = HeaderName::try_from(stem).ok().filter(|_| !stem.contains('*')).ok_or_else(|| {
                refused("is no name of a header; a name such as `x-tenant`, or a beginning such as `x-tenant-*`, is")
            })?;
            // A prefix that a reserved name equals, such as `content-type*`, would say more than it does.
            let reserved = is_reserved(&stem) || is_prefix && stem.as_str().starts_with("access-control-");
            match (reserved, is_prefix) {
                (true, _) => {
                    return Err(refused(
                        "is reserved: it frames a message, concerns one connection, or carries a credential; remove it",
                    ));
                }
                (false, true) => parsed.prefixes.push(stem.as_str().to_owned()),
                (false, false) => parsed.exact.push(stem),
            }
        }
        Ok(parsed)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.exact.contains(name) || self.prefixes.iter().any(|prefix| name.as_str().starts_with(&**prefix))
    }
}

/// The headers of a client that go to a provider (rule F9).
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardedHeaders(Names);

impl ForwardedHeaders {
    /// Parses the names of an operator, and adds the headers of a trace if `trace` is set. The error is the first wrong
    /// name, with the reason.
    pub(crate) fn parse<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
        trace: bool,
    ) -> Result<Self, (String, &'static str)> {
        let mut names = Names::parse(names, is_reserved_to_provider)?;
        names.exact.extend(TRACE.map(HeaderName::from_static).into_iter().filter(|_| trace));
        Ok(Self(names))
    }

    /// Adds the headers of a client to those of a request, except names that the request has already.
    pub(crate) fn add(&self, client: &HeaderMap, request: &mut HeaderMap) {
        for name in client.keys().filter(|name| self.0.has(name) && !is_reserved_to_provider(name)) {
            if !request.contains_key(name) {
                client.get_all(name).iter().for_each(|value| {
                    request.append(name, value.clone());
                });
            }
        }
    }
}

/// The headers of a provider's answer that go back to the client (rule F9).
#[derive(Clone, Debug)]
pub struct ReturnedHeaders {
    names: Names,
    request_id: bool,
}

impl Default for ReturnedHeaders {
    /// `x-ratelimit-*`, `x-should-retry`, `retry-after-ms`, `openai-processing-ms`, and the provider's request id as
    /// `x-upstream-request-id`.
    fn default() -> Self {
        Self::parse(RETURNED).unwrap_or_else(|_| Self { names: Names::default(), request_id: true })
    }
}

impl ReturnedHeaders {
    /// Parses the names of an operator. `x-upstream-request-id` stands for the provider's request id. The error is the
    /// first wrong name, with the reason.
    pub(crate) fn parse<N: AsRef<str>>(
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, (String, &'static str)> {
        let names = Names::parse(names, is_reserved_to_client)?;
        Ok(Self { request_id: names.exact.iter().any(|name| name == UPSTREAM_REQUEST_ID), names })
    }

    /// Returns the default list.
    pub(crate) fn usual() -> &'static Self {
        static USUAL: LazyLock<ReturnedHeaders> = LazyLock::new(ReturnedHeaders::default);
        &USUAL
    }

    /// Returns the headers of an answer that go back.
    pub(crate) fn of(&self, answer: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let is_returned = |name: &HeaderName| {
            self.names.has(name) && !is_reserved_to_client(name) && *name != UPSTREAM_REQUEST_ID
        };
        let id = REQUEST_IDS.iter().find_map(|name| answer.get(*name)).filter(|_| self.request_id);
        let id = id.map(|id| (HeaderName::from_static(UPSTREAM_REQUEST_ID), id.clone()));
        let headers = answer.iter().filter(|(name, _)| is_returned(name));
        headers.map(|(name, value)| (name.clone(), value.clone())).chain(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn f9_reserved_names_are_refused_in_both_lists() {
        let own =
            ["Content-Length", "transfer-encoding", "te", "host", "cookie", "set-cookie", "x-request-id"];
        for name in own.into_iter().chain(REDACTED_HEADERS) {
            for refused in [
                ForwardedHeaders::parse([name], true).err(),
                ReturnedHeaders::parse([name]).err(),
                ForwardedHeaders::parse([format!("{name}*")], true).err(),
            ] {
                let (named, why) = refused.expect(name);
                assert!(named.starts_with(name) && why.starts_with("is reserved"), "{named} {why}");
            }
        }
        for wrong in ["", "*", "a b", "x-*-y", "x-ä"] {
            let (_, why) = ForwardedHeaders::parse([wrong], false).expect_err(wrong);
            assert!(why.starts_with("is no name"), "{wrong}");
        }
        assert!(ReturnedHeaders::parse(["access-control-*"]).is_err());
        assert!(ReturnedHeaders::parse(["access-control-allow-origin"]).is_err());
    }

    #[test]
    fn f9_a_prefix_covers_no_reserved_header() {
        let forwarded = ForwardedHeaders::parse(["X-*", "openai-beta"], false).expect("a list");
        let client = headers(&[
            ("x-tenant", "a"),
            ("x-api-key", "secret"),
            ("x-request-id", "1"),
            ("openai-beta", "b"),
            ("traceparent", "00"),
            ("cookie", "c"),
        ]);
        let mut request = headers(&[("x-fixed", "1")]);
        forwarded.add(&client, &mut request);
        assert_eq!(request, headers(&[("x-fixed", "1"), ("x-tenant", "a"), ("openai-beta", "b")]));
        let mut fixed = headers(&[("x-tenant", "of the operator"), ("openai-beta", "2")]);
        forwarded.add(&client, &mut fixed);
        assert_eq!(fixed, headers(&[("x-tenant", "of the operator"), ("openai-beta", "2")]));
        let returned = ReturnedHeaders::parse(["s*", "a*", "x-*"]).expect("a list");
        let answer = headers(&[("set-cookie", "c"), ("access-control-allow-origin", "*"), ("server", "s")]);
        assert_eq!(
            returned.of(&answer),
            [(HeaderName::from_static("server"), HeaderValue::from_static("s"))]
        );
    }

    #[test]
    fn f9_by_default_the_quota_and_the_providers_request_id_return() {
        let answer = headers(&[
            ("x-ratelimit-remaining-requests", "99"),
            ("x-should-retry", "false"),
            ("x-request-id", "req_1"),
            ("set-cookie", "c"),
            ("server", "s"),
            ("x-upstream-request-id", "of another host"),
        ]);
        let mut returned: Vec<_> = ReturnedHeaders::usual().of(&answer);
        returned.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let texts: Vec<_> = returned.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        let expected = [
            r#"x-ratelimit-remaining-requests: "99""#,
            r#"x-should-retry: "false""#,
            r#"x-upstream-request-id: "req_1""#,
        ];
        assert_eq!(texts, expected);
        let none = ReturnedHeaders::parse([] as [&str; 0]).expect("a list");
        assert!(none.of(&answer).is_empty());
    }
}
