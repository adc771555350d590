//! GitHub, for users: signing in by it, and asking it in a user's name.
//!
//! ```text
//!   begin   state, cookie, PKCE ──▶ oauth_states ──▶ GitHub's page
//!   finish  code, state, cookie ──▶ token ──▶ who is it, may they ──▶ linked_accounts (sealed)
//!   token   linked_accounts ──(refresh)──▶ what asks in the user's name
//! ```
//!
//! No HTTP of ours in here: [`crate::http::github`] has the routes. A token leaves this module towards
//! GitHub alone.

mod access;
mod api;
pub mod create;
mod narrow;
pub mod repositories;

use crate::{
    config::github::{Allowed, GitHubSettings},
    http::patience::patient,
};
use engine::{
    clock::{Clock as _, SystemClock},
    store::{
        StoreError,
        accounts::{Accounts, ShutOut, User},
        activity,
        linked::{Identity, Link, Linked, LinkedAccounts, NewState, StateUse, Tokens},
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use model::UserId;
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
    basic::{BasicClient, BasicErrorResponse, BasicTokenResponse},
};
use repositories::Listings;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};
use url::Url;

/// What is asked for: who it is, their addresses for commits, and their repositories.
pub const SCOPES: [&str; 3] = ["read:user", "user:email", "repo"];
/// Where members of an organization may sign in: which ones they are in.
pub const ORGANIZATIONS: &str = "read:org";
/// Where GitHub sends the visitor back to.
pub const CALLBACK: &str = "/github/callback";
/// A token that ends this soon is refreshed before it is used.
const SOON: SignedDuration = SignedDuration::from_secs(60);
/// How long another replica that used a refresh token first may take to hear and store what it got for it. Until then it looks
/// here as if nobody had access any more.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// How long between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What goes wrong with GitHub. Each has words of its own in [`crate::http::github`].
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// It does not answer, or not as GitHub does.
    #[error("GitHub does not answer: {0}")]
    Away(String),
    /// It does not answer in time.
    #[error("GitHub did not answer in time")]
    Slow,
    /// It wants fewer questions.
    #[error("GitHub wants to be asked again in {} s", .0.as_secs())]
    Busy(Duration),
    /// It does not take the user's token any more.
    #[error("GitHub does not take the token any more")]
    Revoked,
    /// The user has connected no account.
    #[error("no GitHub account is connected")]
    NotConnected,
    /// It knows who asks, and says no, in its own words.
    #[error("GitHub refuses it: {0}")]
    Forbidden(String),
    /// It says that there is no such thing.
    #[error("GitHub knows no such thing")]
    NotFound,
    /// It refuses what was sent, in its own words.
    #[error("GitHub does not take it: {0}")]
    Invalid(String),
    /// The code that it gave is over, or was never given.
    #[error("GitHub does not take its code")]
    BadCode,
    /// The operator's settings and GitHub's page of the app do not agree.
    #[error("GitHub does not take this installation: {0}")]
    Misconfigured(String),
    /// Our own tables.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Why somebody who came back from GitHub is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// GitHub, or our own tables.
    #[error(transparent)]
    GitHub(#[from] GitHubError),
    /// The state was never made, or by another browser.
    #[error("the state is unknown")]
    UnknownState,
    /// The state was used.
    #[error("the state was used")]
    UsedState,
    /// The state is too old.
    #[error("the state has expired")]
    ExpiredState,
    /// The visitor said no at GitHub.
    #[error("the visitor said no")]
    Declined,
    /// They said yes, and not to all of it.
    #[error("these scopes were refused: {0}")]
    Scopes(String),
    /// The account may not sign in here.
    #[error("{0} may not sign in here")]
    NotAllowed(String),
    /// The account is another user's.
    #[error("{0} is another user's")]
    Taken(String),
    /// Another account is the user's only way in.
    #[error("the user signs in by another account than {0}")]
    OnlyWayIn(String),
    /// Nobody, or another user, is signed in in the browser that began to connect.
    #[error("another user is signed in")]
    AnotherUser,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::GitHub(error.into())
    }
}

/// A sign-in that began.
pub struct Begun {
    /// GitHub's page.
    pub url: Url,
    /// The browser's cookie.
    pub browser: SecretString,
}

/// What came of a visit to GitHub.
pub struct Finished {
    /// Who it is.
    pub user: User,
    /// Whether they connected an account, and did not sign in.
    pub connected: bool,
    /// Where they wanted to go.
    pub next: String,
}

