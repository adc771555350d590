//! What every handler has at hand.

use super::{
    assets::Site,
    auth::watch::{Credential, CredentialWatch},
    leptos::Renderer,
    limits::{Limit, Wrong},
    metrics::Metrics,
    patience::Turns,
    preview::forward::Idle,
    security::Origins,
};
use crate::{
    agent::Agent, clone::Cloner, control::Controller, doctor::Doctor, github::GitHub, live::Live, room::Room, views::Addresses,
};
use app::control::Control;
use engine::{
    clock::{Clock as _, SystemClock},
    orchestrator::Orchestrator,
    store::{SandboxRow, Store, accounts::Accounts},
};
use jiff::Timestamp;
use model::port::PreviewLabel;
use secrecy::SecretString;
use std::{
    collections::HashMap,
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The control plane, as handlers see it.
#[derive(Clone)]
pub struct Plane(Arc<Inner>);

/// What a plane is made of.
pub struct PlaneParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Users and what lets them in.
    pub accounts: Accounts,
    /// Ways into sandboxes.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// The verbs.
    pub controller: Arc<Controller>,
    /// What viewers see.
    pub live: Arc<Live>,
    /// Ends streams whose credential is over.
    pub watch: Arc<CredentialWatch>,
    /// Where browsers reach things.
    pub addresses: Addresses,
    /// Which hosts and origins are ours.
    pub origins: Origins,
    /// Says what is right and wrong with the installation.
    pub doctor: Arc<Doctor>,
    /// This build's assets.
    pub site: Site,
    /// The command that prints a new sign-in link.
    pub sign_in_command: String,
    /// How many requests a second a session or token may make; 0: as many as it likes.
    pub requests_per_second: u32,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What lets a program elsewhere read metrics.
    pub metrics_token: Option<SecretString>,
    /// Ends every stream.
    pub stop: CancellationToken,
    /// Whether pages load themselves again when another build serves them.
    pub dev: bool,
    /// GitHub, where this installation is set up for it.
    pub github: Option<Arc<GitHub>>,
    /// What clones repositories into new sandboxes.
    pub cloner: Arc<Cloner>,
    /// Whether anything can be stored.
    pub room: Arc<Room>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A session or a token.
    Known(Credential),
    /// Anybody else, by neighbourhood.
    Unknown(IpAddr),
    /// Whom an Ingress asked about and who was not let in, by neighbourhood: an application's own requests keep nobody from
    /// signing in.
    AtIngress(IpAddr),
}

/// What [`Plane`] gives access to.
pub struct Inner {
    parts: PlaneParts,
    /// Renders pages.
    pub renderer: Renderer,
    /// Who asks the accounts about tokens.
    pub turns: Turns,
    /// Sign-in codes that did not work.
    pub wrong_codes: Wrong,
    /// API tokens that did not work: apart from the codes, since a program whose token is over asks on and on.
    pub wrong_tokens: Wrong,
    /// Sign-ins that were begun, by neighbourhood, since each is a row: thirty at once, then one every six seconds.
    pub begun_sign_ins: Limit<IpAddr>,
    /// Connections to apps that wait for another request.
    pub(super) idle: Arc<Idle>,
    /// What was found lately at the server's ports for previews.
    pub(super) preview_labels: Mutex<HashMap<u16, (PreviewLabel, Instant)>>,
    /// Requests, by who makes them: at once as many as in four seconds.
    requests_left: Option<Limit<Caller>>,
    /// The beginning of every id of a request of this process.
    boot: String,
    requests: AtomicU64,
}

impl Deref for Inner {
    type Target = PlaneParts;
    fn deref(&self) -> &PlaneParts {
        &self.parts
    }
}

impl Deref for Plane {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Plane {
    /// A plane of its parts.
    #[must_use]
    pub fn new(parts: PlaneParts) -> Self {
        let second = Duration::from_secs(1);
        let rate = parts.requests_per_second;
        let requests_left = (rate > 0).then(|| Limit::new(rate.saturating_mul(4), second / rate));
        Self(Arc::new(Inner {
            turns: Turns::of(&parts.accounts),
            parts,
            requests_left,
            preview_labels: Mutex::default(),
            idle: Arc::default(),
            renderer: Renderer::default(),
            wrong_codes: Wrong::new("sign-in links that did not work", 20),
            wrong_tokens: Wrong::new("API tokens that are unknown, revoked or expired", 100),
            begun_sign_ins: Limit::new(30, Duration::from_secs(6)),
            boot: hex::encode(rand::random::<[u8; 4]>()),
            requests: AtomicU64::new(0),
        }))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The verbs, as pages see them.
    #[must_use]
    pub fn control(&self) -> Arc<dyn Control> {
        self.controller.clone()
    }

    /// The command that prints a new sign-in link: whole to who is signed in or on this machine, and without paths and namespaces
    /// to strangers.
    #[must_use]
    pub fn sign_in_command_to(&self, known: bool) -> &str {
        if known { &self.sign_in_command } else { "fullstack-agent sign-in-link" }
    }

    /// The agent of a sandbox.
    #[must_use]
    pub fn agent(&self, row: &SandboxRow) -> Agent {
        Agent::of(self.orchestrator.clone(), row)
    }

    /// What tells this process from every other.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Takes one request of a caller's.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn admit(&self, caller: Caller) -> Result<(), Duration> {
        self.requests_left.as_ref().map_or(Ok(()), |left| left.take(caller))
    }

    /// An id that no other request has.
    #[must_use]
    pub fn request_id(&self) -> String {
        format!("{}-{}", self.boot, self.requests.fetch_add(1, Ordering::Relaxed))
    }
}
