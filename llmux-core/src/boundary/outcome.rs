//! The outcome table for post hooks, and the report table for the hooks at the end of a stream or request.

use std::marker::PhantomData;

use abi_stable::{
    prefix_type::WithMetadata,
    sabi_types::{RMut, RRef},
    std_types::{RNone, ROption, RStr},
};
use bytes::Bytes;
use llmux_abi::{
    host::guarded,
    raw::{
        document::{self as code, RawDocument},
        outcome::{
            self as field, OutcomeObject, OutcomeTable, OutcomeTableRef, RawOutcome, RawReport, ReportObject,
            ReportTable, ReportTableRef,
        },
    },
};

use super::document;
use crate::{
    document::Document,
    error::{Error, ErrorKind},
    pipeline::{
        outcome::Outcome,
        report::{AnsweredBy, Ending, Report},
    },
};

struct Tables;

impl Tables {
    abi_stable::staticref! {
        const OUTCOME: WithMetadata<OutcomeTable> =
            WithMetadata::new(OutcomeTable { kind: outcome_kind, body, request, recover, fail });
        const REPORT: WithMetadata<ReportTable> = WithMetadata::new(ReportTable {
            kind: report_kind,
            number,
            document: report_document,
            text,
            attempt_text,
            attempt_number,
        });
    }
}

/// Makes a handle on an outcome.
pub(super) fn handle(outcome: &mut Outcome) -> RawOutcome<'_> {
    let object = std::ptr::from_mut(outcome).cast::<OutcomeObject>();
    RawOutcome { object, table: OutcomeTableRef(Tables::OUTCOME.as_prefix()), lent: PhantomData }
}

fn outcome<'a>(object: RRef<'a, OutcomeObject>) -> &'a Outcome {
    // SAFETY: objects of this table are outcomes, lent for `'a` (see `handle`).
    unsafe { object.transmute_into_ref() }
}

fn outcome_mut<'a>(object: RMut<'a, OutcomeObject>) -> &'a mut Outcome {
    // SAFETY: objects of this table are outcomes, lent mutably for `'a` (see `handle`).
    unsafe { object.transmute_into_mut() }
}

unsafe extern "C" fn outcome_kind(object: RRef<'_, OutcomeObject>) -> u32 {
    guarded(field::OUTCOME_FAILED, || {
        if outcome(object).is_error() { field::OUTCOME_FAILED } else { field::OUTCOME_COMPLETED }
    })
}

unsafe extern "C" fn body<'a>(object: RMut<'a, OutcomeObject>) -> ROption<RawDocument<'a>> {
    // Every outcome of this host has a document.
    ROption::RSome(document::handle(outcome_mut(object).body()))
}

unsafe extern "C" fn request<'a>(object: RRef<'a, OutcomeObject>) -> RawDocument<'a> {
    document::read_only_handle(&outcome(object).request)
}

unsafe extern "C" fn recover(object: RMut<'_, OutcomeObject>, json: RStr<'_>) -> u32 {
    guarded(code::DOCUMENT_READ_ONLY, || {
        let outcome = outcome_mut(object);
        outcome.count_written(json.len());
        let document = Document::parse(Bytes::copy_from_slice(json.as_bytes())).ok();
        replace(outcome, document.filter(Document::is_object).map(Ok))
    })
}

unsafe extern "C" fn fail(object: RMut<'_, OutcomeObject>, json: RStr<'_>) -> u32 {
    guarded(code::DOCUMENT_READ_ONLY, || {
        let outcome = outcome_mut(object);
        outcome.count_written(json.len());
        replace(outcome, Error::from_json(ErrorKind::Rejected, json.as_str()).ok().map(Err))
    })
}

fn replace(outcome: &mut Outcome, result: Option<Result<Document, Error>>) -> u32 {
    match result.map(|result| outcome.replace(result)) {
        Some(Ok(())) => code::DOCUMENT_OK,
        Some(Err(_)) => code::DOCUMENT_READ_ONLY,
        None => code::DOCUMENT_INVALID_JSON,
    }
}

/// Makes a handle on a report.
pub(super) fn report_handle(report: &Report) -> RawReport<'_> {
    // SAFETY: a reference is a valid pointer for its lifetime.
    let object = unsafe { RRef::from_raw(std::ptr::from_ref(report).cast::<ReportObject>()) };
    RawReport { object, table: ReportTableRef(Tables::REPORT.as_prefix()) }
}

fn report<'a>(object: RRef<'a, ReportObject>) -> &'a Report {
    // SAFETY: objects of this table are reports, lent for `'a` (see `report_handle`).
    unsafe { object.transmute_into_ref() }
}

