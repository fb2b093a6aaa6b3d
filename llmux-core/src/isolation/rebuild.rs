//! Makes the parts of a request that a hook is lent from the message of a call. The child uses it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{apply::set_collected, frame::Frame, protocol as message};
use crate::{
    Endpoint,
    boundary::host_memory,
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{
        body::{Body, Chunk},
        collected::Collected,
        context::{Identity, RequestContext},
        headers::Headers,
        hook::HookInput,
        kind::HookKind,
        outcome::Outcome,
        report::{AnsweredBy, AttemptReport, Ending, Report},
        text::{Channel, Side, Text},
        tool_call::ToolCall,
    },
    provider::Event,
    upstream::Deployment,
};

/// The subject of a hook, owned by the child.
pub(super) enum Subject {
    Request(Body),
    Outcome(Box<Outcome>),
    Chunk(Chunk),
    Report(Box<Report>),
    Text(Box<Text<'static>>),
    ToolCall(Box<ToolCall<'static>>),
}

impl Subject {
    /// Makes the subject of a call. The bodies are parts of the frame.
    pub(super) fn of(message: &message::Subject<'_>, frame: &Frame) -> Option<Self> {
        Some(match message {
            message::Subject::Request(request) => Self::Request(body(request, frame)?),
            message::Subject::Chunk { event, body } => {
                let message::Part::Here(text) = body.text else { return None };
                let event = Event { name: event.map(Arc::from), data: frame.message.slice_ref(text) };
                let mut chunk = Chunk::new(event, body.limit? as usize);
                chunk.body.keep_journal();
                Self::Chunk(chunk)
            }
            message::Subject::Outcome(message) => Self::Outcome(Box::new(outcome(message, frame)?)),
            message::Subject::Text(message) => Self::Text(Box::new(Text {
                text: message.text.to_owned().into(),
                role: message.role.to_owned().into(),
                tool: message.tool.to_owned().into(),
                side: if message.is_answer { Side::Answer } else { Side::Request },
                channel: *Channel::ALL.get(usize::from(message.channel))?,
                choice: message.choice,
                number: message.number,
                is_end: message.is_end,
                // The host checks it.
                room: usize::MAX,
            })),
            message::Subject::ToolCall(message) => Self::ToolCall(Box::new(ToolCall {
                id: message.id.to_owned().into(),
                name: message.name.to_owned().into(),
                arguments: message.arguments.to_owned().into(),
                choice: message.choice,
                is_json: message.is_json,
            })),
            message::Subject::Report(message) => Self::Report(Box::new(report(message, frame)?)),
        })
    }

    /// Lends the subject to a hook of this kind.
    pub(super) fn lend(&mut self, kind: HookKind) -> HookInput<'_> {
        match (self, kind) {
            (Subject::Request(body), HookKind::PreStream) => HookInput::PreStream(body),
            (Subject::Request(body), HookKind::Beside) => HookInput::Beside(body),
            (Subject::Request(body), _) => HookInput::Pre(body),
            (Subject::Outcome(outcome), _) => HookInput::Post(outcome),
            (Subject::Chunk(chunk), _) => HookInput::Chunk(chunk),
            (Subject::Text(text), _) => HookInput::Text(text),
            (Subject::ToolCall(call), _) => HookInput::ToolCall(call),
            (Subject::Report(report), HookKind::PostStream) => HookInput::PostStream(report),
            (Subject::Report(report), _) => HookInput::Complete(report),
        }
    }
}

/// Makes a body of a part. The host has checked the text, which is parsed only if the plugin reads it.
fn part(part: &message::Part<'_>, limit: Option<u64>, frame: &Frame) -> Option<Body> {
    let limit = limit.map(|limit| limit as usize);
    let (text, outline) = match part {
        message::Part::Here(text) => (frame.message.slice_ref(text), None),
        message::Part::Placed { start, length, outline } => {
            (host_memory::part(*start, *length)?, outline.as_deref())
        }
    };
    let Some(outline) = outline else { return Some(Body::of_text(text, limit)) };
    let document = Document::of_outline(text, outline);
    Some(match limit {
        Some(limit) => Body::new(document, limit),
        None => Body::read_only(document),
    })
}

/// Makes a body whose edits are kept, so that the host makes them, too.
fn body(message: &message::Body<'_>, frame: &Frame) -> Option<Body> {
    let mut body = part(&message.text, message.limit, frame)?;
    body.keep_journal();
    Some(body)
}

fn outcome(message: &message::Outcome<'_>, frame: &Frame) -> Option<Outcome> {
    let kind = match message.is_plugin_failure {
        true => ErrorKind::PluginFailure,
        false => ErrorKind::Rejected,
    };
    let error = message.is_error.then(|| Error::new(kind, "").split().0);
    let (body, request) = (body(&message.body, frame)?, part(&message.request, None, frame)?);
    let outcome = Outcome::of_parts(error, body, request, message.limit as usize);
    Some(if message.is_binary { outcome.of_binary() } else { outcome })
}

fn report(message: &message::Report<'_>, frame: &Frame) -> Option<Report> {
    let optional = |text: &Option<message::Part<'_>>| match text {
        Some(text) => part(text, None, frame).map(Some),
        None => Some(None),
    };
    let attempt = |attempt: &message::Attempt<'_>| {
        let deployment = self::deployment(&attempt.deployment);
        let cancelled_by = attempt.cancelled_by.map(Arc::from);
        AttemptReport::new(deployment, attempt.status, attempt.usage.map(usage), cancelled_by)
    };
    Some(Report {
        ending: match message.ending {
            0 => Ending::Completed,
            1 => Ending::Failed,
            _ => Ending::Cancelled,
        },
        status: message.status,
        latency: Duration::from_micros(message.latency),
        first_chunk: message.first_chunk.map(Duration::from_micros),
        chunks: message.chunks,
        is_unfinished: message.is_unfinished,
        usage: message.usage.map(usage),
        answered_by: match message.answered_by {
            message::AnsweredBy::Host => AnsweredBy::Host,
            message::AnsweredBy::Provider => AnsweredBy::Provider,
            message::AnsweredBy::Instance { name, cached } => {
                AnsweredBy::Instance { name: name.into(), cached }
            }
        },
        attempts: message.attempts.iter().map(attempt).collect(),
        request: part(&message.request, None, frame)?,
        response: optional(&message.response)?,
        error: optional(&message.error)?,
    })
}

