//! Server functions: they take the request's context, call [`Control`](crate::control::Control), and
//! map the error. Nothing else.
//!
//! Each reads the viewer before its first await, and asks `Control` with that one alone
//! (docs/architecture.md, "Leptos on the server").

use crate::{
    error::ControlError,
    load::{Loaded, What},
    words::Verb,
};
use leptos::{prelude::*, server_fn::codec::Json};
use model::{
    ProjectId, TokenId,
    view::{EnvChange, EnvView, NewProject, NewToken, PreviewCode, ProjectPatch, ProjectView, Scope},
};
#[cfg(feature = "ssr")]
use {crate::load::Opening, model::Timestamp, model::view::Installation};

#[cfg(feature = "ssr")]
use ssr::Request;

#[cfg(feature = "ssr")]
mod ssr {
    use crate::{
        control::{Control, RequestContext},
        error::{ControlError, ErrorKind},
    };
    use axum::http::{StatusCode, header};
    use leptos::prelude::*;
    use leptos_axum::ResponseOptions;
    use model::view::Viewer;
    use std::sync::Arc;

    /// One request, as it was before the first await.
    pub struct Request {
        pub control: Arc<dyn Control>,
        pub viewer: Option<Viewer>,
        pub sign_in_command: String,
        response: Option<ResponseOptions>,
    }

    impl Request {
        /// The request that is being answered.
        pub fn read() -> Result<Self, ControlError> {
            let RequestContext { viewer, control, sign_in_command, .. } = use_context().ok_or_else(|| {
                ControlError::new(ErrorKind::Internal, "no-context", "The request arrived without its context.", "")
            })?;
            Ok(Self { control, viewer, sign_in_command, response: use_context() })
        }

        /// Who asks.
        pub fn viewer(&self) -> Result<&Viewer, ControlError> {
            self.viewer.as_ref().ok_or_else(ControlError::signed_out).inspect_err(|e| self.status(e))
        }

        /// The answer, with its HTTP status.
        pub fn answer<T>(&self, result: Result<T, ControlError>) -> Result<T, ControlError> {
            result.inspect_err(|e| self.status(e))
        }

        fn status(&self, error: &ControlError) {
            let Some(response) = &self.response else { return };
            if let Ok(status) = StatusCode::from_u16(error.kind.status()) {
                response.set_status(status);
            }
            if let Some(wait) = error.kind.wait() {
                response.insert_header(header::RETRY_AFTER, wait.secs().into());
            }
        }
    }
}

/// Loads what a page shows. [`What::Opening`] never fails for want of a sign-in.
///
/// # Errors
/// `401`, `404` as the REST routes, `503` while the store is away.
#[server(prefix = "/api/fn", endpoint = "load", input = Json)]
pub async fn load(what: What) -> Result<Loaded, ControlError> {
    let ask = Request::read()?;
    let control = &ask.control;
    ask.answer(match what {
        What::Nothing => Ok(Loaded::Nothing),
        What::Opening => opening(&ask).await.map(Loaded::Opening),
        What::Env(id) => control.env(ask.viewer()?, id).await.map(Loaded::Env),
        What::Tokens => control.tokens(ask.viewer()?).await.map(Loaded::Tokens),
    })
}

#[cfg(feature = "ssr")]
async fn opening(ask: &Request) -> Result<Opening, ControlError> {
    let now = Timestamp::now();
    match &ask.viewer {
        None => {
            let installation = Installation { sign_in_command: ask.sign_in_command.clone(), ..Installation::default() };
            Ok(Opening { now, viewer: None, installation, projects: Vec::new() })
        }
        Some(viewer) => {
            let mut installation = ask.control.installation();
            let projects = ask.control.projects(viewer).await?;
            installation.claude_credentials = ask.control.has_claude_credentials(viewer).await?;
            Ok(Opening { now, viewer: Some(viewer.clone()), installation, projects })
        }
    }
}

/// Makes a project. `key` is an idempotency key: the same again answers the same project.
///
/// # Errors
/// As `POST /api/projects`.
#[server(prefix = "/api/fn", endpoint = "create-project", input = Json)]
pub async fn create_project(new: NewProject, key: String) -> Result<ProjectView, ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.create_project(ask.viewer()?, new, Some(key)).await)
}

/// Renames or resizes.
///
/// # Errors
/// As `PATCH /api/projects/{id}`.
#[server(prefix = "/api/fn", endpoint = "update-project", input = Json)]
pub async fn update_project(id: ProjectId, patch: ProjectPatch) -> Result<ProjectView, ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.update_project(ask.viewer()?, id, patch).await)
}

/// Removes everything of a project whose name was typed.
///
/// # Errors
/// As `DELETE /api/projects/{id}`.
#[server(prefix = "/api/fn", endpoint = "delete-project", input = Json)]
pub async fn delete_project(id: ProjectId, typed_name: String) -> Result<(), ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.delete_project(ask.viewer()?, id, Some(typed_name)).await)
}

/// Asks a sandbox for something.
///
/// # Errors
/// As the REST route of that verb.
#[server(prefix = "/api/fn", endpoint = "ask", input = Json)]
pub async fn ask(id: ProjectId, verb: Verb) -> Result<ProjectView, ControlError> {
    let ask = Request::read()?;
    let viewer = ask.viewer()?;
    ask.answer(match verb {
        Verb::Start => ask.control.start(viewer, id, None).await,
        Verb::Stop => ask.control.stop(viewer, id, None).await,
        Verb::Restart => ask.control.restart(viewer, id).await,
        Verb::Terminate => ask.control.terminate(viewer, id).await,
    })
}

/// Changes variables; they wait for a restart.
///
/// # Errors
/// As `PUT /api/projects/{id}/env`.
#[server(prefix = "/api/fn", endpoint = "change-env", input = Json)]
pub async fn change_env(id: ProjectId, change: EnvChange) -> Result<EnvView, ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.change_env(ask.viewer()?, id, change).await)
}

/// A single-use code that opens the preview of one port.
///
/// # Errors
/// `403` for a reserved port, `404`, `409` while nothing runs.
#[server(prefix = "/api/fn", endpoint = "open-preview", input = Json)]
pub async fn open_preview(id: ProjectId, port: u16) -> Result<PreviewCode, ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.preview_code(ask.viewer()?, id, port).await)
}

/// Makes a token; the secret is shown this once.
///
/// # Errors
/// `422` for its name or days.
#[server(prefix = "/api/fn", endpoint = "create-token", input = Json)]
pub async fn create_token(name: String, scope: Scope, days: Option<u32>) -> Result<NewToken, ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.create_token(ask.viewer()?, name, scope, days).await)
}

/// Revokes a token.
///
/// # Errors
/// `404`.
#[server(prefix = "/api/fn", endpoint = "revoke-token", input = Json)]
pub async fn revoke_token(id: TokenId) -> Result<(), ControlError> {
    let ask = Request::read()?;
    ask.answer(ask.control.revoke_token(ask.viewer()?, id).await)
}

/// Registers every server function, where the linker's own registration cannot be relied on.
#[cfg(feature = "ssr")]
pub fn register() {
    use leptos::server_fn::axum::register_explicit as register;
    register::<Load>();
    register::<CreateProject>();
    register::<UpdateProject>();
    register::<DeleteProject>();
    register::<Ask>();
    register::<ChangeEnv>();
    register::<OpenPreview>();
    register::<CreateToken>();
    register::<RevokeToken>();
}
