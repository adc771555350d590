//! A user's sessions as they see them: since when, from what browser; never a session's id. And their end.

use super::{Controller, may_change, store_error};
use crate::http::{
    auth::{visit, watch::Credential},
    patience::patient,
};
use app::error::{ControlError, ErrorKind};
use engine::store::{accounts::sessions::session_key, activity};
use jiff::Timestamp;
use model::view::Viewer;
use serde::Serialize;
use serde_json::Value;
use tracing::{info, warn};

/// Where a session keeps when it began, in seconds since the epoch.
pub const SINCE: &str = "fsa.since";
/// Where a session keeps what the browser called itself.
pub const BROWSER: &str = "fsa.browser";
/// Of what a browser calls itself, so many bytes are kept.
pub const LONGEST_BROWSER: usize = 300;

/// One of the user's sessions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// What it is ended by; opens nothing.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When somebody signed in; `null` of a session from before that was kept.
    #[serde(with = "model::time::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Until when it lasts, if it is not used.
    #[serde(with = "model::time")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What the browser called itself when it signed in (`User-Agent`).
    pub browser: Option<String>,
}

impl SessionView {
    /// By its row: its key, and what the session layer keeps in it.
    #[must_use]
    pub fn new(key: &[u8; 32], mine: Option<[u8; 32]>, data: &[u8], expires_at: Timestamp) -> Self {
        let data: Value = serde_json::from_slice(data).unwrap_or_default();
        Self {
            id: hex(key),
            current: mine.as_ref() == Some(key),
            since: data[SINCE].as_i64().and_then(|at| Timestamp::from_second(at).ok()),
            expires_at,
            browser: data[BROWSER].as_str().map(str::to_owned),
        }
    }
}

impl Controller {
    /// The viewer's sessions, newest first.
    ///
    /// # Errors
    /// `503 Service Unavailable`.
    pub async fn sessions(&self, viewer: &Viewer) -> Result<Vec<SessionView>, ControlError> {
        let mine = match visit::credential() {
            Some(Credential::Session(id)) => Some(session_key(id)),
            _ => None,
        };
        let rows = patient(self.parts.accounts.sessions_of(viewer.user, self.now())).await.map_err(store_error)?;
        let mut views: Vec<SessionView> =
            rows.into_iter().map(|(key, data, expires_at)| SessionView::new(&key, mine, &data, expires_at)).collect();
        views.sort_by_key(|view| (!view.current, std::cmp::Reverse(view.since)));
        Ok(views)
    }

    /// Ends one of the viewer's sessions, or with `None` all but the one that asks.
    ///
    /// # Errors
    /// `403 Forbidden`, `404 Not Found`; `409 Conflict`: all others, by what is no session.
    pub async fn end_sessions(&self, viewer: &Viewer, one: Option<&str>) -> Result<u64, ControlError> {
        may_change(viewer)?;
        let ended = match (one, visit::credential()) {
            (Some(one), _) => {
                let key = key(one).ok_or_else(ControlError::not_found)?;
                let ended = patient(self.parts.accounts.end_session_of(viewer.user, key)).await.map_err(store_error)?;
                if !ended {
                    return Err(ControlError::not_found());
                }
                1
            }
            (None, Some(Credential::Session(id))) => {
                patient(self.parts.accounts.end_other_sessions(viewer.user, id)).await.map_err(store_error)?
            }
            (None, _) => {
                let message = "Only a browser that is signed in has other sessions; this is an API token.";
                return Err(ControlError::new(ErrorKind::Conflict, "no-session", message, "End them one by one, by their id."));
            }
        };
        self.parts.watch.look();
        info!(user.id = %viewer.user, "ended {ended} sessions");
        if ended > 0 {
            let entry = activity::by(visit::actor(viewer), async { activity::sessions_ended(one.is_none(), ended) }).await;
            // They are ended, whether it can be noted or not.
            if let Err(error) = patient(self.parts.accounts.tell(viewer.user, &entry, self.now())).await {
                warn!(user.id = %viewer.user, "failed to tell of sessions that were ended: {error:#}");
            }
        }
        Ok(ended)
    }
}

fn hex(key: &[u8; 32]) -> String {
    hex::encode(key)
}

/// The key that an id says.
#[must_use]
pub fn key(id: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(id, &mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let of = std::array::from_fn(|n| n as u8 * 7);
        assert_eq!(key(&hex(&of)), Some(of));
        for bad in ["", "main", &"g".repeat(64), &"é".repeat(32), &"a".repeat(63), &"+f".repeat(32)] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }
}
