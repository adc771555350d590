//! A user's own Claude credentials. They go into the user's sandboxes and nowhere else: no answer has the key or token, and
//! the server itself never asks the address that stands beside it.

use super::{Controller, may_change, store_error};
use crate::{http::auth::visit, views};
use app::error::{ControlError, ErrorKind};
use engine::store::{ProjectAndSandbox, activity, claude::Claude};
use jiff::Timestamp;
use model::{
    ProjectId,
    claude::{self, ClaudeError, ClaudeKind},
    view::Viewer,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tracing::info;

/// Of a key or token that is at least so long, the end is shown: enough is left unsaid.
const LONG_ENOUGH: usize = 20;

/// Which Claude credentials the viewer's sandboxes get.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaudeView {
    /// The user's own; `null` where there are none.
    pub own: Option<OwnClaude>,
    /// Whether the operator gave some, which sandboxes get where there are none of the user's own.
    pub operator: bool,
    /// Where the operator puts them, as a path to show.
    pub operator_file: String,
    /// Those of the user's projects and extra sandboxes that run, or start, with other ones than they would get now.
    pub waiting: Vec<Waiting>,
}

/// Credentials without the key or token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnClaude {
    /// Which of the two.
    pub kind: ClaudeKind,
    /// Its last four characters; `null` of one that is short.
    pub ends_with: Option<String>,
    /// Where it is sent; `null`: to Anthropic's own address.
    pub base_url: Option<String>,
    /// When they were set.
    #[serde(with = "model::time")]
    #[schema(value_type = String, format = DateTime)]
    pub set_at: Timestamp,
}

/// Something that waits for a restart.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ClaudeWaiting)]
pub struct Waiting {
    /// Its id.
    pub id: ProjectId,
    /// What it is called.
    pub name: String,
}

impl OwnClaude {
    fn new(claude: &Claude, set_at: Timestamp) -> Self {
        let secret = claude.secret.expose_secret();
        let end = secret.len().checked_sub(4).and_then(|at| secret.get(at..));
        let ends_with = end.filter(|_| secret.len() >= LONG_ENOUGH).map(str::to_owned);
        Self { kind: claude.kind, ends_with, base_url: claude.base_url.clone(), set_at }
    }
}

impl Controller {
    /// Which Claude credentials the viewer's sandboxes get.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn claude(&self, viewer: &Viewer) -> Result<ClaudeView, ControlError> {
        let own = self.parts.store.claude(viewer.user).await.map_err(store_error)?;
        let rows = self.parts.store.projects(viewer.user).await.map_err(store_error)?;
        let now = own.as_ref().map(|(claude, _)| claude);
        let waits = |row: &&ProjectAndSandbox| views::restart_pending(row) && row.sandbox.claude.as_ref() != now;
        let waiting = rows.iter().filter(waits).map(|row| Waiting { id: row.project.id, name: row.project.name.to_string() });
        Ok(ClaudeView {
            waiting: waiting.collect(),
            own: own.as_ref().map(|(claude, at)| OwnClaude::new(claude, *at)),
            operator: self.parts.installation.claude_credentials,
            operator_file: self.parts.installation.credentials_file.clone(),
        })
    }

    /// Makes these the viewer's own, in place of those that there are.
    ///
    /// # Errors
    /// `403 Forbidden`; `422 Unprocessable Content` naming the field.
    pub async fn set_claude(
        &self,
        viewer: &Viewer,
        kind: ClaudeKind,
        value: &SecretString,
        base_url: Option<&str>,
    ) -> Result<ClaudeView, ControlError> {
        may_change(viewer)?;
        let secret = SecretString::from(claude::secret(value.expose_secret()).map_err(refused)?);
        let base_url = base_url.map(claude::base_url).transpose().map_err(refused)?.flatten().map(str::to_owned);
        self.change_claude(viewer, Some(Claude { kind, secret, base_url })).await
    }

    /// Removes the viewer's own.
    ///
    /// # Errors
    /// `403 Forbidden`.
    pub async fn remove_claude(&self, viewer: &Viewer) -> Result<ClaudeView, ControlError> {
        may_change(viewer)?;
        self.change_claude(viewer, None).await
    }

    async fn change_claude(&self, viewer: &Viewer, claude: Option<Claude>) -> Result<ClaudeView, ControlError> {
        let what = if claude.is_some() { "set" } else { "removed" };
        let change = self.parts.store.set_claude(viewer.user, claude, self.now());
        if activity::by(visit::actor(viewer), change).await.map_err(store_error)? {
            info!(user.id = %viewer.user, "Claude credentials were {what}");
        }
        self.claude(viewer).await
    }
}

fn refused(error: ClaudeError) -> ControlError {
    let (code, field) = error.code();
    ControlError::new(ErrorKind::Invalid, code, error.to_string(), error.next()).at(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_shown_of_what_is_long_enough() {
        let shown = |secret: &str| {
            let claude = Claude { kind: ClaudeKind::ApiKey, secret: SecretString::from(secret), base_url: None };
            OwnClaude::new(&claude, Timestamp::UNIX_EPOCH).ends_with
        };
        assert_eq!(shown("sk-ant-0123456789abcdef").as_deref(), Some("cdef"));
        assert_eq!(shown("0123456789012345678"), None);
        assert_eq!(shown("abc"), None);
    }
}
