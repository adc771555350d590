//! GitHub's routes: the way there and back, what is connected, and what can be chosen from.
//!
//! ```text
//!   page ─▶ POST /api/github/sign-in  (or connect)      a state, bound to the cookie fsa_oauth
//!        ─▶ GitHub's page ─▶ GET /github/callback?code&state     session, or a page that says why not
//! ```

use super::{
    auth::{
        Backend, sign_in,
        visit::{self, Visit},
    },
    body::Json,
    errors::Refusal,
    limits::{neighbourhood, too_many},
    preview::{
        cookie::named,
        is_path,
        page::{escape, page_of},
    },
    routes::Me,
    security::ClientAddress,
    state::Plane,
};
use crate::{
    control::store_error,
    github::{Begun, Finished, GitHub, GitHubError, Refused, Returned, repositories},
};
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension, Json as Answer,
    extract::{Query, State},
    response::{IntoResponse as _, Response},
};
use axum_login::AuthSession;
use engine::store::{
    activity::{self, Entry},
    linked::Linked,
};
use http::{HeaderMap, StatusCode, header};
use model::{UserId, view::Viewer};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a page leads that could not do what it was asked for.
const SETTINGS: &str = "/settings#github";

/// The cookie that a state is bound to; under TLS it is bound to its host. `Lax`: it comes along when
/// GitHub sends the visitor back.
fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-fsa_oauth" } else { "fsa_oauth" }
}

fn browser_of(plane: &Plane, headers: &HeaderMap) -> Option<String> {
    let made_by_us = |value: &&str| value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit());
    named(headers, cookie_name(plane.origins.secure())).find(made_by_us).map(str::to_owned)
}

fn github(plane: &Plane) -> Result<&Arc<GitHub>, Refusal> {
    plane.github.as_ref().ok_or_else(|| {
        let message = "This installation is not set up for GitHub.";
        let next = "Its operator gives it a client id: `--github-client-id`; docs/configuration.md says how.";
        Refusal::new(ErrorKind::NotFound, "github-not-configured", message, next)
    })
}

/// `POST /api/github/sign-in`, `POST /api/github/connect`.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = GitHubBegin)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Begin {
    /// Where the visitor wants to go afterwards: a path of this very server. Any other is as if it were not given.
    #[serde(default)]
    next: Option<String>,
}

/// `POST /api/github/sign-in`: the address of GitHub's page to go to, for this browser alone.
///
/// # Errors
/// `404 Not Found` where nobody signs in by GitHub, `429 Too Many Requests`.
pub async fn sign_in(
    State(plane): State<Plane>,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    Json(Begin { next }): Json<Begin>,
) -> Result<Response, Refusal> {
    let github = github(&plane)?;
    if !github.signs_in() {
        let message = "Nobody may sign in by GitHub here: no users and no organizations are allowed.";
        let next = "Sign in by link. The operator allows accounts by `--allow-github-users` or `--allow-github-orgs`.";
        return Err(Refusal::new(ErrorKind::NotFound, "github-sign-in-off", message, next));
    }
    begin(&plane, github, from, &headers, None, next, "/").await
}

/// `POST /api/github/connect`: the same, to connect an account to who is signed in. It signs them in from then on, so no
/// token may.
///
/// # Errors
/// `403 Forbidden` to a token, `404 Not Found` where GitHub is not set up, `429 Too Many Requests`.
pub async fn connect(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    Json(Begin { next }): Json<Begin>,
) -> Result<Response, Refusal> {
    begin(&plane, github(&plane)?, from, &headers, Some(viewer.user), next, SETTINGS).await
}

async fn begin(
    plane: &Plane,
    github: &GitHub,
    ClientAddress(from): ClientAddress,
    headers: &HeaderMap,
    user: Option<UserId>,
    next: Option<String>,
    else_to: &str,
) -> Result<Response, Refusal> {
    plane.begun_sign_ins.take(neighbourhood(from)).map_err(|wait| too_many("sign-ins were begun", wait))?;
    let next = next.filter(|next| is_path(next) && next.len() <= 2000).unwrap_or_else(|| else_to.to_owned());
    let begun = github.begin(user, browser_of(plane, headers), &next).await.map_err(store_error)?;
    let Begun { url, browser } = begun;
    let secure = if plane.origins.secure() { "; Secure" } else { "" };
    let (name, life) = (cookie_name(plane.origins.secure()), engine::store::linked::STATE_LIFE.as_secs());
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={life}{secure}", browser.expose_secret());
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((headers, Answer(serde_json::json!({ "url": url.as_str() }))).into_response())
}

