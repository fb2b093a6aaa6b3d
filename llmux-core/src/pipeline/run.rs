//! The whole way of a request: attempts, fallbacks, completion.

use std::{mem, sync::Arc};

use tokio::sync::mpsc;

use super::{
    chain::{self, PreChain, ShortCircuit},
    completion::complete,
    contain::{caught, settled},
    head::Head,
    in_flight::InFlight,
    kind::HookKind,
    report::{Later, Report},
    snapshot::Snapshot,
    stream,
    stream_item::StreamItem,
};
use crate::{cancel::Reason, document::Document, error::Error, provider::Binary};

/// The end of a request that does not stream.
pub(crate) struct Ended {
    pub(crate) head: Head,
    pub(crate) result: Result<Document, Error>,
    /// The bytes that the document of the result describes, on an endpoint whose answer is not JSON.
    pub(crate) binary: Option<Binary>,
}

/// Runs a request that does not stream, from its beginning to its end.
pub(crate) async fn run(mut request: Box<InFlight>, snapshot: Arc<Snapshot>) -> Ended {
    loop {
        request.begin_attempt();
        let (result, may_fall_back) = attempt(&mut request, &snapshot).await;
        match result {
            Err(error) if may_fall_back && request.fall_back(&error) => {}
            result => {
                let head = request.head();
                let outcome = result.as_ref().map(Some);
                let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
                let binary = request.binary.take().filter(|_| result.is_ok());
                complete(request, snapshot, report);
                return Ended { head, result, binary };
            }
        }
    }
}

/// Runs one attempt: pre chain, provider, post chain. Also returns whether a fallback may follow.
async fn attempt(request: &mut InFlight, snapshot: &Snapshot) -> (Result<Document, Error>, bool) {
    let mut may_fall_back = true;
    let asked = caught(ask(request, snapshot, &mut may_fall_back)).await;
    let result = settled(&request.context.request_id, asked);
    // The provider's answer counts as it came, whatever becomes of it.
    let kept_back = request.kept_back.take();
    let (status, answer) = match &kept_back {
        Some(kept_back) => (kept_back.status, kept_back.answer.as_ref()),
        None => (result.as_ref().map_or_else(Error::first_status, |_| 200), result.as_ref().ok()),
    };
    let answer = answer.filter(|_| snapshot.has(HookKind::Complete));
    let later = answer.map(|answer| Later::Answer(answer.clone(), request.upstream_body().clone()));
    request.report_attempt(status, None, later);
    // If the caller left before the first post hook, it has not seen the answer (rule Q3).
    let result = if request.cancel.is(Reason::Left) { Err(Error::cancelled()) } else { result };
    let result = caught(chain::post(request, snapshot, result)).await;
    (settled(&request.context.request_id, result), may_fall_back)
}

/// Runs the pre chain, and calls the provider if no hook has answered.
async fn ask(
    request: &mut InFlight,
    snapshot: &Snapshot,
    may_fall_back: &mut bool,
) -> Result<Document, Error> {
    match chain::pre(request, snapshot, HookKind::Pre).await {
        PreChain::Continue => request.send_upstream(snapshot).await,
        PreChain::ShortCircuit(ShortCircuit::Response(response)) => Ok(response),
        PreChain::ShortCircuit(ShortCircuit::Error(error, allow_fallback)) => {
            *may_fall_back = allow_fallback;
            Err(error)
        }
        // `HookReply::check` refuses a stream for a request that does not stream.
        PreChain::ShortCircuit(ShortCircuit::Stream(..)) => Err(Error::plugin_failure()),
        PreChain::Fail(error) => Err(error),
    }
}

/// Runs a request that streams, from its beginning to its end. The items for the client go to the reader.
pub(crate) async fn run_stream(
    mut request: Box<InFlight>,
    snapshot: Arc<Snapshot>,
    reader: mpsc::Sender<StreamItem>,
) {
    let mut early = mem::take(&mut request.early_head);
    loop {
        request.begin_attempt();
        let attempt = stream::attempt(&mut request, &snapshot, &reader, &mut early).await;
        let last = match &attempt.result {
            Err(error) if attempt.may_fall_back && !attempt.begun && request.fall_back(error) => continue,
            Err(error) => Some(StreamItem::Failed(request.head(), error.clone())),
            Ok(()) => None,
        };
        let outcome = attempt.result.as_ref().map(|()| None);
        let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
        complete(request, snapshot, attempt.describe(report));
        // The request has released its instances: a reader that does not read holds only this item.
        if let Some(last) = last {
            let _ = reader.send(last).await;
        }
        return;
    }
}
