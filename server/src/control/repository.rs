//! A project's repository, from outside the terminal: what has changed, a commit, a push, and a folder that becomes a new
//! repository. Authorises as the rest of [`Controller`] does.

use super::{Controller, may_change, store_error};
use crate::{
    clone::Cloner,
    git::{
        self, LONG, SHORT, credentials, folder_name, message,
        publish::{not_configured, other_visibility, refused},
        script,
        status::{self, Status},
        words,
    },
    github::GitHubError,
    http::{auth::visit, errors::Refusal, patience::patient},
};
use app::error::{ControlError, ErrorKind};
use engine::store::{
    ProjectAndSandbox,
    activity::Entry,
    publications::{Publication, PublicationState, Wish},
};
use model::{
    ProjectId,
    activity::ActivityKind,
    repository::{CloneState, RepositoryView},
    view::Viewer,
};
use serde_json::json;
use std::sync::Arc;
use tracing::{debug, info};

/// How much of a message's first line a title shows.
const SHOWN: usize = 80;

impl Controller {
    fn cloner(&self) -> &Arc<Cloner> {
        &self.parts.cloner
    }

    /// The project's repository, where it is in the sandbox.
    async fn cloned(&self, row: &ProjectAndSandbox) -> Result<Option<RepositoryView>, ControlError> {
        let of = patient(self.cloner().repositories().of(row.project.id)).await.map_err(store_error)?;
        match of {
            Some(of) if of.state == CloneState::Done => Ok(Some(of)),
            Some(of) if matches!(of.state, CloneState::Waiting | CloneState::Cloning | CloneState::Failed) => {
                let message = "The project's repository is not in the sandbox yet.";
                let next = "Wait until it is cloned, or decide to go on without it, where its clone failed.";
                Err(ControlError::new(ErrorKind::Conflict, "not-cloned", message, next))
            }
            _ => Ok(None),
        }
    }

    async fn own(&self, row: &ProjectAndSandbox) -> Result<RepositoryView, ControlError> {
        self.cloned(row).await?.ok_or_else(|| {
            let message = "The project has no repository.";
            ControlError::new(ErrorKind::Conflict, "no-repository", message, "Publish a folder as a new one first.")
        })
    }

    /// What differs from the last commit, and what is not pushed; folders that can be published, where there is no
    /// repository.
    ///
    /// # Errors
    /// `404 Not Found`; `409 Conflict` while the sandbox does not run, or the repository is not in it.
    pub async fn repository_status(&self, viewer: &Viewer, id: ProjectId) -> Result<Status, ControlError> {
        let row = self.row(viewer, id).await?;
        let agent = self.cloner().publisher().agent(&row);
        let Some(of) = self.cloned(&row).await? else {
            let ran = git::run(&agent, &git::request(script::FOLDERS, &[], None, String::new(), SHORT)).await?;
            return Ok(Status { folders: status::folders(&ran.stdout), ..Status::default() });
        };
        let ran = git::run(&agent, &git::request(script::STATUS, &[&of.folder], None, String::new(), SHORT)).await?;
        if let Some(refusal) = words::refusal(&ran, &of.folder, "looked at") {
            return Err(refusal);
        }
        Ok(Status { url: Some(of.url), folder: Some(of.folder), ..status::read(&ran.stdout) })
    }

    /// Commits all that has changed, in the name of the user's GitHub account; where none is connected, in the one that
    /// git knows inside.
    ///
    /// # Errors
    /// As [`Self::repository_status`]; `403 Forbidden` for a token of scope `read`; `409 Conflict` where there is nothing to
    /// commit, or git refuses; `422 Unprocessable Content` for the message.
    pub async fn commit(&self, viewer: &Viewer, id: ProjectId, text: &str) -> Result<Status, ControlError> {
        may_change(viewer)?;
        let text = message(text)?;
        let row = self.row(viewer, id).await?;
        let of = self.own(&row).await?;
        let publisher = self.cloner().publisher();
        let author = match publisher.github() {
            Some(github) => github.author(viewer.user).await.ok(),
            None => None,
        };
        let ask = git::request(script::COMMIT, &[&of.folder], author.as_ref(), format!("{text}\n"), SHORT);
        let ran = git::run(&publisher.agent(&row), &ask).await?;
        if let Some(refusal) = words::refusal(&ran, &of.folder, "committed") {
            return Err(refusal);
        }
        info!(project.id = %id, "committed");
        let subject: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        self.tell(viewer, &row, format!("Committed “{subject}”"), None, json!({ "verb": "commit", "folder": of.folder })).await;
        self.repository_status(viewer, id).await
    }

