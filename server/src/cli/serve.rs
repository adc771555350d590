//! `serve`: puts everything together, serves, and takes it apart again.
//!
//! ```text
//!   data folder, PostgreSQL, migrations, keys ─▶ store, accounts ─┐
//!   this machine, or a cluster ─▶ World: Orchestrator, Database ──┴─▶ Reconciler ─▶ Controller, Live ─▶ HTTP
//! ```
//!
//! SIGTERM leaves sandboxes and PostgreSQL running, for an upgrade. Ctrl-C ends them, and the next start
//! resumes them, since what was asked for stays. A part that panics ends the server as SIGTERM does, with an exit code that
//! has it started again.

use super::{connect_options, say, sign_in_link::note_address, world::World};
use crate::{
    clone::Cloner,
    config::{Config, DataArgs, Listen, ServeArgs, kubernetes::OrchestratorKind},
    control::{Controller, ControllerParts},
    dist,
    doctor::Doctor,
    github::{self, GitHub},
    http::{
        self, Plane, PlaneParts,
        assets::Site,
        auth::watch::CredentialWatch,
        connections::{self, Doors},
        metrics::Metrics,
        patience::{PATIENCE, PatientStore, RECONCILING},
        preview::PreviewListener,
        security::Origins,
    },
    live::{Live, Said},
    refusals,
    room::{self, Room},
    sweep::Sweep,
};
use anyhow::{Context as _, Result, anyhow, bail};
use axum::{Extension, Router};
use engine::{
    clock::{Clock, SystemClock},
    database::Database,
    orchestrator::Orchestrator,
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
use futures::{FutureExt as _, future::BoxFuture};
use local::{LocalOrchestrator, datafolder::DataFolder, postgres::EmbeddedPostgres};
use model::{Cause, view::Installation};
use secrecy::ExposeSecret as _;
use sqlx::ConnectOptions as _;
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::SignalKind,
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Connections of the control plane to its database. A request holds one for a millisecond.
const CONNECTIONS: u32 = 16;
/// How long open requests may take to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the start of PostgreSQL may go on after a signal: the first one, with initdb, on a slow
/// machine. A second signal ends it at once.
const HALF_WAY: Duration = Duration::from_secs(30);
/// How long the first answer waits for a look at every sandbox.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What is said where a part of it has panicked.
const BROKEN: &str = "A part of the server ended over a mistake of ours; the log says which. Sandboxes and databases go on: start it again, and report it if it stays.";

/// How it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// Serves until a signal.
///
/// # Errors
/// Whatever keeps it from starting, in a sentence that says what to do.
pub async fn serve(data: &DataArgs, args: ServeArgs) -> Result<()> {
    let config = Config::read(data, args)?;
    let (folder, embedded) = (config.data_dir.clone(), config.database_url.is_none());
    serve_as(config).await.map_err(|error| room::explained(error, &folder, embedded))
}

async fn serve_as(mut config: Config) -> Result<()> {
    // One file with everything has the site in itself, for want of another; it needs the data folder to put it.
    let carried = (config.args.site_dir.is_none() || config.args.agent.is_none()) && dist::carries()?;
    let read = |folder: &Path| Site::read(folder).map_err(|why| anyhow!(why));
    let beside = if carried { None } else { Some(read(&config.site_dir)?) };
    // Before anything is made: a port that is taken is the likeliest mistake.
    let listeners = listen(&config.listen, async |address| TcpListener::bind(address).await).await?;
    if let Some(first) = listeners.first() {
        config.bound(first.local_addr().context("read the port that is listened on")?.port())?;
    }
    let previews = listen_for_previews(&config).await?;
    let signals = signals()?;
    room::for_a_start(&config.data_dir, config.database_url.is_none())?;
    let folder = DataFolder::open(&config.data_dir)?;
    let site = match beside {
        Some(site) => site,
        None => {
            config.carried(dist::unpacked(&config.data_dir)?);
            read(&config.site_dir)?
        }
    };
    let stop = CancellationToken::new();
    let mut waiting = Box::pin(signals.wait());
    let mut starting = Box::pin(start(&config, site, &folder, &stop));
    let started = tokio::select! {
        started = &mut starting => started?,
        ended = &mut waiting => {
            info!("ending before everything has started");
            stop.cancel();
            // PostgreSQL's start cannot be left half way; the rest is left at once.
            let _ = tokio::time::timeout(HALF_WAY, &mut starting).await;
            drop(starting);
            return leave_half_started(&config, &folder, ended).await;
        }
    };
    drop(starting);
    run(&config, &folder, (listeners, previews), started, stop, waiting).await
}

/// What a start has made.
struct Started {
    embedded: Option<EmbeddedPostgres>,
    pool: sqlx::PgPool,
    accounts: Accounts,
    /// Where sandboxes are processes of this machine.
    local: Option<Arc<LocalOrchestrator>>,
    /// Reconciling waits for it.
    ready: BoxFuture<'static, ()>,
    reconciler: Arc<Reconciler>,
    plane: Plane,
}

/// After Ctrl-C, nothing stays up, as at any other time; what the last server left running included.
async fn leave_half_started(config: &Config, folder: &DataFolder, ended: Ended) -> Result<()> {
    if ended != Ended::Interrupted || config.args.keep_running {
        return Ok(());
    }
    local::down(folder.path()).await.context("end the sandboxes")?;
    if config.database_url.is_none() {
        EmbeddedPostgres::stop_at(folder.path()).await?;
    }
    Ok(())
}

/// Everything up to the point where it can serve, or until `stop`.
async fn start(config: &Config, site: Site, folder: &DataFolder, stop: &CancellationToken) -> Result<Started> {
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

async fn run(
    config: &Config,
    folder: &DataFolder,
    (listeners, previews): (Vec<TcpListener>, Vec<(u16, TcpListener)>),
    started: Started,
    stop: CancellationToken,
    ended: impl Future<Output = Ended>,
) -> Result<()> {
    let Started { embedded, pool, accounts, local, ready, reconciler, plane } = started;
    let mut tasks = JoinSet::new();
    if let Some(postgres) = embedded.clone() {
        tasks.spawn(postgres.keep_running(stop.clone()));
    }
    // What ended while nobody looked is known before the first answer; a cluster that is slow is not waited for.
    let ready = ready.shared();
    let first_look = async {
        ready.clone().await;
        reconciler.look().await;
    };
    if tokio::time::timeout(FIRST_LOOK, first_look).await.is_err() {
        info!("serving before every sandbox was looked at");
    }
    // What our own tables tell is over before the first answer; GitHub is not waited for.
    let shut_out = tokio::spawn({
        let (github, accounts) = (plane.github.clone(), accounts.clone());
        async move {
            match github {
                Some(github) => {
                    github::shut_out_others(&accounts, github.host()).await;
                    github.shut_out(&accounts).await;
                }
                None => github::tell_of_kept_out(&accounts).await,
            }
        }
    });
    let _ = tokio::time::timeout(FIRST_LOOK, shut_out).await;
    let router = http::router(&plane);
    // Streams and terminals end at once; reconciling ends after them.
    let reconciling = CancellationToken::new();
    let mut loops = JoinSet::new();
    loops.spawn({
        let reconciling = reconciling.clone();
        async move {
            if reconciling.run_until_cancelled(ready).await.is_some() {
                reconciler.run(reconciling).await;
            }
        }
    });
    tasks.spawn(plane.live.clone().run());
    tasks.spawn(plane.cloner.clone().run());
    tasks.spawn(plane.watch.clone().run(stop.clone()));
    tasks.spawn(plane.room.clone().run(stop.clone()));
    let sweep = Sweep {
        accounts: accounts.clone(),
        repositories: Repositories::new(pool.clone()),
        store: plane.store.clone(),
        activity_days: config.args.activity_days,
    };
    tasks.spawn(sweep.run(stop.clone()));
    tasks.spawn(refusals::tell(plane.store.clone(), plane.orchestrator.clone(), stop.clone()));

    let most = match config.args.kubernetes.orchestrator {
        OrchestratorKind::Local => connections::MOST,
        OrchestratorKind::Kubernetes => connections::MOST_ON_A_CLUSTER,
    };
    let doors = Doors::new(plane.origins.clone(), most);
    let mut serving = JoinSet::new();
    let apps = listeners.into_iter().map(|listener| (router.clone(), listener));
    let previews = previews.into_iter().map(|(port, listener)| {
        let marked = Router::new().fallback_service(router.clone()).layer(Extension(PreviewListener(port)));
        (marked, listener)
    });
    for (router, listener) in apps.chain(previews).collect::<Vec<_>>() {
        serving.spawn(connections::serve(listener, router, doors.clone(), stop.clone()));
    }

    let owner = accounts.ensure_owner(SystemClock.now()).await?;
    let code = accounts.make_sign_in_code(owner.id, SystemClock.now()).await?;
    note_address(folder.path(), &config.addresses.public)?;
    info!(address = %config.addresses.public, version = env!("CARGO_PKG_VERSION"), "serving");
    say(&format!("Sign in: {}/sign-in#{}", config.addresses.public, code.expose_secret()));

    let ended = tokio::select! {
        ended = ended => Ok(ended),
        panicked = first_panic(&mut loops) => Err(panicked),
        panicked = first_panic(&mut tasks) => Err(panicked),
        panicked = first_panic(&mut serving) => Err(panicked),
    };
    if let Err(panicked) = &ended {
        error!("a part of the server ended abruptly, and the rest ends with it: {panicked}");
    }
    info!("ending");
    stop.cancel();
    if tokio::time::timeout(FAREWELL, async { while serving.join_next().await.is_some() {} }).await.is_err() {
        info!("some requests did not end in time and are cut off");
    }
    reconciling.cancel();
    let _ = tokio::time::timeout(FAREWELL, async { while loops.join_next().await.is_some() {} }).await;
    let _ = tokio::time::timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
    // For whoever starts it again: a server without one of its parts would look well and do nothing.
    let ended = ended.map_err(|_| anyhow!(BROKEN))?;
    if ended == Ended::Interrupted && !config.args.keep_running {
        if let Some(local) = local {
            local.shut_down().await;
        }
        if let Some(postgres) = embedded {
            pool.close().await;
            if let Err(error) = postgres.stop().await {
                error!("PostgreSQL did not end: {error:#}");
            }
        }
    }
    Ok(())
}

/// Until one of them panics. One that ends by itself may.
async fn first_panic(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => return error,
            Some(_) => {}
            None => return std::future::pending().await,
        }
    }
}

