//! New repositories at GitHub, and whose name commits carry.

use super::{GitHub, GitHubError, api, repositories::Repository};
use jiff::{SignedDuration, Timestamp};
use model::UserId;
use serde::Deserialize;
use serde_json::json;

/// How far GitHub's clock may be from ours.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// A repository to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewRepository<'a> {
    /// An organization, or the account itself; the account, where it is absent.
    pub owner: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Whether not everybody sees it.
    pub private: bool,
    /// What GitHub says of it.
    pub description: Option<&'a str>,
    /// When it was asked for: what is there since then with that name is the same ask's.
    pub since: Timestamp,
}

/// Why a repository was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one of that name.
    #[error("there is a repository {0} already")]
    NameTaken(String),
    /// No such organization, or one that the account is not in.
    #[error("GitHub knows no owner {0} for this account")]
    OwnerUnknown(String),
    /// The account did not grant it.
    #[error("the scope `repo` is missing")]
    ScopeMissing,
    /// Anything else.
    #[error(transparent)]
    GitHub(#[from] GitHubError),
}

/// Whose commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The account's own name, or what it is called.
    pub name: String,
    /// Where it is public; else the address that GitHub has for those that are private.
    pub email: String,
}

#[derive(Debug, Deserialize)]
struct Profile {
    id: u64,
    login: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    email: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Existing {
    #[serde(flatten)]
    repository: Repository,
    created_at: Timestamp,
}

impl GitHub {
    /// Makes an empty repository in a user's name. Asked again after an answer that was lost, it is the same repository.
    ///
    /// # Errors
    /// Why not; nothing was made.
    pub async fn create_repository(&self, user: UserId, new: NewRepository<'_>) -> Result<Repository, CreateError> {
        let linked = self.account(user).await?;
        let (api, login, token) = (&self.settings.api, &linked.identity.login, &linked.tokens.access);
        let scopes = &linked.tokens.scopes;
        // Tokens of a GitHub App name none.
        let granted = scopes.split([',', ' ']).any(|scope| scope == "repo" || (scope == "public_repo" && !new.private));
        if !granted && !scopes.trim().is_empty() {
            return Err(CreateError::ScopeMissing);
        }
        let owner = new.owner.filter(|owner| !owner.eq_ignore_ascii_case(login));
        let address = owner.map_or_else(|| format!("{api}/user/repos"), |owner| format!("{api}/orgs/{owner}/repos"));
        let body = json!({
            "name": new.name, "private": new.private, "description": new.description.unwrap_or_default(), "auto_init": false,
        });
        let full_name = format!("{}/{}", owner.unwrap_or(login), new.name);
        let answer = api::read::<Repository>(self.http.post(address).json(&body), token).await;
        let made = match self.noting(user, &linked, answer).await {
            Ok((_, made)) => made,
            Err(GitHubError::Invalid(why)) if why.contains("already exists") => {
                let found = api::read::<Existing>(self.http.get(format!("{api}/repos/{full_name}")), token).await;
                let since = new.since.checked_sub(SKEW).unwrap_or(Timestamp::MIN);
                match found {
                    Ok((_, found)) if found.created_at >= since && found.repository.private == new.private => found.repository,
                    Ok(_) | Err(GitHubError::NotFound | GitHubError::Forbidden(_)) => {
                        return Err(CreateError::NameTaken(full_name));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // As GitHub answers what the token does not reach.
            Err(GitHubError::NotFound) => {
                return Err(owner.map_or(CreateError::ScopeMissing, |owner| CreateError::OwnerUnknown(owner.to_owned())));
            }
            Err(error) => return Err(error.into()),
        };
        self.listings.forget(user);
        Ok(made)
    }

    /// Whose name a user's commits carry: by GitHub's own words, or by what is known here while it does not answer.
    ///
    /// # Errors
    /// No account is connected, or our own tables are away.
    pub async fn author(&self, user: UserId) -> Result<Author, GitHubError> {
        let linked = self.account(user).await?;
        let host = self.host().split(':').next().unwrap_or_default();
        let private = |id: &str, login: &str| format!("{id}+{login}@users.noreply.{host}");
        let answer = api::read::<Profile>(self.http.get(format!("{}/user", self.settings.api)), &linked.tokens.access).await;
        Ok(match self.noting(user, &linked, answer).await {
            Ok((_, Profile { id, login, name, email })) => Author {
                email: email.filter(|email| is_plain(email)).unwrap_or_else(|| private(&id.to_string(), &login)),
                name: name.filter(|name| is_plain(name)).unwrap_or(login),
            },
            Err(GitHubError::Store(error)) => return Err(error.into()),
            Err(_) => {
                let email = private(&linked.identity.id, &linked.identity.login);
                Author { name: linked.identity.login, email }
            }
        })
    }
}

/// Whether git takes it in an author's line.
fn is_plain(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(|c| c.is_control() || matches!(c, '<' | '>'))
}
