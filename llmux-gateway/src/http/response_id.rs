//! The ids of responses as clients see them: the provider's id, extended by the deployment that has the response and by a
//! MAC over both and the client's key.
//!
//! `api` and `sse` extend the ids of answers after every hook, and `api` takes the ids of requests apart before the first
//! one. So hooks see the provider's ids. An id of another key, or one that no host with this secret has made, is unknown.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use llmux_core::{Client, Document, Endpoint, Error, ErrorKind, Request, pipeline::Identity};
use serde_json::json;
use sha2::Sha256;

/// Beginning of every id.
const PREFIX: &str = "resp_";
/// Length of the MAC in an id, in bytes.
const MAC: usize = 16;
/// Longest id that is read, in bytes.
const MAX: usize = 2048;
/// The members of a response that are ids of responses.
const MEMBERS: [&str; 2] = ["/id", "/previous_response_id"];

/// A stored response: its deployment, and its id there.
#[derive(Debug, PartialEq, Eq)]
struct StoredResponse {
    deployment: String,
    id: String,
}

/// Makes and reads the ids of clients.
pub(crate) struct ResponseIds {
    mac: Hmac<Sha256>,
}

impl ResponseIds {
    /// Ids with this secret.
    pub(crate) fn new(secret: &[u8]) -> Result<Self, String> {
        Ok(Self { mac: Hmac::new_from_slice(secret).map_err(|error| error.to_string())? })
    }

    /// Ids with a random secret: another process, or this one after a restart, does not know them.
    pub(crate) fn random() -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
        Self::new(&secret)
    }

    /// Returns the MAC of a content for a client. The key's length stands before the key, so that no two clients share an
    /// input.
    fn mac(&self, client: Option<&Identity>, content: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        let key_id = client.map(|identity| identity.key_id.as_bytes());
        mac.update(&key_id.map_or(u64::MAX, |key| key.len() as u64).to_be_bytes());
        mac.update(key_id.unwrap_or_default());
        mac.update(content);
        mac
    }

    /// Returns the id for a client. `None` if the deployment's name is too long for an id.
    fn extend(&self, client: Option<&Identity>, deployment: &str, id: &str) -> Option<String> {
        let length = u16::try_from(deployment.len()).ok()?;
        let content = [&length.to_be_bytes()[..], deployment.as_bytes(), id.as_bytes()].concat();
        let mac = self.mac(client, &content).finalize().into_bytes();
        let extended = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([&mac[..MAC], &content[..]].concat()));
        (extended.len() <= MAX).then_some(extended)
    }

    /// Returns the stored response that a client's id names; `None` if the id is unknown, forged, or another client's.
    fn read(&self, client: Option<&Identity>, id: &str) -> Option<StoredResponse> {
        let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix(PREFIX).filter(|_| id.len() <= MAX)?).ok()?;
        let (mac, content) = bytes.split_at_checked(MAC)?;
        // Compares in constant time.
        self.mac(client, content).verify_truncated_left(mac).ok()?;
        let (length, rest) = content.split_at_checked(2)?;
        let length = u16::from_be_bytes(length.try_into().ok()?);
        let (deployment, id) = rest.split_at_checked(length.into())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(StoredResponse { deployment: text(deployment)?, id: text(id)? })
    }

    /// Sends a request that continues a response to the deployment that has it. Its model stays if the provider there serves
    /// it, and is otherwise that deployment's.
    pub(crate) fn continued(
        &self,
        host: &Client,
        request: Request,
        client: Option<&Identity>,
    ) -> Result<(Request, Previous), Error> {
        let Some(id) = request.body().get_str("/previous_response_id").map(str::to_owned) else {
            return Ok((request, None));
        };
        let unknown = || unknown("previous_response_id", &id);
        let StoredResponse { deployment, id: original } = self.read(client, &id).ok_or_else(unknown)?;
        let home = host.model_of(&deployment).ok_or_else(unknown)?;
        let asked = request.body().get_str("/model").unwrap_or_default();
        let other = (!host.serves_beside(&deployment, asked)).then_some(&*home);
        let request = request.with_previous_response(&original, other)?.with_deployment(deployment);
        Ok((request, Some((original, id))))
    }

    /// Returns the request to retrieve, delete or cancel the response that an id names.
    pub(crate) fn request(
        &self,
        host: &Client,
        endpoint: Endpoint,
        (id, query): (&str, &str),
        client: Option<&Identity>,
    ) -> Result<Request, Error> {
        if query.split('&').any(|pair| pair == "stream=true") {
            let message = "the stream of a stored response is not available; retrieve it without `stream`";
            return Err(Error::invalid_member("stream", message));
        }
        let unknown = || unknown("id", id);
        let StoredResponse { deployment, id: original } = self.read(client, id).ok_or_else(unknown)?;
        let model = host.model_of(&deployment).ok_or_else(unknown)?;
        let mut body = json!({"model": model, "response_id": original});
        if !query.is_empty() {
            body["query"] = query.into();
        }
        Ok(Request::of(endpoint, &body)?.with_deployment(deployment))
    }

    /// Returns what extends the ids in the answers of an endpoint. `None` if no provider was called, or if the answers have
    /// no ids of responses.
    pub(crate) fn extender(
        self: &Arc<Self>,
        endpoint: Endpoint,
        client: Option<Arc<Identity>>,
        deployment: Option<&str>,
        previous: Previous,
    ) -> Option<Extender> {
        let has_ids = endpoint == Endpoint::Responses || Endpoint::STORED.contains(&endpoint);
        let deployment = deployment.filter(|_| has_ids)?.to_owned();
        Some(Extender { ids: self.clone(), client, deployment, previous })
    }
}

