//! What server functions may ask of the server: the one door between pages and the rest.
//!
//! Implemented by `server::control`. REST handlers call the same trait, and nothing else writes
//! intent. Every verb authorises first: what is not the viewer's does not exist.

use crate::error::ControlError;
use model::{
    ProjectId, TokenId,
    view::{
        DatabaseView, EnvChange, EnvView, Installation, NewProject, NewToken, PreviewCode, ProjectPatch, ProjectView, Scope,
        TokenView, Viewer,
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// The verbs. `Ok` of an ask means that the intent is stored; the world follows.
#[async_trait::async_trait]
pub trait Control: Send + Sync + 'static {
    /// The installation. Never fails.
    fn installation(&self) -> Installation;
    /// What every page says of the installation now; to strangers not what is said of its cluster.
    fn notices(&self, viewer: Option<&Viewer>) -> Vec<String>;
    /// Whether the sign-in page offers GitHub.
    fn github_signs_in(&self) -> bool;
    /// Whether the installation is set up for GitHub at all.
    fn has_github(&self) -> bool;
    /// Whether the viewer's sandboxes get Claude credentials: the operator's, or the viewer's own.
    async fn has_claude_credentials(&self, viewer: &Viewer) -> Result<bool, ControlError>;
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
    /// Asks for Running. While Creating or Starting, the same ask. The same key again: the same ask.
    async fn start(&self, viewer: &Viewer, id: ProjectId, key: Option<String>) -> Result<ProjectView, ControlError>;
    /// Asks for Stopped. The same key again: the same ask.
    async fn stop(&self, viewer: &Viewer, id: ProjectId, key: Option<String>) -> Result<ProjectView, ControlError>;
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
    /// Makes these the project's variables, and no others; they wait for a restart.
    async fn replace_env(&self, viewer: &Viewer, id: ProjectId, all: BTreeMap<String, String>) -> Result<EnvView, ControlError>;
    /// Where the project's database is; `None` if it has none.
    async fn database(&self, viewer: &Viewer, id: ProjectId) -> Result<Option<DatabaseView>, ControlError>;
    /// A single-use code that opens the preview of one port: the page posts it to the preview's host.
    async fn preview_code(&self, viewer: &Viewer, id: ProjectId, port: u16) -> Result<PreviewCode, ControlError>;
    /// The viewer's API tokens.
    async fn tokens(&self, viewer: &Viewer) -> Result<Vec<TokenView>, ControlError>;
    /// Makes one; the secret is shown this once.
    async fn create_token(
        &self,
        viewer: &Viewer,
        name: String,
        scope: Scope,
        days: Option<u32>,
    ) -> Result<NewToken, ControlError>;
    /// Revokes one.
    async fn revoke_token(&self, viewer: &Viewer, id: TokenId) -> Result<(), ControlError>;
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
    /// The address that browsers use, without a slash at its end.
    pub public: String,
    /// What prints a new sign-in link, as this visitor may read it.
    pub sign_in_command: String,
    /// Where this build's assets are.
    pub assets: Arc<Assets>,
    /// What the page's elements show first: HTML, by the address that each reads. An element that is not in it asks by itself.
    pub first: Arc<BTreeMap<String, String>>,
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
    /// What follows logs.
    pub log_js: String,
    /// What shows the doctor's findings.
    pub doctor_js: String,
    /// Elements that fill a part of a page by themselves.
    pub elements_js: String,
    /// What connects GitHub and chooses repositories.
    pub github_js: String,
    /// What shows activity.
    pub activity_js: String,
    /// `/pkg/icons.HASH.svg`
    pub icons_svg: String,
}
