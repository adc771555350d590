//! Where a project's files come from: a repository that is cloned into a new sandbox.

use crate::cause::Cause;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How deep a clone may be asked for.
pub const MAX_DEPTH: u32 = 1_000_000;

/// The repository of a new project, as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRepository {
    /// `https://github.com/owner/name`.
    pub url: String,
    /// The remote's own, where it is absent.
    #[serde(default)]
    pub branch: Option<String>,
    /// How many commits; all of them, where it is absent.
    #[serde(default)]
    pub depth: Option<u32>,
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What is cloned.
    pub url: String,
    /// Which branch or tag.
    pub branch: Option<String>,
    /// How many commits.
    pub depth: Option<u32>,
    /// What is checked out in the end: a branch of that name, made from `branch` where there is none.
    pub checkout: Option<String>,
    /// The folder in the sandbox's home: the repository's name.
    pub folder: String,
}

/// How far a clone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CloneState {
    /// For the sandbox.
    Waiting,
    /// It is under way.
    Cloning,
    /// It is there.
    Done,
    /// It is not, and the cause says why.
    Failed,
    /// The project goes on without.
    Skipped,
}

impl CloneState {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Cloning => "cloning",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl std::str::FromStr for CloneState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Waiting, Self::Cloning, Self::Done, Self::Failed, Self::Skipped];
        all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("`{text}` is no state of a clone."))
    }
}

/// `GET /api/projects/{project}/repository`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RepositoryView {
    /// What is cloned.
    pub url: String,
    /// Which branch or tag; the remote's own, where it is absent.
    pub branch: Option<String>,
    /// The branch that an extra sandbox is for: made from `branch` where the repository has none of that name.
    #[serde(default)]
    pub checkout: Option<String>,
    /// How many commits; all of them, where it is absent.
    pub depth: Option<u32>,
    /// Where it is in the sandbox's home.
    pub folder: String,
    /// How far it is.
    pub state: CloneState,
    /// What git says of it: `Receiving objects: 42% (420/1000)`.
    pub progress: Option<String>,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// Since when it is so.
    #[serde(with = "crate::time")]
    pub updated_at: Timestamp,
}

/// What a project's home folder has the files of, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Origin {
    /// Its address; there is no name and no password in one.
    pub url: String,
    /// Which branch or tag; the remote's own, where it is absent.
    pub branch: Option<String>,
    /// What it is called in lists: `owner/name · branch`.
    pub title: String,
}

impl Origin {
    /// That of an address.
    #[must_use]
    pub fn new(url: String, branch: Option<String>) -> Self {
        let path = url.splitn(4, '/').nth(3).unwrap_or(&url).trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let title = match &branch {
            Some(branch) => format!("{path} · {branch}"),
            None => path.to_owned(),
        };
        Self { url, branch, title }
    }
}

impl From<&Repository> for Origin {
    fn from(of: &Repository) -> Self {
        Self::new(of.url.clone(), of.checkout.clone().or_else(|| of.branch.clone()))
    }
}

/// Why an address, a branch or a depth is refused. Never shows what stands before an `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    /// Not https.
    #[error("A repository is cloned over https: its address begins with https://.")]
    Scheme,
    /// A name or password in it.
    #[error("The address has a name or password in it, which would end in the repository's settings.")]
    Credentials,
    /// No host, or one that is no name on the internet.
    #[error("The address names no host on the internet.")]
    Host,
    /// No path, or one that is none of a repository.
    #[error("The address names no repository at that host.")]
    Path,
    /// Characters that stand in no address.
    #[error("The address has characters in it that stand in none, or is over 2,000 characters long.")]
    Characters,
    /// Not a name that git takes.
    #[error("That is no name of a branch or tag.")]
    Branch,
    /// Zero, or too much.
    #[error("A depth is a number of commits, from 1 to 1,000,000.")]
    Depth,
}

impl RepositoryError {
    /// As the API writes it, and the field that it is about.
    #[must_use]
    pub fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Scheme => ("repository-scheme", "repository.url"),
            Self::Credentials => ("repository-credentials", "repository.url"),
            Self::Host => ("repository-host", "repository.url"),
            Self::Path => ("repository-path", "repository.url"),
            Self::Characters => ("repository-characters", "repository.url"),
            Self::Branch => ("repository-branch", "repository.branch"),
            Self::Depth => ("repository-depth", "repository.depth"),
        }
    }
}

impl NewRepository {
    /// Checks all of it. `also` is an address below which plain http will do: GitHub's, where the operator
    /// has it on this very machine.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self, also: Option<&str>) -> Result<Repository, RepositoryError> {
        let url = self.url.trim();
        if url.len() > 2000
            || url.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '"' | '\'' | '<' | '>'))
        {
            return Err(RepositoryError::Characters);
        }
        let ours = also.and_then(|also| url.strip_prefix(also)).and_then(|rest| rest.strip_prefix('/'));
        let path = match ours {
            Some(path) => path,
            None => {
                let scheme = url.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://"));
                let rest = scheme.and_then(|_| url.get(8..)).ok_or(RepositoryError::Scheme)?;
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                if authority.contains('@') {
                    return Err(RepositoryError::Credentials);
                }
                if !is_host(authority) {
                    return Err(RepositoryError::Host);
                }
                path
            }
        };
        if path.contains(['?', '#']) {
            return Err(RepositoryError::Path);
        }
        let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let bad = |segment: &&str| {
            let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~' | b'+');
            segment.is_empty() || matches!(*segment, "." | "..") || segment.starts_with('-') || !segment.bytes().all(letters)
        };
        let name = segments.last().copied().unwrap_or_default();
        let folder = name.strip_suffix(".git").unwrap_or(name);
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if segments.iter().any(bad)
            || folder.is_empty()
            || matches!(folder, "." | "..")
            || folder.len() > 100
            || !folder.bytes().all(letters)
        {
            return Err(RepositoryError::Path);
        }
        let branch = self.branch.as_deref().map(str::trim).filter(|branch| !branch.is_empty());
        if branch.is_some_and(|branch| !is_ref(branch)) {
            return Err(RepositoryError::Branch);
        }
        if self.depth.is_some_and(|depth| !(1..=MAX_DEPTH).contains(&depth)) {
            return Err(RepositoryError::Depth);
        }
        let branch = branch.map(str::to_owned);
        Ok(Repository { url: url.to_owned(), branch, depth: self.depth, checkout: None, folder: folder.to_owned() })
    }
}

