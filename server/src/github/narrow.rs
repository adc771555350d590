//! The token of a GitHub App, narrowed to the one repository that git is lent it for.
//!
//! What runs in a sandbox can have what git has. A token of an OAuth app (`gho_`) cannot be narrowed: its scope `repo` is all or
//! nothing. A user's token of a GitHub App (`ghu_`) can:
//! <https://docs.github.com/rest/apps/apps#create-a-scoped-access-token>. One that GitHub does not narrow is not lent: it opens all
//! that the account has given the app, and what it does not reach narrowed it would not reach whole either.

use super::{GitHub, GitHubError, api};
use crate::config::github::GitHubSettings;
use engine::{
    clock::{Clock as _, SystemClock},
    store::linked::Linked,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::collections::HashMap;
use tracing::info;

/// How long one is lent, at most. Then it is ended, and git is given another.
const LIFE: SignedDuration = SignedDuration::from_mins(30);

/// Those that are lent, by the account's number and `owner/name`.
#[derive(Default)]
pub struct Narrow(tokio::sync::Mutex<HashMap<(String, String), Lent>>);

struct Lent {
    /// Of which token it is.
    of: SecretString,
    token: SecretString,
    until: Timestamp,
}

impl Lent {
    fn holds(&self, of: &SecretString, now: Timestamp) -> bool {
        self.until > now && self.of.expose_secret() == of.expose_secret()
    }
}

/// What GitHub answers, as far as it matters here.
#[derive(Deserialize)]
struct Scoped {
    token: String,
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// Whether a token is a user's of a GitHub App.
pub fn is_of_app(token: &SecretString) -> bool {
    token.expose_secret().starts_with("ghu_")
}

impl GitHub {
    /// What git has of an account for one repository (`owner/name`); `None` where GitHub does not narrow the token to it.
    ///
    /// # Errors
    /// What goes wrong with GitHub.
    pub(super) async fn narrowed(&self, linked: &Linked, repository: &str) -> Result<Option<SecretString>, GitHubError> {
        let whole = &linked.tokens.access;
        if !is_of_app(whole) {
            return Ok(Some(whole.clone()));
        }
        let key = (linked.identity.id.clone(), repository.to_ascii_lowercase());
        // One at a time: of two, nobody would know of the first any more, and end it.
        let mut all = self.narrow.0.lock().await;
        let now = SystemClock.now();
        if let Some(lent) = all.get(&key).filter(|lent| lent.holds(whole, now)) {
            return Ok(Some(lent.token.clone()));
        }
        let Some((token, ends)) = self.narrow_to(whole, repository).await? else { return Ok(None) };
        let longest = now.checked_add(LIFE).unwrap_or(Timestamp::MAX);
        // As the whole one, it is not handed on in its last minute.
        let until = ends.map_or(longest, |ends| longest.min(ends.checked_sub(super::SOON).unwrap_or(Timestamp::MIN)));
        let (kept, over): (HashMap<_, _>, HashMap<_, _>) = all.drain().partition(|(of, lent)| *of != key && lent.until > now);
        *all = kept;
        all.insert(key, Lent { of: whole.clone(), token: token.clone(), until });
        drop(all);
        self.end(over).await;
        Ok(Some(token))
    }

    /// Ends those of an account that is forgotten here, at GitHub.
    pub(super) async fn end_narrowed(&self, account: &str) {
        let mut all = self.narrow.0.lock().await;
        let (over, kept): (HashMap<_, _>, HashMap<_, _>) = all.drain().partition(|((of, _), _)| of == account);
        *all = kept;
        drop(all);
        self.end(over).await;
    }

    async fn end(&self, over: HashMap<(String, String), Lent>) {
        for lent in over.into_values() {
            self.give_back(&lent.token).await;
        }
    }

    async fn narrow_to(
        &self,
        whole: &SecretString,
        repository: &str,
    ) -> Result<Option<(SecretString, Option<Timestamp>)>, GitHubError> {
        let GitHubSettings { api, client_id, client_secret, .. } = &self.settings;
        let Some((owner, name)) = repository.split_once('/') else { return Ok(None) };
        let request = self
            .http
            .post(format!("{api}/applications/{client_id}/token/scoped"))
            .basic_auth(client_id, Some(client_secret.expose_secret()))
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .json(&serde_json::json!({ "access_token": whole.expose_secret(), "target": owner, "repositories": [name] }));
        let (status, headers, body) = api::send(request).await?;
        if status.is_success() {
            let Scoped { token, expires_at } = api::parse(&body)?;
            return Ok(Some((SecretString::from(token), expires_at)));
        }
        match api::refused(status, &headers, &body) {
            error @ (GitHubError::Away(_) | GitHubError::Slow | GitHubError::Busy(_)) => Err(error),
            // It is the app that signs in here, and not the user.
            GitHubError::Revoked => Err(GitHubError::Misconfigured("it does not take the app's client secret".to_owned())),
            refusal => {
                info!(repository, "GitHub does not narrow a token to a repository, so git gets none for it: {refusal}");
                Ok(None)
            }
        }
    }
}
