//! Errors as answers.

use http::StatusCode;

use super::body::{Answer, json};
use crate::protocol::http::{ErrorBody, Versions};

/// What went wrong, as the caller reads it: always a status, a code for programs and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Error {
    pub status: StatusCode,
    pub code: &'static str,
    pub sentence: String,
    /// Of a file that is not the one that was meant.
    pub versions: Option<Versions>,
}

impl Error {
    pub fn new(status: StatusCode, code: &'static str, sentence: impl Into<String>) -> Self {
        Self { status, code, sentence: sentence.into(), versions: None }
    }

    /// Return `400 Bad Request`.
    pub fn bad_request(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, sentence)
    }

    /// Return `404 Not Found`.
    pub fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", sentence)
    }

    /// Return `409 Conflict`.
    pub fn conflict(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, sentence)
    }

    /// Return `409 Conflict` with both versions: the file is not the one that was meant.
    pub fn changed(versions: Versions) -> Self {
        let sentence = match &versions.current {
            None => "There is no such file any more, and a version of it was to be replaced. Nothing was changed.",
            Some(_) if versions.expected == "*" => "There is such a file already. Nothing was changed.",
            Some(_) => "The file was changed by somebody else meanwhile. Nothing was changed.",
        };
        Self { versions: Some(versions), ..Self::conflict("changed", sentence) }
    }

    /// Return `500 Internal Server Error`.
    pub fn internal(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", sentence)
    }

    /// Return `507 Insufficient Storage`.
    pub fn disk_full() -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full. Delete something and try again.")
    }

    pub fn answer(&self) -> Answer {
        json(
            self.status,
            &ErrorBody { error: self.sentence.clone(), code: self.code.to_owned(), versions: self.versions.clone() },
        )
    }
}