/// A name with a dot in it, and perhaps a port. Numbers alone are addresses, which have no certificates.
fn is_host(authority: &str) -> bool {
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let named = host.rsplit('.').next().is_some_and(|top| top.bytes().any(|b| b.is_ascii_alphabetic()) && !top.starts_with("0x"));
    let local = ["localhost", "local", "internal"]
        .iter()
        .any(|top| host.rsplit('.').next().is_some_and(|own| own.eq_ignore_ascii_case(top)));
    host.contains('.')
        && host.len() <= 253
        && host.split('.').all(label)
        && named
        && !local
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether git takes that name for a branch: by `git check-ref-format`.
#[must_use]
pub fn is_ref(name: &str) -> bool {
    (1..=250).contains(&name.len())
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("/.")
        && !name.contains("@{")
        && name != "@"
        && !name.split('/').any(|part| part.ends_with(".lock"))
        && !name.chars().any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Repository, RepositoryError> {
        NewRepository { url: url.into(), ..NewRepository::default() }.check(Some("http://127.0.0.1:9"))
    }

    #[test]
    fn an_address_names_a_repository_and_its_folder() {
        for (url, folder) in [
            ("https://github.com/acme/Boats", "Boats"),
            ("https://github.com/acme/boats.git/", "boats"),
            (" HTTPS://git.example.com:8443/a/b/c/_x.y-Z ", "_x.y-Z"),
            ("https://github.com/acme/.github", ".github"),
            ("http://127.0.0.1:9/acme/boats.git", "boats"),
        ] {
            assert_eq!(of(url).unwrap().folder, folder, "{url}");
        }
    }

    #[test]
    fn a_list_shows_owner_name_and_branch() {
        let title = |url: &str, branch: Option<&str>| Origin::new(url.to_owned(), branch.map(str::to_owned)).title;
        assert_eq!(title("https://github.com/acme/boats.git", Some("fix/totals")), "acme/boats · fix/totals");
        assert_eq!(title("https://git.example.com:8443/a/b/c/", None), "a/b/c");
        let extra =
            Repository { branch: Some("main".into()), checkout: Some("new".into()), ..of("https://github.com/a/b").unwrap() };
        assert_eq!(Origin::from(&extra).title, "a/b · new", "what is checked out in the end");
    }

    #[test]
    fn bad_addresses_are_refused_at_the_door() {
        use RepositoryError::{Characters, Credentials, Host, Path, Scheme};
        for (url, why) in [
            ("", Scheme),
            ("boats", Scheme),
            ("http://github.com/a/b", Scheme),
            ("http://127.0.0.1:99/a/b", Scheme),
            ("git@github.com:a/b.git", Scheme),
            ("ssh://git@github.com/a/b", Scheme),
            ("git://github.com/a/b", Scheme),
            ("file:///etc", Scheme),
            ("ext::sh -c id", Characters),
            ("--upload-pack=id", Scheme),
            ("https://token@github.com/a/b", Credentials),
            ("https://u:p@github.com/a/b", Credentials),
            ("https://github.com", Path),
            ("https://github.com/", Path),
            ("https://github.com/a/..", Path),
            ("https://github.com/a//b", Path),
            ("https://github.com/a/.git", Path),
            ("https://github.com/a/b?x=1", Path),
            ("https://github.com/a/b#x", Path),
            ("https://github.com/a/-b", Path),
            ("https://github.com/a=b/c", Path),
            ("https://github.com/a/bücher", Path),
            ("https://github.com/a/b\nc", Characters),
            ("https://localhost/a/b", Host),
            ("https://10.0.0.1/a/b", Host),
            ("https://[::1]/a/b", Host),
            ("https://2130706433/a/b", Host),
            ("https://0x7f.0x1/a/b", Host),
            ("https://db.internal/a/b", Host),
            ("https://git.example.com:0/a/b", Host),
            ("https://git.example.com:99999/a/b", Host),
        ] {
            assert_eq!(of(url).unwrap_err(), why, "{url}");
        }
    }

    #[test]
    fn branches_and_depths_are_those_that_git_takes() {
        let of = |branch: &str, depth| {
            NewRepository { url: "https://github.com/a/b".into(), branch: Some(branch.into()), depth }.check(None)
        };
        for good in ["main", "fix/totals", "v1.2.3", "ünïcode", "a@b"] {
            assert_eq!(of(good, Some(1)).unwrap().branch.as_deref(), Some(good));
        }
        assert_eq!(of(" ", None).unwrap().branch, None);
        for bad in ["-x", "a..b", "a b", "a~1", "x.lock", "/a", "a/", "@{1}", "a:b", "a\nb", "@"] {
            assert_eq!(of(bad, None).unwrap_err(), RepositoryError::Branch, "{bad}");
        }
        for depth in [0, 1_000_001] {
            assert_eq!(of("main", Some(depth)).unwrap_err(), RepositoryError::Depth);
        }
    }
}
