//! The one place that decides whether a request that failed is sent again: to the same deployment (rule F1), to another
//! deployment, or with a fallback model (rule F6).
//!
//! `router` asks it, and through it the pipeline. It decides by the kind of the error, by the status of the provider's
//! answer, and by the progress that the exchange had made. Deliberately absent: the number of retries and the delays before
//! them, which `retry` knows.

use super::retry::OtherDeployment;
use crate::{
    error::{Error, ErrorKind},
    progress::Progress,
};

/// The next step at the same deployment after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    /// Send it again to the same deployment after a delay, as long as there are retries.
    Retry,
    /// Send it again to the same deployment at once, on a new connection.
    NewConnection,
    /// Do not send it again to the same deployment.
    No,
}

/// Decides about the same deployment. `sent` is the setting of that name: retry also if the provider may have processed the
/// request. `renewed` is true if this deployment had a new connection because of [`Resend::NewConnection`] already.
pub(super) fn again(error: &Error, sent: bool, renewed: bool) -> Resend {
    let perhaps_processed = if sent { Resend::Retry } else { Resend::No };
    match (error.kind(), error.progress()) {
        (ErrorKind::Provider, _) if matches!(error.first_status(), 408 | 429 | 500..=599) => Resend::Retry,
        (ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::BadGateway, progress) => match progress {
            Progress::NotSent => Resend::Retry,
            Progress::Stale if !renewed => Resend::NewConnection,
            Progress::Stale | Progress::Sent | Progress::HeadReceived => perhaps_processed,
            Progress::Answered => Resend::No,
        },
        _ => Resend::No,
    }
}

/// Decides about another deployment, after the retries of the one that failed.
pub(super) fn elsewhere(error: &Error, setting: OtherDeployment) -> bool {
    let unsent_only = setting == OtherDeployment::Unsent;
    match error.kind() {
        ErrorKind::Provider => match error.first_status() {
            // The provider refused the request before it processed it.
            401..=404 | 429 => true,
            408 | 500..=599 => !unsent_only,
            _ => false,
        },
        ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::BadGateway => match error.progress() {
            Progress::NotSent => true,
            Progress::Stale | Progress::Sent | Progress::HeadReceived => !unsent_only,
            Progress::Answered => false,
        },
        _ => false,
    }
}

/// Decides about a fallback model.
pub(super) fn fallback(error: &Error, setting: OtherDeployment) -> bool {
    match error.kind() {
        // No provider has seen the request.
        ErrorKind::ModelNotFound | ErrorKind::Rejected => true,
        ErrorKind::Internal => setting == OtherDeployment::Failed,
        _ => elsewhere(error, setting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row: its name, the error, the decision about the same deployment, that with `[retry] sent = true`, the decision
    /// about another deployment, and that with `[retry] other_deployment = "unsent"`.
    type Row = (&'static str, Error, Resend, Resend, bool, bool);

    fn rows() -> Vec<Row> {
        use ErrorKind::{BadGateway, Connect, InvalidRequest, Provider, Timeout};
        use Progress::{Answered, HeadReceived, NotSent, Sent, Stale};
        use Resend::{NewConnection, No, Retry};
        let provider =
            |status| Error::from_parts(Provider, status, serde_json::json!({"message": "m"}), None);
        let own = |kind, progress| Error::new(kind, "m").with_progress(progress);
        vec![
            ("no connection", own(Connect, NotSent), Retry, Retry, true, true),
            ("a time limit before sending", own(Timeout, NotSent), Retry, Retry, true, true),
            ("a connection that refused the request", own(BadGateway, NotSent), Retry, Retry, true, true),
            (
                "a kept connection that had closed",
                own(BadGateway, Stale),
                NewConnection,
                NewConnection,
                true,
                false,
            ),
            ("a timeout after sending", own(Timeout, Sent), No, Retry, true, false),
            ("a reset before the answer", own(BadGateway, Sent), No, Retry, true, false),
            ("a timeout during the answer", own(Timeout, HeadReceived), No, Retry, true, false),
            ("a reset during the answer", own(BadGateway, HeadReceived), No, Retry, true, false),
            ("an answer that cannot be read", own(BadGateway, Answered), No, No, false, false),
            ("status 408", provider(408), Retry, Retry, true, false),
            ("status 429", provider(429), Retry, Retry, true, true),
            ("status 500", provider(500), Retry, Retry, true, false),
            ("status 529", provider(529), Retry, Retry, true, false),
            (
                "an error whose body broke off",
                provider(503).with_progress(HeadReceived),
                Retry,
                Retry,
                true,
                false,
            ),
            ("status 401", provider(401), No, No, true, true),
            ("status 402", provider(402), No, No, true, true),
            ("status 403", provider(403), No, No, true, true),
            ("status 404", provider(404), No, No, true, true),
            ("status 400", provider(400), No, No, false, false),
            ("status 409", provider(409), No, No, false, false),
            ("status 413", provider(413), No, No, false, false),
            ("status 415", provider(415), No, No, false, false),
            ("status 422", provider(422), No, No, false, false),
            ("a request that is invalid", own(InvalidRequest, NotSent), No, No, false, false),
        ]
    }

    #[test]
    fn f1_every_row_of_the_table_has_its_decision() {
        for (row, error, same, with_sent, ..) in rows() {
            assert_eq!(again(&error, false, false), same, "{row}");
            assert_eq!(again(&error, true, false), with_sent, "{row}, sent = true");
        }
        let twice = Error::new(ErrorKind::BadGateway, "m").with_progress(Progress::Stale);
        assert_eq!(again(&twice, false, true), Resend::No, "a second kept connection that had closed");
        assert_eq!(again(&twice, true, true), Resend::Retry, "a second kept connection, sent = true");
    }

    #[test]
    fn f6_every_row_of_the_table_has_its_decision_about_another_deployment() {
        for (row, error, _, _, other, unsent) in rows() {
            for (setting, expected) in [(OtherDeployment::Failed, other), (OtherDeployment::Unsent, unsent)] {
                assert_eq!(elsewhere(&error, setting), expected, "{row}, {setting:?}");
                assert_eq!(fallback(&error, setting), expected, "{row}, {setting:?}, a fallback model");
            }
        }
    }

    #[test]
    fn f6_a_fallback_model_also_follows_errors_of_no_provider() {
        for (kind, failed, unsent) in [
            (ErrorKind::ModelNotFound, true, true),
            (ErrorKind::Rejected, true, true),
            (ErrorKind::Internal, true, false),
            (ErrorKind::PluginFailure, false, false),
            (ErrorKind::Cancelled, false, false),
            (ErrorKind::PipelineClosed, false, false),
        ] {
            let error = Error::new(kind, "m");
            assert_eq!(fallback(&error, OtherDeployment::Failed), failed, "{kind:?}");
            assert_eq!(fallback(&error, OtherDeployment::Unsent), unsent, "{kind:?}, unsent");
        }
    }

    #[test]
    fn f6_a_status_that_a_hook_has_set_decides_nothing() {
        let error = Error::from_parts(ErrorKind::Provider, 503, serde_json::json!({"message": "m"}), None);
        let (origin, mut document) = error.split();
        document.set("/status", "400").expect("set");
        assert!(fallback(&Error::join(origin, document), OtherDeployment::Failed));
    }
}
