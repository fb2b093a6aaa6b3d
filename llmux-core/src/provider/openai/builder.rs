//! The builder of an [`OpenAi`] provider: its settings, and the checks of them.
//!
//! Embedders and `settings` call it. It opens no connection.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::AUTHORIZATION};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::{OpenAi, build_error::BuildError};
use crate::{
    Endpoint,
    provider::{
        connection::{Dialer, Exchange},
        passed_headers::{ForwardedHeaders, ReturnedHeaders},
        secret::{Secret, Secrets, without_credentials},
        tls::Tls,
    },
};

/// Builds an [`OpenAi`] provider. [`OpenAi::builder`] returns it.
#[must_use]
pub struct OpenAiBuilder {
    name: Arc<str>,
    base_url: String,
    api_key: Option<Secret>,
    api_key_header: Option<String>,
    headers: Vec<(String, Secret)>,
    connect_timeout: Duration,
    timeout: Duration,
    idle_timeout: Duration,
    max_response_bytes: usize,
    stream_usage: bool,
    forward_headers: Vec<String>,
    return_headers: Option<Vec<String>>,
    forward_trace: bool,
    tls: Tls,
}

impl OpenAi {
    /// Begins to build a provider.
    ///
    /// `name` is the provider's name in messages. `base_url` includes the version, as OpenAI's SDKs take it:
    /// `https://api.openai.com/v1`.
    pub fn builder(name: impl Into<Arc<str>>, base_url: impl Into<String>) -> OpenAiBuilder {
        OpenAiBuilder::new(name.into(), base_url.into())
    }
}

impl OpenAiBuilder {
    fn new(name: Arc<str>, base_url: String) -> Self {
        Self {
            name,
            base_url,
            api_key: None,
            api_key_header: None,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(300),
            max_response_bytes: 64 * 1024 * 1024,
            stream_usage: true,
            forward_headers: Vec::new(),
            return_headers: None,
            forward_trace: true,
            tls: Tls::default(),
        }
    }

    /// The API key, sent as `authorization: Bearer …`. Default: none.
    pub fn api_key(mut self, key: impl Into<Secret>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Name of the header that carries the API key as it is, such as Azure's `api-key`. Default: `authorization`, with
    /// `Bearer` before the key.
    pub fn api_key_header(mut self, name: impl Into<String>) -> Self {
        self.api_key_header = Some(name.into());
        self
    }

    /// Certificates of the authorities to trust in place of the system's, in PEM.
    pub fn ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.ca = Some(pem.into());
        self
    }

    /// Certificate that the host shows to the provider, with its chain, in PEM.
    pub fn client_cert(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.client_cert = Some(pem.into());
        self
    }

    /// Private key of the certificate that the host shows to the provider, in PEM.
    pub fn client_key(mut self, pem: impl Into<Secret>) -> Self {
        self.tls.client_key = Some(pem.into());
        self
    }

