//! [`TestApp`]: everything, on a port of its own, until it is dropped.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part, and one of them all")]

pub mod agent;
pub mod apps;
pub mod client;
pub mod gate;
pub mod github;
pub mod log;
pub mod ttyd;
pub mod world;

pub use client::{Answer, Client};

use crate::postgres;
use engine::{
    clock::{Clock, SystemClock},
    database::{Database, memory::MemoryDatabase},
    orchestrator::Orchestrator,
    random::SystemRandom,
    reconcile::{self, Reconciler},
    store::{Store, accounts::Accounts, full::FullBell, linked::LinkedAccounts, postgres::PgStore, repositories::Repositories},
};
use jiff::Timestamp;
use model::{
    ProjectId, UserId,
    resources::Sizes,
    view::{Installation, Scope},
};
use secrecy::{ExposeSecret as _, SecretString};
use server::{
    clone::Cloner,
    config::{github::GitHubSettings, kubernetes::KubernetesArgs},
    control::{Controller, ControllerParts},
    doctor::{Doctor, Place},
    github::GitHub,
    http::{
        self, Plane, PlaneParts,
        assets::Site,
        auth::watch::CredentialWatch,
        connections::{self, Doors},
        patience::{PATIENCE, PatientStore, RECONCILING},
        security::{Network, Origins},
    },
    live::{Live, Said},
    room::Room,
    views::{Addresses, IngressDomain, PreviewDomain, PreviewPorts},
};
use sqlx::{PgPool, postgres::PgConnectOptions};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use world::World;

/// The public URL of an app behind TLS.
pub const SECURE: &str = "https://fsa.example";

/// What prints a sign-in link beside it, as a server says that is not in `PATH`.
pub const SIGN_IN_COMMAND: &str = "/opt/fsa/fullstack-agent sign-in-link --data-dir /srv/fsa";

/// A server with everything behind it.
pub struct TestApp {
    pub port: u16,
    /// As a browser names it.
    pub public: String,
    pub accounts: Accounts,
    pub store: Arc<dyn Store>,
    pub world: Arc<World>,
    /// The server of projects' databases.
    pub databases: Arc<MemoryDatabase>,
    /// Aside of the server's own, for looking and meddling.
    pub pool: PgPool,
    pub owner: UserId,
    /// What secrets at rest are sealed by.
    pub vault: Arc<engine::secrets::Vault>,
    /// Between the server and its PostgreSQL.
    pub gate: gate::Gate,
    stop: CancellationToken,
    pub log: log::Log,
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Pages other than the server's own.
pub type Pages = fn(&Plane) -> axum::Router<Plane>;

/// How an app is different from the usual one.
#[derive(Default)]
pub struct Setup {
    /// Behind TLS: the public URL and the preview domain are `https`, on hosts of their own.
    pub secure: bool,
    /// As `cargo xtask dev` starts it.
    pub dev: bool,
    /// Other pages.
    pub pages: Option<Pages>,
    /// How many requests a second a session or token may make; 0: as many as it likes.
    pub requests_per_second: u32,
    /// How many ports are previews; 0: they have names of their own.
    pub preview_ports: u16,
    /// Proxies whose word on addresses is believed.
    pub trusted_proxies: Vec<Network>,
    /// The domain of Ingresses.
    pub ingress: Option<&'static str>,
    /// What makes its sandboxes, as pages are told.
    pub orchestrator: Option<&'static str>,
    /// What sizes stand for, as `--size` says it.
    pub sizes: Sizes,
    /// How long stages may take, as `--stage-deadlines` says it.
    pub stage_deadlines: Option<[Duration; 5]>,
    /// The cluster that the doctor looks at, in the place of this machine.
    pub cluster: Option<KubernetesArgs>,
    /// GitHub.
    pub github: Option<GitHubSettings>,
    /// The operator's variables in every sandbox.
    pub operator_env: BTreeMap<String, SecretString>,
    /// What another start has made.
    pub world: Option<(Arc<World>, Arc<MemoryDatabase>)>,
    /// A log that has begun.
    pub log: Option<log::Log>,
    /// A database with our tables, on another server than the usual one.
    pub database: Option<(PgConnectOptions, PgPool)>,
    /// What its secrets at rest are sealed by, where it has some.
    pub vault: Option<Arc<engine::secrets::Vault>>,
    /// Where that server writes, if the app is to know it.
    pub writes_to: Option<PathBuf>,
}

impl TestApp {
    /// `None`, said once, where there is no PostgreSQL.
    pub async fn start() -> Option<Self> {
        Self::start_as(Setup::default()).await
    }

