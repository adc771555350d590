//! Where sandboxes and databases are: this machine, or a cluster.

use super::connect_options;
use crate::{config::Config, doctor::Place};
use anyhow::Result;
use engine::{
    database::{
        Database,
        server::{Reach, ServerDatabase},
    },
    orchestrator::{DatabaseEndpoint, Orchestrator},
};
use futures::future::BoxFuture;
use local::{LocalOrchestrator, LocalSettings, datafolder::DataFolder, postgres::EmbeddedPostgres, preflight};
use model::{Cause, InstallationId, view::Installation};
use secrecy::ExposeSecret as _;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::watch;
use tracing::{info, warn};

/// What this program is called where it is installed.
const PROGRAM: &str = "fullstack-agent";

/// What makes sandboxes and databases, and what pages say of it.
pub struct World {
    /// Makes sandboxes.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// Makes projects' databases.
    pub database: Arc<dyn Database>,
    /// What pages show.
    pub shown: Installation,
    /// The orchestrator again, where sandboxes are processes of this machine and end with a Ctrl-C.
    pub local: Option<Arc<LocalOrchestrator>>,
    /// Reconciling waits for it.
    pub ready: BoxFuture<'static, ()>,
    /// Why databases cannot be made or seen, while they cannot; pages say it.
    pub trouble: watch::Receiver<Option<Cause>>,
    /// What the doctor looks at.
    pub place: Place,
}

impl World {
    /// This machine.
    ///
    /// # Errors
    /// It cannot be used at all; what only keeps sandboxes from starting is a notice.
    pub async fn local(
        config: &Config,
        folder: &DataFolder,
        installation: InstallationId,
        options: &PgConnectOptions,
        embedded: Option<&EmbeddedPostgres>,
    ) -> Result<Self> {
        let local = LocalSettings {
            uid_range: config.args.uid_range.clone().unwrap_or(local::settings::DEFAULT_UID_RANGE),
            claude_dir: claude_dir(config),
            egress: config.egress.clone(),
            claude_credentials: claude_credentials(config),
            insecure_no_isolation: config.args.insecure_no_isolation,
            ..LocalSettings::new(folder.path().to_owned(), installation, config.agent.clone())
        };
        let findings = preflight::look(&local);
        if let Some(cause) = &findings.blocking {
            warn!("no sandbox will start: {} {}", cause.message, cause.next_steps.join(" "));
        }
        for notice in &findings.notices {
            warn!("{notice}");
        }
        let mut notices = findings.notices.clone();
        notices.extend(findings.blocking.as_ref().map(|cause| format!("{} {}", cause.message, cause.next_steps.join(" "))));
        let shown = installation_view(config, "local", notices, local.claude_dir.is_some());
        let database = Arc::new(ServerDatabase::new(administrator(options, embedded)?, installation, reach(options, embedded)));
        let listen = config.listen.iter().flat_map(|place| place.addresses.iter().copied()).collect();
        let place = Place::Machine { settings: Box::new(local.clone()), listen };
        let orchestrator = Arc::new(LocalOrchestrator::new(local).await?);
        let ready = Box::pin(async {});
        let (_, trouble) = watch::channel(None);
        Ok(Self { orchestrator: orchestrator.clone(), database, shown, local: Some(orchestrator), ready, trouble, place })
    }

    /// A cluster. One that does not answer is no error: pages say so, and it is tried again by itself.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub async fn kubernetes(config: &Config, installation: InstallationId) -> Result<Self> {
        let args = &config.args.kubernetes;
        let connected = kubernetes::connection::connect(&args.connection(config.args.secret_dir.clone())).await?;
        let named = connected.place();
        let settings =
            args.settings(installation, &connected.cluster.namespace, &config.addresses.public)?.reached_by(&connected);
        let cluster = connected.cluster;
        info!(server = %connected.server, namespace = %cluster.namespace, "sandboxes are made on a cluster");
        let shown = installation_view(config, "kubernetes", Vec::new(), true);
        let reach = kubernetes::reach::Reach::choose(&cluster).await;
        let orchestrator =
            kubernetes::orchestrator::KubernetesOrchestrator::at(named.clone(), cluster.clone(), settings.clone(), reach)?;
        let heard = orchestrator.index().clone();
        let database = kubernetes::database::later::Later::at(named, cluster, settings, reach, Some(heard));
        let (decided, trouble) = (database.clone(), database.trouble());
        let ready = Box::pin(async move { decided.decided().await });
        let place = Place::Cluster {
            args: Box::new(args.clone()),
            secret_dir: config.args.secret_dir.clone(),
            public: config.addresses.public.clone(),
        };
        Ok(Self { orchestrator, database, shown, local: None, ready, trouble, place })
    }
}

fn claude_credentials(config: &Config) -> bool {
    config.operator_env.contains_key("ANTHROPIC_API_KEY") || config.operator_env.contains_key("ANTHROPIC_AUTH_TOKEN")
}

