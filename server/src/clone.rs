//! Cloning a project's repository into its new sandbox, as the last of its start.
//!
//! ```text
//!   create: Repositories::add, Live::cloning ──▶ the sandbox comes up ──▶ claim ──▶ git clone, by the agent
//!                                                                          └─▶ progress, done, or a cause
//! ```
//!
//! git runs inside, behind the sandbox's own filter, into a folder beside the real one that takes its
//! name at the end: a clone that was cut off leaves nothing that looks like one. Where the repository is
//! private, or the user's GitHub account may push there, git gets its token through a pipe and for that one
//! repository: it is in no argument, no environment, no file. A control plane that is killed leaves a claim that ends by itself;
//! the next one begins anew.

use crate::{
    agent::{Agent, answered},
    git::{
        self,
        claim::{self, HOLD, LOOK, SAY},
        publish::Publisher,
        said::Said,
        words::host_answered,
    },
    github::{GitHub, GitHubError},
    http::patience::patient,
    live::Live,
    views::CloneFact,
};
use engine::{
    clock::{Clock as _, SystemClock},
    orchestrator::Orchestrator,
    store::{ProjectAndSandbox, Store, repositories::Repositories},
};
use futures::StreamExt as _;
use model::{
    Cause, CauseCode, Desired, Phase, ProjectId, UserId,
    repository::{CloneState, RepositoryView},
};
use sandbox_agent::{
    client::{self, ExecEvent},
    protocol::http::{ExecExit, ExecRequest},
};
use secrecy::SecretString;
use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long a clone may take: a repository of 10 GB over 100 Mbit/s takes a quarter of an hour.
const LIMIT: Duration = Duration::from_secs(1800);
/// How long after a clone was cut off it is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What runs inside. 73: the folder is taken. 74: git is missing.
const SCRIPT: &str = r#"
url=$1 folder=$HOME/$2 part=$HOME/.$2.cloning branch=$3 depth=$4 checkout=$5 author=$6 email=$7
command -v git >/dev/null || exit 74
if [ -e "$folder" ] && [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then exit 73; fi
rm -rf "$part"
set -- clone --progress
[ -z "$branch" ] || set -- "$@" --branch "$branch"
[ -z "$depth" ] || set -- "$@" --depth "$depth"
# Otherwise a clone with a depth knows no branch but one.
[ -z "$checkout" ] || set -- "$@" --no-single-branch
exec 3<&0 </dev/null
case $url in http://*) http=always ;; *) http=never ;; esac
git -c credential.helper= -c "credential.$url.helper=!f() { test \"\$1\" = get && cat <&3; }; f" -c credential.useHttpPath=true \
    -c protocol.allow=never -c protocol.https.allow=always -c protocol.http.allow=$http "$@" -- "$url" "$part" || { code=$?; rm -rf "$part"; exit $code; }
exec 3<&-
if [ -n "$checkout" ]; then
    if git -C "$part" rev-parse --verify --quiet "refs/remotes/origin/$checkout" >/dev/null; then
        git -C "$part" checkout --quiet -B "$checkout" --track "refs/remotes/origin/$checkout"
    else
        git -C "$part" checkout --quiet -b "$checkout"
    fi || { code=$?; rm -rf "$part"; exit $code; }
fi
if [ -n "$author" ] && [ -z "$(git config --global user.email)" ]; then
    git -C "$part" config user.name "$author" && git -C "$part" config user.email "$email"
fi
if [ -e "$part/.gitmodules" ]; then
    git -C "$part" -c protocol.allow=never -c protocol.https.allow=always submodule update --init --recursive --progress ||
        echo "Its submodules could not all be fetched. In $folder: git submodule update --init --recursive"
fi
rmdir "$folder" 2>/dev/null
mv "$part" "$folder"
"#;

/// Clones.
pub struct Cloner {
    repositories: Repositories,
    store: Arc<dyn Store>,
    orchestrator: Arc<dyn Orchestrator>,
    live: Arc<Live>,
    github: Option<Arc<GitHub>>,
    /// The way back: what makes a folder a repository.
    publisher: Arc<Publisher>,
    /// Projects with something to clone.
    wanted: Mutex<HashSet<ProjectId>>,
    look: Notify,
    stop: CancellationToken,
}

impl Cloner {
    /// Clones nothing before [`Self::run`].
    #[must_use]
    pub fn new(
        repositories: Repositories,
        store: Arc<dyn Store>,
        orchestrator: Arc<dyn Orchestrator>,
        live: Arc<Live>,
        github: Option<Arc<GitHub>>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (wanted, look) = (Mutex::default(), Notify::new());
        let (of, to, by) = (store.clone(), orchestrator.clone(), github.clone());
        let publisher = Publisher::new(repositories.publications(), of, to, by, stop.clone());
        Arc::new(Self { repositories, store, orchestrator, live, github, publisher, wanted, look, stop })
    }

    /// Below which address plain http will do: GitHub's, where the operator has it on this very machine.
    #[must_use]
    pub fn plain_http(&self) -> Option<&str> {
        self.github.as_ref().map(|github| github.url())
    }

    /// The rows.
    #[must_use]
    pub fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// What publishes folders.
    #[must_use]
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// "Look again": a project was made with a repository, or somebody decided on one.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Clones what comes, until the end.
    pub async fn run(self: Arc<Self>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
            () = self.publisher.clone().run() => {}
        }
    }

    async fn follow(self: &Arc<Self>) {
        loop {
            let mut changes = self.store.changes();
            self.look_at_all().await;
            let mut again = tokio::time::interval(LOOK);
            again.tick().await;
            loop {
                tokio::select! {
                    change = changes.next() => match change {
                        Some(change) if change.clone || self.wants(change.project) => self.look_at(change.project, change.owner).await,
                        Some(_) => {}
                        None => break,
                    },
                    _ = again.tick() => self.look_at_all().await,
                    () = self.look.notified() => self.look_at_all().await,
                }
            }
        }
    }

    fn wants(&self, project: ProjectId) -> bool {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).contains(&project)
    }

    /// Another process may have made the project, or have cloned it.
    fn want(&self, project: ProjectId, state: CloneState) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            CloneState::Waiting | CloneState::Cloning | CloneState::Failed => wanted.insert(project),
            CloneState::Done | CloneState::Skipped => wanted.remove(&project),
        };
    }

    async fn look_at_all(self: &Arc<Self>) {
        let pending = match patient(self.repositories.pending()).await {
            Ok(pending) => pending,
            Err(error) => return debug!("cannot read what is to be cloned: {error:#}"),
        };
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = pending.iter().copied().collect();
        if pending.is_empty() {
            return self.live.cloning_only(&HashSet::new());
        }
        let rows = match self.store.all().await {
            Ok(rows) => rows,
            Err(error) => return debug!("cannot read all sandboxes: {error:#}"),
        };
        let rows: Vec<&ProjectAndSandbox> = rows.iter().filter(|row| pending.contains(&row.project.id)).collect();
        self.live.cloning_only(&rows.iter().map(|row| row.sandbox.id).collect());
        for row in rows {
            self.look_at_row(row).await;
        }
    }

    async fn look_at(self: &Arc<Self>, project: ProjectId, owner: UserId) {
        match self.store.project(owner, project).await {
            Ok(Some(row)) => self.look_at_row(&row).await,
            Ok(None) => {}
            Err(error) => debug!("cannot read a project: {error:#}"),
        }
    }

    async fn look_at_row(self: &Arc<Self>, row: &ProjectAndSandbox) {
        let project = row.project.id;
        let of = match patient(self.repositories.of(project)).await {
            Ok(Some(of)) => of,
            Ok(None) => return,
            Err(error) => return debug!("cannot read a repository: {error:#}"),
        };
        self.want(project, of.state);
        self.live.cloning(row.sandbox.id, fact(&of));
        let sandbox = &row.sandbox;
        let phase = sandbox.phase(SystemClock.now());
        let up = sandbox.desired == Desired::Running && phase == Phase::Running && row.project.deleting_since.is_none();
        if !up || !matches!(of.state, CloneState::Waiting | CloneState::Cloning) {
            return;
        }
        let holder = claim::holder();
        match patient(self.repositories.claim(project, &holder, HOLD, SystemClock.now())).await {
            Ok(true) => {
                let (this, row) = (self.clone(), row.clone());
                tokio::spawn(async move {
                    let stop = this.stop.clone();
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = this.work(&row, &of, &holder) => {}
                    }
                });
            }
            Ok(false) => {}
            Err(error) => debug!("cannot begin a clone: {error:#}"),
        }
    }

    async fn work(&self, row: &ProjectAndSandbox, of: &RepositoryView, holder: &str) {
        let (project, sandbox) = (row.project.id, row.sandbox.id);
        info!(project.id = %project, "cloning a repository");
        let there = || self.repositories.progress(project, holder, None, HOLD, SystemClock.now());
        let outcome = tokio::select! {
            outcome = self.clone_into(row, of, holder) => outcome,
            () = claim::hold(there) => Outcome::NotOurs,
        };
        let (state, cause) = match outcome {
            Outcome::Done => (CloneState::Done, None),
            Outcome::Failed(cause) => (CloneState::Failed, Some(cause)),
            // It goes on when the sandbox is up again.
            Outcome::CutOff => {
                tokio::time::sleep(PAUSE).await;
                (CloneState::Waiting, None)
            }
            Outcome::NotOurs => return self.look(),
        };
        info!(project.id = %project, state = state.as_str(), "a clone has ended");
        let finish = || self.repositories.finish(project, holder, state, cause.as_ref(), SystemClock.now());
        if let Err(error) = claim::noted(finish).await {
            // The claim ends by itself, and then it is cloned again.
            return warn!(project.id = %project, "cannot note what became of a clone: {error:#}");
        }
        if let Ok(Some(of)) = patient(self.repositories.of(project)).await {
            self.live.cloning(sandbox, fact(&of));
        }
        self.look();
    }

    async fn clone_into(&self, row: &ProjectAndSandbox, of: &RepositoryView, holder: &str) -> Outcome {
        let (stdin, without) = match self.credentials(row.project.owner, &of.url).await {
            Ok(stdin) => (stdin, None),
            // A public one needs none; what GitHub then says is the cause.
            Err(error) => {
                debug!("no credentials for a clone: {error}");
                (None, Some(error))
            }
        };
        // Their commits carry their name, where there is an account to have it from.
        let author = match &self.github {
            Some(github) => github.author(row.project.owner).await.ok(),
            None => None,
        };
        let (name, email) = author.map(|author| (author.name, author.email)).unwrap_or_default();
        let arguments = [
            of.url.clone(),
            of.folder.clone(),
            of.branch.clone().unwrap_or_default(),
            of.depth.map(|d| d.to_string()).unwrap_or_default(),
            of.checkout.clone().unwrap_or_default(),
            name,
            email,
        ];
        let command = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned).into_iter().chain(arguments).collect();
        let variables = [("GIT_TERMINAL_PROMPT", "0"), ("GIT_ASKPASS", ""), ("LC_ALL", "C")];
        let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let timeout_ms = u64::try_from(LIMIT.as_millis()).ok();
        let (stdin, shells_in) = (Some(stdin.unwrap_or_default()), Some(of.folder.clone()));
        let ask = ExecRequest { command, cwd: None, env, stdin, timeout_ms, shells_in };
        let agent = Agent::of(self.orchestrator.clone(), &row.sandbox);
        let Ok(io) = agent.connect().await else { return Outcome::CutOff };
        let events = match answered(client::exec(io, agent.token(), &ask)).await {
            Ok(events) => events,
            Err(client::ClientError::Refused { body, .. }) => return Outcome::Failed(other(of, &body.error)),
            Err(_) => return Outcome::CutOff,
        };
        let mut events = pin!(events);
        let (mut said, mut last, mut news) = (Said::default(), Instant::now(), false);
        loop {
            // What was said is noted also where nothing follows it for long.
            match tokio::time::timeout(SAY, events.next()).await {
                Ok(Some(Ok(ExecEvent::Output(_, bytes)))) => {
                    said.hear(&bytes);
                    news = true;
                }
                Ok(Some(Ok(ExecEvent::Exit(exit)))) => return told_why(of, ended(of, exit, &said), without.as_ref()),
                Ok(Some(Err(_)) | None) => return Outcome::CutOff,
                Err(_) => {}
            }
            if news && last.elapsed() >= SAY {
                (last, news) = (Instant::now(), false);
                let now = SystemClock.now();
                match patient(self.repositories.progress(row.project.id, holder, said.progress().as_deref(), HOLD, now)).await {
                    Ok(true) => {}
                    // Somebody decided to go on without, or the project is gone: dropping the stream ends git.
                    Ok(false) => return Outcome::NotOurs,
                    Err(error) => debug!("cannot note a clone's progress: {error:#}"),
                }
            }
        }
    }

    /// What git inside is told where it asks: name and password, for the project's own repository, over TLS, where its owner
    /// has connected an account, and where it is private or theirs to push to. What is pushed to is what was cloned.
    pub async fn credentials_of(&self, owner: UserId, project: ProjectId, url: &str) -> Option<(String, SecretString)> {
        let own = patient(self.repositories.of(project)).await.ok()??;
        let github = self.github.as_ref().filter(|github| github.holds(&own.url))?;
        if !same_repository(&own.url, url) {
            debug!(project.id = %project, "git asked for credentials of another repository");
            return None;
        }
        let lent = github.lends(owner, &own.url).await.inspect_err(|error| debug!("no credentials for git: {error}")).ok()?;
        let Some(token) = lent else {
            debug!(project.id = %project, "git asked for credentials of a repository that none are lent for");
            return None;
        };
        Some(("x-access-token".to_owned(), token))
    }

    /// What git is told where it asks, for this very repository: its owner's token, if it lies at GitHub, and is private or
    /// theirs to push to.
    async fn credentials(&self, owner: UserId, url: &str) -> Result<Option<String>, GitHubError> {
        let Some(github) = self.github.as_ref().filter(|github| github.holds(url)) else { return Ok(None) };
        let lent = github.lends(owner, url).await?;
        Ok(lent.map(|token| git::credentials(Some(&token))))
    }
}

