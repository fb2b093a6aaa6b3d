//! Talks to the admin API of a running server: finds its token, sends requests, makes one line of what goes wrong.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use llmux_terminal::{CliError, Result};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::admin::local_token;

/// The token, where neither a file nor this machine gives one.
const TOKEN_VARIABLE: &str = "LLMUX_ADMIN_TOKEN";

/// The admin API of a server.
pub(crate) struct AdminClient {
    base: Url,
    token: Option<String>,
    /// Was the token named, rather than found?
    is_named: bool,
    http: reqwest::Client,
}

impl AdminClient {
    /// For the server at this URL.
    pub(crate) fn new(base: &str, token_file: Option<&Path>) -> Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| {
            CliError::new(format!("--admin {base}: {why}; a URL is like http://127.0.0.1:8081"))
        };
        let url = Url::parse(base).map_err(|error| wrong(&error))?;
        // Where it came from, others read it: a list of processes, a history.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CliError::new(format!(
                "--admin holds a user or a password; a token goes into {TOKEN_VARIABLE}, or a file for --token-file"
            )));
        }
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(&"it is no URL of a server"));
        }
        let mut token = named_token(token_file)?;
        let is_named = token.is_some();
        let mut builder = reqwest::Client::builder();
        if !is_named && let Some((found, address)) = found_token(&url)? {
            token = Some(found);
            // A name has several addresses, and behind another one somebody else may listen.
            builder = builder.resolve(url.host_str().unwrap_or_default(), address);
        }
        // reqwest is built without a choice of cryptography. Whoever chose before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            // An unload waits for requests to end, and a load for a plugin to start.
            .timeout(Duration::from_secs(600))
            .build()
            .map_err(|error| CliError::new(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { base: url, token, is_named, http })
    }

    /// Sends a request below `/admin/plugins`. Gives the status and the body, `null` where there is none.
    pub(crate) async fn send(
        &self,
        method: Method,
        below: &[&str],
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value)> {
        self.send_to(method, &[&["admin", "plugins"], below].concat(), body).await
    }

    /// Sends a request to any path.
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
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                return CliError::new(format!(
                    "no server answers at {base} ({}); start one with `llmux serve`, or say where it is with --admin",
                    innermost(&error)
                ));
            }
            CliError::new(format!("{base}: {}", innermost(&error)))
        })?;
        let status = response.status();
        let text = response.text().await.map_err(|error| CliError::new(format!("{base}: {error}")))?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok((status, body));
        }
        Err(match body["error"]["message"].as_str() {
            Some(message) if status == StatusCode::UNAUTHORIZED && !self.is_named => {
                CliError::new(format!("{message}; set {TOKEN_VARIABLE}, or name a file with --token-file"))
            }
            Some(message) => CliError::new(message),
            None => {
                CliError::new(format!("{base} answered with status {status}, and is no admin API of llmux"))
            }
        })
    }
}

/// The token from the file that is named, or the environment.
fn named_token(file: Option<&Path>) -> Result<Option<String>> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::new(format!("token file {}: {error}", file.display())))?;
        return Ok(Some(text.trim().to_owned()));
    }
    let token = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// The token in the file that a server of this user left here, and the address of that server.
fn found_token(url: &Url) -> Result<Option<(String, SocketAddr)>> {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let hosts: Vec<IpAddr> = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(number) => vec![number],
        Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        Err(_) => Vec::new(),
    };
    // This machine's token is for this machine's server only.
    for ip in hosts.into_iter().filter(IpAddr::is_loopback) {
        let address = SocketAddr::new(ip, port);
        if let Some(token) = local_token::find(address)? {
            return Ok(Some((token, address)));
        }
    }
    Ok(None)
}

/// What went wrong at the bottom: the outer errors only say that something did.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
