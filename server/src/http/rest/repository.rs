//! `/api/projects/{project}/repository/…`: what has changed, commits, pushes, and a folder that becomes a repository.

use crate::{
    git::status::Status,
    http::{
        body::{Json, Project, idempotency_key},
        errors::Refusal,
        routes::Me,
        state::Plane,
    },
};
use app::error::ControlError;
use axum::{Json as Answer, extract::State};
use engine::store::publications::{Failure, Publication, PublicationState, Wish};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

/// `GET /api/projects/{project}/repository/status`.
///
/// # Errors
/// `404 Not Found`; `409 Conflict` while the sandbox does not run, or the repository is not in it.
pub async fn status(State(plane): State<Plane>, Me(viewer): Me, Project(id): Project) -> Result<Answer<Status>, Refusal> {
    Ok(Answer(plane.controller.repository_status(&viewer, id).await?))
}

/// `POST /api/projects/{project}/repository/commit`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = CommitAsk)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Commit {
    /// Its first line is the subject.
    message: String,
}

/// `POST /api/projects/{project}/repository/commit`: all that has changed; the repository as it is then. With an
/// `Idempotency-Key`, a repeated one commits nothing more.
///
/// # Errors
/// `404 Not Found`; `409 Conflict` where there is nothing to commit, or git refuses; `422 Unprocessable Content`.
pub async fn commit(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(Commit { message }): Json<Commit>,
) -> Result<Answer<Status>, Refusal> {
    let key = idempotency_key(&headers)?;
    let control = plane.controller.clone();
    let ask = {
        let (control, viewer) = (control.clone(), viewer.clone());
        async move { control.commit(&viewer, id, &message).await }
    };
    let again = control.repository_status(&viewer, id);
    Ok(Answer(control.once(&viewer, format!("commit in {id}"), key, ask, again).await?))
}

/// `POST /api/projects/{project}/repository/push`: the branch that is checked out; the repository as it is then. With an
/// `Idempotency-Key`, a repeated one pushes nothing more.
///
/// # Errors
/// `404 Not Found`; `409 Conflict` where the push is rejected, and why.
pub async fn push(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(super::sandbox::Nothing {}): Json<super::sandbox::Nothing>,
) -> Result<Answer<Status>, Refusal> {
    let key = idempotency_key(&headers)?;
    let control = plane.controller.clone();
    let ask = {
        let (control, viewer) = (control.clone(), viewer.clone());
        async move { control.push(&viewer, id).await }
    };
    let again = async { control.repository_status(&viewer, id).await.map_err(Refusal::from) };
    Ok(Answer(control.once(&viewer, format!("push of {id}"), key, ask, again).await?))
}

/// Who sees a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RepositoryVisibility)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Its owner, and whom they let in.
    #[default]
    Private,
    /// Everybody.
    Public,
}

/// `POST /api/projects/{project}/repository/publication`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = PublicationAsk)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// Of the home folder; it becomes the repository.
    folder: String,
    /// The repository's name.
    name: String,
    /// An organization; your own account, where it is absent.
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    visibility: Visibility,
    /// What GitHub says of it.
    #[serde(default)]
    description: Option<String>,
    /// Of the commit of what is not committed yet; `First commit`, where it is absent.
    #[serde(default)]
    message: Option<String>,
}

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = PublicationState)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It begins in a moment.
    Waiting,
    /// It is under way.
    Working,
    /// The repository has what the folder has.
    Done,
    /// It has not, and `failure` says why.
    Failed,
}

/// Why a publication failed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PublicationFailure)]
#[serde(rename_all = "camelCase")]
pub struct FailureView {
    /// `repository-name-taken`.
    code: String,
    /// What happened and why.
    message: String,
    /// What to do next.
    next_steps: Vec<String>,
    /// What git said.
    detail: Option<String>,
}

/// A folder that becomes a repository.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Publication)]
#[serde(rename_all = "camelCase")]
pub struct View {
    folder: String,
    name: String,
    owner: Option<String>,
    visibility: Visibility,
    state: Step,
    /// The repository, as soon as GitHub has it.
    url: Option<String>,
    /// What is being done.
    progress: Option<String>,
    failure: Option<FailureView>,
    /// Since when it is so.
    #[serde(with = "model::time")]
    updated_at: jiff::Timestamp,
}

impl From<Publication> for View {
    fn from(of: Publication) -> Self {
        let Wish { owner, name, private, folder, .. } = of.wish;
        Self {
            folder,
            name,
            owner,
            visibility: if private { Visibility::Private } else { Visibility::Public },
            state: match of.state {
                PublicationState::Waiting => Step::Waiting,
                PublicationState::Working => Step::Working,
                PublicationState::Done => Step::Done,
                PublicationState::Failed => Step::Failed,
            },
            url: of.url,
            progress: of.progress,
            failure: of.failure.map(|Failure { code, message, next_steps, detail }| FailureView {
                code,
                message,
                next_steps,
                detail,
            }),
            updated_at: of.updated_at,
        }
    }
}

/// `GET /api/projects/{project}/repository/publication`: how far it is; `null` where nothing was published.
///
/// # Errors
/// `404 Not Found`.
pub async fn publication(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
) -> Result<Answer<Option<View>>, Refusal> {
    Ok(Answer(plane.controller.publication(&viewer, id).await?.map(View::from)))
}

/// `POST /api/projects/{project}/repository/publication`: `202 Accepted`; a folder becomes a new repository at GitHub. With an
/// `Idempotency-Key`, a repeated one begins nothing, also where the first has failed since.
///
/// # Errors
/// `404 Not Found`, `409 Conflict` where it cannot be now, `422 Unprocessable Content`.
pub async fn publish(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Project(id): Project,
    headers: HeaderMap,
    Json(ask): Json<Publish>,
) -> Result<(StatusCode, Answer<View>), Refusal> {
    let key = idempotency_key(&headers)?;
    let Publish { folder, name, owner, visibility, description, message } = ask;
    let message = message.unwrap_or_else(|| "First commit".to_owned());
    let wish = Wish { owner, name, private: visibility == Visibility::Private, description, message, folder };
    let control = plane.controller.clone();
    let ask = {
        let (control, viewer) = (control.clone(), viewer.clone());
        async move { control.publish(&viewer, id, wish).await }
    };
    let again = async {
        let of = control.publication(&viewer, id).await?;
        of.ok_or_else(|| Refusal::from(ControlError::not_found()))
    };
    let of = control.once(&viewer, format!("publication of {id}"), key, ask, again).await?;
    Ok((StatusCode::ACCEPTED, Answer(of.into())))
}