/// Whether two addresses are of one repository: host and path without capital letters, as GitHub has them, and
/// without the `.git` that may stand at the end.
fn same_repository(a: &str, b: &str) -> bool {
    let plain = |url: &str| {
        let url = url.trim().trim_end_matches('/').to_ascii_lowercase();
        url.strip_suffix(".git").map_or(url.clone(), str::to_owned)
    };
    plain(a) == plain(b)
}

/// How a clone ended.
#[derive(Debug)]
enum Outcome {
    Done,
    Failed(Cause),
    /// The sandbox went away.
    CutOff,
    /// It is not this process's any more.
    NotOurs,
}

/// What is shown of a clone beside its sandbox.
#[must_use]
pub fn fact(of: &RepositoryView) -> CloneFact {
    match of.state {
        CloneState::Waiting | CloneState::Cloning => CloneFact::UnderWay,
        CloneState::Failed => of.cause.clone().map_or(CloneFact::Settled, CloneFact::Failed),
        CloneState::Done | CloneState::Skipped => CloneFact::Settled,
    }
}

fn ended(of: &RepositoryView, exit: ExecExit, said: &Said) -> Outcome {
    let told = said.told();
    match exit {
        ExecExit::Code(0) => Outcome::Done,
        ExecExit::Code(73) => Outcome::Failed(Cause::new(
            CauseCode::CloneFailed,
            format!("The folder {} is there already and not empty, so nothing was cloned into it.", of.folder),
            &[
                "Go on without, and look at what is in it.",
                "To have it cloned, move the folder away in the terminal, and try again.",
            ],
        )),
        ExecExit::Code(74) => Outcome::Failed(Cause::new(
            CauseCode::CloneFailed,
            "There is no git in the sandbox's image.",
            &["Go on without.", "Tell the operator: the image needs git for this."],
        )),
        ExecExit::Code(_) => Outcome::Failed(cause(of, &told)),
        ExecExit::TimedOut(_) => Outcome::Failed(
            Cause::new(
                CauseCode::CloneFailed,
                format!("{} was not cloned within {} minutes.", of.url, LIMIT.as_secs() / 60),
                &[
                    "Ask for fewer commits, such as a depth of 1, in a new project.",
                    "Go on without, and clone it in the terminal.",
                ],
            )
            .with_detail(told),
        ),
        // SIGHUP and SIGTERM: so the sandbox ends what runs in it when it ends itself.
        ExecExit::Signal(1 | 15) => Outcome::CutOff,
        // Its memory was too small, for one.
        ExecExit::Signal(_) => Outcome::Failed(other(of, &told)),
    }
}

