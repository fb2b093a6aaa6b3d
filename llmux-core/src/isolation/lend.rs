//! Turns a call of the pipeline into a message: all that the hook may see. The host uses it.

use std::borrow::Cow;

use bytes::Bytes;

use super::protocol as message;
use crate::document::{Document, Outline};
use crate::pipeline::{
    body::Body,
    collected::{Collected, StoredValue},
    context::RequestContext,
    headers::Headers,
    hook::{CallContext, HookInput},
    kind::HookKind,
    report::{AnsweredBy, AttemptReport, Ending, Report},
    text::{Channel, Side},
};
use crate::provider::Event;

/// The texts of a call's subject, from which the message borrows.
#[derive(Default)]
pub(super) struct Texts {
    body: Lent,
    request: Lent,
    response: Option<Lent>,
    error: Option<Lent>,
}

/// A text, and its place in the memory for large bodies.
#[derive(Default)]
struct Lent {
    bytes: Bytes,
    start: Option<usize>,
    outline: Option<Outline>,
}

impl Texts {
    /// Takes the texts of a subject. `place` places a large text, and returns the first byte of it in the memory.
    pub(super) fn of(input: &mut HookInput<'_>, mut place: impl FnMut(&Bytes) -> Option<usize>) -> Self {
        let mut of = |body: &Body| {
            let bytes = body.bytes();
            let start = place(&bytes);
            let outline = start.and_then(|_| body.document().and_then(Document::outline));
            Lent { bytes, start, outline }
        };
        match input {
            HookInput::Pre(body) | HookInput::PreStream(body) => Self { body: of(body), ..Self::default() },
            HookInput::Beside(body) => Self { body: of(body), ..Self::default() },
            HookInput::Chunk(chunk) => {
                // The child parses it, if the plugin reads it.
                let bytes = chunk.body.bytes();
                Self { body: Lent { bytes, ..Lent::default() }, ..Self::default() }
            }
            HookInput::Post(outcome) => {
                Self { request: of(&outcome.request), body: of(outcome.body()), ..Self::default() }
            }
            HookInput::Text(_) | HookInput::ToolCall(_) => Self::default(),
            HookInput::PostStream(report) | HookInput::Complete(report) => Self {
                request: of(&report.request),
                response: report.response.as_ref().map(&mut of),
                error: report.error.as_ref().map(&mut of),
                ..Self::default()
            },
        }
    }
}

impl Lent {
    fn as_part(&self) -> message::Part<'_> {
        match self.start {
            None => message::Part::Here(&self.bytes),
            Some(start) => message::Part::Placed {
                start,
                length: self.bytes.len(),
                outline: self.outline.as_ref().map(Cow::Borrowed),
            },
        }
    }
}

/// The parts of a request's context that a call sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// All, and the child does not keep them.
    Once,
    /// All, except for the headers that the child has kept. It keeps this context in the place of the one before.
    Kept { has_headers: bool, has_provider_headers: bool },
    /// None: the child has kept them.
    Nothing,
}

/// Returns the message of a call. `state` is the number of the state that the instance keeps for the request.
pub(super) fn call<'m>(
    state: u64,
    context: &'m CallContext<'_>,
    input: &'m HookInput<'_>,
    texts: &'m Texts,
    given: Given,
) -> message::Call<'m> {
    message((state, 0), context, request_context(context.request, given), subject(input, texts))
}

/// Returns the message of a call for a chunk before its turn: after the call of this number, or first if it is 0. `limit` is the
/// largest size that an edit may produce, in bytes.
pub(super) fn announced<'m>(
    (state, after): (u64, u64),
    context: &'m CallContext<'_>,
    event: &'m Event,
    limit: usize,
) -> message::Call<'m> {
    let body = message::Body { text: message::Part::Here(&event.data), limit: Some(limit as u64) };
    let subject = message::Subject::Chunk { event: event.name.as_deref(), body };
    message((state, after), context, None, subject)
}

fn message<'m>(
    (state, after): (u64, u64),
    context: &'m CallContext<'_>,
    given: Option<Box<message::Context<'m>>>,
    subject: message::Subject<'m>,
) -> message::Call<'m> {
    message::Call {
        state,
        hook: HookKind::ALL.iter().position(|kind| *kind == context.kind).unwrap_or_default() as u8,
        after,
        remaining: context.limit.remaining().as_micros().try_into().unwrap_or(u64::MAX),
        context: given,
        collected: collected(&context.request.collected).map(Box::new),
        subject,
    }
}

/// Returns what plugins have set; `None` if it is nothing.
fn collected(collected: &Collected) -> Option<message::Collected<'_>> {
    let (values, response_headers, provider_headers) =
        (collected.values(), collected.response_headers(), collected.provider_headers());
    if values.is_empty() && response_headers.is_empty() && provider_headers.is_empty() {
        return None;
    }
    Some(message::Collected {
        values: values.iter().map(|(key, it)| (&**key, value(it))).collect(),
        response_headers: pairs(response_headers),
        provider_headers: pairs(provider_headers),
    })
}

