//! The orchestrator of one machine.
//!
//! ```text
//!   ensure, remove ──▶ places ──▶ link: a connection to a keeper ──▶ keeper
//!   observe ─────────▶ places ◀── what the keeper tells at every change
//!   watch ◀─────────── "look again"
//! ```
//!
//! [`Places`](place::Places) is all that is known; one task a keeper, its [`link`], keeps it up to date
//! and is the only one that says a run is over. Nothing of it is on disk: at start the folders of the
//! data folder are gone through and the keepers that live are adopted.

mod link;
mod log;
mod place;
mod refusals;
mod start;
mod upgrade;

use crate::{
    causes,
    keeper::{
        Cgroup,
        protocol::{About, Ask, State},
    },
    preflight,
    programs::Programs,
    settings::LocalSettings,
    tree,
    volume::{NoUidLeft, Volumes},
};
use anyhow::{Context as _, Result, anyhow};
use engine::orchestrator::{
    AgentOrPort, BoxedIo, ConnectError, LogLine, LogSource, Orchestrator, OrchestratorError, OwnedObject, Refused, Removed,
    SandboxSpec, Seen, VolumeName, VolumeSeen,
};
use futures::{StreamExt as _, stream::BoxStream};
use model::{Desired, SandboxId};
use place::Places;
use refusals::Refusals;
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// How long a sandbox may take to end by itself. The agent ends its shells within two seconds.
const GRACE: Duration = Duration::from_secs(5);
/// How long adoption waits for keepers that were found.
const ADOPTION: Duration = Duration::from_secs(3);

/// Makes sandboxes exist on this machine.
pub struct LocalOrchestrator {
    settings: LocalSettings,
    programs: Programs,
    volumes: Arc<Volumes>,
    places: Arc<Places>,
    refusals: Refusals,
    /// Whose keepers took no connections when they were found: each lives, and so may what it keeps.
    unreached: Mutex<HashSet<SandboxId>>,
}

impl LocalOrchestrator {
    /// Adopts what runs, and is ready. Call it on a runtime: it leaves tasks there. Keepers outlive it;
    /// [`Self::shut_down`] ends them.
    ///
    /// # Errors
    /// The agent's program is missing, or the data folder cannot be used.
    pub async fn new(mut settings: LocalSettings) -> Result<Self> {
        if settings.insecure_no_isolation {
            // It lets sandboxes start where there is no isolation; it takes none away.
            let looked = settings.clone();
            settings.insecure_no_isolation = tokio::task::spawn_blocking(move || preflight::isolation(&looked).is_err())
                .await
                .context("look for isolation")?;
            if !settings.insecure_no_isolation {
                tracing::info!("sandboxes are isolated: --insecure-no-isolation is not needed on this machine");
            }
        }
        let programs = {
            let settings = settings.clone();
            off_the_runtime(move || Programs::install(&settings)).await?
        };
        let volumes = Arc::new(Volumes::new(&settings.data_dir, settings.installation, settings.uid_range.clone()));
        let (places, refusals, unreached) = (Arc::default(), Refusals::default(), Mutex::default());
        let orchestrator = Self { settings, programs, volumes, places, refusals, unreached };
        orchestrator.adopt().await.context("look for running sandboxes")?;
        orchestrator.empty_trash();
        Ok(orchestrator)
    }

    /// Ends every sandbox, keeping volumes: what Ctrl-C does. As the rows' intent stays, the next start
    /// resumes them. Waits until keepers that hang were ended by force, and says what is left all the same.
    pub async fn shut_down(&self) {
        for id in self.places.ids() {
            if let Err(error) = self.reach_again(id).await {
                tracing::error!(sandbox.id = %id, "its keeper is left running: {error}: `fullstack-agent down` tries again");
            }
            self.places.ask(id, Ask::Stop { grace_ms: millis(GRACE) });
        }
        let deadline = Instant::now() + GRACE + link::BY_FORCE;
        for id in self.places.ids() {
            if !self.places.gone_by(id, deadline).await {
                tracing::error!(sandbox.id = %id, "it did not end and is left running: `fullstack-agent down` tries again");
            }
        }
    }

