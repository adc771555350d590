//! What requests are answered from, made of what a start has made.

use crate::{
    clone::Cloner,
    config::Config,
    control::{Controller, ControllerParts},
    doctor::Doctor,
    github::GitHub,
    http::{Plane, PlaneParts, assets::Site, auth::watch::CredentialWatch, metrics::Metrics, security::Origins},
    live::{Live, Said},
    room::Room,
};
use engine::{
    clock::{Clock, SystemClock},
    database::Database,
    orchestrator::Orchestrator,
    random::SystemRandom,
    reconcile::{self, Reconciler},
    store::{Store, accounts::Accounts, repositories::Repositories},
};
use model::{Cause, view::Installation};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) struct Parts<'a> {
    pub(super) doctor: Arc<Doctor>,
    pub(super) trouble: watch::Receiver<Option<Cause>>,
    pub(super) room: Arc<Room>,
    pub(super) store: Arc<dyn Store>,
    pub(super) accounts: Accounts,
    pub(super) orchestrator: Arc<dyn Orchestrator>,
    pub(super) database: Arc<dyn Database>,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) settings: reconcile::Settings,
    pub(super) installation: Installation,
    pub(super) config: &'a Config,
    pub(super) site: Site,
    pub(super) stop: CancellationToken,
    pub(super) github: Option<Arc<GitHub>>,
    pub(super) repositories: Repositories,
}

pub(super) fn assemble(parts: Parts<'_>) -> Plane {
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