    /// Pushes the branch that is checked out to `origin`, by the user's GitHub account where it lies there.
    ///
    /// # Errors
    /// As [`Self::commit`]; `409 Conflict` where the push is rejected, and why; what goes wrong with GitHub, where it was
    /// not asked yet whether the repository is the user's to push to.
    pub async fn push(&self, viewer: &Viewer, id: ProjectId) -> Result<Status, Refusal> {
        may_change(viewer)?;
        let row = self.row(viewer, id).await?;
        let of = self.own(&row).await?;
        let publisher = self.cloner().publisher();
        // That it does not run is said before GitHub is asked.
        publisher.agent(&row).reach().await?;
        let token = match publisher.github().filter(|github| github.holds(&of.url)) {
            None => None,
            Some(github) => match github.lends(viewer.user, &of.url).await {
                Ok(Some(token)) => Some(token),
                Ok(None) => return Err(words::push_forbidden().into()),
                Err(GitHubError::NotFound) => return Err(words::push_not_found().into()),
                Err(GitHubError::Store(error)) => return Err(store_error(error).into()),
                Err(error) => return Err(error.into()),
            },
        };
        let ask = git::request(script::PUSH, &[&of.folder, &of.url], None, credentials(token.as_ref()), LONG);
        let ran = git::run(&publisher.agent(&row), &ask).await?;
        if let Some(refusal) = words::refusal(&ran, &of.folder, "pushed") {
            return Err(refusal.into());
        }
        info!(project.id = %id, "pushed");
        let status = self.repository_status(viewer, id).await?;
        let branch = status.branch.clone().unwrap_or_default();
        let detail = of.url.trim_end_matches(".git").to_owned();
        self.tell(viewer, &row, format!("Pushed {branch}"), Some(detail), json!({ "verb": "push", "branch": branch })).await;
        Ok(status)
    }

    /// Makes a folder a new repository at GitHub, in the user's name: begun, and [`Self::publication`] says how far it is. The
    /// same ask while it is under way, or when it is done, changes nothing; after a failure it goes on where it stood. A
    /// repository that was deleted at GitHub since is made anew.
    ///
    /// # Errors
    /// `403 Forbidden` for a token of scope `read`; `404 Not Found`, also where this installation has no GitHub;
    /// `409 Conflict` where the project has a repository, also one that was made for this folder and is private where a public
    /// one is wanted or the other way round, the sandbox does not run, no account is connected, or another publication is under
    /// way; `422 Unprocessable Content` for what was sent.
    pub async fn publish(&self, viewer: &Viewer, id: ProjectId, wish: Wish) -> Result<Publication, Refusal> {
        may_change(viewer)?;
        let wish = checked(wish)?;
        let row = self.row(viewer, id).await?;
        let publisher = self.cloner().publisher();
        let github = publisher.github().ok_or_else(not_configured)?;
        let publications = publisher.publications();
        let same = |of: &Publication| of.wish.owner == wish.owner && of.wish.name == wish.name && of.wish.folder == wish.folder;
        let before = patient(publications.of(id)).await.map_err(store_error)?;
        if let Some(of) = &before {
            let alike = same(of) && of.wish.private == wish.private;
            if matches!(of.state, PublicationState::Waiting | PublicationState::Working) {
                return if alike { Ok(of.clone()) } else { Err(under_way().into()) };
            }
            let done = alike && of.state == PublicationState::Done;
            // What it goes on with may have been changed or deleted at GitHub since.
            if let Some(url) = of.url.as_ref().filter(|_| done || (same(of) && !alike)) {
                match github.is_private(viewer.user, url).await {
                    Ok(Some(_)) | Err(_) if done => return Ok(of.clone()),
                    Ok(Some(private)) if private != wish.private => return Err(other_visibility(url, private).into()),
                    Ok(_) => {}
                    Err(error) => return Err(refused(error)),
                }
            }
        }
        if let Some(own) = self.cloned(&row).await? {
            let goes_on = before.as_ref().is_some_and(|of| same(of) && of.url.as_ref() == Some(&own.url));
            if !goes_on {
                let message = format!("The project has a repository already: {}.", own.url);
                let next = "Push to it. Another one starts a project of its own.";
                return Err(ControlError::new(ErrorKind::Conflict, "has-repository", message, next).into());
            }
        }
        github.account(viewer.user).await.map_err(refused)?;
        let agent = publisher.agent(&row);
        if !agent.is_there() {
            return Err(crate::agent::without_agent().into());
        }
        agent.reach().await?;
        let asked = patient(publications.ask(id, &wish, &visit::actor(viewer), self.now())).await.map_err(store_error)?;
        if !asked {
            return Err(under_way().into());
        }
        info!(project.id = %id, "asked to publish a folder");
        publisher.look();
        let of = patient(publications.of(id)).await.map_err(store_error)?;
        Ok(of.ok_or_else(ControlError::not_found)?)
    }