    /// Connects to every keeper whose folder is there.
    async fn adopt(&self) -> Result<()> {
        let deadline = Instant::now() + ADOPTION;
        let mut adopted = Vec::new();
        for entry in fs::read_dir(self.settings.data_dir.join("sandboxes"))? {
            let folder = entry?.path();
            let Some(id) = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<SandboxId>().ok())
            else {
                continue;
            };
            let Ok(about) = about(&folder) else { continue };
            if about.installation != self.settings.installation {
                continue;
            }
            open(&self.places, id, &folder, &VolumeName(about.volume)).await;
            match crate::sockets::connect_async(&folder.join("keeper.sock")) {
                Ok(stream) => {
                    link::adopt(self.places.clone(), id, folder, stream);
                    adopted.push(id);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tracing::warn!(sandbox.id = %id, "its keeper cannot be reached: {error}");
                    self.unreached.lock().await.insert(id);
                }
                Err(_) => {
                    off_the_runtime(move || {
                        Cgroup::sweep(&folder, id);
                        Ok(())
                    })
                    .await?
                }
            }
        }
        for id in adopted {
            if !self.places.first_word(id, deadline).await {
                tracing::warn!(sandbox.id = %id, "its keeper does not answer");
            }
        }
        Ok(())
    }

    /// What a removal that was cut short left.
    fn empty_trash(&self) {
        let trash = self.volumes.trash().to_owned();
        tokio::task::spawn_blocking(move || {
            for entry in fs::read_dir(&trash).into_iter().flatten().flatten() {
                if let Some(name) = entry.file_name().to_str()
                    && let Err(error) = tree::remove(&trash, name)
                {
                    tracing::warn!(trash.entry = name, "failed to remove: {error}");
                }
            }
        });
    }

    fn folder(&self, id: SandboxId) -> PathBuf {
        self.settings.data_dir.join("sandboxes").join(id.to_string())
    }

    /// Reaches a keeper that lives without a link: one that took no connections when it was found, or was started by a control
    /// plane that was killed, after we had looked for such. `false`: there is none.
    ///
    /// # Errors
    /// It takes no connections.
    async fn reach(&self, id: SandboxId, volume: &VolumeName) -> io::Result<bool> {
        // Held, so that of two who come together one adopts it.
        let mut unreached = self.unreached.lock().await;
        if self.places.present(id) {
            return Ok(true);
        }
        let folder = self.folder(id);
        match crate::sockets::connect_async(&folder.join("keeper.sock")) {
            Ok(stream) => {
                unreached.remove(&id);
                open(&self.places, id, &folder, volume).await;
                link::adopt(self.places.clone(), id, folder, stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {
                if unreached.remove(&id) {
                    open(&self.places, id, &folder, volume).await;
                    // Its keeper may have left it.
                    let swept = off_the_runtime(move || {
                        Cgroup::sweep(&folder, id);
                        Ok(())
                    });
                    swept.await.map_err(io::Error::other)?;
                }
                return Ok(false);
            }
        }
        drop(unreached);
        self.places.first_word(id, Instant::now() + ADOPTION).await;
        Ok(true)
    }

    /// The same of one that took no connections when it was found, if there is such.
    async fn reach_again(&self, id: SandboxId) -> io::Result<()> {
        let is_unreached = self.unreached.lock().await.contains(&id);
        if is_unreached {
            let volume = about(&self.folder(id)).map(|about| about.volume).unwrap_or_default();
            self.reach(id, &VolumeName(volume)).await?;
        }
        Ok(())
    }

    async fn up(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        if let Some(status) = self.places.status(spec.id) {
            let same = status.run.restart_count == spec.restart_count && !matches!(status.state, State::Stopping | State::Ended);
            if !same && status.state != State::Stopping {
                self.places.ask(spec.id, Ask::Stop { grace_ms: millis(GRACE) });
            }
            return Ok(());
        }
        if self.places.present(spec.id) {
            // On its way up, or its last word is about to come.
            return Ok(());
        }
        let folder = self.folder(spec.id);
        if let Ok(about) = about(&folder)
            && about.installation != spec.installation
        {
            return Err(OrchestratorError::Caused(causes::name_taken("A sandbox's folder with this id")));
        }
        if self.reach(spec.id, &spec.volume).await.map_err(|error| still_runs(&error))? {
            return Ok(());
        }
        let volume = {
            let (volumes, name, id) = (self.volumes.clone(), spec.volume.clone(), spec.id);
            off_the_runtime(move || volumes.ensure(&name, id)).await.map_err(|error| {
                OrchestratorError::Caused(match error.downcast_ref::<NoUidLeft>() {
                    Some(none) => causes::machine_exhausted(&none.to_string()),
                    None => causes::volume_failed(&error),
                })
            })?
        };
        start::start(&self.settings, &self.programs, &self.places, spec, &folder, volume).await
    }
}

#[async_trait::async_trait]
impl Orchestrator for LocalOrchestrator {
    async fn ensure(&self, spec: &SandboxSpec) -> Result<(), OrchestratorError> {
        match spec.desired {
            Desired::Running => self.up(spec).await,
            Desired::Stopped | Desired::Terminated => {
                if about(&self.folder(spec.id)).is_ok_and(|about| about.installation == spec.installation) {
                    self.reach(spec.id, &spec.volume).await.map_err(|error| still_runs(&error))?;
                }
                self.places.ask(spec.id, Ask::Stop { grace_ms: millis(GRACE) });
                Ok(())
            }
        }
    }

    async fn remove(&self, id: SandboxId) -> Result<Removed, OrchestratorError> {
        if self.places.present(id) {
            self.places.ask(id, Ask::Stop { grace_ms: millis(GRACE) });
            return Ok(Removed::Going);
        }
        let (folder, trash) = (self.folder(id), self.volumes.trash().to_owned());
        let about = about(&folder);
        if about.as_ref().is_ok_and(|about| about.installation != self.settings.installation) {
            return Err(OrchestratorError::Caused(causes::name_taken("A sandbox's folder with this id")));
        }
        // A keeper without a link would live on without its folder.
        let volume = VolumeName(about.map(|about| about.volume).unwrap_or_default());
        if self.reach(id, &volume).await.map_err(|error| still_runs(&error))? {
            self.places.ask(id, Ask::Stop { grace_ms: millis(GRACE) });
            return Ok(Removed::Going);
        }
        off_the_runtime(move || {
            Cgroup::sweep(&folder, id);
            let aside = tree::unused_name();
            match fs::rename(&folder, trash.join(&aside)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                moved => moved.context("move the sandbox's folder aside")?,
            }
            tree::remove(&trash, &aside).context("remove the sandbox's folder")
        })
        .await?;
        self.places.forget(id);
        Ok(Removed::Gone)
    }

    async fn remove_volume(&self, volume: &VolumeName) -> Result<Removed, OrchestratorError> {
        if self.places.uses(volume) {
            return Err(anyhow!("the volume {} is in use by a running sandbox", volume.0).into());
        }
        let (volumes, name) = (self.volumes.clone(), volume.clone());
        let aside = off_the_runtime(move || volumes.discard(&name)).await?;
        if let Some(aside) = aside {
            // From here on it is no volume any more; how long its files take to go is nobody's matter.
            let trash = self.volumes.trash().to_owned();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = tree::remove(&trash, &aside) {
                    tracing::warn!(trash.entry = aside, "failed to remove a volume's files: {error}");
                }
            });
        }
        Ok(Removed::Gone)
    }

    async fn volume(&self, volume: &VolumeName) -> Result<VolumeSeen, OrchestratorError> {
        let (volumes, name) = (self.volumes.clone(), volume.clone());
        let there = off_the_runtime(move || volumes.is_there(&name)).await?;
        Ok(if there { VolumeSeen::There } else { VolumeSeen::Absent })
    }

    async fn observe(&self, id: SandboxId) -> Result<Seen, OrchestratorError> {
        if self.reach_again(id).await.is_err() {
            return Ok(Seen { present: true, cause: Some(causes::keeper_unreached()), ..self.places.seen(id) });
        }
        Ok(self.places.seen(id))
    }

    fn watch(&self) -> BoxStream<'static, SandboxId> {
        tokio_stream::wrappers::UnboundedReceiverStream::new(self.places.subscribe()).boxed()
    }

    async fn connect(&self, id: SandboxId, to: AgentOrPort) -> Result<BoxedIo, ConnectError> {
        let status = self.places.status(id).filter(|status| status.state == State::Running).ok_or(ConnectError::NotRunning)?;
        // One that was stopped takes connections into its queue, where they would wait. Its keeper goes on asking it.
        if self.places.agent_is_lost(id) {
            return Err(ConnectError::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                "the sandbox's agent does not answer any more",
            )));
        }
        let agent = crate::sockets::connect_async(&self.folder(id).join("agent.sock")).map_err(ConnectError::Io)?;
        match to {
            AgentOrPort::Agent => Ok(Box::new(agent)),
            AgentOrPort::Port(port) => upgrade::forward(agent, port, &status.agent_token).await,
        }
    }

    async fn logs(&self, id: SandboxId, from: LogSource) -> Result<BoxStream<'static, LogLine>, OrchestratorError> {
        let (name, dated) = match from {
            LogSource::Sandbox => ("sandbox.log", false),
            // Nothing else than its keeper tells here what happened to it.
            LogSource::Keeper | LogSource::Events => ("keeper.log", true),
            LogSource::Past | LogSource::Install | LogSource::Database => {
                return Ok(futures::stream::empty().boxed());
            }
        };
        Ok(log::follow(self.folder(id).join(name), dated).boxed())
    }

    async fn refusals(&self) -> Vec<Refused> {
        let counts: Vec<(SandboxId, u64)> =
            self.places.ids().into_iter().filter_map(|id| Some((id, self.places.status(id)?.refused))).collect();
        self.refusals.look(&counts, |id| self.folder(id).join("keeper.log")).await
    }

    async fn list(&self) -> Result<Vec<OwnedObject>, OrchestratorError> {
        let volumes = self.volumes.clone();
        let installation = self.settings.installation;
        let mut objects: Vec<OwnedObject> = off_the_runtime(move || volumes.list())
            .await?
            .into_iter()
            .filter(|(_, about)| about.installation == installation)
            .map(|(name, about)| OwnedObject { sandbox: about.sandbox, kind: "volume".to_owned(), name, holds_data: true })
            .collect();
        for id in self.places.ids() {
            let kind = if self.places.present(id) { "keeper" } else { "sandbox folder" };
            objects.push(OwnedObject { sandbox: id, kind: kind.to_owned(), name: id.to_string(), holds_data: false });
        }
        Ok(objects)
    }
}

