//! What is right and wrong with this installation, for its page and by REST: the checks of `fullstack-agent doctor` on a
//! cluster, and those of one machine.

use crate::config::kubernetes::KubernetesArgs;
use engine::{
    database::DatabaseSpec,
    reconcile::overdue,
    store::{ProjectAndSandbox, Store},
};
use kubernetes::{
    connection::connect,
    doctor::{Asked, Finding, Report, Telling, Verdict, examine, orphans, project::Row},
};
use local::{LocalSettings, preflight};
use model::{InstallationId, Phase, Timestamp};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::TcpStream, runtime::Handle, sync::Semaphore, time::timeout};

/// How long PostgreSQL, or a port of this server, may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a look waits for one that is under way: on one machine, it takes less.
const TURN: Duration = Duration::from_secs(2);
/// Free space below which sandboxes soon stop, and below which it is time to look, in bytes.
const DISK_FAIL_BYTES: u64 = 1 << 30;
const DISK_WARN_BYTES: u64 = 5 << 30;

/// Where sandboxes are.
pub enum Place {
    /// On a cluster, reached anew for each look: what was mended since is found mended.
    Cluster {
        /// What was given for it.
        args: Box<KubernetesArgs>,
        /// The folder of secrets.
        secret_dir: PathBuf,
        /// As browsers reach this server.
        public: String,
    },
    /// On this machine.
    Machine {
        /// What sandboxes are started by.
        settings: Box<LocalSettings>,
        /// Where this server listens.
        listen: Vec<SocketAddr>,
    },
}

/// Looks, one look at a time.
pub struct Doctor {
    place: Place,
    store: Arc<dyn Store>,
    installation: InstallationId,
    turn: Semaphore,
}

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// A project too.
    pub project: Option<Box<ProjectAndSandbox>>,
    /// Whether pods may be started to try things out.
    pub probe: bool,
}

impl Doctor {
    /// Of an installation.
    #[must_use]
    pub fn new(place: Place, store: Arc<dyn Store>, installation: InstallationId) -> Self {
        Self { place, store, installation, turn: Semaphore::new(1) }
    }

    /// Whether there is anything that only pods can try.
    #[must_use]
    pub fn probes(&self) -> bool {
        matches!(self.place, Place::Cluster { .. })
    }

    /// Looks at everything, and tells each finding as it is made. `None`: somebody else's look is under way. It goes on
    /// although nobody waits any more: what it starts, it removes. One that is about to end is waited for.
    pub async fn look(self: &Arc<Self>, look: Look, telling: Telling) -> Option<Report> {
        let (this, runtime) = (self.clone(), Handle::current());
        // On a thread of its own: some of it also waits for processes.
        let report = tokio::task::spawn_blocking(move || runtime.block_on(this.examine(&look, telling)));
        report.await.ok().flatten()
    }

    async fn examine(&self, look: &Look, telling: Telling) -> Option<Report> {
        let _turn = timeout(TURN, self.turn.acquire()).await.ok()?.ok()?;
        let mut report = Report::telling(telling);
        match &self.place {
            Place::Cluster { args, secret_dir, public } => {
                return Some(self.cluster(look, args, secret_dir, public, report).await);
            }
            Place::Machine { settings, listen } => {
                for finding in machine(settings) {
                    report.add(finding);
                }
                report.add(disk(settings));
                report.add(self.postgres().await);
                report.add(ports(listen).await);
            }
        }
        Some(report)
    }

    async fn cluster(
        &self,
        look: &Look,
        args: &KubernetesArgs,
        secrets: &std::path::Path,
        public: &str,
        report: Report,
    ) -> Report {
        let mut report = report;
        let why = "It says which cluster, as whom, and where.";
        let fail = |what: String| Finding::new("kubeconfig", Verdict::Fail, what, why, &[]);
        let connected = match connect(&args.connection(secrets.to_owned())).await {
            Ok(connected) => connected,
            Err(error) => {
                report.add(fail(error.to_string()));
                return report;
            }
        };
        let settings = match args.settings(self.installation, &connected.cluster.namespace, public) {
            Ok(settings) => settings.reached_by(&connected),
            Err(error) => {
                report.add(fail(format!("{error:#}")));
                return report;
            }
        };
        let rows = self.store.all().await.ok();
        let left_out = self.store.left_out();
        let known = rows.map(|rows| orphans::Known {
            sandboxes: rows.iter().map(|row| row.sandbox.id).chain(left_out.iter().map(|(_, id)| *id)).collect(),
            projects: rows.iter().map(|row| row.project.id).chain(left_out.iter().map(|(id, _)| *id)).collect(),
        });
        let project = look.project.as_ref().map(|project| row(project, self.installation, Timestamp::now()));
        let asked = Asked {
            connected: &connected,
            settings: &settings,
            known: known.as_ref(),
            project: project.as_ref(),
            probe: look.probe,
        };
        examine(asked, report).await
    }

    async fn postgres(&self) -> Finding {
        let why = "It holds every project, and the projects' own databases.";
        match timeout(ANSWER, self.store.all()).await {
            Ok(Ok(rows)) => Finding::ok("PostgreSQL", format!("It answers. Projects in it: {}.", rows.len()), why),
            answer => {
                let detail = match answer {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => format!("no answer within {} s", ANSWER.as_secs()),
                };
                let mend = [
                    "Look at the server's log: it starts its PostgreSQL again by itself.",
                    "Look at FSA_DATABASE_URL, if you gave one.",
                ];
                Finding { detail: Some(detail), ..Finding::new("PostgreSQL", Verdict::Fail, "It does not answer.", why, &mend) }
            }
        }
    }
}