    /// Adds a header to every request, such as `openai-organization`. It replaces a header of
    /// that name that the provider sends itself, `authorization` included. Its value is treated as a secret.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Time limit for opening a connection, TLS included. Default: 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Time limit for a whole response that does not stream. Default: 600 seconds.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Time limit for the silence in a stream, before its first byte and between two. Default: 300 seconds.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = limit;
        self
    }

    /// Size limit of a response that does not stream, in bytes. Default: 64 MiB.
    pub fn max_response_bytes(mut self, limit: usize) -> Self {
        self.max_response_bytes = limit;
        self
    }

    /// Whether the API supports `stream_options.include_usage`. Default: true.
    pub fn stream_usage(mut self, known: bool) -> Self {
        self.stream_usage = known;
        self
    }

    /// Names of the client's headers that go to the provider (rule F9). A name that ends with `*` stands for all names with
    /// that beginning. A header of a plugin or of this builder wins. Default: none.
    pub fn forward_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.forward_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Names of the provider's headers that go back to the client (rule F9). A name that ends with `*` stands for all names
    /// with that beginning; `x-upstream-request-id` stands for the provider's request id. Default: `x-ratelimit-*`,
    /// `x-should-retry`, `retry-after-ms`, `openai-processing-ms` and `x-upstream-request-id`.
    pub fn return_headers<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.return_headers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Whether the client's `traceparent` and `tracestate` go to the provider. Default: true.
    pub fn forward_trace(mut self, forward: bool) -> Self {
        self.forward_trace = forward;
        self
    }

    /// Builds the provider.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used.
    pub fn build(self) -> Result<OpenAi, BuildError> {
        let mut secrets = Secrets::default();
        let mut base = self.base(&mut secrets)?;
        let mut headers = self.all_headers(&base, &mut secrets)?;
        let listed = |list| {
            let provider = self.name.to_string();
            move |(header, reason)| BuildError::PassedHeader { provider, list, header, reason }
        };
        let forwarded = ForwardedHeaders::parse(&self.forward_headers, self.forward_trace)
            .map_err(listed("forward_headers"))?;
        let returned = match &self.return_headers {
            Some(names) => ReturnedHeaders::parse(names).map_err(listed("return_headers"))?,
            None => ReturnedHeaders::default(),
        };
        // Neither may be part of the URL of a request; the user is sent in `authorization`.
        let _ = (base.set_username(""), base.set_password(None));
        let origin = base.origin().ascii_serialization();
        let uri = |text: &str| text.parse::<Uri>().map_err(|error| self.unusable(&error.to_string()));
        let origin = uri(&format!("{origin}/"))?;
        let unprepared = |reason: String| BuildError::Connections { provider: self.name.to_string(), reason };
        let dialer = Dialer::new(&origin, &self.tls, self.connect_timeout)
            .map_err(|error| unprepared(error.to_string()))?;
        let exchange = Exchange::new(dialer, &origin, &mut headers);
        let mut targets = Vec::new();
        for endpoint in Endpoint::ALL {
            let mut url = base.clone();
            url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), endpoint.path()));
            targets.push((endpoint, exchange.target(uri(url.as_str())?)));
        }
        let key_header = self.api_key_header.as_deref().and_then(|name| HeaderName::try_from(name).ok());
        Ok(OpenAi {
            name: self.name,
            exchange,
            targets,
            base,
            headers,
            secrets: Arc::new(secrets),
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
            max_response_bytes: self.max_response_bytes,
            stream_usage: self.stream_usage,
            key_header,
            forwarded,
            returned,
        })
    }

    fn unusable(&self, reason: &str) -> BuildError {
        BuildError::BaseUrl {
            provider: self.name.to_string(),
            url: without_credentials(&self.base_url),
            reason: reason.into(),
        }
    }

    fn base(&self, secrets: &mut Secrets) -> Result<Url, BuildError> {
        let wrong = |reason: &str| self.unusable(reason);
        let mut url = Url::parse(self.base_url.trim()).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("its scheme is neither http nor https"));
        }
        // `Url` takes characters that no address of a request has, such as those of a variable that was not replaced.
        if let Err(error) = url.as_str().parse::<http::Uri>() {
            return Err(wrong(&error.to_string()));
        }
        if (url.password().is_some() || !url.username().is_empty()) && self.api_key.is_some() {
            return Err(wrong(
                "it has a user or password, and there is an API key, but only one of them can be sent",
            ));
        }
        let userinfo = [url.username(), url.password().unwrap_or_default()].map(str::to_owned);
        let query: Vec<_> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
        userinfo.into_iter().chain(query).for_each(|secret| secrets.add(secret.into()));
        url.set_fragment(None);
        Ok(url)
    }

    fn all_headers(&self, base: &Url, secrets: &mut Secrets) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = basic_authorization(base) {
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(key) = &self.api_key {
            secrets.add(key.clone());
            let own =
                self.api_key_header.as_deref().filter(|name| !name.eq_ignore_ascii_case("authorization"));
            let text =
                if own.is_some() { key.expose().to_owned() } else { format!("Bearer {}", key.expose()) };
            let value = sensitive(&text)
                .filter(|_| !key.expose().is_empty())
                .ok_or_else(|| BuildError::ApiKey { provider: self.name.to_string() })?;
            let wrong =
                |name: &str| BuildError::Header { provider: self.name.to_string(), header: name.to_owned() };
            let name =
                own.map_or(Ok(AUTHORIZATION), |name| HeaderName::try_from(name).map_err(|_| wrong(name)))?;
            headers.insert(name, value);
        }
        for (name, value) in &self.headers {
            secrets.add(value.clone());
            let header = HeaderName::try_from(name).ok().zip(sensitive(value.expose()));
            let (name, value) = header.ok_or_else(|| BuildError::Header {
                provider: self.name.to_string(),
                header: name.clone(),
            })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for OpenAiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiBuilder")
            .field("name", &self.name)
            .field("base_url", &without_credentials(&self.base_url))
            .finish_non_exhaustive()
    }
}

