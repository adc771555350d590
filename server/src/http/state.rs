//! What every handler has at hand.

use super::{assets::Site, auth::watch::CredentialWatch, leptos::Renderer, limits::Limit, security::Origins};
use crate::{agent::Agent, clone::Cloner, control::Controller, github::GitHub, live::Live, views::Addresses};
use app::control::Control;
use engine::{
    clock::{Clock as _, SystemClock},
    orchestrator::Orchestrator,
    store::{SandboxRow, Store, accounts::Accounts},
};
use jiff::Timestamp;
use std::{
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
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
    /// This build's assets.
    pub site: Site,
    /// The command that prints a new sign-in link.
    pub sign_in_command: String,
    /// Ends every stream.
    pub stop: CancellationToken,
    /// Whether pages load themselves again when another build serves them.
    pub dev: bool,
    /// GitHub, where this installation is set up for it.
    pub github: Option<Arc<GitHub>>,
    /// What clones repositories into new sandboxes.
    pub cloner: Arc<Cloner>,
}

/// What [`Plane`] gives access to.
pub struct Inner {
    parts: PlaneParts,
    /// Renders pages.
    pub renderer: Renderer,
    /// Sign-ins that did not work, by neighbourhood: twenty at once, then one every six seconds.
    pub failed_sign_ins: Limit<IpAddr>,
    /// Sign-ins that were begun, by neighbourhood, since each is a row: thirty at once, then one every six seconds.
    pub begun_sign_ins: Limit<IpAddr>,
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
        Self(Arc::new(Inner {
            parts,
            renderer: Renderer::default(),
            failed_sign_ins: Limit::new(20, Duration::from_secs(6)),
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

    /// An id that no other request has.
    #[must_use]
    pub fn request_id(&self) -> String {
        format!("{}-{}", self.boot, self.requests.fetch_add(1, Ordering::Relaxed))
    }
}