/// `GET /github/callback`: where GitHub sends the visitor back to. It makes a session, though it is a GET:
/// the state is what only the browser that began by a POST can bring, once.
pub async fn callback(
    State(plane): State<Plane>,
    Extension(visit): Extension<Visit>,
    Extension(from): Extension<ClientAddress>,
    headers: HeaderMap,
    mut auth: AuthSession<Backend>,
    query: Result<Query<Returned>, axum::extract::rejection::QueryRejection>,
) -> Response {
    // Who is signed in, as in `connect`.
    let asks = visit.session().cloned();
    let viewer = asks.as_ref().map(|viewer| viewer.user);
    let returned = query.map(|Query(returned)| returned).unwrap_or_default();
    let done = async {
        let github = github(&plane)?;
        let finished = github.finish(returned, browser_of(&plane, &headers).as_deref(), viewer).await;
        let Finished { user, connected, next } = finished.map_err(|refused| refusal(refused, github))?;
        if !connected {
            sign_in::log_in(&mut auth, user.id, &user.name, &headers).await?;
            plane.watch.look();
            sign_in::tell(&plane, user.id, &activity::signed_in(&user.name, "by GitHub", from.0)).await;
        } else if let Some(asks) = &asks {
            tell(&plane, asks, || activity::github_connected(&user.name)).await;
        }
        Ok::<_, Refusal>(next)
    };
    match done.await {
        Ok(next) => {
            let headers = [(header::LOCATION, next), (header::CACHE_CONTROL, "no-store".to_owned())];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        Err(refusal) => said(&refusal, viewer.is_some()),
    }
}

/// Tells of it in the account's activity, in the viewer's name.
async fn tell(plane: &Plane, viewer: &Viewer, entry: impl FnOnce() -> Entry) {
    let entry = activity::by(visit::actor(viewer), async { entry() }).await;
    sign_in::tell(plane, viewer.user, &entry).await;
}

/// A page that says what happened, why, and what to do.
fn said(refusal: &Refusal, signed_in: bool) -> Response {
    let error = refusal.error();
    let steps: String = error.next_steps.iter().map(|step| format!("<p>{}</p>", escape(step))).collect();
    let (title, link) = match signed_in {
        true => ("GitHub was not connected", "<a href=\"/settings#github\">Back to the settings</a>"),
        false => ("You were not signed in", "<a href=\"/sign-in\">Back to sign-in</a>"),
    };
    let body = format!("<p>{}</p>{steps}<p>{link}</p>", escape(&error.message));
    let mut response = (refusal.status(), page_of(title, &body, None)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if let Some(wait) = refusal.header(&header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    response
}

fn refusal(refused: Refused, github: &GitHub) -> Refusal {
    let (status, code, message, next) = match refused {
        Refused::GitHub(error) => return error.into(),
        Refused::UnknownState => (
            StatusCode::BAD_REQUEST,
            "state-unknown",
            "This visit was not begun in this browser, so it may have been made up by somebody else.".to_owned(),
            "Begin again from here. If it happens again, allow cookies for this site.".to_owned(),
        ),
        Refused::UsedState => (
            StatusCode::GONE,
            "state-used",
            "This answer of GitHub's was used already: it works once.".to_owned(),
            "If you are not signed in, begin again.".to_owned(),
        ),
        Refused::ExpiredState => (
            StatusCode::GONE,
            "state-expired",
            "It took more than ten minutes to come back from GitHub.".to_owned(),
            "Begin again.".to_owned(),
        ),
        Refused::Declined => (
            StatusCode::FORBIDDEN,
            "declined",
            "At GitHub, access was not granted.".to_owned(),
            "Begin again, and choose “Authorize” there.".to_owned(),
        ),
        Refused::Scopes(missing) => (
            StatusCode::FORBIDDEN,
            "scopes-refused",
            format!("At GitHub, a part of what is asked for was not granted: {missing}."),
            format!(
                "Begin again and grant all of it: `repo` is for cloning and pushing, the others say who you are. If GitHub does not ask \
                 again, revoke it first at {}.",
                github.grants_page()
            ),
        ),
        Refused::NotAllowed(login) => (
            StatusCode::FORBIDDEN,
            "not-allowed",
            format!("The GitHub account {login} may not sign in to this installation."),
            "Ask its operator to allow the account, or an organization that it is in. At GitHub, such an organization may have to \
             approve this app first. Or sign out at GitHub, and begin again with another account."
                .to_owned(),
        ),
        Refused::Taken(login) => (
            StatusCode::CONFLICT,
            "account-taken",
            format!("The GitHub account {login} is connected to another user of this installation."),
            "Sign in by it, or disconnect it there first.".to_owned(),
        ),
        Refused::OnlyWayIn(login) => (
            StatusCode::CONFLICT,
            "another-account",
            format!("You sign in here by another GitHub account than {login}, and would no longer be let in by it."),
            "To connect your own again, sign in by it at GitHub first. To use this one, sign out here, and sign in by it: it is a \
             user of its own."
                .to_owned(),
        ),
        Refused::AnotherUser => (
            StatusCode::FORBIDDEN,
            "another-user",
            "Who began to connect GitHub is no longer signed in in this browser.".to_owned(),
            "Sign in, and begin again in the settings.".to_owned(),
        ),
    };
    Refusal::new(ErrorKind::Forbidden, code, message, &next).with_status(status)
}

impl From<GitHubError> for Refusal {
    fn from(error: GitHubError) -> Self {
        let away = |status, code: &str, message: String, next: &str| {
            Self::new(ErrorKind::Unavailable, code, message, next).with_status(status)
        };
        match error {
            GitHubError::Store(error) => store_error(error).into(),
            GitHubError::Away(why) => away(
                StatusCode::BAD_GATEWAY,
                "github-away",
                format!("GitHub does not answer as it should: {why}."),
                "Try again in a minute; https://www.githubstatus.com says whether it has trouble.",
            ),
            GitHubError::Slow => away(
                StatusCode::GATEWAY_TIMEOUT,
                "github-slow",
                "GitHub did not answer within ten seconds.".to_owned(),
                "Try again in a minute; https://www.githubstatus.com says whether it has trouble.",
            ),
            GitHubError::Busy(wait) => {
                let message = "GitHub was asked too often in a short time, and answers no more questions for now.".to_owned();
                let refusal =
                    away(StatusCode::SERVICE_UNAVAILABLE, "github-busy", message, &format!("Try again in {} s.", wait.as_secs()));
                refusal.with_header(header::RETRY_AFTER, wait.as_secs().to_string())
            }
            GitHubError::Revoked => Self::new(
                ErrorKind::Conflict,
                "github-revoked",
                "GitHub does not take this installation's access to your account any more: it was revoked there, or has ended.",
                "Connect GitHub again, in the settings.",
            ),
            GitHubError::NotConnected => Self::new(
                ErrorKind::Conflict,
                "github-not-connected",
                "No GitHub account is connected.",
                "Connect one, in the settings.",
            ),
            GitHubError::Forbidden(why) => Self::new(
                ErrorKind::Forbidden,
                "github-forbids",
                format!("GitHub refuses it: {why}"),
                "Look there what is missing.",
            ),
            GitHubError::NotFound => Self::new(
                ErrorKind::NotFound,
                "github-not-found",
                "GitHub knows no such thing, or does not show it to you.",
                "Check its name there.",
            ),
            GitHubError::Invalid(why) => {
                Self::new(ErrorKind::Invalid, "github-invalid", format!("GitHub does not take it: {why}"), "Change it.")
            }
            GitHubError::BadCode => Self::new(
                ErrorKind::SignedOut,
                "code-refused",
                "GitHub does not take its own answer any more: it was used already, or is over ten minutes old.",
                "Begin again.",
            )
            .with_status(StatusCode::GONE),
            GitHubError::Misconfigured(why) => Self::new(
                ErrorKind::Internal,
                "github-misconfigured",
                format!("GitHub does not know this installation as it is set up ({why})."),
                "Tell its operator: client id, secret and callback address have to be those on the app's page at GitHub.",
            ),
        }
    }
}

/// `GET /api/github`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitHubView {
    /// Whether this installation is set up for it.
    configured: bool,
    /// `github.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// Where a user looks after what they granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grants_url: Option<String>,
    /// What is connected.
    pub(super) account: Option<AccountView>,
}

/// A connected account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = GitHubAccountView)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// What it was called when it was last used to sign in.
    pub(super) login: String,
    /// Since when.
    #[serde(with = "model::time")]
    connected_at: jiff::Timestamp,
    /// What was granted.
    pub(super) scopes: Vec<String>,
    /// Whether GitHub takes the token: `working`, `revoked`, or `unknown` while it does not say.
    pub(super) state: &'static str,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// Whether it can be disconnected: not where it is the only way in.
    pub(super) can_disconnect: bool,
}

/// `GET /api/github`: what is connected, and whether GitHub still takes it, asked just now.
///
/// # Errors
/// `503 Service Unavailable` while our own database is away.
pub async fn get(State(plane): State<Plane>, Me(viewer): Me) -> Result<Answer<GitHubView>, Refusal> {
    let Some(github) = &plane.github else {
        return Ok(Answer(GitHubView { configured: false, host: None, grants_url: None, account: None }));
    };
    let account = match github.look(viewer.user).await.map_err(store_error)? {
        None => None,
        Some((linked, works)) => {
            let (state, message) = match works {
                Ok(()) => ("working", None),
                Err(GitHubError::Store(error)) => return Err(store_error(error).into()),
                Err(error @ (GitHubError::Revoked | GitHubError::NotConnected)) => ("revoked", Some(words(error))),
                Err(error) => ("unknown", Some(words(error))),
            };
            Some(account_view(github, &viewer, linked, state, message).await?)
        }
    };
    Ok(Answer(github_view(github, account)))
}

/// The same as far as our own tables have it: whether GitHub still takes it is asked by whoever shows it, since a page waits
/// for nobody, and a token that is being refreshed may not be dropped half way. `None` where the installation is not set up.
///
/// # Errors
/// As [`get`].
pub(super) async fn known(plane: &Plane, viewer: &Viewer) -> Result<Option<GitHubView>, Refusal> {
    let Some(github) = &plane.github else { return Ok(None) };
    let account = match github.known(viewer.user).await.map_err(store_error)? {
        None => None,
        Some(linked) => {
            let (state, message) = match linked.revoked_at {
                Some(_) => ("revoked", words(GitHubError::Revoked)),
                None => ("unknown", "Asking GitHub whether it still takes it…".to_owned()),
            };
            Some(account_view(github, viewer, linked, state, Some(message)).await?)
        }
    };
    Ok(Some(github_view(github, account)))
}

fn github_view(github: &GitHub, account: Option<AccountView>) -> GitHubView {
    GitHubView { configured: true, host: Some(github.host().to_owned()), grants_url: Some(github.grants_page()), account }
}

fn words(error: GitHubError) -> String {
    Refusal::from(error).into_error().message
}

async fn account_view(
    github: &GitHub,
    viewer: &Viewer,
    linked: Linked,
    state: &'static str,
    message: Option<String>,
) -> Result<AccountView, Refusal> {
    Ok(AccountView {
        login: linked.identity.login,
        connected_at: linked.created_at,
        scopes: linked.tokens.scopes.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        state,
        message,
        can_disconnect: github.has_other_way_in(viewer.user).await.map_err(store_error)?,
    })
}

/// `DELETE /api/github`: `204 No Content`; the token is ended at GitHub, if it answers, and forgotten here.
///
/// # Errors
/// `404 Not Found` where none is connected, `409 Conflict` where it is the only way in.
pub async fn disconnect(State(plane): State<Plane>, Me(viewer): Me) -> Result<StatusCode, Refusal> {
    let github = github(&plane)?;
    if !github.has_other_way_in(viewer.user).await.map_err(store_error)? {
        let message = "GitHub is your only way to sign in here.";
        let next = "Sign out instead. To take the access back, revoke it at GitHub.";
        return Err(Refusal::new(ErrorKind::Conflict, "only-way-in", message, next));
    }
    if github.disconnect(viewer.user).await.map_err(store_error)? {
        tell(&plane, &viewer, activity::github_disconnected).await;
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ControlError::new(ErrorKind::NotFound, "github-not-connected", "No GitHub account is connected.", "").into())
}

/// `GET /api/github/repositories`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Search {
    /// Words of the name.
    #[serde(default)]
    search: String,
    /// From 1; the first, where it is empty.
    #[serde(default)]
    page: String,
}

/// `GET /api/github/repositories?search=&page=`: the user's repositories, pushed to last first.
///
/// # Errors
/// `400 Bad Request` for another query; `403 Forbidden` for a token of scope `read`, which sees what is here and not what the
/// account sees at GitHub; `409 Conflict` where no account is connected or its access was revoked; `502`, `503` and `504` where GitHub does not answer.
pub async fn list(
    State(plane): State<Plane>,
    Me(viewer): Me,
    query: Result<Query<Search>, axum::extract::rejection::QueryRejection>,
) -> Result<Answer<repositories::Page>, Refusal> {
    let bad = || {
        let message =
            "The query holds something else than `search`, a text of 200 characters at most, and `page`, a number from 1 on.";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Send for example `?search=boat&page=2`.")
    };
    let Query(Search { search, page }) = query.map_err(|_| bad())?;
    let page: usize = if page.is_empty() { 1 } else { page.parse().map_err(|_| bad())? };
    if page == 0 || search.chars().count() > 200 {
        return Err(bad());
    }
    let github = github(&plane)?;
    Ok(Answer(github.repositories(viewer.user, &search, page).await?))
}