/// A repository that was refused without credentials is told of by why there were none.
fn told_why(of: &RepositoryView, ended: Outcome, without: Option<&GitHubError>) -> Outcome {
    let cause = match ended {
        Outcome::Failed(cause) => cause,
        other => return other,
    };
    let by = match without {
        Some(GitHubError::NotFound) => not_found(of),
        Some(GitHubError::Away(_) | GitHubError::Slow | GitHubError::Busy(_)) => Cause::new(
            CauseCode::RepositoryUnreachable,
            format!("GitHub did not say whether {} is private or yours, so your account's access was not given to git.", of.url),
            &["Try again in a minute; https://www.githubstatus.com says whether it has trouble.", "Go on without."],
        ),
        _ => return Outcome::Failed(cause),
    };
    Outcome::Failed(match cause.code {
        CauseCode::RepositoryRefused => by.with_detail(cause.detail.unwrap_or_default()),
        _ => cause,
    })
}

fn not_found(of: &RepositoryView) -> Cause {
    Cause::new(
        CauseCode::RepositoryNotFound,
        format!("There is no repository at {}, or it is private and not shown to us.", of.url),
        &["Check the address.", "If it is private at GitHub, connect GitHub in the settings, and try again.", "Go on without."],
    )
}

fn other(of: &RepositoryView, told: &str) -> Cause {
    let message = format!("{} could not be cloned.", of.url);
    let steps = ["Read what git says below, and try again.", "Go on without, and clone it in the terminal."];
    Cause::new(CauseCode::CloneFailed, message, &steps).with_detail(told)
}

