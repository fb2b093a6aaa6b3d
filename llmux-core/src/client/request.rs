//! A request as an embedder (or the gateway) gives it to the client.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    Endpoint,
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{Identity, context::redacted},
};

/// A request: a JSON body for an endpoint, and who sends it. The body stays as it is (rule F4).
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) body: Document,
    pub(super) headers: Arc<HeaderMap>,
    pub(super) identity: Option<Arc<Identity>>,
    pub(super) fallbacks: Vec<Arc<str>>,
    pub(super) request_id: Option<Arc<str>>,
}

impl Request {
    /// A request of this body, JSON text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidRequest`]: not JSON (with the position), no object, or no `model`.
    pub fn new(endpoint: Endpoint, body: impl Into<Bytes>) -> Result<Self, Error> {
        let body = Document::parse(body).map_err(|error| {
            Error::new(ErrorKind::InvalidRequest, &error).with_code("invalid_json").with_source(error)
        })?;
        Self::of_document(endpoint, body)
    }

    /// A request of this body, anything that serde writes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn of(endpoint: Endpoint, body: &impl serde::Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(body).map_err(|error| Error::new(ErrorKind::InvalidRequest, error))?;
        Self::new(endpoint, text)
    }

    fn of_document(endpoint: Endpoint, body: Document) -> Result<Self, Error> {
        if !body.is_object() {
            return Err(Error::new(ErrorKind::InvalidRequest, "the body is a JSON object"));
        }
        match body.get_str("/model") {
            None | Some("") => {
                let message = "the member `model`, a string, says which model to ask";
                return Err(Error::invalid_member("model", message));
            }
            Some(_) => {}
        }
        if !matches!(body.get("/stream"), None | Some("true" | "false" | "null")) {
            return Err(Error::invalid_member("stream", "the member `stream` is true or false"));
        }
        let headers = Arc::default();
        Ok(Self { endpoint, body, headers, identity: None, fallbacks: Vec::new(), request_id: None })
    }

    /// The headers that came with it; plugins see them, credentials redacted.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = Arc::new(redacted(headers));
        self
    }

    /// Who sends it.
    pub fn identity(mut self, identity: Option<Arc<Identity>>) -> Self {
        self.identity = identity;
        self
    }

    /// The models to try, in order, if this one fails; instead of those of the configuration.
    pub fn fallbacks<M: Into<Arc<str>>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.fallbacks = models.into_iter().map(Into::into).collect();
        self
    }

    /// Its id. Default: a UUID, version 7.
    pub fn request_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Does the body ask for a stream?
    pub fn wants_stream(&self) -> bool {
        self.body.get("/stream") == Some("true")
    }

    /// The body.
    pub fn body(&self) -> &Document {
        &self.body
    }

    /// Makes the body say whether the answer streams.
    pub(super) fn set_stream(&mut self, streams: bool) -> Result<(), Error> {
        if self.wants_stream() == streams {
            return Ok(());
        }
        let set = self.body.set("/stream", if streams { "true" } else { "false" });
        set.map_err(|error| Error::new(ErrorKind::InvalidRequest, error))
    }
}
