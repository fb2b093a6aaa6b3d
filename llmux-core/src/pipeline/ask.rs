//! Sends a request to the provider, with the hooks beside the call.
//!
//! `run` and `stream` call it after the pre chain. It merges the values and headers that the hooks have set, and makes an error
//! of a refusal. Deliberately absent: the wait for the hooks, which is in `beside`.

use futures_util::future::BoxFuture;

use super::{
    beside::{Refusal, Stop},
    collected::Collected,
    in_flight::{InFlight, KeptBack},
    report::AnsweredBy,
    snapshot::Snapshot,
};
use crate::{
    document::Document,
    error::Error,
    provider::{Accepted, Answer, Events},
    upstream::{Upstream, UpstreamCall},
};

impl InFlight {
    /// Sends the request to the provider and waits for the whole response and for the hooks beside the call. An answer of bytes
    /// is kept beside the document that hooks see.
    pub(super) async fn send_upstream(&mut self, snapshot: &Snapshot) -> Result<Document, Error> {
        if self.context.endpoint.is_binary() {
            let binary = self.ask(snapshot, |upstream, call| upstream.binary(call), |_| None).await?;
            let document = binary.document();
            self.binary = Some(binary);
            return Ok(document);
        }
        self.ask(snapshot, |upstream, call| upstream.send(call), Some).await
    }

    /// Sends the request. `whole` makes the document of an answer that is kept back.
    async fn ask<T>(
        &mut self,
        snapshot: &Snapshot,
        send: impl for<'c> FnOnce(&'c dyn Upstream, UpstreamCall<'c>) -> BoxFuture<'c, Result<Answer<T>, Error>>,
        whole: impl FnOnce(T) -> Option<Document>,
    ) -> Result<T, Error> {
        let upstream = self.shared.upstream.clone();
        let (call, mut beside) = self.upstream_call(snapshot)?;
        let (kept_back, stop) = match beside.during(send(&*upstream, call)).await {
            Err(stop) => (None, stop),
            Ok(answer) => match beside.finish().await {
                Ok(()) => {
                    let collected = beside.into_collected();
                    self.merge(&collected);
                    return self.content_of(answer);
                }
                Err(stop) => {
                    let status = answer.as_ref().map_or_else(Error::first_status, |_| 200);
                    let answer = answer.ok().and_then(|answer| whole(answer.content));
                    (Some(KeptBack { status, answer, events: Vec::new() }), stop)
                }
            },
        };
        drop(beside);
        self.kept_back = kept_back;
        Err(self.stopped(stop))
    }

    /// Sends the request to the provider; ready when the provider has accepted the stream and the hooks beside the call have
    /// allowed it. `accepted` is the mark that the provider sets when it has accepted the request.
    pub(super) async fn stream_upstream(
        &mut self,
        snapshot: &Snapshot,
        accepted: Option<Accepted>,
    ) -> Result<Events, Error> {
        let upstream = self.shared.upstream.clone();
        let (call, mut beside) = self.upstream_call(snapshot)?;
        let call = UpstreamCall { accepted: accepted.clone(), ..call };
        let (kept_back, stop) = match beside.during(upstream.stream(call)).await {
            Err(stop) => (None, stop),
            Ok(Err(error)) => match beside.finish().await {
                Ok(()) => {
                    let collected = beside.into_collected();
                    self.merge(&collected);
                    return self.content_of(Err(error));
                }
                Err(stop) => {
                    (Some(KeptBack { status: error.first_status(), answer: None, events: Vec::new() }), stop)
                }
            },
            Ok(Ok(mut answer)) => {
                accepted.inspect(Accepted::set);
                match beside.hold(&mut answer.content).await {
                    (held, Ok(())) => {
                        let collected = beside.into_collected();
                        self.merge(&collected);
                        return Ok(held.before(self.content_of(Ok(answer))?));
                    }
                    (held, Err(stop)) => {
                        let broken = held.events.iter().find_map(|event| event.as_ref().err());
                        let status = broken.map_or(200, Error::status);
                        let events = held.events.into_iter().flatten().collect();
                        (Some(KeptBack { status, answer: None, events }), stop)
                    }
                }
            }
        };
        drop(beside);
        self.kept_back = kept_back;
        Err(self.stopped(stop))
    }

    /// Merges what the hooks have set, as if they had run one after the other (rule B1).
    fn merge(&mut self, collected: &[Collected]) {
        for collected in collected {
            if self.context.collected.merge(collected).is_err() {
                let request_id = &*self.context.request_id;
                tracing::warn!(
                    request_id,
                    "hooks beside the call set too many values or headers: some are left out"
                );
            }
        }
    }

    /// Returns the error of a request that a hook beside the call has stopped.
    fn stopped(&mut self, stop: Stop) -> Error {
        let Refusal { instance, error, allow_fallback, has_failed, collected } = match stop {
            Stop::Cancelled => return self.cancel.error(),
            Stop::Refused(refusal) => *refusal,
        };
        tracing::info!(
            instance = &*instance,
            request_id = &*self.context.request_id,
            deployment = self.context.deployment.as_deref().map(|deployment| &*deployment.id),
            status = error.status(),
            "a hook beside the call refused the request, and the call of the provider is cancelled"
        );
        self.merge(std::slice::from_ref(&collected));
        self.refused_by = Some(instance.clone());
        if allow_fallback {
            self.answered_by = AnsweredBy::Instance { name: instance, cached: false };
        } else if !has_failed {
            self.end_by(instance);
        }
        error
    }
}
