//! A request, as an embedder or the gateway gives it to the client.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    Endpoint,
    document::{Document, InvalidJson},
    error::{Error, ErrorKind},
    pipeline::{Identity, headers::redacted},
};

/// Longest name of a model, in bytes.
const MAX_MODEL: usize = 256;

/// A request: a JSON body for an endpoint, and its sender. Unknown members of the body pass through (rule F4).
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) body: Document,
    pub(super) headers: Arc<HeaderMap>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) fallbacks: Vec<Arc<str>>,
    pub(super) request_id: Option<Arc<str>>,
    pub(super) client_request_id: Option<Arc<str>>,
    pub(super) client: Option<IpAddr>,
    pub(super) early_head: (Option<Duration>, Option<Duration>),
    pub(super) deployment: Option<Arc<str>>,
}

impl Request {
    /// Makes a request from JSON text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`] if the text is not JSON (with the position), not an object, or has no
    /// `model` although the endpoint has no default.
    pub fn new(endpoint: Endpoint, body: impl Into<Bytes>) -> Result<Self, Error> {
        Self::of_document(endpoint, Document::parse(body).map_err(invalid_json)?)
    }

    /// Makes a request from JSON text, as [`new`](Self::new) does. A text above 1 MiB is parsed on a thread that may block.
    /// Must be awaited inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new).
    pub async fn parse(endpoint: Endpoint, body: impl Into<Bytes>) -> Result<Self, Error> {
        Self::of_document(endpoint, Document::parse_off_thread(body).await.map_err(invalid_json)?)
    }

    /// Makes a request from anything that serde writes.
    ///
    /// # Errors
    ///
    /// The errors of [`new`](Self::new).
    pub fn of(endpoint: Endpoint, body: &impl serde::Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(body).map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
        Self::new(endpoint, text)
    }

    fn of_document(endpoint: Endpoint, mut body: Document) -> Result<Self, Error> {
        if !body.is_object() {
            return Err(Error::new(ErrorKind::InvalidRequest, "the body must be a JSON object"));
        }
        match (body.get_str("/model"), endpoint.default_model()) {
            (None, Some(model)) if body.get("/model").is_none_or(|model| model == "null") => {
                let set = body.set("/model", &serde_json::json!(model).to_string());
                set.map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
            }
            (None | Some(""), _) => {
                let message = "the member `model`, a string, says which model to ask";
                return Err(Error::invalid_member("model", message));
            }
            (Some(model), _) if model.len() > MAX_MODEL => {
                let message = format!("the member `model` has at most {MAX_MODEL} bytes");
                return Err(Error::invalid_member("model", message));
            }
            (Some(_), _) => {}
        }
        if !matches!(body.get("/stream"), None | Some("true" | "false" | "null")) {
            return Err(Error::invalid_member("stream", "the member `stream` is true or false"));
        }
        if endpoint.refuses_stream() && body.get("/stream") == Some("true") {
            let message = format!("`{endpoint}` does not stream here; leave the member `stream` out");
            return Err(Error::invalid_member("stream", message));
        }
        let headers = Arc::default();
        Ok(Self {
            endpoint,
            body,
            headers,
            identity: None,
            fallbacks: Vec::new(),
            request_id: None,
            client_request_id: None,
            client: None,
            early_head: (None, None),
            deployment: None,
        })
    }

    /// Sets the headers of the request. Plugins see them with credentials redacted.
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = Arc::new(redacted(headers));
        self
    }

    /// Sets the address of the client, for plugins.
    pub fn with_client(mut self, address: Option<IpAddr>) -> Self {
        self.client = address;
        self
    }

    /// Sets the authenticated sender.
    pub fn with_identity(mut self, identity: Option<Arc<Identity>>) -> Self {
        self.identity = identity;
        self
    }

    /// Sets the models to try, in order, if this one fails. They replace those of the configuration.
    pub fn with_fallbacks<M: Into<Arc<str>>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.fallbacks = models.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the id that the caller's own caller chose. The provider gets it instead of this request's own id; plugins and
    /// the log use the own one.
    pub fn with_client_request_id(mut self, id: Option<Arc<str>>) -> Self {
        self.client_request_id = id;
        self
    }

    /// Sets the id. Default: a UUID, version 7.
    pub fn with_request_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sends the request to this deployment (`provider/model`), which has the stored response that the request is about. It
    /// has no fallbacks then.
    pub fn with_deployment(mut self, deployment: impl Into<Arc<str>>) -> Self {
        self.deployment = Some(deployment.into());
        self
    }

    /// Sets the response that the request continues, by the id that the provider gave it, and the model, if another one is to
    /// be asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`] if the body has no place for them.
    pub fn with_previous_response(mut self, id: &str, model: Option<&str>) -> Result<Self, Error> {
        let members = [("/previous_response_id", Some(id)), ("/model", model)];
        for (place, text) in members {
            let Some(text) = text else { continue };
            let set = self.body.set(place, &serde_json::json!(text).to_string());
            set.map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
        }
        Ok(self)
    }

    /// Sets the times after which the head of a stream is sent although no chunk is there (rule S7): a time from now on, and a
    /// silence of a provider that has accepted the request. [`Client::stream`](crate::Client::stream) is then ready earlier, and
    /// a later failure is an item of the stream. `None` turns a time off. Default: both are off.
    pub fn with_early_head(mut self, after: Option<Duration>, silence: Option<Duration>) -> Self {
        self.early_head = (after, silence);
        self
    }

    /// Returns true if the body asks for a stream.
    pub fn wants_stream(&self) -> bool {
        self.body.get("/stream") == Some("true")
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Returns the body.
    pub fn body(&self) -> &Document {
        &self.body
    }

    /// Sets whether the answer streams.
    pub(super) fn set_stream(&mut self, streams: bool) -> Result<(), Error> {
        if self.wants_stream() == streams {
            return Ok(());
        }
        let set = self.body.set("/stream", if streams { "true" } else { "false" });
        set.map_err(|error| Error::new(ErrorKind::InvalidRequest, error))
    }
}

fn invalid_json(error: InvalidJson) -> Error {
    Error::new(ErrorKind::InvalidRequest, &error).with_code("invalid_json").with_source(error)
}
