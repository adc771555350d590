//! A folder of a sandbox becomes a new repository at GitHub.
//!
//! ```text
//!   asked ─▶ claim ─▶ look (inside) ─▶ make it (GitHub) ─▶ link ─▶ commit, push (inside) ─▶ done
//! ```
//!
//! Nothing is made at GitHub before it is known that there is something to publish. Each step looks whether it is done
//! already, so that who takes over from a control plane that was killed begins anew: the claim ends by itself.

use super::{
    LONG, Ran, SHORT,
    claim::{self, HOLD, LOOK, SAY},
    credentials, request,
    said::Said,
    script, words,
};
use crate::{
    agent::{self, Agent},
    control::store_error,
    github::{
        GitHub, GitHubError,
        create::{Author, CreateError, NewRepository},
    },
    http::{errors::Refusal, patience::patient},
};
use app::error::{ControlError, ErrorKind};
use engine::{
    clock::{Clock as _, SystemClock},
    orchestrator::Orchestrator,
    store::{
        ProjectAndSandbox, Store,
        activity::Entry,
        publications::{Failure, Publication, PublicationState, Publications, Wish},
    },
};
use futures::StreamExt as _;
use model::{
    ProjectId, UserId,
    activity::{ActivityKind, Actor},
};
use sandbox_agent::{
    client::{self, ExecEvent},
    protocol::http::OutputStream,
};
use serde_json::json;
use std::{pin::pin, sync::Arc, time::Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Publishes.
pub struct Publisher {
    publications: Publications,
    store: Arc<dyn Store>,
    orchestrator: Arc<dyn Orchestrator>,
    github: Option<Arc<GitHub>>,
    look: Notify,
    stop: CancellationToken,
}

/// Why the work ends.
enum End {
    Failed(Failure),
    /// It is not this process's any more, or the store is away: the claim ends by itself.
    Left,
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> Self {
        let ControlError { code, message, next_steps, .. } = error;
        Self::Failed(Failure { code, message, next_steps, detail: None })
    }
}

impl Publisher {
    /// Publishes nothing before [`Self::run`].
    #[must_use]
    pub fn new(
        publications: Publications,
        store: Arc<dyn Store>,
        orchestrator: Arc<dyn Orchestrator>,
        github: Option<Arc<GitHub>>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { publications, store, orchestrator, github, look: Notify::new(), stop })
    }

    /// The rows.
    #[must_use]
    pub fn publications(&self) -> &Publications {
        &self.publications
    }

    /// The agent of a project's sandbox.
    #[must_use]
    pub fn agent(&self, row: &ProjectAndSandbox) -> Agent {
        Agent::of(self.orchestrator.clone(), &row.sandbox)
    }

    /// GitHub, where this installation is set up for it.
    #[must_use]
    pub fn github(&self) -> Option<&GitHub> {
        self.github.as_deref()
    }

    /// "Look again": somebody asked.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Publishes what comes, until the end.
    pub async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(self: &Arc<Self>) {
        let mut again = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = again.tick() => {}
                () = self.look.notified() => {}
            }
            let pending = match patient(self.publications.pending()).await {
                Ok(pending) if pending.is_empty() => continue,
                Ok(pending) => pending,
                Err(error) => {
                    debug!("cannot read what is to be published: {error:#}");
                    continue;
                }
            };
            let rows = match self.store.all().await {
                Ok(rows) => rows,
                Err(error) => {
                    debug!("cannot read all sandboxes: {error:#}");
                    continue;
                }
            };
            for row in rows.into_iter().filter(|row| pending.contains(&row.project.id)) {
                let holder = claim::holder();
                match patient(self.publications.claim(row.project.id, &holder, HOLD, SystemClock.now())).await {
                    Ok(true) => drop(tokio::spawn(self.clone().work(row, holder))),
                    Ok(false) => {}
                    Err(error) => debug!("cannot begin a publication: {error:#}"),
                }
            }
        }
    }

    async fn work(self: Arc<Self>, row: ProjectAndSandbox, holder: String) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.publish(&row, &holder) => {}
        }
    }

    async fn publish(&self, row: &ProjectAndSandbox, holder: &str) {
        let project = row.project.id;
        let of = match patient(self.publications.of(project)).await {
            Ok(Some(of)) => of,
            Ok(None) => return,
            Err(error) => return debug!("cannot read a publication: {error:#}"),
        };
        info!(project.id = %project, "publishing a folder");
        let there = || self.publications.progress(project, holder, None, HOLD, SystemClock.now());
        let ended = tokio::select! {
            ended = self.steps(row, &of, holder) => ended,
            () = claim::hold(there) => Err(End::Left),
        };
        let (state, failure) = match ended {
            Ok(()) => (PublicationState::Done, None),
            Err(End::Failed(failure)) => (PublicationState::Failed, Some(failure)),
            Err(End::Left) => return,
        };
        info!(project.id = %project, state = state.as_str(), "a publication has ended");
        let finish = || self.publications.finish(project, holder, state, failure.as_ref(), SystemClock.now());
        let noted = match claim::noted(finish).await {
            Ok(noted) => noted,
            Err(error) => return warn!(project.id = %project, "cannot note what became of a publication: {error:#}"),
        };
        if noted {
            let url = patient(self.publications.of(project)).await.ok().flatten().and_then(|of| of.url).unwrap_or_default();
            self.tell(row, entry(&of, &url, failure.as_ref())).await;
        }
    }

    async fn tell(&self, row: &ProjectAndSandbox, entry: Entry) {
        if let Err(error) = self.store.tell(row.sandbox.id, entry, SystemClock.now()).await {
            debug!(project.id = %row.project.id, "cannot tell of a publication: {error:#}");
        }
    }

    /// Says what is done now.
    async fn say(&self, project: ProjectId, holder: &str, text: &str) -> Result<(), End> {
        let said = patient(self.publications.progress(project, holder, Some(text), HOLD, SystemClock.now())).await;
        if matches!(said, Ok(true)) { Ok(()) } else { Err(End::Left) }
    }

    async fn steps(&self, row: &ProjectAndSandbox, of: &Publication, holder: &str) -> Result<(), End> {
        let (project, owner, wish) = (row.project.id, row.project.owner, &of.wish);
        let github = self.github.as_ref().ok_or_else(not_configured)?;
        let agent = self.agent(row);
        self.say(project, holder, "Looking at the folder").await?;
        let look = request(script::LOOK, &[&wish.folder, of.url.as_deref().unwrap_or_default()], None, String::new(), SHORT);
        let ran = super::run(&agent, &look).await?;
        if let Some(refusal) = words::refusal(&ran, &wish.folder, "published") {
            return Err(nothing_to_publish(refusal, &wish.folder).into());
        }
        let before = match &of.url {
            Some(url) => is_there(github, owner, wish, url).await?.then(|| url.clone()),
            None => None,
        };
        let url = match before {
            Some(url) => url,
            None => {
                self.say(project, holder, "Making the repository at GitHub").await?;
                let new = NewRepository {
                    owner: wish.owner.as_deref(),
                    name: &wish.name,
                    private: wish.private,
                    description: wish.description.as_deref(),
                    since: of.created_at,
                };
                let made = github.create_repository(owner, new).await.map_err(not_made)?;
                match patient(self.publications.created(project, holder, &made.clone_url, SystemClock.now())).await {
                    Ok(true) => made.clone_url,
                    // Who takes over finds it there.
                    Ok(false) | Err(_) => return Err(End::Left),
                }
            }
        };
        self.say(project, holder, "Committing and pushing").await?;
        let token = github.lends_own(owner, &url).await.map_err(|error| refused(error).into_error())?;
        let author = github.author(owner).await.ok();
        let (name, email) = author.as_ref().map_or(("", ""), |Author { name, email }| (name, email));
        let arguments = [wish.folder.as_str(), &url, &wish.message, name, email];
        let push = request(script::PUBLISH, &arguments, author.as_ref(), credentials(token.as_ref()), LONG);
        let ran = self.follow_push(project, holder, &agent, &push).await?;
        match words::refusal(&ran, &wish.folder, "published") {
            None => Ok(()),
            Some(error) => {
                let mut end = Failure {
                    detail: Some(words::told(&ran.stderr)),
                    code: error.code,
                    message: error.message,
                    next_steps: error.next_steps,
                };
                end.next_steps.push(format!("The repository is there, at {url}; publishing again goes on from here."));
                Err(End::Failed(end))
            }
        }
    }

    /// Runs git, and says what it says.
    async fn follow_push(
        &self,
        project: ProjectId,
        holder: &str,
        agent: &Agent,
        ask: &sandbox_agent::protocol::http::ExecRequest,
    ) -> Result<Ran, End> {
        let io = agent.reach().await?;
        let events = agent::answered(client::exec(io, agent.token(), ask)).await.map_err(|error| agent::refused(&error))?;
        let mut events = pin!(events);
        let (mut said, mut last, mut stderr) = (Said::default(), Instant::now(), Vec::new());
        let exit = loop {
            match events.next().await {
                Some(Ok(ExecEvent::Output(OutputStream::Stderr, bytes))) => {
                    said.hear(&bytes);
                    // The end of it says why.
                    stderr.extend_from_slice(&bytes);
                    let over = stderr.len().saturating_sub(64 * 1024);
                    stderr.drain(..over);
                }
                Some(Ok(ExecEvent::Output(..))) => {}
                Some(Ok(ExecEvent::Exit(exit))) => break exit,
                Some(Err(_)) | None => {
                    return Err(agent::refused(&client::ClientError::Broken("cut off".into())).into());
                }
            }
            if last.elapsed() >= SAY {
                last = Instant::now();
                let text = said.progress();
                let noted = patient(self.publications.progress(project, holder, text.as_deref(), HOLD, SystemClock.now())).await;
                if matches!(noted, Ok(false)) {
                    return Err(End::Left);
                }
            }
        };
        Ok(Ran::of(exit, Vec::new(), &stderr))
    }
}

