//! Why an ask was refused: the one error of the `Control` trait, of server functions and of REST.

use model::Cause;
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, time::Duration};

/// How long who asked too often is to wait, in whole seconds: the header `Retry-After`. No 429 can be made without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(NonZeroU32);

impl Wait {
    /// Rounded up, and a second at least: who waits for so long has waited long enough.
    #[must_use]
    pub fn of(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN))
    }

    /// At least 1.
    #[must_use]
    pub fn secs(self) -> u32 {
        self.0.get()
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

/// Why an ask was refused. Each kind has one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// `400 Bad Request`: not of the form asked for.
    Malformed,
    /// `401 Unauthorized`: not signed in, or no longer.
    SignedOut,
    /// `403 Forbidden`: signed in with a scope that does not reach that far, or from a foreign origin.
    Forbidden,
    /// `404 Not Found`: not there, or not yours.
    NotFound,
    /// `409 Conflict`: cannot apply now.
    Conflict,
    /// `413 Content Too Large`.
    TooLarge,
    /// `422 Unprocessable Content`: well-formed and against a rule.
    Invalid,
    /// `429 Too Many Requests`, with `Retry-After`. In a body, a sentence says how long; the kind is its name alone.
    TooMany(#[serde(skip)] Wait),
    /// `503 Service Unavailable`: the store or the orchestrator is away.
    Unavailable,
    /// `500 Internal Server Error`.
    Internal,
}

impl ErrorKind {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::SignedOut => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::TooMany(_) => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// What `Retry-After` says, where there has to be one.
    #[must_use]
    pub fn wait(self) -> Option<Wait> {
        if let Self::TooMany(wait) = self { Some(wait) } else { None }
    }
}

/// A refused ask, in words for a person. Nothing internal is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct ControlError {
    /// Which kind, and so which status.
    pub kind: ErrorKind,
    /// `kebab-case`, stable: `name-empty`, `already-stopped`.
    pub code: String,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    pub next_steps: Vec<String>,
    /// The field of a form that it is about.
    #[serde(default)]
    pub field: Option<String>,
    /// What stands behind it, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<Cause>>,
}

impl ControlError {
    /// An error with one next step.
    #[must_use]
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>, next: &str) -> Self {
        let next_steps = if next.is_empty() { Vec::new() } else { vec![next.to_owned()] };
        Self { kind, code: code.to_owned(), message: message.into(), next_steps, field: None, cause: None }
    }

    /// The same, about a field.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// The same, with what stands behind it.
    #[must_use]
    pub fn because(mut self, cause: &Cause) -> Self {
        self.cause = Some(Box::new(cause.clone()));
        self
    }

    /// Not there, or not the viewer's.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "not-found", "There is no such project.", "Look at the list of your projects.")
    }

    /// Too much of something in a short time: the one way to a 429.
    #[must_use]
    pub fn too_many(code: &str, message: impl Into<String>, wait: Duration) -> Self {
        let wait = Wait::of(wait);
        Self::new(ErrorKind::TooMany(wait), code, message, &format!("Wait {} s.", wait.secs()))
    }

    /// Nobody is signed in.
    #[must_use]
    pub fn signed_out() -> Self {
        Self::new(ErrorKind::SignedOut, "signed-out", "You are not signed in, or no longer.", "Sign in again.")
    }
}

/// What goes wrong between a page and a server function, in the same words as everything else.
impl leptos::server_fn::error::FromServerFnError for ControlError {
    type Encoder = leptos::server_fn::codec::JsonEncoding;

    fn from_server_fn_error(error: leptos::server_fn::error::ServerFnErrorErr) -> Self {
        use leptos::server_fn::error::ServerFnErrorErr as E;
        let malformed = |why: String| {
            Self::new(ErrorKind::Malformed, "malformed", format!("The request could not be read: {why}."), "Reload the page.")
        };
        match error {
            E::Request(_) => Self::new(
                ErrorKind::Unavailable,
                "unreachable",
                "The server did not answer. Nothing was changed, as far as this page knows.",
                "Wait until the page is connected again, and repeat it.",
            ),
            E::Args(why) | E::MissingArg(why) => malformed(why),
            // On the server, of what was asked; in a browser, of what was answered.
            E::Deserialization(why) if cfg!(feature = "ssr") => malformed(why),
            E::Deserialization(_) => Self::new(
                ErrorKind::Internal,
                "unreadable-answer",
                "The server answered in a form that this page does not know. It may have been updated.",
                "Reload the page.",
            ),
            _ => Self::new(
                ErrorKind::Internal,
                "internal",
                "The server failed while it worked on this. The reason is in its log.",
                "Try again. If it stays, look into the server's log.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_of_whole_seconds_and_never_none() {
        for (millis, secs) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (5999, 6), (6000, 6)] {
            assert_eq!(Wait::of(Duration::from_millis(millis)).secs(), secs, "{millis} ms");
        }
        assert_eq!(Wait::of(Duration::MAX).secs(), u32::MAX);
    }

    #[test]
    fn too_many_says_how_long_to_wait_and_keeps_its_name_on_the_way_to_a_page() {
        let error = ControlError::too_many("too-many", "Too many requests in a short time.", Duration::from_millis(2500));
        assert_eq!((error.kind.status(), error.kind.wait().map(Wait::secs)), (429, Some(3)));
        assert_eq!(error.next_steps, ["Wait 3 s."]);
        let body = serde_json::to_value(&error).unwrap();
        assert_eq!(body["kind"], "too-many");
        let read: ControlError = serde_json::from_value(body).unwrap();
        assert_eq!((read.kind.status(), read.next_steps), (429, error.next_steps));
        assert_eq!(ErrorKind::Conflict.wait(), None);
    }
}