/// What git's words mean. They are English, by `LC_ALL=C`.
fn cause(of: &RepositoryView, told: &str) -> Cause {
    let has = |texts: &[&str]| texts.iter().any(|text| told.contains(text));
    let url = &of.url;
    let branch = of.branch.as_deref().unwrap_or_default();
    let cause = if has(&["Remote branch"]) {
        Cause::new(
            CauseCode::BranchMissing,
            format!("{url} has no branch or tag {branch}. An empty repository has none at all."),
            &["Go on without, and clone another branch in the terminal.", "Make a new project with another branch."],
        )
    } else if has(&["could not read Username", "could not read Password", "Authentication failed", "error: 401", "error: 403"]) {
        Cause::new(
            CauseCode::RepositoryRefused,
            format!("The host of {url} gives it to nobody without an account that may read it."),
            &[
                "If it is at GitHub, connect GitHub in the settings, with an account that may read it; then try again.",
                "Go on without.",
            ],
        )
    } else if has(&["not found", "error: 404"]) {
        not_found(of)
    } else if has(&["No space left", "Disk quota", "disk I/O"]) {
        Cause::new(
            CauseCode::DiskFull,
            format!("{url} is larger than the disk that the sandbox has."),
            &["Ask for fewer commits, such as a depth of 1, or for a larger size, in a new project.", "Go on without."],
        )
    } else if let Some(answered) = host_answered(told) {
        Cause::new(
            CauseCode::RepositoryUnreachable,
            format!("The host of {url} {answered}."),
            &["Try again in a few minutes.", "Go on without."],
        )
    } else if has(&[
        "Could not resolve",
        "Failed to connect",
        "Connection refused",
        "Couldn't connect",
        "timed out",
        "SSL",
        "Connection reset",
        "unable to access",
    ]) {
        Cause::new(
            CauseCode::RepositoryUnreachable,
            format!("The host of {url} does not answer. Private networks cannot be reached from a sandbox."),
            &[
                "Check the address, and try again.",
                "If its name leads into a private network, ask the operator to open the way to it.",
                "Go on without.",
            ],
        )
    } else {
        return other(of, told);
    };
    cause.with_detail(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> RepositoryView {
        RepositoryView {
            url: "https://git.example/a/b".into(),
            branch: Some("next".into()),
            checkout: None,
            depth: None,
            folder: "b".into(),
            state: CloneState::Cloning,
            progress: None,
            cause: None,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn credentials_are_for_one_repository() {
        let own = "https://github.com/Acme/boats.git";
        for same in ["https://github.com/acme/boats", "https://GitHub.com/Acme/Boats.git", "https://github.com/acme/boats/"] {
            assert!(same_repository(own, same), "{same}");
        }
        for other in [
            "https://github.com/acme/boats2",
            "https://github.com/acme/",
            "https://github.com/",
            "http://github.com/acme/boats",
            "https://github.com.evil.example/acme/boats",
            "https://evil.example/acme/boats",
            "https://github.com/acme/boats.git.git",
        ] {
            assert!(!same_repository(own, other), "{other}");
        }
    }

    fn failed(exit: ExecExit, said: &Said) -> Cause {
        match ended(&of(), exit, said) {
            Outcome::Failed(cause) => cause,
            other => panic!("{exit:?}: {other:?}"),
        }
    }

    #[test]
    fn every_end_but_a_good_one_has_words_and_ways_on() {
        let mut said = Said::default();
        said.hear(b"Cloning into '/home/agent/.b.cloning'...\nReceiving objects:   3% (1/30)\r");
        assert!(matches!(ended(&of(), ExecExit::Code(0), &said), Outcome::Done));
        for (exit, message, detail) in [
            (
                ExecExit::TimedOut(true),
                "https://git.example/a/b was not cloned within 30 minutes.",
                Some("Cloning into '/home/agent/.b.cloning'..."),
            ),
            (ExecExit::Code(74), "There is no git in the sandbox's image.", None),
            (ExecExit::Code(73), "The folder b is there already and not empty, so nothing was cloned into it.", None),
            (
                ExecExit::Signal(9),
                "https://git.example/a/b could not be cloned.",
                Some("Cloning into '/home/agent/.b.cloning'..."),
            ),
        ] {
            let cause = failed(exit, &said);
            assert_eq!((cause.code, cause.message.as_str(), cause.detail.as_deref()), (CauseCode::CloneFailed, message, detail));
            assert!(cause.next_steps.iter().any(|step| step.starts_with("Go on without")), "{:?}", cause.next_steps);
        }
        let late = failed(ExecExit::TimedOut(true), &said);
        assert!(late.next_steps[0].contains("depth of 1"), "what makes it quicker comes first: {:?}", late.next_steps);
        let without = failed(ExecExit::Code(74), &said);
        assert!(without.next_steps.iter().any(|step| step.contains("the image needs git")), "{:?}", without.next_steps);
    }

    #[test]
    fn what_the_end_of_its_sandbox_ended_is_cloned_again() {
        for signal in [1, 15] {
            let outcome = ended(&of(), ExecExit::Signal(signal), &Said::default());
            assert!(matches!(outcome, Outcome::CutOff), "{signal}: {outcome:?}");
        }
    }

    #[test]
    fn a_name_that_leads_into_a_private_network_is_said_to_be_out_of_reach() {
        for told in [
            // Of the network device and of the proxy, as git says it.
            "fatal: unable to access 'https://git.example/a/b/': Failed to connect to git.example port 443 after 3 ms: Could not connect to server",
            "fatal: unable to access 'https://git.example/a/b/': Failed to connect to git.example port 443: No route to host",
            "fatal: unable to access 'https://git.example/a/b/': CONNECT tunnel failed, response 403",
            "fatal: unable to access 'https://git.example/a/b/': Received HTTP code 403 from proxy after CONNECT",
        ] {
            let cause = cause(&of(), told);
            assert_eq!(cause.code, CauseCode::RepositoryUnreachable, "{told}");
            assert!(cause.message.contains("Private networks cannot be reached from a sandbox."), "{}", cause.message);
            assert!(cause.next_steps.iter().any(|step| step.contains("ask the operator")), "{:?}", cause.next_steps);
        }
    }

    #[test]
    fn what_git_says_is_a_cause() {
        for (told, code) in [
            (
                "remote: Repository not found.\nfatal: repository 'https://git.example/a/b/' not found",
                CauseCode::RepositoryNotFound,
            ),
            ("fatal: could not read Username for 'https://git.example': terminal prompts disabled", CauseCode::RepositoryRefused),
            ("fatal: Authentication failed for 'https://git.example/a/b/'", CauseCode::RepositoryRefused),
            (
                "warning: Could not find remote branch next to clone.\nfatal: Remote branch next not found in upstream origin",
                CauseCode::BranchMissing,
            ),
            (
                "fatal: unable to access 'https://git.example/a/b/': Could not resolve host: git.example",
                CauseCode::RepositoryUnreachable,
            ),
            ("fatal: unable to access 'x': Failed to connect to git.example port 443", CauseCode::RepositoryUnreachable),
            ("fatal: unable to access 'x': The requested URL returned error: 502", CauseCode::RepositoryUnreachable),
            ("fatal: unable to access 'x': The requested URL returned error: 429", CauseCode::RepositoryUnreachable),
            ("fatal: write error: No space left on device", CauseCode::DiskFull),
            ("fatal: early EOF", CauseCode::CloneFailed),
        ] {
            let cause = cause(&of(), told);
            assert_eq!(cause.code, code, "{told}");
            assert!(!cause.next_steps.is_empty() && cause.detail.as_deref() == Some(told));
            // A host that answered is not said to be silent.
            assert!(!told.contains("returned error") || !cause.message.contains("does not answer"), "{}", cause.message);
        }
    }
}
