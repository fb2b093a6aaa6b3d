//! The context of a request: its facts, values that plugins share, headers of the response.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use super::{error::Result, handle::ContextHandle, value::Value};
use crate::raw::context as field;

/// Names of the request headers that contain credentials, in lower case. A plugin receives `[redacted]` instead of
/// their values, and cannot distinguish clients by them.
pub const REDACTED_HEADERS: [&str; 22] = [
    // HTTP's own (RFC 9110, RFC 6265).
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    // API keys of providers and of gateways in front of them.
    "x-api-key",
    "api-key",
    "apikey",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-litellm-api-key",
    "x-portkey-api-key",
    "helicone-auth",
    "cf-aig-authorization",
    // Tokens that clouds and authenticating proxies forward.
    "x-auth-token",
    "x-access-token",
    "x-amz-security-token",
    "x-amzn-oidc-accesstoken",
    "x-amzn-oidc-data",
    "x-forwarded-access-token",
    "x-goog-iap-jwt-assertion",
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
];

/// Facts, values and state that the hooks of one request share. The host sets all facts before the first hook,
/// except the provider and the deployment.
///
/// ```
/// # use llmux_abi::prelude::*;
/// # async fn pre_hook(ctx: &mut Context<'_>) -> Result<Flow> {
/// *ctx.state::<u32>() += 1;                      // this instance's, for this request
/// ctx.set("tenant", ctx.team().unwrap_or("none").to_owned())?; // for every plugin, in this attempt
/// ctx.set_response_header("x-tenant", "seen")?;  // for the caller
/// # Ok(Flow::Continue)
/// # }
/// ```
pub struct Context<'a> {
    handle: ContextHandle<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(handle: ContextHandle<'a>) -> Self {
        Self { handle }
    }

    fn text(&self, which: u32) -> &str {
        self.handle.text(which).unwrap_or_default()
    }

    fn number(&self, which: u32) -> i64 {
        self.handle.number(which).unwrap_or_default()
    }

    /// Returns the request's id: a UUID, version 7.
    pub fn request_id(&self) -> &str {
        self.text(field::CONTEXT_REQUEST_ID)
    }

    /// Returns the endpoint's path without its version, as `chat/completions`.
    pub fn endpoint(&self) -> &str {
        self.text(field::CONTEXT_ENDPOINT)
    }

    /// Returns the model that the request names at this moment.
    pub fn model(&self) -> &str {
        self.text(field::CONTEXT_MODEL)
    }

    /// Returns the configuration's name of the provider that this attempt called last. `None` while no provider was
    /// called: in pre hooks and beside the call, and if a plugin answered instead of a provider.
    pub fn provider(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_PROVIDER)
    }

    /// Returns the deployment that this attempt called last, as `provider/model`. `None` while no provider was called.
    pub fn deployment(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_DEPLOYMENT)
    }

    /// Returns the number of this attempt, from 1; each fallback is one more.
    pub fn attempt(&self) -> u32 {
        self.number(field::CONTEXT_ATTEMPT) as u32
    }

    /// Returns true if the request streams.
    pub fn is_streaming(&self) -> bool {
        self.number(field::CONTEXT_IS_STREAMING) != 0
    }

    /// Returns the time at which the request arrived.
    pub fn started(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.number(field::CONTEXT_STARTED) as u64)
    }

    /// Returns the time left until the host cancels this hook, in whole milliseconds.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.number(field::CONTEXT_REMAINING) as u64)
    }

    /// Returns the id of the API key that authenticated the request, never the key itself.
    pub fn key_id(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_KEY_ID)
    }

    /// Returns the user that the key belongs to.
    pub fn user(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_USER)
    }

    /// Returns the team that the key belongs to.
    pub fn team(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_TEAM)
    }

    /// Returns a request header; the name's case does not matter. Credentials ([`REDACTED_HEADERS`]) read `[redacted]`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.handle.header(name)
    }

    /// Returns the address of the client, without a port. Behind a proxy that the operator trusts, it is the address that
    /// the proxy names. `None` for a request of the embedder's own.
    pub fn client(&self) -> Option<&str> {
        self.handle.text(field::CONTEXT_CLIENT)
    }

    /// Returns a header of the provider's answer; the name's case does not matter. `None` while no provider has answered in
    /// this attempt, and for an answer that came from a plugin.
    pub fn provider_header(&self, name: &str) -> Option<&str> {
        self.handle.provider_header(name)
    }

    /// Sets a header of the request to the provider, in a pre hook, and replaces an earlier value of the same name, the
    /// operator's too. Undone if the hook fails. Each attempt begins without such headers.
    ///
    /// # Errors
    ///
    /// When HTTP does not allow the name or the value, the host reserves the name (credentials, cookies, and headers that
    /// say how the message is sent), or keeps no more (64 headers, of 8 KiB each), or the provider was called already.
    pub fn set_provider_header(&mut self, name: &str, value: &str) -> Result<()> {
        self.handle.set_provider_header(name, value)
    }

    /// Returns a string that a plugin has set.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.handle.string(key)
    }

    /// Returns an integer that a plugin has set.
    pub fn get_i64(&self, key: &str) -> Option<i64> {
        match self.handle.value(key)? {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// Returns a float that a plugin has set.
    pub fn get_f64(&self, key: &str) -> Option<f64> {
        match self.handle.value(key)? {
            Value::Float(float) => Some(float),
            _ => None,
        }
    }

    /// Returns a boolean that a plugin has set.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        match self.handle.value(key)? {
            Value::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    /// Returns JSON that a plugin has set, as a type of the caller's choice.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.handle.value(key)? {
            Value::Json(json) => T::deserialize(json).ok(),
            _ => None,
        }
    }

    /// Returns a value that a plugin has set, of any kind.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.handle.value(key)
    }

    /// Sets a value for the hooks that follow in this attempt, of this and other plugins. Undone if the hook fails.
    ///
    /// # Errors
    ///
    /// When the host keeps no more (256 values, of 1 MiB each, with names of 1024 bytes), or the request is complete.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<()> {
        self.handle.set_value(key, &value.into())
    }

    /// Sets a header of the response to the client and replaces an earlier value of the same name. For a stream, only
    /// until its first chunk. Undone if the hook fails.
    ///
    /// # Errors
    ///
    /// When HTTP does not allow the name or the value, the host reserves the name (those that say how the body is
    /// sent, as `content-type`), or keeps no more (256 headers, of 8 KiB each).
    pub fn set_response_header(&mut self, name: &str, value: &str) -> Result<()> {
        self.handle.set_response_header(name, value)
    }

    /// Returns this instance's state for this request, one value of each type. The value is made by `Default` on
    /// first use, kept for every later hook (fallback attempts included), and dropped after `on_complete`. Not undone
    /// if a hook fails.
    pub fn state<T: Default + Send + 'static>(&mut self) -> &mut T {
        self.handle.state().get()
    }
}