/// This installation has no GitHub.
#[must_use]
pub fn not_configured() -> ControlError {
    let message = "This installation is not set up for GitHub.";
    let next = "Its operator gives it a client id: `--github-client-id`; docs/configuration.md says how.";
    ControlError::new(ErrorKind::NotFound, "github-not-configured", message, next)
}

/// The repository that was made for a folder before is `private`, or is not, and the folder is to be published as the other.
#[must_use]
pub fn other_visibility(url: &str, private: bool) -> ControlError {
    let shown = url.trim_end_matches(".git");
    let (is, other) = if private { ("private", "public") } else { ("public", "private") };
    let message = format!("The repository that was made for this folder is {is}, so it was not published as {other}: {shown}.");
    let next = format!("Change it at GitHub, {shown}/settings, and publish the folder as {other} again.");
    let mut error = ControlError::new(ErrorKind::Conflict, "repository-visibility", message, &next);
    error.next_steps.push(format!("Or publish it as {is}."));
    error
}

/// Whether the repository that was made before is there. It may have been deleted at GitHub since; one that was changed there to
/// what was not asked for gets nothing.
async fn is_there(github: &GitHub, user: UserId, wish: &Wish, url: &str) -> Result<bool, End> {
    match github.is_private(user, url).await.map_err(|error| refused(error).into_error())? {
        Some(private) if private != wish.private => Err(other_visibility(url, private).into()),
        there => Ok(there.is_some()),
    }
}