fn request_context(context: &RequestContext, given: Given) -> Option<Box<message::Context<'_>>> {
    let (is_kept, has_headers, has_provider_headers) = match given {
        Given::Nothing => return None,
        Given::Once => (false, false, false),
        Given::Kept { has_headers, has_provider_headers } => (true, has_headers, has_provider_headers),
    };
    Some(Box::new(message::Context {
        request_id: &context.request_id,
        endpoint: context.endpoint.path(),
        model: &context.model,
        attempt: context.attempt,
        is_streaming: context.is_streaming,
        read_only: context.read_only,
        started: context.started_micros(),
        deployment: context.deployment.as_deref().map(|deployment| message::Deployment {
            id: &deployment.id,
            provider: &deployment.provider_name,
        }),
        identity: context.identity.as_deref().map(|identity| message::Identity {
            key_id: &identity.key_id,
            user: identity.user.as_deref(),
            team: identity.team.as_deref(),
        }),
        client: context.client(),
        headers: headers(&context.headers, has_headers),
        provider_headers: context.provider_headers.as_ref().map(|it| headers(it, has_provider_headers)),
        is_kept,
    }))
}

fn headers(headers: &Headers, is_known: bool) -> message::Headers<'_> {
    if is_known { message::Headers::Kept } else { message::Headers::Given(headers.to_text().into()) }
}

pub(super) fn pairs<'h>(
    headers: impl IntoIterator<Item = &'h (http::HeaderName, http::HeaderValue)>,
) -> Vec<(&'h str, &'h str)> {
    let shown = |(name, value): &'h (http::HeaderName, http::HeaderValue)| {
        // A plugin gave it as text of UTF-8, which a header may hold.
        Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?))
    };
    headers.into_iter().filter_map(shown).collect()
}

pub(super) fn value(value: &StoredValue) -> message::Value<'_> {
    match value {
        StoredValue::String(text) => message::Value::String(text),
        StoredValue::Integer(integer) => message::Value::Integer(*integer),
        StoredValue::Float(float) => message::Value::Float(*float),
        StoredValue::Boolean(boolean) => message::Value::Boolean(*boolean),
        StoredValue::Json(text) => message::Value::Json(text),
    }
}

fn subject<'m>(input: &'m HookInput<'_>, texts: &'m Texts) -> message::Subject<'m> {
    let body = |limit: Option<usize>| message::Body {
        text: texts.body.as_part(),
        limit: limit.map(|limit| limit as u64),
    };
    match input {
        HookInput::Pre(request) | HookInput::PreStream(request) => {
            message::Subject::Request(body(request.limit()))
        }
        HookInput::Beside(_) => message::Subject::Request(body(None)),
        HookInput::Chunk(chunk) => {
            message::Subject::Chunk { event: chunk.event.as_deref(), body: body(chunk.body.limit()) }
        }
        HookInput::Post(outcome) => message::Subject::Outcome(message::Outcome {
            is_error: outcome.is_error(),
            is_plugin_failure: outcome.is_plugin_failure(),
            is_binary: outcome.is_binary(),
            body: body(outcome.body_limit()),
            limit: outcome.limit() as u64,
            request: texts.request.as_part(),
        }),
        HookInput::Text(text) => message::Subject::Text(message::Text {
            text: &text.text,
            role: &text.role,
            tool: &text.tool,
            is_answer: text.side == Side::Answer,
            channel: Channel::ALL.iter().position(|channel| *channel == text.channel).unwrap_or_default()
                as u8,
            choice: text.choice,
            number: text.number,
            is_end: text.is_end,
        }),
        HookInput::ToolCall(call) => message::Subject::ToolCall(message::ToolCall {
            id: &call.id,
            name: &call.name,
            arguments: &call.arguments,
            choice: call.choice,
            is_json: call.is_json,
        }),
        HookInput::PostStream(it) | HookInput::Complete(it) => {
            message::Subject::Report(Box::new(report(it, texts)))
        }
    }
}

fn report<'m>(report: &'m Report, texts: &'m Texts) -> message::Report<'m> {
    let micros = |time: std::time::Duration| time.as_micros().try_into().unwrap_or(u64::MAX);
    message::Report {
        ending: match report.ending {
            Ending::Completed => 0,
            Ending::Failed => 1,
            Ending::Cancelled => 2,
        },
        status: report.status,
        latency: micros(report.latency),
        first_chunk: report.first_chunk.map(micros),
        chunks: report.chunks,
        is_unfinished: report.is_unfinished,
        usage: report.usage.map(usage),
        answered_by: match &report.answered_by {
            AnsweredBy::Host => message::AnsweredBy::Host,
            AnsweredBy::Provider => message::AnsweredBy::Provider,
            AnsweredBy::Instance { name, cached } => message::AnsweredBy::Instance { name, cached: *cached },
        },
        attempts: report.attempts.iter().map(attempt).collect(),
        request: texts.request.as_part(),
        response: texts.response.as_ref().map(Lent::as_part),
        error: texts.error.as_ref().map(Lent::as_part),
    }
}

fn attempt(attempt: &AttemptReport) -> message::Attempt<'_> {
    let AttemptReport { deployment, status, usage: used, cancelled_by, .. } = attempt;
    message::Attempt {
        deployment: message::Deployment { id: &deployment.id, provider: &deployment.provider_name },
        status: *status,
        usage: used.map(usage),
        cancelled_by: cancelled_by.as_deref(),
    }
}

fn usage(usage: llmux_abi::Usage) -> message::Usage {
    message::Usage {
        prompt: usage.prompt_tokens,
        completion: usage.completion_tokens,
        total: usage.total_tokens,
        is_estimated: usage.is_estimated,
    }
}
