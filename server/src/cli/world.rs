//! Where sandboxes and databases are: this machine, or a cluster.

use super::connect_options;
use crate::{
    config::{Config, DataArgs},
    doctor::Place,
};
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
use std::{path::PathBuf, sync::Arc};
use tokio::sync::watch;
use tracing::{info, warn};

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
        data: &DataArgs,
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
        let shown = installation_view(config, data, "local", notices, local.claude_dir.is_some());
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
    pub async fn kubernetes(config: &Config, data: &DataArgs, installation: InstallationId) -> Result<Self> {
        let args = &config.args.kubernetes;
        let connected = kubernetes::connection::connect(&args.connection(config.args.secret_dir.clone())).await?;
        let named = connected.place();
        let cluster = connected.cluster;
        info!(server = %connected.server, namespace = %cluster.namespace, "sandboxes are made on a cluster");
        let settings = args.settings(installation, &cluster.namespace, &config.addresses.public)?;
        let shown = installation_view(config, data, "kubernetes", Vec::new(), true);
        let reach = kubernetes::reach::Reach::choose(&cluster).await;
        let database = kubernetes::database::later::Later::at(named.clone(), cluster.clone(), settings.clone(), reach);
        let orchestrator = kubernetes::orchestrator::KubernetesOrchestrator::at(named, cluster, settings, reach)?;
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

fn installation_view(config: &Config, data: &DataArgs, orchestrator: &str, notices: Vec<String>, claude: bool) -> Installation {
    let mut sign_in_command = "fullstack-agent sign-in-link".to_owned();
    if let Some(folder) = &data.data_dir {
        sign_in_command.push_str(&format!(" --data-dir {}", folder.display()));
    }
    Installation {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        orchestrator: orchestrator.to_owned(),
        notices,
        claude,
        claude_credentials: claude_credentials(config),
        credentials_file: config.credentials_file.display().to_string(),
        sign_in_command,
    }
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