    /// How far a publication is; `None` where there was none.
    ///
    /// # Errors
    /// `404 Not Found`.
    pub async fn publication(&self, viewer: &Viewer, id: ProjectId) -> Result<Option<Publication>, ControlError> {
        let row = self.row(viewer, id).await?;
        patient(self.cloner().publisher().publications().of(row.project.id)).await.map_err(store_error)
    }

    /// What was done inside is done, whether it can be noted or not.
    async fn tell(
        &self,
        viewer: &Viewer,
        row: &ProjectAndSandbox,
        title: String,
        detail: Option<String>,
        data: serde_json::Value,
    ) {
        let entry = Entry { kind: ActivityKind::Ask, actor: visit::actor(viewer), title, detail, data, bucket: None };
        if let Err(error) = self.parts.store.tell(row.sandbox.id, entry, self.now()).await {
            debug!(project.id = %row.project.id, "cannot tell of a repository: {error:#}");
        }
    }
}

fn under_way() -> ControlError {
    let message = "Another folder of this project is being published.";
    ControlError::new(ErrorKind::Conflict, "publication-under-way", message, "Wait until it is done.")
}

/// By GitHub's rules, so that nothing is renamed on the way: it makes a dash of what it does not take.
fn checked(wish: Wish) -> Result<Wish, ControlError> {
    let invalid = |code, message: &str, next, field| Err(ControlError::new(ErrorKind::Invalid, code, message, next).at(field));
    let letters = |text: &str, also: &[char]| text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(&c));
    let name = wish.name.trim();
    if name.is_empty()
        || name.len() > 100
        || !letters(name, &['.', '_', '-'])
        || matches!(name, "." | "..")
        || name.to_ascii_lowercase().ends_with(".git")
        || name.to_ascii_lowercase().ends_with(".wiki")
    {
        let message = "A repository's name has letters, digits, `.`, `_` and `-`, 100 at most, and does not end in .git.";
        return invalid("repository-name", message, "Choose another name.", "name");
    }
    let owner = wish.owner.as_deref().map(str::trim).filter(|owner| !owner.is_empty());
    if owner.is_some_and(|owner| owner.len() > 39 || !letters(owner, &['-', '_']) || owner.starts_with('-')) {
        let message = "An owner is an organization's or account's name: letters, digits and `-`, 39 at most.";
        return invalid("repository-owner", message, "Give its name at GitHub, or nothing for your own account.", "owner");
    }
    let description = wish.description.as_deref().map(str::trim).filter(|text| !text.is_empty());
    if description.is_some_and(|text| text.chars().count() > 350 || text.chars().any(char::is_control)) {
        let message = "A description is one line of 350 characters at most.";
        return invalid("repository-description", message, "Shorten it.", "description");
    }
    Ok(Wish {
        owner: owner.map(str::to_owned),
        name: name.to_owned(),
        private: wish.private,
        description: description.map(str::to_owned),
        message: message(&wish.message)?.to_owned(),
        folder: folder_name(&wish.folder)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_github_takes_as_they_are() {
        let of = |name: &str, owner: Option<&str>, folder: &str| {
            checked(Wish {
                owner: owner.map(str::to_owned),
                name: name.into(),
                private: true,
                description: None,
                message: " First ".into(),
                folder: folder.into(),
            })
        };
        let good = of(" Boats.io_x-1 ", Some(" "), "My app").unwrap();
        assert_eq!((good.name.as_str(), good.owner, good.message.as_str()), ("Boats.io_x-1", None, "First"));
        for bad in ["", ".", "..", "a b", "bücher", "a/b", "x.git", "x.GIT", "x.wiki", &"x".repeat(101)] {
            assert_eq!(of(bad, None, "app").unwrap_err().code, "repository-name", "{bad}");
        }
        for bad in ["a/b", "-x", "../user", &"x".repeat(40)] {
            assert_eq!(of("app", Some(bad), "app").unwrap_err().code, "repository-owner", "{bad}");
        }
        for bad in ["", ".", "..", ".ssh", "a/b", "a\nb"] {
            assert_eq!(of("app", None, bad).unwrap_err().code, "folder-name", "{bad}");
        }
    }
}