    /// As [`Self::start`], and different.
    pub async fn start_as(setup: Setup) -> Option<Self> {
        let log = setup.log.unwrap_or_else(log::Log::begin);
        let (options, pool) = match setup.database {
            Some(given) => given,
            None => postgres::database().await?,
        };
        let gate = gate::Gate::before(&options);
        pool.close().await;
        let pool = engine::store::postgres::pool::pool(gate.through(&options), 8);
        let aside = postgres::aside(&options).await;
        let vault = setup.vault.unwrap_or_else(postgres::vault);
        let installation = engine::store::postgres::installation::open(&pool, &vault, Timestamp::now()).await.unwrap();
        let linked = |host: &str| LinkedAccounts::new(pool.clone(), vault.clone(), host);
        let github = setup.github.map(|settings| (linked(&settings.host), settings));
        let store = PgStore::start(pool.clone(), vault.clone()).await.unwrap().with_sizes(setup.sizes);
        let store: Arc<dyn Store> = Arc::new(store);
        let patient = PatientStore::around(store.clone(), PATIENCE);
        let full = FullBell::default();
        let room = Room::new(setup.writes_to, pool.clone(), full.clone());
        let accounts = Accounts::new(pool).by_providers(github.is_some());
        let owner = accounts.ensure_owner(Timestamp::now()).await.unwrap().id;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (world, databases) = setup.world.unwrap_or_else(|| {
            let databases = MemoryDatabase::new(clock.clone(), Arc::new(SystemRandom));
            (Arc::new(World::new(clock.clone())), Arc::new(databases))
        });
        let orchestrator: Arc<dyn Orchestrator> = world.clone();
        let database: Arc<dyn Database> = databases.clone();
        let mut settings =
            reconcile::Settings { full, operator_env: setup.operator_env, ..reconcile::Settings::new(installation) };
        if let Some(stages) = setup.stage_deadlines {
            settings.limits.stages = stages;
        }
        let reconciler = Reconciler::new(
            PatientStore::around(store.clone(), RECONCILING),
            orchestrator.clone(),
            database.clone(),
            clock.clone(),
            Arc::new(SystemRandom),
            settings.clone(),
        );
        let metrics = Arc::new(http::metrics::Metrics::new(&settings.measures, Vec::new));
        let stop = CancellationToken::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (public, preview) = match setup.secure {
            true => (SECURE.to_owned(), PreviewDomain { scheme: "https".into(), domain: "preview.example".into(), port: None }),
            false => (
                format!("http://localhost:{port}"),
                PreviewDomain { scheme: "http".into(), domain: "localhost".into(), port: Some(port) },
            ),
        };
        let ingress = setup.ingress.map(|domain| IngressDomain { scheme: "http".into(), domain: domain.into() });
        let on_ports = if setup.preview_ports > 0 { Some(consecutive(setup.preview_ports).await) } else { None };
        let (preview, preview_ports) = match &on_ports {
            Some((range, _)) => {
                let ports = PreviewPorts { scheme: preview.scheme, host: "127.0.0.1".into(), range: range.clone() };
                (None, Some(ports))
            }
            None => (Some(preview), None),
        };
        let addresses = Addresses { public: public.clone(), preview, preview_ports, ingress };
        let watch = CredentialWatch::new(accounts.clone());
        let github = github.map(|(linked, settings)| Arc::new(GitHub::new(settings, linked, &public).unwrap()));
        let said = Said { full: room.full(), limits: settings.limits, ..Said::default() };
        let live = Live::new(store.clone(), orchestrator.clone(), clock.clone(), addresses.clone(), said, stop.clone());
        let repositories = Repositories::new(aside.clone());
        let cloner = Cloner::new(repositories, patient.clone(), orchestrator.clone(), live.clone(), github.clone(), stop.clone());
        live.answer_git_by(&cloner);
        let controller = Arc::new(Controller::new(ControllerParts {
            store: patient.clone(),
            accounts: accounts.clone(),
            database,
            reconciler: reconciler.clone(),
            live: live.clone(),
            clock,
            random: Arc::new(SystemRandom),
            settings,
            installation: Installation {
                version: "test".into(),
                orchestrator: setup.orchestrator.unwrap_or("memory").into(),
                sign_in_command: SIGN_IN_COMMAND.into(),
                sizes: setup.sizes,
                ..Installation::default()
            },
            addresses: addresses.clone(),
            watch: watch.clone(),
            cloner: cloner.clone(),
            github_signs_in: github.as_ref().is_some_and(|github| github.signs_in()),
            projects_per_user: 50,
            metrics: metrics.clone(),
            activity_days: 90,
        }));
        let local = local::LocalSettings::new(std::env::temp_dir(), installation, std::env::current_exe().unwrap());
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let place = match setup.cluster {
            Some(args) => Place::Cluster { args: Box::new(args), secret_dir: std::env::temp_dir(), public: public.clone() },
            None => Place::Machine { settings: Box::new(local), listen },
        };
        let plane = Plane::new(PlaneParts {
            doctor: Arc::new(Doctor::new(place, store.clone(), installation)),
            store: patient,
            accounts: accounts.clone(),
            orchestrator,
            controller,
            live: live.clone(),
            watch: watch.clone(),
            origins: Origins::new(&addresses, setup.trusted_proxies),
            addresses,
            site: Site::default(),
            sign_in_command: SIGN_IN_COMMAND.into(),
            requests_per_second: setup.requests_per_second,
            metrics,
            metrics_token: Some("a metrics token".into()),
            stop: stop.clone(),
            dev: setup.dev,
            github,
            cloner: cloner.clone(),
            room: room.clone(),
        });
        tokio::spawn(room.run(stop.clone()));
        tokio::spawn(reconciler.run(stop.clone()));
        tokio::spawn(live.run());
        tokio::spawn(cloner.run());
        tokio::spawn(watch.run(stop.clone()));
        let pages = setup.pages.unwrap_or(http::leptos::routes);
        let router = http::router_with(&plane, pages(&plane));
        let doors = Doors::new(plane.origins.clone(), connections::MOST);
        for listener in on_ports.map(|(_, listeners)| listeners).unwrap_or_default() {
            let mark = http::preview::PreviewListener(listener.local_addr().unwrap().port());
            let marked = axum::Router::new().fallback_service(router.clone()).layer(axum::Extension(mark));
            tokio::spawn(connections::serve(listener, marked, doors.clone(), stop.clone()));
        }
        tokio::spawn(connections::serve(listener, router, doors, stop.clone()));
        Some(Self { port, public, accounts, store, world, databases, pool: aside, owner, vault, gate, stop, log })
    }

