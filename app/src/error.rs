//! Why an ask was refused: the one error of the `Control` trait, of server functions and of REST.

use serde::{Deserialize, Serialize};

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
    /// `429 Too Many Requests`.
    TooMany,
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
            Self::TooMany => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
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
}

impl ControlError {
    /// An error with one next step.
    #[must_use]
    pub fn new(kind: ErrorKind, code: &str, message: impl Into<String>, next: &str) -> Self {
        let next_steps = if next.is_empty() { Vec::new() } else { vec![next.to_owned()] };
        Self { kind, code: code.to_owned(), message: message.into(), next_steps, field: None }
    }

    /// The same, about a field.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Not there, or not the viewer's.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "not-found", "There is no such project.", "Look at the list of your projects.")
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
        match error {
            E::Request(_) => Self::new(
                ErrorKind::Unavailable,
                "unreachable",
                "The server did not answer. Nothing was changed, as far as this page knows.",
                "Wait until the page is connected again, and repeat it.",
            ),
            E::Args(why) | E::MissingArg(why) => {
                Self::new(ErrorKind::Malformed, "malformed", format!("The request could not be read: {why}."), "Reload the page.")
            }
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