fn deployment(message: &message::Deployment<'_>) -> Arc<Deployment> {
    Arc::new(Deployment::named(message.id, message.provider))
}

fn usage(message: message::Usage) -> llmux_abi::Usage {
    let mut usage = llmux_abi::Usage::default();
    (usage.prompt_tokens, usage.completion_tokens) = (message.prompt, message.completion);
    (usage.total_tokens, usage.is_estimated) = (message.total, message.is_estimated);
    usage
}

/// Makes the context of a request. `kept` is the one from an earlier call.
pub(super) fn context(
    message: &message::Context<'_>,
    kept: Option<&RequestContext>,
) -> Option<RequestContext> {
    let of_provider = match &message.provider_headers {
        Some(provider) => Some(headers(provider, || kept?.provider_headers.clone())?),
        None => None,
    };
    let identity = message.identity.as_ref().map(|identity| {
        Arc::new(Identity {
            key_id: identity.key_id.to_owned(),
            user: identity.user.map(str::to_owned),
            team: identity.team.map(str::to_owned),
        })
    });
    let endpoint: Endpoint = message.endpoint.parse().ok()?;
    let client = message.client.and_then(|client| client.parse::<IpAddr>().ok());
    let mut context = RequestContext::new(
        endpoint,
        message.is_streaming,
        message.model.into(),
        message.request_id.into(),
        identity,
        headers(&message.headers, || kept.map(|kept| kept.headers.clone()))?,
        client,
    );
    context.set_started_micros(message.started);
    context.attempt = message.attempt;
    context.deployment = message.deployment.as_ref().map(deployment);
    context.provider_headers = of_provider;
    context.read_only = message.read_only;
    Some(context)
}

/// Returns the headers of a message, or those of the kept context. `None` if there is none.
fn headers(message: &message::Headers<'_>, kept: impl FnOnce() -> Option<Headers>) -> Option<Headers> {
    match message {
        // A copy: the frame holds a body, too.
        message::Headers::Given(text) => Some(Headers::Text(Bytes::copy_from_slice(text))),
        message::Headers::Kept => kept(),
    }
}

/// Makes the values and headers that plugins have set. The host has accepted all of them.
pub(super) fn collected(message: Option<&message::Collected<'_>>) -> Option<Collected> {
    let mut collected = Collected::default();
    let Some(message) = message else { return Some(collected) };
    set_collected(&mut collected, message).ok()?;
    collected.commit();
    Some(collected)
}

/// Returns bytes as text. What a plugin gave is text; anything else becomes empty.
pub(super) fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