    /// Another start on the same tables.
    pub async fn again(&self, setup: Setup) -> Self {
        let options = (*self.pool.connect_options()).clone();
        let database = Some((options.clone(), PgPool::connect_lazy_with(options)));
        Self::start_as(Setup { database, vault: Some(self.vault.clone()), ..setup }).await.unwrap()
    }

    /// Ends the server.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// What another process shows, on the same tables and of the same sandboxes; what is cloned, either clones.
    pub async fn beside(&self) -> Arc<Live> {
        let pool = engine::store::postgres::pool::pool((*self.pool.connect_options()).clone(), 4);
        let store: Arc<dyn Store> = Arc::new(PgStore::start(pool.clone(), self.vault.clone()).await.unwrap());
        let orchestrator: Arc<dyn Orchestrator> = self.world.clone();
        let addresses = Addresses { public: self.public.clone(), preview: None, preview_ports: None, ingress: None };
        let (clock, stop) = (Arc::new(SystemClock), self.stop.clone());
        let live = Live::new(store.clone(), orchestrator.clone(), clock, addresses, Said::default(), stop.clone());
        tokio::spawn(Cloner::new(Repositories::new(pool), store, orchestrator, live.clone(), None, stop).run());
        live
    }

    /// Nobody.
    pub fn anonymous(&self) -> Client {
        let host = self.public.split_once("://").unwrap().1;
        Client::new(self.port).with("host", host)
    }

