//! Which repositories an account's token is lent to git for.
//!
//! GitHub's scope `repo` knows no single repository: who has the token has all that the account may. What runs in a sandbox can
//! ask for it as git does, and a stranger's public repository brings what runs there. git reads that without credentials, and may
//! not push there with any. So the token is lent only for what GitHub says to be private, or the account's to push to; and
//! narrowed to that where it can be ([`super::narrow`]).

use super::{GitHub, GitHubError, api, narrow::is_of_app};
use model::UserId;
use secrecy::SecretString;
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long GitHub is not asked again where a token was lent.
const FRESH: Duration = Duration::from_secs(300);
/// And where it was not: who was just let in, or made it private, tries again soon.
const FRESH_NO: Duration = Duration::from_secs(30);
/// How many answers are kept.
const MOST: usize = 10_000;

/// What `GET /repos/{owner}/{name}` says, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Rights {
    private: bool,
    #[serde(default)]
    permissions: Permissions,
    /// As it is called by now.
    #[serde(default)]
    full_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Permissions {
    #[serde(default)]
    push: bool,
}

/// What was said of an account's repositories, by the account's number and `owner/name`.
#[derive(Debug, Default)]
pub struct Access(Mutex<HashMap<(String, String), Known>>);

#[derive(Debug, Clone)]
struct Known {
    at: Instant,
    lends: bool,
    /// `owner/name`, as it is called by now.
    name: String,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < if self.lends { FRESH } else { FRESH_NO }
    }
}

impl Access {
    fn get(&self, of: &(String, String)) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(of).cloned()
    }

    fn keep(&self, of: (String, String), lends: bool, name: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, known| known.is_fresh());
        }
        if all.len() < MOST || all.contains_key(&of) {
            all.insert(of, Known { at: Instant::now(), lends, name: name.to_owned() });
        }
    }

    fn forget(&self, of: &(String, String)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(of);
    }
}

impl GitHub {
    /// The token of a user's account for git at a repository of GitHub's ([`Self::holds`]), for that alone where it can be narrowed;
    /// `None` where it is public and not theirs to push to, and where GitHub does not narrow what it could. While GitHub does not
    /// answer, what it said last holds, and what it was never asked of gets nothing.
    ///
    /// # Errors
    /// As [`Self::account`], and what goes wrong with GitHub; [`GitHubError::NotFound`] where it shows the account no such
    /// repository.
    pub async fn lends(&self, user: UserId, url: &str) -> Result<Option<SecretString>, GitHubError> {
        let linked = self.account(user).await?;
        let path = self.path(url)?;
        let of = (linked.identity.id.clone(), path.to_ascii_lowercase());
        let known = self.access.get(&of);
        if let Some(known) = known.as_ref().filter(|known| known.is_fresh()) {
            return if known.lends { self.narrowed(&linked, &known.name).await } else { Ok(None) };
        }
        let answer = api::repository::<Rights>(&self.http, &self.settings.api, path, &linked.tokens.access).await;
        let mut name = known.as_ref().map_or(path, |known| known.name.as_str()).to_owned();
        let said = self.noting(user, &linked, answer).await.map(|rights| {
            // It becomes a part of what GitHub is asked for next.
            name = rights.full_name.filter(|name| path_of(name).is_some()).unwrap_or_else(|| path.to_owned());
            rights.private || rights.permissions.push
        });
        match &said {
            Ok(lends) => self.access.keep(of, *lends, &name),
            Err(error) if is_away(error) => {}
            Err(_) => self.access.forget(&of),
        }
        if lent(known.map(|known| known.lends), said)? { self.narrowed(&linked, &name).await } else { Ok(None) }
    }

    /// The same for one that was just made in the account's name, and so is theirs.
    ///
    /// # Errors
    /// As [`Self::lends`].
    pub async fn lends_own(&self, user: UserId, url: &str) -> Result<Option<SecretString>, GitHubError> {
        let linked = self.account(user).await?;
        if !is_of_app(&linked.tokens.access) {
            return Ok(Some(linked.tokens.access));
        }
        self.narrowed(&linked, self.path(url)?).await
    }

