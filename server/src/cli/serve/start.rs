//! Everything up to the point where it can serve. A start that fails leaves nothing running that it began.

use super::plane::{Parts, assemble};
use crate::{
    cli::{connect_options, world::World},
    config::{Config, kubernetes::OrchestratorKind},
    doctor::Doctor,
    github::GitHub,
    http::{
        Plane,
        assets::Site,
        patience::{PATIENCE, PatientStore, RECONCILING},
    },
    room::Room,
};
use anyhow::{Context as _, Result, bail};
use engine::{
    clock::{Clock, SystemClock},
    random::SystemRandom,
    reconcile::{self, Reconciler},
    secrets::Vault,
    store::{
        Store,
        accounts::Accounts,
        full::FullBell,
        linked::LinkedAccounts,
        postgres::{self, PgStore},
        repositories::Repositories,
    },
};
use futures::future::BoxFuture;
use local::{LocalOrchestrator, datafolder::DataFolder, postgres::EmbeddedPostgres};
use secrecy::ExposeSecret as _;
use sqlx::ConnectOptions as _;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// Connections of the control plane to its database. A request holds one for a millisecond.
const CONNECTIONS: u32 = 16;

/// What a start has made.
pub(super) struct Started {
    pub(super) embedded: Option<EmbeddedPostgres>,
    pub(super) pool: sqlx::PgPool,
    pub(super) accounts: Accounts,
    /// Where sandboxes are processes of this machine.
    pub(super) local: Option<Arc<LocalOrchestrator>>,
    /// Reconciling waits for it.
    pub(super) ready: BoxFuture<'static, ()>,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) plane: Plane,
}

/// Everything up to the point where it can serve, or until `stop`.
pub(super) async fn start(config: &Config, site: Site, folder: &DataFolder, stop: &CancellationToken) -> Result<Started> {
    // A setting that is wrong is said before anything runs.
    let keys = config.encryption_key.as_ref();
    let vault = keys.map(|keys| Vault::from_text(keys, "FSA_ENCRYPTION_KEY").context("read FSA_ENCRYPTION_KEY")).transpose()?;
    let embedded = match &config.database_url {
        Some(_) => None,
        None => Some(EmbeddedPostgres::start(folder.path()).await?),
    };
    let begun = embedded.clone().filter(|postgres| !postgres.adopted());
    let made = tokio::select! {
        biased;
        () = stop.cancelled() => bail!("interrupted"),
        made = make(config, site, folder, stop, (embedded, vault)) => made,
    };
    // A start that fails leaves nothing behind that runs; what ran before runs on.
    if let (Err(_), Some(postgres)) = (&made, begun)
        && let Err(error) = postgres.stop().await
    {
        error!("PostgreSQL did not end: {error:#}");
    }
    made
}

/// What needs a PostgreSQL that runs.
async fn make(
    config: &Config,
    site: Site,
    folder: &DataFolder,
    stop: &CancellationToken,
    (embedded, vault): (Option<EmbeddedPostgres>, Option<Vault>),
) -> Result<Started> {
    let url = match (&config.database_url, &embedded) {
        (Some(url), _) => url.clone(),
        (None, Some(postgres)) => postgres.control_url(),
        (None, None) => bail!("there is no PostgreSQL"),
    };
    let options = connect_options(url.expose_secret())?.disable_statement_logging();
    let pool = postgres::pool::pool(options.clone(), CONNECTIONS);
    postgres::migrate::migrate(&pool).await?;
    let vault = Arc::new(match vault {
        Some(vault) => vault,
        None => Vault::from_file(&folder.path().join("encryption.key"))?,
    });
    let installation = postgres::installation::open(&pool, &vault, SystemClock.now()).await?;
    let github = match &config.github {
        Some(settings) => {
            let linked = LinkedAccounts::new(pool.clone(), vault.clone(), &settings.host);
            Some(Arc::new(GitHub::new(settings.clone(), linked, &config.addresses.public)?))
        }
        None => None,
    };
    // Nothing below calls it without an end: one connection that has gone silent would stop whatever waits for it.
    let endless: Arc<dyn Store> = Arc::new(PgStore::start(pool.clone(), vault).await?.with_sizes(config.sizes));
    let store = PatientStore::around(endless.clone(), PATIENCE);
    let reconciled = PatientStore::around(endless, RECONCILING);
    let accounts = Accounts::new(pool.clone()).by_providers(github.is_some());

    let world = match config.args.kubernetes.orchestrator {
        OrchestratorKind::Local => World::local(config, folder, installation, &options, embedded.as_ref()).await?,
        OrchestratorKind::Kubernetes => World::kubernetes(config, installation).await?,
    };
    let World { orchestrator, database, shown, local, ready, trouble, place } = world;

    let full = FullBell::default();
    // Elsewhere, only PostgreSQL itself can say it.
    let writes_to = embedded.as_ref().map(|_| folder.path().join("postgres"));
    let room = Room::new(writes_to, pool.clone(), full.clone());
    let settings = reconcile::Settings {
        full,
        limits: config.limits,
        operator_env: config.operator_env.clone(),
        ..reconcile::Settings::new(installation)
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let reconciler = Reconciler::new(
        reconciled,
        orchestrator.clone(),
        database.clone(),
        clock.clone(),
        Arc::new(SystemRandom),
        settings.clone(),
    );
    let doctor = Arc::new(Doctor::new(place, store.clone(), installation));
    let plane = assemble(Parts {
        doctor,
        trouble,
        room,
        store,
        accounts: accounts.clone(),
        orchestrator,
        database,
        reconciler: reconciler.clone(),
        settings,
        installation: shown,
        config,
        site,
        stop: stop.clone(),
        github,
        repositories: Repositories::new(pool.clone()),
    });
    Ok(Started { embedded, pool, accounts, local, ready, reconciler, plane })
}
