//! What happened to a project, as its owner reads it. `GET /api/projects/{id}/activity`.

use crate::ids::ProjectId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ActivityKind {
    /// Somebody asked for it.
    Ask,
    /// The phase became another.
    Phase,
    /// Something stands in the way.
    Cause,
    /// A run ended by itself, or was found again after the control plane was away.
    Run,
    /// A connection out of the sandbox was refused.
    Network,
    /// A token, a sign-in or a sign-out: of no project.
    Account,
}

impl ActivityKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Ask, Self::Phase, Self::Cause, Self::Run, Self::Network, Self::Account];

    /// Its name in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Phase => "phase",
            Self::Cause => "cause",
            Self::Run => "run",
            Self::Network => "network",
            Self::Account => "account",
        }
    }
}

impl std::str::FromStr for ActivityKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no kind: there are {}.", names()))
    }
}

/// From where something was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Via {
    /// Somebody who is signed in.
    Browser,
    /// A program with an API token.
    Token,
    /// Nobody: the control plane itself.
    System,
}

impl Via {
    /// Its name in the API and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Token => "token",
            Self::System => "system",
        }
    }
}

impl std::str::FromStr for Via {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Browser, Self::Token, Self::System];
        all.into_iter().find(|via| via.as_str() == text).ok_or_else(|| format!("`{text}` is no way to ask"))
    }
}

/// Who, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Actor {
    /// As pages name them; `system` where nobody asked.
    pub name: String,
    /// From where.
    pub via: Via,
    /// The token's name, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl Actor {
    /// The control plane itself.
    #[must_use]
    pub fn system() -> Self {
        Self { name: "system".to_owned(), via: Via::System, token: None }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActivityView {
    /// Goes up with each; a cursor.
    pub id: i64,
    /// To which project; `null` for what happened to the account.
    pub project_id: Option<ProjectId>,
    /// The project's name when it happened.
    pub project: Option<String>,
    /// Whether nothing of that project is left by now: then there is no page of it either.
    pub project_deleted: bool,
    /// When.
    #[serde(with = "crate::time")]
    pub at: Timestamp,
    /// When it last happened, of what is told once although it happens again and again.
    #[serde(with = "crate::time")]
    pub last_at: Timestamp,
    /// How often it was noted.
    pub times: i64,
    /// What sort of thing.
    pub kind: ActivityKind,
    /// Who, and from where.
    pub actor: Actor,
    /// What happened, in plain words.
    pub title: String,
    /// How, why, and how long it took.
    pub detail: Option<String>,
    /// The same for programs: an object whose fields go by the kind.
    pub data: serde_json::Value,
}

/// A page of them, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActivityPage {
    /// At most as many as were asked for.
    pub activity: Vec<ActivityView>,
    /// What `before` has to be for the next page; `null` where this is the last.
    pub next: Option<i64>,
    /// For how many days it is kept.
    pub kept_days: u32,
}