/// What [`down`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Down {
    /// How many sandboxes ended.
    pub ended: usize,
    /// What did not: which sandbox, and why.
    pub left: Vec<String>,
}

/// Ends every sandbox of a data folder. Volumes stay. A control plane that runs there would start them again: end it first
/// ([`crate::datafolder::end_holder`]).
///
/// # Errors
/// The folder cannot be read.
pub async fn down(data_dir: &Path) -> Result<Down> {
    let mut done = Down::default();
    let mut ending = Vec::new();
    let entries = match fs::read_dir(data_dir.join("sandboxes")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(done),
        entries => entries.context("list the sandboxes")?,
    };
    for entry in entries {
        let entry = entry.context("list the sandboxes")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match crate::sockets::connect_async(&entry.path().join("keeper.sock")) {
            Ok(stream) => ending.push(async move { (name, link::stop(stream, GRACE).await) }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(error) => done.left.push(format!("sandbox {name}: its keeper cannot be reached: {error}")),
        }
    }
    for (name, stopped) in futures::future::join_all(ending).await {
        match stopped {
            Ok(()) => done.ended += 1,
            Err(error) => done.left.push(format!("sandbox {name}: {error}")),
        }
    }
    Ok(done)
}

fn about(folder: &Path) -> Result<About> {
    Ok(serde_json::from_slice(&fs::read(folder.join("about.json"))?)?)
}

/// A keeper lives that cannot be reached now.
fn still_runs(error: &io::Error) -> OrchestratorError {
    OrchestratorError::Caused(causes::keeper_failed(&format!("the one before still runs: {error}")))
}

/// A sandbox that has a folder, with how its runs ended.
async fn open(places: &Places, id: SandboxId, folder: &Path, volume: &VolumeName) {
    let ends = place::ends_of(folder).await;
    places.open(id, ends, volume.clone());
}

/// Work on files, on a thread that may wait.
async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("wait for a thread")?
}

/// Work on files that is done before anything else of its task is, whether that is given up or not; other tasks are taken over by
/// other threads meanwhile, where there are some.
fn while_others_go_on<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
