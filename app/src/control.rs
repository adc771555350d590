//! What server functions may ask of the server: the one door between pages and the rest.
//!
//! Implemented by `server::control`. REST handlers call the same trait, and nothing else writes
//! intent. Every verb authorises first: what is not the viewer's does not exist.

use model::{
    ProjectId, TokenId,
    view::{DatabaseView, EnvChange, EnvView, NewProject, ProjectPatch, ProjectView, Scope, TokenView, Viewer},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

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

/// Facts of the installation that pages show; the same for everyone who is signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Installation {
    /// `0.1.0`.
    pub version: String,
    /// `local` or `kubernetes`.
    pub orchestrator: String,
    /// Things that are true of the whole installation and that every page says: no isolation, an
    /// unreachable cluster.
    pub notices: Vec<String>,
    /// Whether Claude Code is in the sandboxes.
    pub claude: bool,
    /// Whether the operator gave credentials for it.
    pub claude_credentials: bool,
    /// Where the operator puts them, as a path to show.
    pub credentials_file: String,
    /// The command that prints a new sign-in link.
    pub sign_in_command: String,
}

/// The verbs. `Ok` of an ask means that the intent is stored; the world follows.
#[async_trait::async_trait]
pub trait Control: Send + Sync + 'static {
    /// The installation. Never fails.
    fn installation(&self) -> Installation;
    /// The viewer's projects, newest first, with their main sandboxes.
    async fn projects(&self, viewer: &Viewer) -> Result<Vec<ProjectView>, ControlError>;
    /// One of them.
    async fn project(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError>;
    /// Makes a project and asks for its sandbox to run. `key` is an `Idempotency-Key`: the same key
    /// again answers the same project.
    async fn create_project(&self, viewer: &Viewer, new: NewProject, key: Option<String>) -> Result<ProjectView, ControlError>;
    /// Renames or resizes.
    async fn update_project(&self, viewer: &Viewer, id: ProjectId, patch: ProjectPatch) -> Result<ProjectView, ControlError>;
    /// Removes everything: sandbox, volume, database, rows. `typed_name` must be the project's name
    /// where it is given (the page always gives it).
    async fn delete_project(&self, viewer: &Viewer, id: ProjectId, typed_name: Option<String>) -> Result<(), ControlError>;
    /// Asks for Running. While Creating or Starting, the same ask.
    async fn start(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError>;
    /// Asks for Stopped.
    async fn stop(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError>;
    /// Asks for a new run. While Creating or Starting, the same ask.
    async fn restart(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError>;
    /// The API's POST: creates or restarts, with the request's variables on top of the project's.
    async fn create_or_restart(
        &self,
        viewer: &Viewer,
        id: ProjectId,
        env_vars: BTreeMap<String, String>,
        key: Option<String>,
    ) -> Result<ProjectView, ControlError>;
    /// Asks for Terminated: the sandbox's objects go, volume and database stay.
    async fn terminate(&self, viewer: &Viewer, id: ProjectId) -> Result<ProjectView, ControlError>;
    /// The project's variables, without their values.
    async fn env(&self, viewer: &Viewer, id: ProjectId) -> Result<EnvView, ControlError>;
    /// Changes them; they wait for a restart.
    async fn change_env(&self, viewer: &Viewer, id: ProjectId, change: EnvChange) -> Result<EnvView, ControlError>;
    /// Where the project's database is; `None` if it has none.
    async fn database(&self, viewer: &Viewer, id: ProjectId) -> Result<Option<DatabaseView>, ControlError>;
    /// A single-use code that opens the preview of one port: the page posts it to the preview's host.
    async fn preview_code(&self, viewer: &Viewer, id: ProjectId, port: u16) -> Result<PreviewCode, ControlError>;
    /// The viewer's API tokens.
    async fn tokens(&self, viewer: &Viewer) -> Result<Vec<TokenView>, ControlError>;
    /// Makes one; the secret is shown this once.
    async fn create_token(&self, viewer: &Viewer, name: String, scope: Scope, days: Option<u32>) -> Result<NewToken, ControlError>;
    /// Revokes one.
    async fn revoke_token(&self, viewer: &Viewer, id: TokenId) -> Result<(), ControlError>;
}

/// A way into one preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewCode {
    /// Where the page posts `code` (form field of that name): on the preview's host.
    pub action: String,
    /// Works once, within a minute.
    pub code: String,
    /// The preview's address.
    pub url: String,
}

/// A new token with its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    /// `fsa_…`.
    pub secret: String,
    /// The rest.
    pub token: TokenView,
}

/// What every page and every server function is rendered with. **Always** provided, for pages and
/// server functions alike: a type that is provided on condition can be another request's
/// (docs/architecture.md, "Leptos on the server").
#[derive(Clone)]
pub struct RequestContext {
    /// Who asks, if anyone.
    pub viewer: Option<Viewer>,
    /// The door to the rest.
    pub control: Arc<dyn Control>,
    /// The nonce of this answer's content security policy.
    pub nonce: String,
    /// Where this build's assets are.
    pub assets: Arc<Assets>,
}

/// Addresses of this build's assets, by content hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assets {
    /// `/pkg/frontend.HASH.js`
    pub frontend_js: String,
    /// `/pkg/frontend.HASH.wasm`
    pub frontend_wasm: String,
    /// `/pkg/main.HASH.css`
    pub main_css: String,
    /// `/pkg/terminal.HASH.js`
    pub terminal_js: String,
    /// `/pkg/terminal.HASH.css`
    pub terminal_css: String,
    /// `/pkg/icons.HASH.svg`
    pub icons_svg: String,
}