/// What GitHub's redirect brings.
#[derive(Debug, Default, Deserialize)]
pub struct Returned {
    /// Becomes a token.
    #[serde(default)]
    pub code: Option<String>,
    /// Ours.
    #[serde(default)]
    pub state: Option<String>,
    /// Why there is no code.
    #[serde(default)]
    pub error: Option<String>,
}

type OAuth = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// GitHub.
pub struct GitHub {
    settings: GitHubSettings,
    oauth: OAuth,
    http: reqwest::Client,
    linked: LinkedAccounts,
    /// A refresh token works once: one refresh at a time.
    refreshing: tokio::sync::Mutex<()>,
    listings: Listings,
    access: access::Access,
    narrow: narrow::Narrow,
}

/// Who somebody is, of `GET /user`.
#[derive(Debug, Deserialize)]
struct ApiUser {
    id: u64,
    login: String,
}

/// Whether somebody may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MaySignIn {
    Yes,
    No,
    /// They are no known member, and an organization does not let this app look.
    NotSaid,
}

impl GitHub {
    /// GitHub, by the settings, for an installation at this public address.
    ///
    /// # Errors
    /// An address is none, or TLS cannot be set up.
    pub fn new(settings: GitHubSettings, linked: LinkedAccounts, public: &str) -> anyhow::Result<Self> {
        let oauth = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.expose_secret().to_owned()))
            .set_auth_uri(AuthUrl::new(format!("{}/login/oauth/authorize", settings.url))?)
            .set_token_uri(TokenUrl::new(format!("{}/login/oauth/access_token", settings.url))?)
            .set_redirect_uri(RedirectUrl::new(format!("{public}{CALLBACK}"))?)
            // What GitHub's own page has: it takes no Basic here.
            .set_auth_type(AuthType::RequestBody);
        let http = api::client()?;
        let (refreshing, listings, access) = (tokio::sync::Mutex::default(), Listings::default(), access::Access::default());
        Ok(Self { settings, oauth, http, linked, refreshing, listings, access, narrow: narrow::Narrow::default() })
    }

    /// Whether anybody may sign in by it. If not, it can be connected alone.
    #[must_use]
    pub fn signs_in(&self) -> bool {
        self.settings.allowed.anybody()
    }

    /// `github.com`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.settings.host
    }

    /// Whether a repository's address is one of GitHub's own.
    #[must_use]
    pub fn holds(&self, url: &str) -> bool {
        let own = &self.settings.url;
        url.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(own)) && url[own.len()..].starts_with('/')
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Where a user looks after what they granted.
    #[must_use]
    pub fn grants_page(&self) -> String {
        format!("{}/settings/connections/applications/{}", self.settings.url, self.settings.client_id)
    }

    fn scopes(&self) -> impl Iterator<Item = &'static str> + use<> {
        let organizations = !self.settings.allowed.organizations.is_empty() && !self.settings.allowed.everybody;
        SCOPES.into_iter().chain(organizations.then_some(ORGANIZATIONS))
    }

    /// Begins a sign-in, or connecting to a user. `browser` is the cookie that the visitor has already, so
    /// that two tabs do not end each other's.
    ///
    /// # Errors
    /// The store is away.
    pub async fn begin(&self, user: Option<UserId>, browser: Option<String>, next: &str) -> Result<Begun, StoreError> {
        let browser = SecretString::from(browser.unwrap_or_else(|| hex::encode(rand::random::<[u8; 32]>())));
        // RFC 7636, 4.1: 43 to 128 characters; 48 bytes in hex are 96.
        let verifier = PkceCodeVerifier::new(hex::encode(rand::random::<[u8; 48]>()));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let kept = SecretString::from(verifier.secret().as_str());
        let new = NewState { user, browser: &browser, verifier: &kept, next };
        let state = patient(self.linked.make_state(new, SystemClock.now())).await?;
        let (url, _) = self
            .oauth
            .authorize_url(|| CsrfToken::new(state.expose_secret().to_owned()))
            .add_scopes(self.scopes().map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        Ok(Begun { url, browser })
    }

    /// What becomes of a visitor who came back. `viewer` is who is signed in in that browser.
    ///
    /// # Errors
    /// Why they are not signed in, or nothing is connected. The state is used up all the same.
    pub async fn finish(&self, returned: Returned, browser: Option<&str>, viewer: Option<UserId>) -> Result<Finished, Refused> {
        let now = SystemClock.now();
        let (Some(state), Some(browser)) = (returned.state, browser) else { return Err(Refused::UnknownState) };
        let (user, verifier, next) = match patient(self.linked.use_state(&state, browser, now)).await? {
            StateUse::Accepted { user, verifier, next } => (user, verifier, next),
            StateUse::Used => return Err(Refused::UsedState),
            StateUse::Expired => return Err(Refused::ExpiredState),
            StateUse::Unknown => return Err(Refused::UnknownState),
        };
        if user.is_some() && user != viewer {
            return Err(Refused::AnotherUser);
        }
        let code = match (returned.code, returned.error.as_deref()) {
            (Some(code), None) => code,
            (_, Some("access_denied")) => return Err(Refused::Declined),
            (_, Some(error)) => return Err(GitHubError::Misconfigured(api::sentence(error)).into()),
            (None, None) => return Err(Refused::UnknownState),
        };
        let tokens = self.exchange(code, &verifier).await?;
        self.check_scopes(&tokens)?;
        let who = self.who(&tokens.access).await?;
        let identity = Identity { id: who.id.to_string(), login: who.login.clone() };
        if let Some(user) = user {
            self.connect(user, &identity, &tokens, now).await?;
            return Ok(Finished { user: User { id: user, name: who.login, kept_out: false }, connected: true, next });
        }
        if self.may_sign_in(&who, &tokens.access).await? != MaySignIn::Yes {
            // It is of no use to us.
            self.give_back(&tokens.access).await;
            warn!(github.id = who.id, github.login = %who.login, "an account that may not sign in came from GitHub");
            return Err(Refused::NotAllowed(who.login));
        }
        let user = patient(self.linked.sign_in(&identity, &tokens, now)).await?;
        info!(user.id = %user.id, github.id = who.id, "signed in by GitHub");
        Ok(Finished { user, connected: false, next })
    }

    /// Connects an account to a user. Another one that it replaces is ended at GitHub as by [`GitHub::disconnect`].
    async fn connect(&self, user: UserId, identity: &Identity, tokens: &Tokens, now: Timestamp) -> Result<(), Refused> {
        let before = self.as_far_as_opened(user).await?;
        match patient(self.linked.connect(user, identity, tokens, now)).await? {
            Link::Taken => return Err(Refused::Taken(identity.login.clone())),
            Link::OnlyWayIn => {
                // It is of no use to us.
                self.give_back(&tokens.access).await;
                return Err(Refused::OnlyWayIn(identity.login.clone()));
            }
            Link::Linked => info!(user.id = %user, github.id = %identity.id, "connected a GitHub account"),
        }
        self.listings.forget(user);
        if let Some(before) = before.filter(|before| before.identity.id != identity.id) {
            self.end_access(&before).await;
        }
        Ok(())
    }

    async fn exchange(&self, code: String, verifier: &SecretString) -> Result<Tokens, GitHubError> {
        let answer = self
            .oauth
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .request_async(self)
            .await;
        answer.map(|answer| tokens(&answer)).map_err(token_error)
    }

    /// Sends what `oauth2` made. GitHub says its errors with status 200, which that takes for a token.
    async fn token_request(&self, request: HttpRequest) -> Result<HttpResponse, GitHubError> {
        let (parts, body) = request.into_parts();
        let request = self.http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let (status, headers, body) = api::send(request.header("accept", "application/json")).await?;
        if status.is_server_error() {
            return Err(GitHubError::Away(format!("it answered {}", status.as_u16())));
        }
        if let StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN = status
            && let busy @ GitHubError::Busy(_) = api::refused(status, &headers, &body)
        {
            return Err(busy);
        }
        let is_error = serde_json::from_slice::<serde_json::Value>(&body).is_ok_and(|said| said.get("error").is_some());
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = if is_error { StatusCode::BAD_REQUEST } else { status };
        Ok(answer)
    }

    /// Tokens of a GitHub App name no scopes: what they may is the app's.
    fn check_scopes(&self, tokens: &Tokens) -> Result<(), Refused> {
        if narrow::is_of_app(&tokens.access) {
            return Ok(());
        }
        let granted: Vec<&str> = tokens.scopes.split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty()).collect();
        // https://docs.github.com/apps/oauth-apps/building-oauth-apps/scopes-for-oauth-apps: one holds others.
        let holds = |wanted: &str| {
            granted.iter().any(|scope| {
                *scope == wanted
                    || (*scope == "user" && matches!(wanted, "read:user" | "user:email"))
                    || (matches!(*scope, "admin:org" | "write:org") && wanted == ORGANIZATIONS)
            })
        };
        let missing: Vec<&str> = self.scopes().filter(|scope| !holds(scope)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Refused::Scopes(missing.join(", "))) }
    }

    async fn who(&self, token: &SecretString) -> Result<ApiUser, GitHubError> {
        api::read(self.http.get(format!("{}/user", self.settings.api)), token).await.map(|(_, user)| user)
    }

    /// By name, else by membership.
    async fn may_sign_in(&self, who: &ApiUser, token: &SecretString) -> Result<MaySignIn, GitHubError> {
        let Allowed { organizations, .. } = &self.settings.allowed;
        if self.settings.allowed.names(who.id, &who.login) {
            return Ok(MaySignIn::Yes);
        }
        #[derive(Deserialize)]
        struct Membership {
            state: String,
        }
        let mut otherwise = MaySignIn::No;
        for organization in organizations {
            let address = format!("{}/user/memberships/orgs/{organization}", self.settings.api);
            match api::read::<Membership>(self.http.get(address), token).await {
                // An invitation that was not accepted is `pending`.
                Ok((_, Membership { state })) if state == "active" => return Ok(MaySignIn::Yes),
                Ok(_) | Err(GitHubError::NotFound) => {}
                Err(GitHubError::Forbidden(why)) => {
                    warn!(organization, "GitHub does not say who is a member: {why}");
                    otherwise = MaySignIn::NotSaid;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(otherwise)
    }

    /// Ends what is open of users who may not sign in any more. Members of an organization are asked for at GitHub. Of whom it
    /// does not say whether they are one, sessions and tokens end; while it does not answer, nothing.
    pub async fn shut_out(&self, accounts: &Accounts) {
        let users = match patient(accounts.who_sign_in_by(&self.settings.host)).await {
            Ok(users) => users,
            Err(error) => return warn!("cannot look who may still sign in by GitHub: {error:#}"),
        };
        let named = |id: u64, login: &str| self.settings.allowed.names(id, login);
        let (first, asked): (Vec<_>, Vec<_>) = users
            .into_iter()
            .filter_map(|(user, id, login)| Some((user, ApiUser { id: id.parse().ok()?, login })))
            .filter(|(_, who)| !named(who.id, &who.login))
            .partition(|_| self.settings.allowed.organizations.is_empty());
        for (user, who) in first {
            shut_out(accounts, user, &who.login, ShutOut::NotAllowed).await;
        }
        for (user, who) in asked {
            let said = match self.account(user).await {
                Ok(linked) => self.may_sign_in(&who, &linked.tokens.access).await,
                Err(error) => Err(error),
            };
            let why = match said {
                Ok(MaySignIn::Yes) => None,
                Ok(MaySignIn::No) => Some(ShutOut::NotAllowed),
                // Nobody can say any more whether they are one.
                Ok(MaySignIn::NotSaid) | Err(GitHubError::Revoked | GitHubError::NotConnected) => Some(ShutOut::Unconfirmed),
                Err(error) => {
                    warn!(user.id = %user, "cannot look whether a user may still sign in: {error:#}");
                    None
                }
            };
            if let Some(why) = why {
                shut_out(accounts, user, &who.login, why).await;
            }
        }
    }

    /// A user's account, with a token that works as far as is known; refreshed if it ends soon.
    ///
    /// # Errors
    /// [`GitHubError::NotConnected`], [`GitHubError::Revoked`], and what goes wrong with a refresh.
    pub async fn account(&self, user: UserId) -> Result<Linked, GitHubError> {
        let linked = patient(self.linked.of(user)).await?.ok_or(GitHubError::NotConnected)?;
        if linked.revoked_at.is_some() {
            return Err(GitHubError::Revoked);
        }
        if !ends_soon(&linked) {
            return Ok(linked);
        }
        let _one = self.refreshing.lock().await;
        // Another may have refreshed it while this one waited.
        let linked = patient(self.linked.of(user)).await?.ok_or(GitHubError::NotConnected)?;
        if ends_soon(&linked) { self.refresh(user, linked).await } else { Ok(linked) }
    }

    async fn refresh(&self, user: UserId, old: Linked) -> Result<Linked, GitHubError> {
        let now = SystemClock.now();
        let answer = match &old.tokens.refresh {
            Some(token) => {
                let token = RefreshToken::new(token.expose_secret().to_owned());
                self.oauth.exchange_refresh_token(&token).request_async(self).await.map_err(token_error)
            }
            None => Err(GitHubError::BadCode),
        };
        match answer {
            Ok(answer) => {
                let mut new = tokens(&answer);
                new.scopes.clone_from(&old.tokens.scopes);
                patient(self.linked.renew(&old, &new, now)).await?;
                debug!(user.id = %user, "refreshed a GitHub token");
                patient(self.linked.of(user)).await?.ok_or(GitHubError::NotConnected)
            }
            Err(GitHubError::BadCode) => {
                let begun = Instant::now();
                let wait = if old.tokens.refresh.is_some() { ELSEWHERE } else { Duration::ZERO };
                loop {
                    let now_linked = patient(self.linked.of(user)).await?.ok_or(GitHubError::NotConnected)?;
                    if !ends_soon(&now_linked) {
                        return Ok(now_linked);
                    }
                    if now_linked.revoked_at.is_some() || begun.elapsed() >= wait {
                        break;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                self.note_revoked(user, &old).await?;
                Err(GitHubError::Revoked)
            }
            Err(error) => Err(error),
        }
    }

    async fn note_revoked(&self, user: UserId, linked: &Linked) -> Result<(), StoreError> {
        info!(user.id = %user, "GitHub does not take a user's token any more");
        let now = SystemClock.now();
        // Of several that find it at the same moment, one notes it.
        if patient(self.linked.revoked(linked, now)).await? {
            patient(self.linked.tell(user, &activity::github_revoked(&linked.identity.login), now)).await?;
        }
        Ok(())
    }

    /// An answer to what was asked in a user's name; where GitHub does not take the token any more, that is noted.
    async fn noting<T>(&self, user: UserId, linked: &Linked, answer: Result<T, GitHubError>) -> Result<T, GitHubError> {
        if matches!(answer, Err(GitHubError::Revoked)) {
            self.note_revoked(user, linked).await?;
        }
        answer
    }

    async fn works(&self, user: UserId) -> Result<(), GitHubError> {
        let linked = self.account(user).await?;
        let answer = self.who(&linked.tokens.access).await;
        self.noting(user, &linked, answer).await.map(|_| ())
    }

    /// What our own tables have of a user's account; GitHub is not asked.
    ///
    /// # Errors
    /// Our own tables.
    pub async fn known(&self, user: UserId) -> Result<Option<Linked>, StoreError> {
        patient(self.linked.of(user)).await
    }

    /// What is known of a user's account, and whether GitHub takes its token now.
    ///
    /// # Errors
    /// Our own tables.
    pub async fn look(&self, user: UserId) -> Result<Option<(Linked, Result<(), GitHubError>)>, StoreError> {
        let Some(linked) = patient(self.linked.of(user)).await? else { return Ok(None) };
        let works = self.works(user).await;
        Ok(Some((linked, works)))
    }

    /// Forgets a user's account, here and, if it answers, at GitHub. `false` if there is none.
    ///
    /// # Errors
    /// Our own tables.
    pub async fn disconnect(&self, user: UserId) -> Result<bool, StoreError> {
        let linked = self.as_far_as_opened(user).await?;
        let was = patient(self.linked.disconnect(user)).await?;
        self.listings.forget(user);
        if let Some(linked) = linked {
            self.end_access(&linked).await;
        }
        Ok(was)
    }

    /// A user's account that is about to go; `None` also where its tokens cannot be opened: it is replaced and forgotten all
    /// the same.
    async fn as_far_as_opened(&self, user: UserId) -> Result<Option<Linked>, StoreError> {
        match patient(self.linked.of(user)).await {
            Err(StoreError::Broken(error)) => {
                warn!(user.id = %user, "the tokens of a GitHub account that goes cannot be ended at GitHub: {error:#}");
                Ok(None)
            }
            linked => linked,
        }
    }

    /// Ends at GitHub what an account that was forgotten here had.
    async fn end_access(&self, linked: &Linked) {
        self.end_narrowed(&linked.identity.id).await;
        if linked.revoked_at.is_none() {
            self.give_back(&linked.tokens.access).await;
        }
    }

    /// Whether a user has another way in than GitHub.
    ///
    /// # Errors
    /// Our own tables.
    pub async fn has_other_way_in(&self, user: UserId) -> Result<bool, StoreError> {
        patient(self.linked.is_machine_owner(user)).await
    }

    /// Ends a token at GitHub. It may be away: then the token is merely forgotten.
    async fn give_back(&self, token: &SecretString) {
        let GitHubSettings { api, client_id, client_secret, .. } = &self.settings;
        let request = self
            .http
            .delete(format!("{api}/applications/{client_id}/token"))
            .basic_auth(client_id, Some(client_secret.expose_secret()))
            .header("accept", "application/vnd.github+json")
            .json(&serde_json::json!({ "access_token": token.expose_secret() }));
        match api::send(request).await {
            Ok((status, ..)) if status.is_success() || status == StatusCode::NOT_FOUND => {}
            Ok((status, ..)) => info!(status = status.as_u16(), "GitHub did not end a token"),
            Err(error) => info!("GitHub did not end a token: {error}"),
        }
    }
}

/// What `oauth2` sends by. A type of its own, since a closure's future is not known to be `Send`.
impl<'c> AsyncHttpClient<'c> for GitHub {
    type Error = GitHubError;
    type Future = BoxFuture<'c, Result<HttpResponse, GitHubError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.token_request(request).boxed()
    }
}

fn ends_soon(linked: &Linked) -> bool {
    let soon = SystemClock.now().checked_add(SOON).unwrap_or(Timestamp::MAX);
    linked.tokens.expires_at.is_some_and(|at| at <= soon)
}

fn tokens(answer: &BasicTokenResponse) -> Tokens {
    let life = answer.expires_in().and_then(|life| SignedDuration::try_from(life).ok());
    let scopes: Vec<&str> = answer.scopes().into_iter().flatten().map(|scope| scope.as_str()).collect();
    Tokens {
        access: SecretString::from(answer.access_token().secret().as_str()),
        refresh: answer.refresh_token().map(|token| SecretString::from(token.secret().as_str())),
        expires_at: life.and_then(|life| SystemClock.now().checked_add(life).ok()),
        scopes: scopes.join(" "),
    }
}

/// By <https://docs.github.com/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors>.
fn token_error(error: RequestTokenError<GitHubError, BasicErrorResponse>) -> GitHubError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(said) => match said.error().as_ref() {
            "bad_verification_code" | "bad_refresh_token" | "invalid_grant" => GitHubError::BadCode,
            code => {
                error!("GitHub refuses this installation: {}", api::sentence(&said.to_string()));
                GitHubError::Misconfigured(api::sentence(code))
            }
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            GitHubError::Away("it answered with something that is not GitHub's".to_owned())
        }
    }
}

/// Says how many users are kept out, where GitHub is not configured ([`Accounts::by_providers`]): that may be a mistake.
pub async fn tell_of_kept_out(accounts: &Accounts) {
    match patient(accounts.who_signed_in_elsewhere(None)).await {
        Ok(users) if users.is_empty() => {}
        Ok(users) => warn!(
            users = users.len(),
            "GitHub is not configured, and users sign in by it: they are refused, and what they have is kept, until --github-client-id \
             names an app again"
        ),
        Err(error) => warn!("cannot look who signs in by GitHub: {error:#}"),
    }
}

/// Ends what is open of users who signed in by accounts of another host than this one: the operator allows none of them.
pub async fn shut_out_others(accounts: &Accounts, host: &str) {
    match patient(accounts.who_signed_in_elsewhere(Some(host))).await {
        Ok(users) => {
            for (user, login) in users {
                shut_out(accounts, user, &login, ShutOut::NotAllowed).await;
            }
        }
        Err(error) => warn!("cannot look who signed in by another GitHub: {error:#}"),
    }
}

async fn shut_out(accounts: &Accounts, user: UserId, login: &str, why: ShutOut) {
    match patient(accounts.shut_out(user, login, why, SystemClock.now())).await {
        Ok(true) => info!(user.id = %user, github.login = login, ?why, "signed out who may not sign in by GitHub any more"),
        Ok(false) => {}
        Err(error) => warn!(user.id = %user, "failed to sign out who may not sign in any more: {error:#}"),
    }
}