unsafe extern "C" fn report_kind(object: RRef<'_, ReportObject>) -> u32 {
    guarded(field::OUTCOME_FAILED, || match report(object).ending {
        Ending::Completed => field::OUTCOME_COMPLETED,
        Ending::Failed => field::OUTCOME_FAILED,
        Ending::Cancelled => field::OUTCOME_CANCELLED,
    })
}

unsafe extern "C" fn number(object: RRef<'_, ReportObject>, which: u32) -> ROption<i64> {
    guarded(RNone, || {
        let report = report(object);
        let number: Option<u128> = match which {
            field::REPORT_LATENCY => Some(report.latency.as_micros()),
            field::REPORT_FIRST_CHUNK => report.first_chunk.map(|time| time.as_micros()),
            field::REPORT_PROMPT_TOKENS => report.usage.map(|usage| usage.prompt_tokens.into()),
            field::REPORT_COMPLETION_TOKENS => report.usage.map(|usage| usage.completion_tokens.into()),
            field::REPORT_TOTAL_TOKENS => report.usage.map(|usage| usage.total_tokens.into()),
            field::REPORT_STATUS => Some(report.status.into()),
            field::REPORT_CHUNKS => report.chunks.map(Into::into),
            field::REPORT_IS_ESTIMATED => report.usage.map(|usage| usage.is_estimated.into()),
            field::REPORT_ANSWERED_BY => Some(answered_by(report).into()),
            field::REPORT_ATTEMPTS => Some(report.attempts.len() as u128),
            field::REPORT_IS_UNFINISHED => report.chunks.map(|_| report.is_unfinished.into()),
            _ => None,
        };
        number.and_then(|number| i64::try_from(number).ok()).into()
    })
}

unsafe extern "C" fn report_document<'a>(
    object: RRef<'a, ReportObject>,
    which: u32,
) -> ROption<RawDocument<'a>> {
    guarded(RNone, || {
        let report = report(object);
        let body = match which {
            field::REPORT_REQUEST => Some(&report.request),
            field::REPORT_RESPONSE => report.response.as_ref(),
            field::REPORT_ERROR => report.error.as_ref(),
            _ => None,
        };
        body.map(document::read_only_handle).into()
    })
}

fn answered_by(report: &Report) -> u32 {
    match report.answered_by {
        AnsweredBy::Host => field::ANSWERED_BY_HOST,
        AnsweredBy::Provider => field::ANSWERED_BY_PROVIDER,
        AnsweredBy::Instance { cached: false, .. } => field::ANSWERED_BY_PLUGIN,
        AnsweredBy::Instance { cached: true, .. } => field::ANSWERED_BY_CACHE,
    }
}

unsafe extern "C" fn text<'a>(object: RRef<'a, ReportObject>, which: u32) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let report = report(object);
        let text = match (which, &report.answered_by) {
            (field::REPORT_ANSWERER, AnsweredBy::Instance { name, .. }) => Some(&**name),
            // The provider that answered is the one of the last attempt.
            (field::REPORT_ANSWERER, AnsweredBy::Provider) => {
                report.attempts.last().map(|attempt| &*attempt.deployment.provider_name)
            }
            _ => None,
        };
        text.map(RStr::from_str).into()
    })
}

unsafe extern "C" fn attempt_text<'a>(
    object: RRef<'a, ReportObject>,
    attempt: u32,
    which: u32,
) -> ROption<RStr<'a>> {
    guarded(RNone, || {
        let attempt = report(object).attempts.get(attempt as usize);
        let text = attempt.and_then(|attempt| match which {
            field::ATTEMPT_PROVIDER => Some(&*attempt.deployment.provider_name),
            field::ATTEMPT_DEPLOYMENT => Some(&*attempt.deployment.id),
            field::ATTEMPT_CANCELLED_BY => attempt.cancelled_by.as_deref(),
            _ => None,
        });
        text.map(RStr::from_str).into()
    })
}

unsafe extern "C" fn attempt_number(
    object: RRef<'_, ReportObject>,
    attempt: u32,
    which: u32,
) -> ROption<i64> {
    guarded(RNone, || {
        let attempt = report(object).attempts.get(attempt as usize);
        let usage = attempt.and_then(|attempt| attempt.usage);
        let number: Option<u64> = match which {
            field::ATTEMPT_STATUS => attempt.map(|attempt| attempt.status.into()),
            field::ATTEMPT_PROMPT_TOKENS => usage.map(|usage| usage.prompt_tokens),
            field::ATTEMPT_COMPLETION_TOKENS => usage.map(|usage| usage.completion_tokens),
            field::ATTEMPT_TOTAL_TOKENS => usage.map(|usage| usage.total_tokens),
            field::ATTEMPT_IS_ESTIMATED => usage.map(|usage| usage.is_estimated.into()),
            _ => None,
        };
        number.and_then(|number| i64::try_from(number).ok()).into()
    })
}