struct Parts<'a> {
    doctor: Arc<Doctor>,
    trouble: watch::Receiver<Option<Cause>>,
    room: Arc<Room>,
    store: Arc<dyn Store>,
    accounts: Accounts,
    orchestrator: Arc<dyn Orchestrator>,
    database: Arc<dyn Database>,
    reconciler: Arc<Reconciler>,
    settings: reconcile::Settings,
    installation: Installation,
    config: &'a Config,
    site: Site,
    stop: CancellationToken,
    github: Option<Arc<GitHub>>,
    repositories: Repositories,
}

fn assemble(parts: Parts<'_>) -> Plane {
    let Parts {
        doctor,
        trouble,
        room,
        store,
        accounts,
        orchestrator,
        database,
        reconciler,
        settings,
        installation,
        config,
        site,
        stop,
        github,
        repositories,
    } = parts;
    let addresses = config.addresses.clone();
    let watch = CredentialWatch::new(accounts.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let notices = installation.notices.clone();
    let said = Said { notices, trouble, full: room.full(), limits: settings.limits };
    let live = Live::new(store.clone(), orchestrator.clone(), clock.clone(), addresses.clone(), said, stop.clone());
    let watched = (orchestrator.clone(), database.clone());
    let watches = move || [watched.0.watches(), watched.1.watches()].concat();
    let metrics = Arc::new(Metrics::new(&settings.measures, watches));
    let sign_in_command = installation.sign_in_command.clone();
    let cloner = Cloner::new(repositories, store.clone(), orchestrator.clone(), live.clone(), github.clone(), stop.clone());
    live.answer_git_by(&cloner);
    let controller = Arc::new(Controller::new(ControllerParts {
        store: store.clone(),
        accounts: accounts.clone(),
        database,
        reconciler,
        live: live.clone(),
        clock,
        random: Arc::new(SystemRandom),
        settings,
        installation,
        addresses: addresses.clone(),
        watch: watch.clone(),
        cloner: cloner.clone(),
        github_signs_in: github.as_ref().is_some_and(|github| github.signs_in()),
        projects_per_user: config.args.projects_per_user,
        metrics: metrics.clone(),
        activity_days: config.args.activity_days,
    }));
    let origins = Origins::new(&addresses, config.args.trusted_proxies.clone());
    Plane::new(PlaneParts {
        doctor,
        store,
        accounts,
        orchestrator,
        controller,
        live,
        watch,
        addresses,
        origins,
        site,
        sign_in_command,
        requests_per_second: config.args.requests_per_second,
        metrics,
        metrics_token: config.metrics_token.clone(),
        stop,
        dev: config.dev,
        github,
        cloner,
        room,
    })
}

/// How often another port is tried where any will do, and the one that was got is taken on the next
/// address.
const ANY_PORT: usize = 8;

/// Listens on every address of every place. Where any port will do (`localhost:0`), all addresses of the
/// place get the same.
async fn listen(places: &[Listen], bind: impl AsyncFn(SocketAddr) -> io::Result<TcpListener>) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for place in places {
        let mut tries = 1..=ANY_PORT;
        let bound = loop {
            let last = tries.next().is_none_or(|n| n == ANY_PORT);
            match listen_on(place, &bind).await {
                Err((address, error)) if !last && place.any_port() && address.port() != 0 && taken(&error) => {}
                Err((address, error)) => return Err(cannot_listen(place, address, &error)),
                Ok(bound) => break bound,
            }
        };
        listeners.extend(bound);
    }
    Ok(listeners)
}

