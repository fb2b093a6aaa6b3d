//! The failures of a deployment, as they are counted, and their effect on its health (rule F7).
//!
//! `router` classifies each failed try here. Deliberately absent: whether the request is sent again, which `resend` decides.

use crate::{
    error::{Error, ErrorKind},
    progress::Progress,
};

/// A failure of a deployment. The refusal of a request that is the client's fault, such as 400, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeploymentFailure {
    Connection,
    Timeout,
    Reset,
    Unreadable,
    Authentication,
    Payment,
    Forbidden,
    NotFound,
    RateLimit,
    Server,
}

/// The effect of a request's end on the health of its deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The deployment works.
    Works,
    /// The end tells nothing about later requests.
    None,
    /// Counts as one of the failures in a row.
    Counts,
    /// The deployment rests at once.
    Rests,
}

impl DeploymentFailure {
    pub(super) const ALL: [Self; 10] = [
        Self::Connection,
        Self::Timeout,
        Self::Reset,
        Self::Unreadable,
        Self::Authentication,
        Self::Payment,
        Self::Forbidden,
        Self::NotFound,
        Self::RateLimit,
        Self::Server,
    ];

    /// Returns the failure that an error is.
    pub(super) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::Connect => Some(Self::Connection),
            ErrorKind::Timeout => Some(Self::Timeout),
            ErrorKind::BadGateway if error.progress() == Progress::Answered => Some(Self::Unreadable),
            ErrorKind::BadGateway => Some(Self::Reset),
            ErrorKind::Provider => Self::of_status(error.first_status()),
            _ => None,
        }
    }

    /// Returns the failure that a status of a provider is.
    pub(super) fn of_status(status: u16) -> Option<Self> {
        Some(match status {
            401 => Self::Authentication,
            402 => Self::Payment,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            408 => Self::Timeout,
            429 => Self::RateLimit,
            500..=599 => Self::Server,
            _ => return None,
        })
    }

    /// Name of the failure in metrics and in the admin API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unreadable => "unreadable",
            Self::Authentication => "authentication",
            Self::Payment => "payment",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RateLimit => "rate_limit",
            Self::Server => "server",
        }
    }
}

impl From<DeploymentFailure> for Effect {
    fn from(failure: DeploymentFailure) -> Self {
        match failure {
            DeploymentFailure::Connection | DeploymentFailure::Authentication => Self::Rests,
            DeploymentFailure::Timeout
            | DeploymentFailure::Reset
            | DeploymentFailure::Forbidden
            | DeploymentFailure::Server => Self::Counts,
            DeploymentFailure::Unreadable
            | DeploymentFailure::Payment
            | DeploymentFailure::NotFound
            | DeploymentFailure::RateLimit => Self::None,
        }
    }
}

impl Effect {
    /// Returns the effect of a request that failed after its retries.
    pub(super) fn of(error: &Error) -> Self {
        match DeploymentFailure::of(error) {
            Some(failure) => failure.into(),
            // The deployment works: it refused this request.
            None if error.kind() == ErrorKind::Provider => Self::Works,
            None => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_every_failure_has_its_effect_on_the_health() {
        let provider = |status| {
            Error::from_parts(ErrorKind::Provider, status, serde_json::json!({"message": "m"}), None)
        };
        let own = |kind, progress| Error::new(kind, "m").with_progress(progress);
        for (row, error, failure, effect) in [
            ("no connection", own(ErrorKind::Connect, Progress::NotSent), Some("connection"), Effect::Rests),
            ("401", provider(401), Some("authentication"), Effect::Rests),
            ("a timeout", own(ErrorKind::Timeout, Progress::Sent), Some("timeout"), Effect::Counts),
            ("408", provider(408), Some("timeout"), Effect::Counts),
            ("a reset", own(ErrorKind::BadGateway, Progress::Sent), Some("reset"), Effect::Counts),
            ("403", provider(403), Some("forbidden"), Effect::Counts),
            ("500", provider(500), Some("server"), Effect::Counts),
            ("529", provider(529), Some("server"), Effect::Counts),
            ("nonsense", own(ErrorKind::BadGateway, Progress::Answered), Some("unreadable"), Effect::None),
            ("402", provider(402), Some("payment"), Effect::None),
            ("404", provider(404), Some("not_found"), Effect::None),
            ("429", provider(429), Some("rate_limit"), Effect::None),
            ("400", provider(400), None, Effect::Works),
            ("invalid", own(ErrorKind::InvalidRequest, Progress::NotSent), None, Effect::None),
        ] {
            assert_eq!(DeploymentFailure::of(&error).map(DeploymentFailure::as_str), failure, "{row}");
            assert_eq!(Effect::of(&error), effect, "{row}");
        }
    }
}