    /// A sign-in code of the owner.
    pub async fn code(&self) -> String {
        self.accounts.make_sign_in_code(self.owner, Timestamp::now()).await.unwrap().expose_secret().to_owned()
    }

    /// The owner, with a session.
    pub async fn signed_in(&self) -> Client {
        self.sign_in(self.owner).await
    }

    /// Somebody else, with a session.
    pub async fn somebody_else(&self) -> Client {
        let id = uuid::Uuid::new_v4();
        sqlx::query("INSERT INTO users (id, name, created_at) VALUES ($1, 'Somebody', now())")
            .bind(id)
            .execute(&self.pool)
            .await
            .unwrap();
        self.sign_in(UserId(id)).await
    }

    async fn sign_in(&self, user: UserId) -> Client {
        let code = self.accounts.make_sign_in_code(user, Timestamp::now()).await.unwrap();
        let client = self.anonymous();
        let answer = client.post("/api/sign-in", &serde_json::json!({ "code": code.expose_secret() })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.headers.get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
        client.with("cookie", &cookie).with("origin", &self.public)
    }

    /// A program with a token of the owner's.
    pub async fn token(&self, scope: Scope) -> Client {
        let token = self.accounts.make_token(self.owner, "test", scope, None, Timestamp::now()).await.unwrap();
        self.anonymous().with("authorization", &format!("Bearer {}", token.secret))
    }

    /// A project that runs.
    pub async fn running(&self, client: &Client, name: &str) -> (ProjectId, String) {
        let mut answer = client.post("/api/projects", &serde_json::json!({ "name": name })).await;
        while answer.status == 429 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            answer = client.post("/api/projects", &serde_json::json!({ "name": name })).await;
        }
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id: ProjectId = answer.json()["id"].as_str().unwrap().parse().unwrap();
        let sandbox = answer.json()["sandbox"]["name"].as_str().unwrap().to_owned();
        self.reaches(client, id, "Running").await;
        (id, sandbox)
    }

    /// What is in every table: how many rows, and a hash of all of them; but for when a token was last
    /// used, which every use may note.
    pub async fn tables(&self) -> BTreeMap<String, String> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let mut found = BTreeMap::new();
        for name in names {
            let rows = format!("SELECT (to_jsonb(t) - 'last_used_at')::text AS r FROM {name} t");
            let look = format!("SELECT count(*) || ' ' || coalesce(md5(string_agg(r, ';' ORDER BY r)), '') FROM ({rows}) rows");
            let look: String = sqlx::query_scalar(sqlx::AssertSqlSafe(look)).fetch_one(&self.pool).await.unwrap();
            found.insert(name, look);
        }
        found
    }

    /// Waits until reconciling has nothing to write any more.
    pub async fn settled(&self) {
        let mut last = self.tables().await;
        let mut since = Instant::now();
        let deadline = since + Duration::from_secs(10);
        while since.elapsed() < Duration::from_millis(150) {
            assert!(Instant::now() < deadline, "it did not settle");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.tables().await;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Waits for a phase.
    pub async fn reaches(&self, client: &Client, id: ProjectId, phase: &str) {
        let path = format!("/api/sandbox/{id}");
        until(&format!("{id} to be {phase}"), async || client.get(&path).await.json()["phase"] == phase).await;
    }
}

/// Ports beside each other that are free, listened on.
async fn consecutive(count: u16) -> (std::ops::RangeInclusive<u16>, Vec<TcpListener>) {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let Some(last) = port.checked_add(count - 1) else { continue };
        let mut all = vec![first];
        for next in port + 1..=last {
            match TcpListener::bind(("127.0.0.1", next)).await {
                Ok(listener) => all.push(listener),
                Err(_) => break,
            }
        }
        if all.len() == usize::from(count) {
            return (port..=last, all);
        }
    }
}

/// Asks until it is so, for ten seconds at most.
pub async fn until(what: &str, is_so: impl AsyncFnMut() -> bool) {
    until_within(Duration::from_secs(10), what, is_so).await;
}

/// The same, where what is waited for takes the machine seconds of work.
pub async fn until_within(patience: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What this process has in memory: the server, its clients, and the tests beside this one.
pub fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