/// A response that a request continues: the provider's id, and the id that the client gave.
pub(crate) type Previous = Option<(String, String)>;

/// The error for an id that is unknown: 404, in OpenAI's shape. `param` names the place of the id.
fn unknown(param: &str, id: &str) -> Error {
    let code = (param == "previous_response_id").then_some("previous_response_not_found");
    let message = format!("Response with id '{}' not found.", id.escape_debug());
    let error = json!({"message": message, "type": "invalid_request_error", "param": param, "code": code});
    Error::from_parts(ErrorKind::InvalidRequest, 404, error, None)
}

/// Extends the ids in the answers to one request.
pub(crate) struct Extender {
    ids: Arc<ResponseIds>,
    client: Option<Arc<Identity>>,
    deployment: String,
    previous: Previous,
}

impl Extender {
    /// Returns a whole answer with extended ids.
    pub(crate) fn answer(&self, answer: &Document) -> Bytes {
        self.extended(answer, "").unwrap_or_else(|| answer.to_bytes())
    }

    /// Returns the data of an event with extended ids; `None` if it has none.
    pub(crate) fn event(&self, data: &Bytes) -> Option<Bytes> {
        // The types of events begin with `"response.`, so that most events are not parsed.
        memchr::memmem::find(data, b"\"response\"")?;
        self.extended(&Document::parse(data.clone()).ok()?, "/response")
    }

    fn extended(&self, document: &Document, below: &str) -> Option<Bytes> {
        let mut extended = document.clone();
        for member in MEMBERS {
            let place = format!("{below}{member}");
            let Some(id) = document.get_str(&place).filter(|id| !id.is_empty()) else { continue };
            let given = self.previous.as_ref().filter(|(original, _)| original == id);
            let id = match given {
                Some((_, given)) => given.clone(),
                None => self.ids.extend(self.client.as_deref(), &self.deployment, id)?,
            };
            extended.set(&place, &json!(id).to_string()).ok()?;
        }
        Some(extended.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(key_id: &str) -> Identity {
        Identity { key_id: key_id.to_owned(), user: None, team: None }
    }

    #[test]
    fn an_id_is_known_to_its_client_alone() {
        let ids = ResponseIds::new(b"a secret").expect("a key");
        let (ann, bob) = (client("ann"), client("bob"));
        let id = ids.extend(Some(&ann), "east/gpt", "resp_1").expect("an id");
        let stored = StoredResponse { deployment: "east/gpt".to_owned(), id: "resp_1".to_owned() };
        assert_eq!(ids.read(Some(&ann), &id), Some(stored));
        assert_eq!(ids.read(Some(&bob), &id), None);
        assert_eq!(ids.read(None, &id), None);
        assert_eq!(ResponseIds::random().expect("a key").read(Some(&ann), &id), None, "another secret");
        let none = ids.extend(None, "east/gpt", "resp_1").expect("an id");
        assert_eq!(ids.read(Some(&client("")), &none), None, "an empty key is not no key");
    }

    #[test]
    fn a_forged_id_is_unknown() {
        let ids = ResponseIds::new(b"a secret").expect("a key");
        let id = ids.extend(None, "east/gpt", "resp_1").expect("an id");
        let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix(PREFIX).expect("a prefix")).expect("base64");
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&forged));
            assert_eq!(ids.read(None, &forged), None, "byte {at}");
        }
        for length in 0..bytes.len() {
            let cut = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes[..length]));
            assert_eq!(ids.read(None, &cut), None, "{length} bytes");
        }
        for wrong in ["", "resp_", "resp_1", "resp_ä", "x", &format!("resp_{}", "A".repeat(MAX))] {
            assert_eq!(ids.read(None, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn both_ids_of_an_answer_and_of_an_event_are_extended_and_nothing_else() {
        let ids = Arc::new(ResponseIds::new(b"a secret").expect("a key"));
        let extender =
            Extender { ids: ids.clone(), client: None, deployment: "d".to_owned(), previous: None };
        let response = json!({"id": "a", "previous_response_id": "b", "output": [{"id": "msg"}]});
        let whole = extender.answer(&Document::from_value(&response));
        let event =
            extender.event(&json!({"type": "response.created", "response": response}).to_string().into());
        let whole: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
        let event: serde_json::Value = serde_json::from_slice(&event.expect("ids")).expect("JSON");
        assert_eq!(whole, event["response"]);
        let read = |member: &str| ids.read(None, whole[member].as_str().expect("an id")).expect("known").id;
        assert_eq!((read("id"), read("previous_response_id")), ("a".to_owned(), "b".to_owned()));
        assert_eq!(whole["output"][0]["id"], "msg");
        assert_eq!(extender.event(&r#"{"type":"response.output_text.delta","delta":"x"}"#.into()), None);
        let null = Document::from_value(&json!({"id": "a", "previous_response_id": null}));
        assert!(String::from_utf8_lossy(&extender.answer(&null)).contains("null"));
    }
}