    /// Whether a repository is private, as GitHub says it now; `None` where it shows the account no such repository.
    ///
    /// # Errors
    /// As [`Self::account`], and what goes wrong with GitHub.
    pub async fn is_private(&self, user: UserId, url: &str) -> Result<Option<bool>, GitHubError> {
        let linked = self.account(user).await?;
        let path = self.path(url)?;
        let answer = api::repository::<Rights>(&self.http, &self.settings.api, path, &linked.tokens.access).await;
        match self.noting(user, &linked, answer).await {
            Ok(rights) => Ok(Some(rights.private)),
            Err(GitHubError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `owner/name` of an address of GitHub's.
    fn path<'a>(&self, url: &'a str) -> Result<&'a str, GitHubError> {
        path_of(url.get(self.settings.url.len()..).unwrap_or_default()).ok_or(GitHubError::NotFound)
    }
}

/// What holds, after what was said before and what is said now.
fn lent(before: Option<bool>, said: Result<bool, GitHubError>) -> Result<bool, GitHubError> {
    match said {
        Err(error) if before == Some(true) && is_away(&error) => Ok(true),
        said => said,
    }
}

fn is_away(error: &GitHubError) -> bool {
    matches!(error, GitHubError::Away(_) | GitHubError::Slow | GitHubError::Busy(_))
}

/// `owner/name` of what stands behind GitHub's own address; a wiki is its repository's.
fn path_of(rest: &str) -> Option<&str> {
    let path = rest.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let path = path.strip_suffix(".wiki").unwrap_or(path);
    let (owner, name) = path.split_once('/')?;
    // It becomes a part of an address of the API.
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (plain(owner) && plain(name)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_outlasts_githubs_silence_and_nothing_else_becomes_one() {
        let away = || Err(GitHubError::Away("it is down".to_owned()));
        assert!(lent(Some(true), away()).unwrap());
        assert!(lent(Some(true), Err(GitHubError::Slow)).unwrap());
        assert!(lent(Some(true), Err(GitHubError::Busy(Duration::ZERO))).unwrap());
        for before in [None, Some(false)] {
            assert!(matches!(lent(before, away()), Err(GitHubError::Away(_))));
        }
        assert!(matches!(lent(Some(true), Err(GitHubError::NotFound)), Err(GitHubError::NotFound)));
        assert!(matches!(lent(Some(true), Err(GitHubError::Revoked)), Err(GitHubError::Revoked)));
        assert!(!lent(Some(true), Ok(false)).unwrap(), "it was made public, or the account was taken off it");
        assert!(lent(Some(false), Ok(true)).unwrap());
    }

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        for (rest, path) in [
            ("/Acme/boats", Some("Acme/boats")),
            ("/acme/boats.git", Some("acme/boats")),
            ("/acme/boats.git/", Some("acme/boats")),
            ("/acme/boats.wiki.git", Some("acme/boats")),
            ("/acme/Boats.io_x-1", Some("acme/Boats.io_x-1")),
            ("/acme", None),
            ("/acme/", None),
            ("/acme/..", None),
            ("/../user", None),
            ("/acme/boats/more", None),
            ("/acme/boats?x", None),
            ("/acme/b%6Fats", None),
            ("", None),
        ] {
            assert_eq!(path_of(rest), path, "{rest}");
        }
    }

    #[test]
    fn what_github_does_not_say_is_no() {
        let rights = |text: &str| serde_json::from_str::<Rights>(text).map(|rights| rights.private || rights.permissions.push);
        assert!(rights(r#"{"private": true}"#).unwrap());
        assert!(rights(r#"{"private": false, "permissions": {"pull": true, "push": true}}"#).unwrap());
        assert!(!rights(r#"{"private": false, "permissions": {"pull": true}}"#).unwrap());
        assert!(!rights(r#"{"private": false}"#).unwrap());
        assert!(rights(r#"{"permissions": {"push": true}}"#).is_err());
    }
}
