//! What an ask is answered where it is not carried out.

use crate::http::errors;
use app::error::{ControlError, ErrorKind};
use engine::store::{StoreError, intent};
use model::{
    port::PortError,
    view::{Scope, Viewer},
};
use tracing::error;

pub(super) fn may_change(viewer: &Viewer) -> Result<(), ControlError> {
    if viewer.scope >= Scope::Write { Ok(()) } else { Err(read_only()) }
}

/// A read token was used to change something.
#[must_use]
pub fn read_only() -> ControlError {
    let message = "This token may look and not change anything: its scope is `read`.";
    ControlError::new(ErrorKind::Forbidden, "read-only", message, "Use a token of scope `write`.")
}

/// `403 Forbidden`: a token asks for what would outlive it.
#[must_use]
pub fn session_only() -> ControlError {
    let message = "No API token may do this: it would open a way to sign in that outlives the token.";
    ControlError::new(ErrorKind::Forbidden, "session-only", message, "Do it in a browser, where you are signed in.")
}

/// `404 Not Found`: the project was made without.
#[must_use]
pub fn no_database() -> ControlError {
    ControlError::new(ErrorKind::NotFound, "no-database", "This project has no database.", "Make one that has.")
}

/// The store's errors, as asks show them. What is not expected is logged here, once.
#[must_use]
pub fn store_error(error: StoreError) -> ControlError {
    match error {
        StoreError::Away(_) => errors::away(error.why()),
        StoreError::NoRoom(_) => errors::store_full(),
        StoreError::Full(have) => {
            let message = format!("You have {have} projects, extra sandboxes counted, and no more are allowed.");
            ControlError::new(ErrorKind::Conflict, "too-many-projects", message, "Delete one that is not needed.")
        }
        StoreError::Refused(why) => conflict(why),
        StoreError::Broken(error) => {
            error!("the store refused a query: {error:#}");
            errors::internal()
        }
    }
}

pub(super) fn conflict(why: &str) -> ControlError {
    let (message, next) = match why {
        intent::BEING_DELETED => ("The project is being deleted.", "Wait until it is gone, and make a new one."),
        intent::BRANCH_TAKEN => ("The project has a sandbox of that branch already.", "Open that one, or choose another branch."),
        intent::ALREADY_STOPPED => ("The sandbox is stopped already.", "Start it to have it again."),
        intent::ALREADY_TERMINATED => ("The sandbox is terminated already: nothing of it is left.", "Start it to have it again."),
        _ => ("The sandbox cannot do that now.", "Look at its phase."),
    };
    ControlError::new(ErrorKind::Conflict, why, message, next)
}

/// A port that has no preview.
#[must_use]
pub fn port_error(error: &PortError) -> ControlError {
    match error {
        PortError::NotAPort(_) => {
            ControlError::new(ErrorKind::Malformed, "not-a-port", error.to_string(), "Give a number such as 3000.").at("port")
        }
        PortError::Reserved(_) => {
            ControlError::new(ErrorKind::Forbidden, "port-reserved", error.to_string(), "Choose another port.").at("port")
        }
    }
}