fn nothing_to_publish(mut refusal: ControlError, folder: &str) -> ControlError {
    if refusal.code == "nothing-to-commit" {
        "nothing-to-publish".clone_into(&mut refusal.code);
        refusal.message = format!("The folder ~/{folder} is empty, so there is nothing to publish.");
        refusal.next_steps = vec!["Put a file into it first.".to_owned()];
    }
    refusal
}

/// What goes wrong with GitHub, in words.
pub(crate) fn refused(error: GitHubError) -> Refusal {
    match error {
        GitHubError::Store(error) => store_error(error).into(),
        error => error.into(),
    }
}

fn not_made(error: CreateError) -> ControlError {
    let new = |kind, code, message: String, next: &str| ControlError::new(kind, code, message, next);
    match error {
        CreateError::NameTaken(name) => new(
            ErrorKind::Conflict,
            "repository-name-taken",
            format!("There is a repository {name} at GitHub already."),
            "Choose another name.",
        ),
        CreateError::OwnerUnknown(owner) => new(
            ErrorKind::NotFound,
            "repository-owner",
            format!("GitHub knows no organization {owner}, or does not let this installation make repositories there."),
            "Check its name. The organization's owner may have to approve this app at GitHub first.",
        ),
        CreateError::ScopeMissing => new(
            ErrorKind::Forbidden,
            "scope-missing",
            "The access that was granted at GitHub does not include making repositories: the scope `repo` is missing.".to_owned(),
            "Connect GitHub again in the settings, and grant all of it.",
        ),
        CreateError::GitHub(error) => refused(error).into_error(),
    }
}

fn entry(of: &Publication, url: &str, failure: Option<&Failure>) -> Entry {
    let shown = url.trim_end_matches(".git");
    match failure {
        None => Entry {
            kind: ActivityKind::Ask,
            actor: of.actor.clone(),
            title: format!(
                "Published ~/{} as a new {} repository",
                of.wish.folder,
                if of.wish.private { "private" } else { "public" }
            ),
            detail: Some(shown.to_owned()),
            data: json!({ "verb": "publish", "url": url, "folder": of.wish.folder, "private": of.wish.private }),
            bucket: None,
        },
        Some(failure) => Entry {
            kind: ActivityKind::Cause,
            actor: Actor::system(),
            title: format!("~/{} could not be published: {}", of.wish.folder, failure.message),
            detail: failure.next_steps.first().cloned(),
            data: json!({ "code": failure.code, "nextSteps": failure.next_steps }),
            bucket: None,
        },
    }
}