/// Listens on every port of `--preview-listen`, also those that are nobody's preview yet: another program there would be
/// posted the codes that open previews.
async fn listen_for_previews(config: &Config) -> Result<Vec<(u16, TcpListener)>> {
    let (Some(ip), Some(ports)) = (config.preview_ip, &config.addresses.preview_ports) else { return Ok(Vec::new()) };
    let mut listeners = Vec::new();
    for port in ports.range.clone() {
        let address = SocketAddr::new(ip, port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            anyhow!("Cannot listen on {address} for previews: {error}. Choose an address of this machine and ports that are free with --preview-listen.")
        })?;
        listeners.push((port, listener));
    }
    Ok(listeners)
}

fn taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

/// A machine without IPv6, or with a kernel that has none of it.
fn no_such_address(error: &io::Error) -> bool {
    let unknown = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unknown)
}

async fn listen_on(
    place: &Listen,
    bind: &impl AsyncFn(SocketAddr) -> io::Result<TcpListener>,
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for address in &place.addresses {
        let port = bound.first().and_then(|first| first.local_addr().ok()).map_or(address.port(), |first| first.port());
        let address = SocketAddr::new(address.ip(), port);
        match bind(address).await {
            Ok(listener) => bound.push(listener),
            // One loopback is enough.
            Err(error) if no_such_address(&error) => missing = Some((address, error)),
            Err(error) => return Err((address, error)),
        }
    }
    match missing {
        Some(missing) if bound.is_empty() => Err(missing),
        _ => Ok(bound),
    }
}

