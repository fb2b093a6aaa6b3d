//! Client of a running server's admin API: finds the token, sends requests, and turns failures into one line.
//!
//! `plugin` and `reload` call it.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use llmux_terminal::{CliError, Result};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::admin::local_token;

/// Environment variable of the token, for when --token-file is not given.
const TOKEN_VARIABLE: &str = "LLMUX_ADMIN_TOKEN";

/// The admin API of a server.
pub(crate) struct AdminClient {
    base: Url,
    token: Option<String>,
    /// True if the file or the variable named the token; false if it was found on this machine.
    is_named: bool,
    timeout: Duration,
    http: reqwest::Client,
}

impl AdminClient {
    /// Returns a client for the server at this URL, which waits for an answer for this number of seconds.
    ///
    /// # Errors
    ///
    /// If the URL is wrong or holds a password, or a token cannot be read.
    pub(crate) fn new(base: &str, token_file: Option<&Path>, timeout: u64) -> Result<Self> {
        let timeout = Duration::from_secs(timeout);
        let wrong = |why: &dyn std::fmt::Display| {
            CliError::new(format!("--admin {base}: {why}; a URL is like http://127.0.0.1:8081"))
        };
        let url = Url::parse(base).map_err(|error| wrong(&error))?;
        // Others can read an argument, in the list of processes or in a history.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CliError::new(format!(
                "--admin holds a user or a password; put a token into {TOKEN_VARIABLE}, or into a file for --token-file"
            )));
        }
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(&"it is not the URL of a server"));
        }
        let mut token = named_token(token_file)?;
        let is_named = token.is_some();
        let mut builder = reqwest::Client::builder();
        if !is_named && let Some((found, address)) = found_token(&url)? {
            token = Some(found);
            // A name may have several addresses, and another user may listen on one of the others.
            builder = builder.resolve(url.host_str().unwrap_or_default(), address);
        }
        // reqwest is built without a cryptography provider. A provider that is already installed stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(timeout)
            .build()
            .map_err(|error| CliError::new(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { base: url, token, is_named, timeout, http })
    }

    /// Sends a request below `/admin/plugins`, and returns the status and the body (`null` if there is none).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub(crate) async fn send(
        &self,
        method: Method,
        below: &[&str],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        self.send_to(method, &[&["admin", "plugins"], below].concat(), body).await
    }

    /// Sends a request to any path, and returns the status and the body (`null` if there is none).
    ///
    /// # Errors
    ///
    /// If no server answers, or the server refuses the request.
    pub(crate) async fn send_to(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let base = self.base.as_str().trim_end_matches('/');
        let failed = |error: reqwest::Error| {
            // A connection that times out has no server behind it.
            if error.is_timeout() && !error.is_connect() {
                return CliError::new(format!(
                    "{base} did not answer within {:?}; the server may still complete the change, as `llmux plugin list` shows; \
                     --admin-timeout SECONDS waits longer",
                    self.timeout
                ));
            }
            if error.is_connect() {
                return CliError::new(format!(
                    "no server answers at {base} ({}); start one with `llmux serve`, or name its address with --admin",
                    innermost(&error)
                ));
            }
            CliError::new(format!("{base}: {}", innermost(&error)))
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let text = response.text().await.map_err(failed)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok((status, body));
        }
        Err(match body["error"]["message"].as_str() {
            Some(message) if status == StatusCode::UNAUTHORIZED && !self.is_named => {
                CliError::new(format!("{message}; set {TOKEN_VARIABLE}, or name a file with --token-file"))
            }
            Some(message) => CliError::new(message),
            None => CliError::new(format!(
                "{base} answered with status {status}; it is not the admin API of llmux"
            )),
        })
    }
}

/// Reads the token from the file, or else from the environment.
fn named_token(file: Option<&Path>) -> Result<Option<String>> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::new(format!("token file {}: {error}", file.display())))?;
        return Ok(Some(text.trim().to_owned()));
    }
    let token = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// Finds the local token of a server of this user, and the address of that server.
fn found_token(url: &Url) -> Result<Option<(String, SocketAddr)>> {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let hosts: Vec<IpAddr> = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(number) => vec![number],
        Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Err(_) => Vec::new(),
    };
    // A local token is sent to servers on loopback only.
    for ip in hosts.into_iter().filter(IpAddr::is_loopback) {
        let address = SocketAddr::new(ip, port);
        if let Some(token) = local_token::find(address)? {
            return Ok(Some((token, address)));
        }
    }
    Ok(None)
}

/// Returns the message of the innermost source, because the outer errors name no cause.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Returns the absolute path of a file on this machine, for a server that may run in another folder.
pub(super) fn absolute(file: &Path) -> Result<String> {
    let named = |why: &dyn Display| CliError::new(format!("{}: {why}", file.display()));
    let path = std::path::absolute(file).map_err(|error| named(&error))?;
    let path = path.into_os_string().into_string();
    path.map_err(|_| named(&"the path is not UTF-8, so it cannot be sent to the server"))
}
