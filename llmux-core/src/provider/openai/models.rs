//! The models that the API lists (<https://platform.openai.com/docs/api-reference/models/list>).
//!
//! `api` calls it for the trait. An API without such a list answers with an error or with something else.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Uri,
    header::{ACCEPT, USER_AGENT},
};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    OpenAi,
    api::{JSON, LLMUX},
};
use crate::{
    error::Error,
    progress::Progress,
    provider::{
        connection::Outgoing,
        failure::{self, bad_gateway, timed_out},
    },
};

/// Longest time for the list.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest number of models, and longest name, in bytes.
const MAX_MODELS: usize = 10_000;
const MAX_NAME: usize = 256;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl OpenAi {
    /// Asks for the list. `None` if the API has none.
    pub(super) async fn list(&self) -> Result<Option<Vec<String>>, Error> {
        let limit = LIMIT.min(self.timeout);
        timeout(limit, self.fetch()).await.unwrap_or_else(|_| Err(timed_out("listed no models", limit)))
    }

    async fn fetch(&self) -> Result<Option<Vec<String>>, Error> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/models", url.path().trim_end_matches('/')));
        let whole = url.as_str().parse::<Uri>().map_err(bad_gateway)?;
        let target = self.exchange.target(whole);
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(LLMUX));
        let body = Bytes::new();
        let outgoing =
            Outgoing { target: &target, method: Method::GET, headers, body, new_connection: false };
        let mut progress = Progress::NotSent;
        let sent = self.exchange.send(outgoing, &mut progress).await;
        let response = sent.map_err(|failure| failure::no_response(failure, progress, &self.secrets))?;
        let mut accepted = match self.accepted(response).await {
            Ok(accepted) => accepted,
            Err(error) if matches!(error.status(), 404 | 405 | 501) => return Ok(None),
            Err(error) => return Err(error),
        };
        let body = self.body(&mut accepted.input, accepted.announced).await?;
        let Ok(List { data }) = serde_json::from_slice(&body) else { return Ok(None) };
        let names = data.into_iter().map(|model| model.id).filter(|name| name.len() <= MAX_NAME);
        Ok(Some(names.take(MAX_MODELS).collect()))
    }
}
