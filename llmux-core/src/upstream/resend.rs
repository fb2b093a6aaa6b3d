//! The one place that decides whether a request that failed is sent again (rule F1).
//!
//! `router` asks it. It decides by the kind of the error and by the progress that the exchange had made. Deliberately
//! absent: the number of retries and the delays before them, which `retry` knows.

use crate::{
    error::{Error, ErrorKind},
    progress::Progress,
};

/// The next step after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resend {
    /// Send it again to the same deployment after a delay, as long as there are retries; then to the next deployment.
    Retry,
    /// Send it again to the same deployment at once, on a new connection.
    NewConnection,
    /// Do not send it again to the same deployment; go to the next one.
    NextDeployment,
    /// The error is the result.
    Never,
}

/// Decides about a failure. `sent` is the setting of that name: retry also if the provider may have processed the request.
/// `renewed` is true if this deployment had a new connection because of [`Resend::NewConnection`] already.
pub(super) fn after(error: &Error, sent: bool, renewed: bool) -> Resend {
    let perhaps_processed = if sent { Resend::Retry } else { Resend::NextDeployment };
    match (error.kind(), error.progress()) {
        (ErrorKind::Provider, _) if matches!(error.status(), 408 | 429 | 500..=599) => Resend::Retry,
        (ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::BadGateway, progress) => match progress {
            Progress::NotSent => Resend::Retry,
            Progress::Stale if !renewed => Resend::NewConnection,
            Progress::Stale | Progress::Sent | Progress::HeadReceived => perhaps_processed,
            Progress::Answered => Resend::Never,
        },
        _ => Resend::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_every_row_of_the_table_has_its_decision() {
        use ErrorKind::{BadGateway, Connect, InvalidRequest, Provider, Timeout};
        use Progress::{Answered, HeadReceived, NotSent, Sent, Stale};
        use Resend::{Never, NewConnection, NextDeployment, Retry};
        let provider =
            |status| Error::from_parts(Provider, status, serde_json::json!({"message": "m"}), None);
        let own = |kind, progress| Error::new(kind, "m").with_progress(progress);
        // Row, error, decision, decision with `[retry] sent = true`.
        let rows = [
            ("no connection", own(Connect, NotSent), Retry, Retry),
            ("a time limit before sending", own(Timeout, NotSent), Retry, Retry),
            ("a connection that refused the request", own(BadGateway, NotSent), Retry, Retry),
            ("a kept connection that had closed", own(BadGateway, Stale), NewConnection, NewConnection),
            ("a timeout after sending", own(Timeout, Sent), NextDeployment, Retry),
            ("a reset before the answer", own(BadGateway, Sent), NextDeployment, Retry),
            ("a timeout during the answer", own(Timeout, HeadReceived), NextDeployment, Retry),
            ("a reset during the answer", own(BadGateway, HeadReceived), NextDeployment, Retry),
            ("an answer that cannot be read", own(BadGateway, Answered), Never, Never),
            ("status 408", provider(408), Retry, Retry),
            ("status 429", provider(429), Retry, Retry),
            ("status 500", provider(500), Retry, Retry),
            ("status 529", provider(529), Retry, Retry),
            ("an error whose body broke off", provider(503).with_progress(HeadReceived), Retry, Retry),
            ("status 400", provider(400), Never, Never),
            ("status 401", provider(401), Never, Never),
            ("status 404", provider(404), Never, Never),
            ("a request that is invalid", own(InvalidRequest, NotSent), Never, Never),
        ];
        for (row, error, decision, with_sent) in rows {
            assert_eq!(after(&error, false, false), decision, "{row}");
            assert_eq!(after(&error, true, false), with_sent, "{row}, sent = true");
        }
        let twice = own(BadGateway, Stale);
        assert_eq!(after(&twice, false, true), NextDeployment, "a second kept connection that had closed");
        assert_eq!(after(&twice, true, true), Retry, "a second kept connection that had closed, sent = true");
    }
}
