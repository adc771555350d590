//! A user's repositories at GitHub, to choose from.
//!
//! GitHub's own search finds what belongs to a user and not what they were let in to, so all of the list
//! is read, a hundred at once, and searched here. It is kept for a minute, for the next key that is typed.
//!
//! It also says which organizations there are to publish in. GitHub's own list of those wants the scope `read:org`
//! (<https://docs.github.com/rest/orgs/orgs#list-organizations-for-the-authenticated-user>), which is asked for only where
//! members of one may sign in.

use super::{GitHub, GitHubError, api};
use http::{HeaderMap, header};
use model::UserId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a list is good for.
const FRESH: Duration = Duration::from_secs(60);
/// As many as GitHub gives at once.
const AT_ONCE: usize = 100;
/// How many times that: who has more finds them by their address.
const PAGES: usize = 20;
/// How many lists are kept.
const MOST: usize = 200;
/// How many repositories one page of ours has.
pub const PAGE: usize = 30;

/// A repository, as it is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = GitHubRepository)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// `owner/name`.
    #[serde(alias = "full_name")]
    pub full_name: String,
    /// What it is cloned by.
    #[serde(alias = "clone_url")]
    pub clone_url: String,
    /// Whether not everybody sees it.
    #[serde(default)]
    pub private: bool,
    /// The branch that is cloned where none is named.
    #[serde(default, alias = "default_branch")]
    pub default_branch: Option<String>,
    /// What its owner says of it.
    #[serde(default)]
    pub description: Option<String>,
    /// When it was last pushed to, RFC 3339.
    #[serde(default, alias = "pushed_at")]
    pub pushed_at: Option<String>,
}

/// One page of a search.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = GitHubRepositories)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// Pushed to last, first.
    pub repositories: Vec<Repository>,
    /// Which page, from 1.
    pub page: usize,
    /// The next one, if there is one.
    pub next_page: Option<usize>,
    /// How many fit the search.
    pub total: usize,
    /// Whether there are so many that not all were searched.
    pub cut_off: bool,
    /// Organizations that own any of all that it sees, by name. The account may be in others too.
    pub organizations: Vec<String>,
}

/// A repository as GitHub lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(flatten)]
    repository: Repository,
    #[serde(default)]
    owner: Option<Owner>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    login: String,
    /// `User` or `Organization`.
    #[serde(default, rename = "type")]
    kind: String,
}

/// All that somebody sees.
#[derive(Debug)]
struct Listing {
    repositories: Vec<Repository>,
    organizations: Vec<String>,
    cut_off: bool,
}

/// Lists by user, for a while.
#[derive(Debug, Default)]
pub struct Listings(Mutex<HashMap<UserId, (Instant, Arc<Listing>)>>);

impl Listings {
    /// The user has another account from now on, or none.
    pub fn forget(&self, user: UserId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
    }

    fn get(&self, user: UserId) -> Option<Arc<Listing>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&user).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, listing)| listing.clone())
    }

    fn keep(&self, user: UserId, listing: &Arc<Listing>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() < FRESH);
        if all.len() < MOST {
            all.insert(user, (Instant::now(), listing.clone()));
        }
    }
}

impl GitHub {
    /// The page of a user's repositories whose names have all words of the search in them.
    ///
    /// # Errors
    /// What goes wrong with GitHub.
    pub async fn repositories(&self, user: UserId, search: &str, page: usize) -> Result<Page, GitHubError> {
        let listing = match self.listings.get(user) {
            Some(listing) => listing,
            None => {
                let linked = self.account(user).await?;
                let answer = self.list(&linked.tokens.access).await;
                let listing = Arc::new(self.noting(user, &linked, answer).await?);
                self.listings.keep(user, &listing);
                listing
            }
        };
        let words: Vec<String> = search.split_whitespace().map(str::to_lowercase).collect();
        let fits = |repository: &&Repository| {
            let name = repository.full_name.to_lowercase();
            words.iter().all(|word| name.contains(word.as_str()))
        };
        let found: Vec<&Repository> = listing.repositories.iter().filter(fits).collect();
        let (page, first) = (page.max(1), page.max(1).saturating_sub(1).saturating_mul(PAGE));
        let shown: Vec<Repository> = found.iter().skip(first).take(PAGE).map(|repository| (*repository).clone()).collect();
        let next_page = (first.saturating_add(PAGE) < found.len()).then(|| page + 1);
        Ok(Page {
            repositories: shown,
            page,
            next_page,
            total: found.len(),
            cut_off: listing.cut_off,
            organizations: listing.organizations.clone(),
        })
    }

    async fn list(&self, token: &secrecy::SecretString) -> Result<Listing, GitHubError> {
        let (mut repositories, mut organizations, mut cut_off) = (Vec::new(), BTreeSet::new(), true);
        for page in 1..=PAGES {
            let request = self.http.get(format!("{}/user/repos", self.settings.api)).query(&[
                ("per_page", AT_ONCE.to_string()),
                ("page", page.to_string()),
                ("sort", "pushed".to_owned()),
            ]);
            let (headers, some): (_, Vec<Listed>) = api::read(request, token).await?;
            for Listed { repository, owner } in some {
                repositories.push(repository);
                organizations.extend(owner.filter(|owner| owner.kind == "Organization").map(|owner| owner.login));
            }
            if !has_next(&headers) {
                cut_off = false;
                break;
            }
        }
        Ok(Listing { repositories, organizations: organizations.into_iter().collect(), cut_off })
    }
}

/// Whether `Link` names a next page.
fn has_next(headers: &HeaderMap) -> bool {
    headers.get(header::LINK).and_then(|link| link.to_str().ok()).is_some_and(|link| link.contains("rel=\"next\""))
}