fn cannot_listen(place: &Listen, address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (port, ip) = (address.port(), address.ip());
    match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "Port {port} is taken on {ip}: another program, or another FullStack Agent, listens there. Stop it, or choose another \
             port: `--listen localhost:{other}`.",
            other = port.wrapping_add(1).max(1024),
        ),
        ErrorKind::PermissionDenied => {
            anyhow!("This user may not listen on port {port}. Choose one from 1024 on: `--listen localhost:4000`.")
        }
        _ => anyhow!(
            "Cannot listen on {address} (--listen {}): {error}. Choose another address: `--listen localhost:4000`.",
            place.text
        ),
    }
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

fn signals() -> Result<Signals> {
    let on = |kind| tokio::signal::unix::signal(kind).context("listen for signals");
    Ok(Signals { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
}

impl Signals {
    async fn wait(mut self) -> Ended {
        let ended = tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
        };
        // A second one ends it at once.
        tokio::spawn(async move {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            std::process::exit(130);
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn place(text: &str) -> Listen {
        let port = text.rsplit_once(':').unwrap().1.parse().unwrap();
        let addresses = vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))];
        Listen { text: text.to_owned(), addresses }
    }

    fn no_ipv6() -> io::Error {
        io::Error::from_raw_os_error(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }

    #[tokio::test]
    async fn a_part_that_panics_is_told_and_one_that_ends_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, first_panic(&mut tasks)).await.is_err(), "it may end");
        tasks.spawn(async { panic!("a defect") });
        let told = first_panic(&mut tasks).await.to_string();
        assert!(told.contains("a defect"), "{told}");
        assert!(tokio::time::timeout(short, first_panic(&mut JoinSet::new())).await.is_err(), "there is none");
    }

    #[tokio::test]
    async fn a_machine_without_ipv6_has_one_loopback() {
        let bind = async |address: SocketAddr| if address.is_ipv6() { Err(no_ipv6()) } else { TcpListener::bind(address).await };
        assert_eq!(listen(&[place("localhost:0")], bind).await.unwrap().len(), 1);
        let none = listen(&[place("localhost:0")], async |_| Err(no_ipv6())).await;
        assert!(none.unwrap_err().to_string().contains("Cannot listen on [::1]"), "with no address at all, it says so");
    }

    #[tokio::test]
    async fn any_port_is_the_same_on_every_address() {
        // Both loopbacks are this one here, so that the test needs no IPv6; the second port is taken once.
        let asked = std::sync::Mutex::new(Vec::new());
        let taken = AtomicUsize::new(0);
        let places = [place("localhost:0")];
        let listeners = listen(&places, async |address: SocketAddr| {
            asked.lock().unwrap().push(address);
            if address.is_ipv6() && taken.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(io::Error::from(ErrorKind::AddrInUse));
            }
            TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, if address.is_ipv6() { 0 } else { address.port() })).await
        });
        let listeners = listeners.await.unwrap();
        let asked = asked.into_inner().unwrap();
        assert_eq!((asked[0].port(), asked[2].port()), (0, 0), "any port, and any other when the first was taken");
        assert_eq!(asked[3].port(), listeners[0].local_addr().unwrap().port());
        assert_ne!(asked[3].port(), 0);
    }

    /// Who has the other loopback of the port would get half of the visitors.
    #[tokio::test]
    async fn a_port_that_is_taken_on_one_loopback_is_taken() {
        let first = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        first.set_nonblocking(true).unwrap();
        let port = first.local_addr().unwrap().port();
        for (kind, parts) in [
            (
                ErrorKind::AddrInUse,
                [format!("Port {port} is taken on ::1"), format!("`--listen localhost:{}`", port.max(1023) + 1)],
            ),
            (ErrorKind::PermissionDenied, [format!("may not listen on port {port}"), "`--listen localhost:4000`".to_owned()]),
        ] {
            let bind = async |address: SocketAddr| {
                if address.is_ipv6() { Err(io::Error::from(kind)) } else { TcpListener::from_std(first.try_clone()?) }
            };
            let refused = listen(&[place(&format!("localhost:{port}"))], bind).await.unwrap_err().to_string();
            for part in parts {
                assert!(refused.contains(&part), "{part}: {refused}");
            }
        }
    }
}