/// What the doctor is told of a project.
fn row(project: &ProjectAndSandbox, installation: InstallationId, now: Timestamp) -> Row {
    let (sandbox, phase) = (&project.sandbox, project.sandbox.phase(now));
    let overdue = || if phase == Phase::Error { overdue::of(project, now) } else { None };
    Row {
        name: sandbox.name.clone(),
        database: project.project.database.as_ref().map(|database| DatabaseSpec {
            project: project.project.id,
            sandbox: sandbox.id,
            slug: project.project.slug.clone(),
            name: sandbox.name.clone(),
            installation,
            role: database.role.clone(),
            database: database.database.clone(),
            password: database.password.clone(),
        }),
        state: Some((phase, sandbox.cause.clone().or_else(overdue))),
    }
}

/// What sandboxes are started by.
fn machine(settings: &LocalSettings) -> Vec<Finding> {
    let found = preflight::look(settings);
    let why = "Sandboxes are kept from this machine and from each other by it.";
    let mut findings = vec![match &found.blocking {
        Some(cause) => Finding::of_cause("isolation", Verdict::Fail, cause, "Without it no sandbox starts."),
        None if found.isolated => Finding::ok("isolation", "bubblewrap starts a sandbox with namespaces of its own.", why),
        None => Finding::new(
            "isolation",
            Verdict::Warn,
            "Sandboxes are plain processes of this machine (--insecure-no-isolation).",
            why,
            &["Install bubblewrap and let it make user namespaces: then they are isolated all the same."],
        ),
    }];
    let told = found.notices.iter().filter(|notice| found.isolated || !notice.contains("--insecure-no-isolation"));
    findings.extend(
        told.map(|notice| Finding::new("this machine", Verdict::Warn, notice, "Sandboxes run with less than they could.", &[])),
    );
    let why = "`claude` in every terminal is this.";
    findings.push(match &settings.claude_dir {
        None => Finding::new(
            "Claude Code",
            Verdict::Warn,
            "It is not installed.",
            why,
            &["Name its folder: --claude-dir FOLDER, with node_modules/@anthropic-ai/claude-code in it."],
        ),
        Some(folder) if settings.claude_credentials => {
            Finding::ok("Claude Code", format!("In {}, and its credentials are set.", folder.display()), why)
        }
        Some(folder) => Finding::new(
            "Claude Code",
            Verdict::Warn,
            format!("In {}, and its credentials are not set.", folder.display()),
            why,
            &["Put ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN into the file that the page Settings names, and start the server again."],
        ),
    });
    findings
}

fn disk(settings: &LocalSettings) -> Finding {
    let (check, why) = ("disk", "Home folders and databases are in the data folder.");
    let folder = settings.data_dir.display();
    let space = match rustix::fs::statvfs(&settings.data_dir) {
        Ok(space) => space,
        Err(error) => {
            let what = format!("The data folder {folder} cannot be looked at: {error}.");
            return Finding::new(check, Verdict::Fail, what, why, &["Let the server's user read and write it."]);
        }
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let what = format!("{}.{} GB are free where {folder} is.", free >> 30, ((free & ((1 << 30) - 1)) * 10) >> 30);
    let mend = ["Free some, or move the data folder to a larger disk.", "Delete projects that nobody needs."];
    if space.f_favail == 0 && space.f_files > 0 {
        return Finding::new(check, Verdict::Fail, format!("No file more can be made where {folder} is."), why, &mend);
    }
    match free {
        free if free < DISK_FAIL_BYTES => Finding::new(check, Verdict::Fail, what, why, &mend),
        free if free < DISK_WARN_BYTES => Finding::new(check, Verdict::Warn, what, why, &mend),
        _ => Finding::ok(check, what, why),
    }
}

/// Whether this server is reached where it listens.
async fn ports(listen: &[SocketAddr]) -> Finding {
    let why = "Browsers come by these.";
    let (mut well, mut failed) = (Vec::new(), Vec::new());
    // Any port was got for the first place alone.
    for address in listen.iter().filter(|address| address.port() != 0) {
        // Of all addresses of this machine, its own loopback.
        let to = match address.ip() {
            ip if !ip.is_unspecified() => *address,
            ip if ip.is_ipv4() => SocketAddr::from(([127, 0, 0, 1], address.port())),
            _ => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
        };
        match timeout(ANSWER, TcpStream::connect(to)).await {
            Ok(Ok(_)) => well.push(*address),
            Ok(Err(error)) => failed.push((to, error.to_string())),
            Err(_) => failed.push((to, format!("no answer within {} s", ANSWER.as_secs()))),
        }
    }
    // A machine without IPv6 has one loopback, which is enough.
    failed.retain(|(to, _)| !(to.is_ipv6() && to.ip().is_loopback() && well.iter().any(|other| other.port() == to.port())));
    if let Some((to, error)) = failed.into_iter().next() {
        let mend = ["Look for a firewall on this machine.", "Or listen elsewhere: --listen localhost:4000."];
        return Finding {
            detail: Some(error),
            ..Finding::new("ports", Verdict::Fail, format!("Nobody answers at {to}."), why, &mend)
        };
    }
    let named = well.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Finding::ok("ports", format!("This server answers at {named}."), why)
}
