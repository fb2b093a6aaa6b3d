//! The whole way of a request: attempts, fallbacks, completion.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    chain::{self, PreChain, ShortCircuit},
    completion::complete,
    contain::contained,
    head::Head,
    in_flight::InFlight,
    kind::HookKind,
    report::Report,
    snapshot::Snapshot,
    stream::{self, StreamItem},
    usage::Meter,
};
use crate::{document::Document, error::Error};

/// Runs a request that does not stream, from its beginning to its end.
pub(crate) async fn run(mut request: InFlight, snapshot: Arc<Snapshot>) -> (Head, Result<Document, Error>) {
    loop {
        request.begin_attempt();
        let (result, may_fall_back) = attempt(&mut request, &snapshot).await;
        match result {
            Err(error) if may_fall_back && request.fall_back(&error) => {}
            result => {
                let head = request.head();
                let outcome = result.as_ref().map(Some);
                let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
                complete(request, snapshot, report);
                return (head, result);
            }
        }
    }
}

/// Runs one attempt: pre chain, provider, post chain. Also returns whether a fallback may follow.
async fn attempt(request: &mut InFlight, snapshot: &Snapshot) -> (Result<Document, Error>, bool) {
    let mut may_fall_back = true;
    let request_id = request.context.request_id.clone();
    let result = contained(&request_id, ask(request, snapshot, &mut may_fall_back)).await;
    // The provider's answer counts as it came, whatever becomes of it.
    if request.context.deployment.is_some() {
        let (status, meter) = match &result {
            Ok(response) => (200, Meter::of_response(response)),
            Err(error) => (error.status(), Meter::default()),
        };
        request.report_attempt(status, &meter, None);
    }
    // If the caller left before the first post hook, it has not seen the answer (rule Q3).
    let result = if request.cancel.is_cancelled() { Err(Error::cancelled()) } else { result };
    (contained(&request_id, chain::post(request, snapshot, result)).await, may_fall_back)
}

/// Runs the pre chain, and calls the provider if no hook has answered.
async fn ask(
    request: &mut InFlight,
    snapshot: &Snapshot,
    may_fall_back: &mut bool,
) -> Result<Document, Error> {
    match chain::pre(request, snapshot, HookKind::Pre).await {
        PreChain::Continue => request.send_upstream().await,
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
    mut request: InFlight,
    snapshot: Arc<Snapshot>,
    reader: mpsc::Sender<StreamItem>,
) {
    loop {
        request.begin_attempt();
        let attempt = stream::attempt(&mut request, &snapshot, &reader).await;
        match &attempt.result {
            Err(error) if attempt.may_fall_back && !attempt.begun && request.fall_back(error) => continue,
            Err(error) => {
                let last = StreamItem::Failed(request.head(), error.clone());
                let _ = request.cancel.guard(reader.send(last)).await;
            }
            Ok(()) => {}
        }
        let outcome = attempt.result.as_ref().map(|()| None);
        let report = Report::of(outcome, request.sent(), request.context.started.elapsed());
        return complete(request, snapshot, attempt.describe(report));
    }
}
