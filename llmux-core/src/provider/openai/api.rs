//! The provider `openai`: sends a request to an OpenAI-compatible API, and reads the answer.
//!
//! The upstream calls it through [`Provider`]. It sends the body that it is given and returns the body that it
//! receives. Deliberately absent: retries, redirects, compression and rewriting of fields.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{TryStreamExt, future::BoxFuture};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::{Response, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::body::{ReadBody, read};
use crate::{
    Endpoint,
    document::Document,
    error::Error,
    provider::{
        Answer, Call, Events, Provider,
        end_of_stream::EndOfStream,
        failure::{self, bad_gateway, timed_out},
        secret::Secrets,
        sse,
    },
};

/// Maximum size of an error's body that is read, in bytes.
const MAX_ERROR_BYTES: usize = 1024 * 1024;

const REQUEST_ID: &str = "x-request-id";
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// An OpenAI-compatible API. It keeps its connections open: make one and share it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use llmux_core::{Endpoint, provider::{Call, OpenAi, Provider}};
///
/// let openai = OpenAi::builder("openai", "https://api.openai.com/v1").api_key("sk-…").build()?;
/// let body = r#"{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}"#;
/// let call = Call::new(Endpoint::ChatCompletions, body, "1");
/// let answer = openai.send(call).await?;
/// println!("{}", answer.content.get_str("/choices/0/message/content").unwrap_or_default());
/// # Ok(())
/// # }
/// ```
pub struct OpenAi {
    pub(super) name: Arc<str>,
    pub(super) client: reqwest::Client,
    /// The URL of each of [`Endpoint::ALL`].
    pub(super) urls: Vec<(Endpoint, Url)>,
    /// The headers of every request, the key included.
    pub(super) headers: HeaderMap,
    pub(super) secrets: Arc<Secrets>,
    pub(super) timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_response_bytes: usize,
    pub(super) stream_usage: bool,
}

impl OpenAi {
    /// Sends the request. Ready when the head of the response has arrived.
    async fn exchange(&self, call: Call, accept: &'static str) -> Result<Response, Error> {
        let url =
            self.urls.iter().find(|(endpoint, _)| *endpoint == call.endpoint).map(|(_, url)| url.clone());
        let Some(url) = url else { return Err(bad_gateway("the provider has no such endpoint")) };
        let mut headers = self.headers.clone();
        headers.extend(call.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        // The caller chose the id: if it is no valid header value, the request goes without it.
        if let Ok(id) = HeaderValue::from_str(&call.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        self.client
            .post(url)
            .headers(headers)
            .body(call.body)
            .send()
            .await
            .map_err(|error| failure::transport(error, "the provider did not answer", &self.secrets))
    }

    /// Returns the response if it succeeded, otherwise the error in it.
    async fn accepted(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if !status.is_client_error() && !status.is_server_error() {
            let status = status.as_u16();
            return Err(bad_gateway(format_args!(
                "the provider answered with status {status}, which is no answer"
            )));
        }
        let headers = response.headers().clone();
        // If the error's body breaks off or is too long, the status is still known.
        let (ReadBody::Whole(body) | ReadBody::Cut(body, _)) = read(response, MAX_ERROR_BYTES).await;
        Err(failure::from_reply(status.as_u16(), &headers, &body, &self.secrets))
    }

    /// Reads the whole body of a response.
    async fn body(&self, response: Response) -> Result<Bytes, Error> {
        match read(response, self.max_response_bytes).await {
            ReadBody::Whole(body) => Ok(body),
            ReadBody::Cut(_, Some(error)) => {
                Err(failure::transport(error, "the response broke off", &self.secrets))
            }
            ReadBody::Cut(_, None) => Err(bad_gateway(format_args!(
                "the provider's response has more than {} bytes",
                self.max_response_bytes
            ))),
        }
    }

    async fn whole(&self, call: Call) -> Result<Answer<Document>, Error> {
        let endpoint = call.endpoint;
        let mut response = self.accepted(self.exchange(call, JSON).await?).await?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let body = self.body(response).await?;
        let no_object = |why: &str| {
            bad_gateway(format_args!("the provider answered with status {status} and no JSON object: {why}"))
        };
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(no_object(match body.is_empty() {
                true => "the body is empty",
                false => "the body is something else",
            }));
        }
        let document =
            Document::parse_off_thread(body).await.map_err(|error| no_object(&error.to_string()))?;
        // Some compatible servers report an error with status 200. An object of `responses` has a member `error` of its own.
        if endpoint != Endpoint::Responses
            && document.get("/choices").is_none()
            && document.get("/data").is_none()
            && document.get("/error").is_some()
            && let Ok(body) = serde_json::from_slice(&document.to_bytes())
            && let Some(error) = failure::from_body(body, &self.secrets)
        {
            return Err(error);
        }
        Ok(Answer::new(document, headers))
    }

    async fn accepted_stream(&self, call: Call) -> Result<Response, Error> {
        let response = self.accepted(self.exchange(call, EVENT_STREAM).await?).await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*media_type {
            // Some servers stream without a content type.
            EVENT_STREAM | "" => Ok(response),
            JSON => {
                let body = self.body(response).await?;
                let error = serde_json::from_slice::<Value>(&body)
                    .ok()
                    .and_then(|body| failure::from_body(body, &self.secrets));
                Err(error.unwrap_or_else(|| {
                    bad_gateway("the provider answered a request for a stream with one JSON document")
                }))
            }
            other => Err(bad_gateway(format_args!(
                "the provider answered a request for a stream with {}",
                failure::excerpt(other)
            ))),
        }
    }
}

impl Provider for OpenAi {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer<Document>, Error>> {
        Box::pin(async move {
            let answer = timeout(self.timeout, self.whole(call)).await;
            answer.unwrap_or_else(|_| Err(timed_out("did not finish its response", self.timeout)))
        })
    }

    fn stream(&self, call: Call) -> BoxFuture<'_, Result<Answer<Events>, Error>> {
        Box::pin(async move {
            let endpoint = call.endpoint;
            if endpoint == Endpoint::Embeddings {
                return Err(Error::no_stream());
            }
            let response = timeout(self.idle_timeout, self.accepted_stream(call)).await;
            let mut response =
                response.unwrap_or_else(|_| Err(timed_out("sent nothing", self.idle_timeout)))?;
            let (secrets, headers) = (self.secrets.clone(), std::mem::take(response.headers_mut()));
            let input = response
                .bytes_stream()
                .map_err(move |error| failure::transport(error, "the provider's stream broke off", &secrets));
            let ending = EndOfStream::new(endpoint, self.secrets.clone());
            Ok(Answer::new(sse::events(Box::pin(input), self.idle_timeout, ending), headers))
        })
    }

    fn stream_usage(&self) -> bool {
        self.stream_usage
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URLs, which may hold credentials.
        f.debug_struct("OpenAi").field("name", &self.name).finish_non_exhaustive()
    }
}