fn installation_view(config: &Config, orchestrator: &str, notices: Vec<String>, claude: bool) -> Installation {
    Installation {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        orchestrator: orchestrator.to_owned(),
        notices,
        claude,
        claude_credentials: claude_credentials(config),
        credentials_file: config.credentials_file.display().to_string(),
        sign_in_command: sign_in_command(config),
        sizes: config.sizes,
    }
}

/// What prints a new sign-in link beside this server.
fn sign_in_command(config: &Config) -> String {
    if let Some(given) = config.args.sign_in_command.as_deref().map(str::trim).filter(|given| !given.is_empty()) {
        return given.to_owned();
    }
    let own = std::env::current_exe().unwrap_or_else(|_| PROGRAM.into());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folder = Some(&config.data_dir).filter(|folder| **folder != DataFolder::default_path());
    link_command(&own, &path, folder.map(PathBuf::as_path))
}

/// As a shell takes it in any folder: the program by its name alone where `path` leads to it.
fn link_command(own: &Path, path: &OsStr, data_dir: Option<&Path>) -> String {
    let found = std::env::split_paths(path).map(|folder| folder.join(PROGRAM)).find(|file| file.is_file());
    let real = |file: &Path| file.canonicalize().ok();
    let ours = found.and_then(|found| real(&found)).is_some_and(|found| real(own) == Some(found));
    let mut command = if ours { PROGRAM.to_owned() } else { quoted(own) };
    command.push_str(" sign-in-link");
    if let Some(folder) = data_dir {
        command.push_str(" --data-dir ");
        command.push_str(&quoted(&std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())));
    }
    command
}

/// One word for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Where Claude Code is, if it is there.
fn claude_dir(config: &Config) -> Option<PathBuf> {
    let has = |folder: &PathBuf| folder.join("node_modules/@anthropic-ai/claude-code").is_dir();
    if let Some(given) = &config.args.claude_dir {
        if !has(given) {
            warn!(
                "--claude-dir {}: node_modules/@anthropic-ai/claude-code is not in it, so sandboxes have no Claude Code",
                given.display()
            );
        }
        return Some(given.clone()).filter(has);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let usual = [
        PathBuf::from("/var/cache/fullstack-agent/claude"),
        home.join(".cache/fullstack-agent/claude"),
        config.data_dir.join("claude"),
    ];
    usual.into_iter().find(has)
}

/// Who makes and removes the databases of projects.
fn administrator(options: &PgConnectOptions, embedded: Option<&EmbeddedPostgres>) -> Result<PgConnectOptions> {
    match embedded {
        Some(postgres) => Ok(connect_options(postgres.admin_url().expose_secret())?.disable_statement_logging()),
        None => Ok(options.clone()),
    }
}

/// On one machine a sandbox reaches its database at its own 127.0.0.1:5432, whatever lies behind.
fn reach(options: &PgConnectOptions, embedded: Option<&EmbeddedPostgres>) -> Reach {
    let endpoint = match (embedded, options.get_socket()) {
        (Some(postgres), _) => postgres.endpoint(),
        (None, Some(folder)) => DatabaseEndpoint::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
        (None, None) => DatabaseEndpoint::Tcp(options.get_host().to_owned(), options.get_port()),
    };
    Reach { host: "127.0.0.1".to_owned(), port: 5432, endpoint: Some(endpoint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, process::Command};

    #[test]
    fn the_command_for_a_link_runs_this_program_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let file = folder.path().join(name).join(PROGRAM);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            file
        };
        let (own, other) = (at("it's ours"), at("other"));
        let linked = folder.path().join("linked");
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&own, linked.join(PROGRAM)).unwrap();
        let none = folder.path().join("none");
        let (none, linked) = (none.as_path(), linked.as_path());
        let path = |folders: &[&Path]| std::env::join_paths(folders).unwrap();
        let (ours, others) = (own.parent().unwrap(), other.parent().unwrap());

        let lead: [&[&Path]; 3] = [&[ours], &[none, ours, others], &[linked]];
        for leads in lead {
            assert_eq!(link_command(&own, &path(leads), None), "fullstack-agent sign-in-link", "{leads:?}");
        }
        let lead: [&[&Path]; 3] = [&[], &[none], &[others, ours]];
        for elsewhere in lead {
            let command = link_command(&own, &path(elsewhere), Some(Path::new("/data/of mine")));
            // What a shell makes of it.
            let words = Command::new("sh").arg("-c").arg(format!("printf '%s\\n' {command}")).output().unwrap();
            let expected = format!("{}\nsign-in-link\n--data-dir\n/data/of mine\n", own.display());
            assert_eq!(String::from_utf8(words.stdout).unwrap(), expected, "{command}");
        }
        let plain = link_command(&other, OsStr::new(""), Some(Path::new("/data")));
        assert_eq!(plain, format!("{} sign-in-link --data-dir /data", other.display()));
    }
}
