//! `/api/projects/{project}/ports/{port}/share`: who besides the owner may open the preview of a port; and
//! `/api/projects/{project}/shares`: which ports others may open.

use crate::{
    control::shares::Links,
    http::{
        body::{Json, Project},
        errors::Refusal,
        routes::Me,
        state::Plane,
    },
};
use axum::{
    Json as Answer,
    extract::{Path, State},
};
use engine::store::accounts::shares::{Audience, Share};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// For whom a preview is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Audience)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// Its owner alone.
    Private,
    /// Everybody who is signed in.
    Users,
    /// Whoever has the link.
    Link,
}

impl From<Audience> for Open {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::Users => Self::Users,
            Audience::Link => Self::Link,
        }
    }
}

/// How a port is shared.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ShareView)]
#[serde(rename_all = "camelCase")]
pub struct View {
    audience: Open,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// The link, in the answer to the request that made it and in no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Likewise the link to the application's own host, of port 3000 on a cluster with `--ingress-domain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    application_url: Option<String>,
}

impl View {
    const PRIVATE: Self = Self { audience: Open::Private, created_at: None, expires_at: None, url: None, application_url: None };

    fn of(share: Share, links: Option<Links>) -> Self {
        let audience = share.audience.into();
        let (url, application_url) = links.map_or((None, None), |links| (Some(links.preview), links.application));
        Self { audience, created_at: Some(share.created_at), expires_at: share.expires_at, url, application_url }
    }
}

/// A port that is shared. A link's secret is not told again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SharedPort)]
#[serde(rename_all = "camelCase")]
pub struct SharedPort {
    port: u16,
    /// `users` or `link`.
    audience: Open,
    created_at: Timestamp,
    /// When it ends by itself, as a link always does, and what was shared by a token that expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// `PUT`: `{"audience": "link", "expiresInHours": 24}`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = SharePut)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Put {
    audience: Open,
    /// A link lasts a day where nothing is said, and at most thirty; signed-in users until it is withdrawn. What a token
    /// shares lasts no longer than the token.
    #[serde(default)]
    expires_in_hours: Option<u32>,
}

type Port = Path<HashMap<String, String>>;

fn port(Path(path): &Port) -> &str {
    path.get("port").map_or("", String::as_str)
}

/// `GET /api/projects/{project}/shares`: the ports that others may open, in order.
///
/// # Errors
/// `404 Not Found`.
pub async fn list(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<Vec<SharedPort>>, Refusal> {
    let shares = plane.controller.shares(&viewer, id).await?;
    let of = |(port, Share { audience, created_at, expires_at })| SharedPort {
        port,
        audience: audience.into(),
        created_at,
        expires_at,
    };
    Ok(Answer(shares.into_iter().map(of).collect()))
}

/// `GET /api/projects/{project}/ports/{port}/share`.
///
/// # Errors
/// `400 Bad Request` for what is no port, `403 Forbidden` for a reserved one, `404 Not Found`.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project, path: Port) -> Result<Answer<View>, Refusal> {
    let share = plane.controller.share(&viewer, id, port(&path)).await?;
    Ok(Answer(share.map_or(View::PRIVATE, |share| View::of(share, None))))
}

/// `PUT /api/projects/{project}/ports/{port}/share`: in place of how it was shared before; an old link ends.
///
/// # Errors
/// As [`get`]; `401 Unauthorized` where the token that asks was revoked meanwhile; `422 Unprocessable Content` for how long.
pub async fn put(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    path: Port,
    Json(put): Json<Put>,
) -> Result<Answer<View>, Refusal> {
    let audience = match put.audience {
        Open::Private => {
            plane.controller.end_share(&viewer, id, port(&path)).await?;
            return Ok(Answer(View::PRIVATE));
        }
        Open::Users => Audience::Users,
        Open::Link => Audience::Link,
    };
    let (share, links) = plane.controller.set_share(&viewer, id, port(&path), audience, put.expires_in_hours).await?;
    Ok(Answer(View::of(share, links)))
}

/// `DELETE /api/projects/{project}/ports/{port}/share`: private again. May be repeated.
///
/// # Errors
/// As [`get`].
pub async fn delete(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project, path: Port) -> Result<StatusCode, Refusal> {
    plane.controller.end_share(&viewer, id, port(&path)).await?;
    Ok(StatusCode::NO_CONTENT)
}
