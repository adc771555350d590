//! Why a verb of the world failed, in the words of who sees it and of who runs the server.

use crate::{database::DatabaseError, orchestrator::OrchestratorError};
use model::{Cause, CauseCode};
use std::time::Duration;

/// Why a verb failed.
pub(super) enum Failure {
    Caused(Cause),
    Other(String),
    Slow(&'static str, Duration),
}

impl Failure {
    /// For the viewer, and for the operator.
    pub(super) fn explain(self) -> (Cause, String) {
        match self {
            Self::Caused(cause) => {
                let error = match &cause.detail {
                    Some(detail) => format!("{} ({detail})", cause.message),
                    None => cause.message.clone(),
                };
                (cause, error)
            }
            Self::Other(error) => {
                let cause = Cause::new(
                    CauseCode::Unexpected,
                    "Something failed that has no name yet. It is tried again by itself.",
                    &["Look at the server's log for this sandbox's name."],
                );
                (cause.with_detail(error.clone()), error)
            }
            Self::Slow(doing, limit) => {
                let text = format!("It took over {} s to {doing}.", limit.as_secs());
                (Cause::new(CauseCode::OrchestratorUnreachable, text.clone(), &["It is tried again by itself."]), text)
            }
        }
    }
}

impl From<OrchestratorError> for Failure {
    fn from(error: OrchestratorError) -> Self {
        match error {
            OrchestratorError::Caused(cause) => Self::Caused(cause),
            OrchestratorError::Other(error) => Self::Other(format!("{error:#}")),
        }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Caused(cause) => Self::Caused(cause),
            DatabaseError::Other(error) => Self::Other(format!("{error:#}")),
        }
    }
}