/// Returns the `authorization` that the user and the password of a URL are sent as.
fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    // The matcher of proxies knows how to write both, percent encoding included.
    let mut any = url.clone();
    any.set_path("");
    any.set_query(None);
    let proxy = Matcher::builder().all(any.to_string()).build();
    let mut value = proxy.intercept(&Uri::from_static("http://host"))?.basic_auth()?.clone();
    value.set_sensitive(true);
    Some(value)
}

/// A header's value, marked to be left out of logs and of HTTP/2's compression tables.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_named_without_its_credentials() {
        for (url, shown, reason) in [
            ("api.openai.com/v1", "api.openai.com/v1", "relative URL without a base"),
            ("ftp://host/v1", "ftp://host/v1", "its scheme is neither http nor https"),
            ("http://${HOST}/v1", "http://${HOST}/v1", "invalid uri character"),
            ("", "", "relative URL without a base"),
            (
                "https://user:hunter22@host:port/v1?key=hunter22",
                "https://host:port/v1",
                "invalid port number",
            ),
            ("https://user:p@ss@/v1", "https:///v1", "empty host"),
            ("user:hunter22@host", "host", "its scheme is neither http nor https"),
        ] {
            let error = OpenAi::builder("here", url).build().unwrap_err();
            let expected = format!("the base URL `{shown}` of provider `here` is not usable: {reason}");
            assert_eq!(error.to_string(), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_showing_it() {
        let builder = || OpenAi::builder("here", "http://user:hunter22@host/v1?key=hunter22");
        for (builder, expected) in [
            (
                OpenAi::builder("here", "http://host").api_key("se\ncret"),
                "the API key of provider `here` is empty or has characters that a header cannot carry",
            ),
            (
                OpenAi::builder("here", "http://host").api_key(" "),
                "the API key of provider `here` is empty or has characters that a header cannot carry",
            ),
            (
                builder().header("a b", "secret"),
                "the header `a b` of provider `here` has a name or a value that HTTP does not know",
            ),
            (
                builder().header("x-key", "se\ncret"),
                "the header `x-key` of provider `here` has a name or a value that HTTP does not know",
            ),
            (
                builder().api_key("secret"),
                "the base URL `http://host/v1` of provider `here` is not usable: it has a user or password, and there \
                 is an API key, but only one of them can be sent",
            ),
        ] {
            assert!(!format!("{builder:?}").contains("hunter22"), "{builder:?}");
            assert_eq!(builder.build().unwrap_err().to_string(), expected);
        }
        assert_eq!(format!("{:?}", builder().build().unwrap()), "OpenAi { name: \"here\", .. }");
    }

    #[test]
    fn endpoints_stand_below_the_base_url() {
        for (base, expected) in [
            ("http://host/v1", "http://host/v1/chat/completions"),
            ("http://host/v1/", "http://host/v1/chat/completions"),
            (" http://host ", "http://host/chat/completions"),
            ("https://host/openai/?api-version=2#x", "https://host/openai/chat/completions?api-version=2"),
        ] {
            let built = OpenAi::builder("here", base).build().unwrap();
            assert_eq!(built.targets[0].1.to_string(), expected);
        }
    }
}
