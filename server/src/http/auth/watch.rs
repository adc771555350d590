//! Ends what outlives its request (streams, terminals, commands, previews) within a second of its
//! session's or token's end.
//!
//! Every credential in use by such a stream is looked up twice a second, since it may be ended by
//! another process (`token revoke`). With no stream, nothing is asked.

use crate::http::patience::patient;
use engine::{
    clock::{Clock as _, SystemClock},
    store::{
        StoreError,
        accounts::{Accounts, shares::LinkUse},
    },
};
use futures::{StreamExt as _, stream};
use model::{ResourceName, TokenId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Half of the second that is promised.
const PERIOD: Duration = Duration::from_millis(500);
/// How many credentials are looked up at a time, so that many of them take no longer than the second that is promised: half of the
/// connections to the database.
const LOOKS: usize = 8;

/// By what a visitor is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A session, by its id.
    Session(i128),
    /// An API token, by the row's id.
    Token(TokenId),
    /// A preview's cookie, which ends with the session or token that it came from.
    Preview {
        /// The cookie's secret.
        cookie: String,
        /// Of which sandbox, by its name.
        sandbox: ResourceName,
        /// Which port it opens.
        port: u16,
    },
    /// A public link to a preview.
    Link {
        /// The link's secret.
        secret: String,
        /// Of which sandbox, by its name.
        sandbox: ResourceName,
        /// Which port it opens.
        port: u16,
    },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ids and cookies are secrets.
        match self {
            Self::Session(_) => f.write_str("Session"),
            Self::Token(id) => f.debug_tuple("Token").field(id).finish(),
            Self::Preview { sandbox, port, .. } => {
                f.debug_struct("Preview").field("sandbox", sandbox).field("port", port).finish_non_exhaustive()
            }
            Self::Link { sandbox, port, .. } => {
                f.debug_struct("Link").field("sandbox", sandbox).field("port", port).finish_non_exhaustive()
            }
        }
    }
}

/// Why what outlives its request ends before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Its credential is over.
    SignedOut,
    /// The server stops.
    Stopping,
}

/// Watches the credentials of streams.
#[derive(Debug)]
pub struct CredentialWatch {
    accounts: Accounts,
    held: Mutex<HashMap<Credential, Weak<Held>>>,
    look: Notify,
    begun: Notify,
}

/// A credential that is watched for as long as this is held.
#[derive(Debug)]
pub struct Held {
    over: CancellationToken,
}

impl Held {
    /// Once the credential is over.
    #[must_use]
    pub fn over(&self) -> &CancellationToken {
        &self.over
    }
}

/// Until the credential, if there is one, is over, or the server stops.
pub async fn over(held: Option<Arc<Held>>, stop: CancellationToken) -> Over {
    let signed_out = async {
        match &held {
            Some(held) => held.over().cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = signed_out => Over::SignedOut,
        () = stop.cancelled() => Over::Stopping,
    }
}

impl CredentialWatch {
    /// Watches nothing before [`Self::run`].
    #[must_use]
    pub fn new(accounts: Accounts) -> Arc<Self> {
        Arc::new(Self { accounts, held: Mutex::default(), look: Notify::new(), begun: Notify::new() })
    }

    /// Watches a credential, which worked just now: it is looked up again only if it is still held after
    /// a while, so that the many short requests to a preview ask nothing.
    #[must_use]
    pub fn hold(&self, credential: Credential) -> Arc<Held> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get(&credential).and_then(Weak::upgrade).filter(|held| !held.over.is_cancelled()) {
            return held;
        }
        let held = Arc::new(Held { over: CancellationToken::new() });
        all.insert(credential, Arc::downgrade(&held));
        drop(all);
        self.begun.notify_one();
        held
    }

    /// "Look now": something was signed out or revoked here.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Looks until the end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let idle = self.in_use().is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look.notified() => {}
                () = self.begun.notified(), if idle => continue,
                () = tokio::time::sleep(PERIOD), if !idle => {}
            }
            let this = &self;
            let looks = self.in_use().into_iter().map(|(credential, held)| async move {
                match this.works(&credential).await {
                    Ok(true) => {}
                    Ok(false) => held.over.cancel(),
                    // Nobody is signed out because the database is away.
                    Err(error) => debug!("cannot look whether a credential still works: {error:#}"),
                }
            });
            stream::iter(looks).buffer_unordered(LOOKS).collect::<()>().await;
        }
    }

    fn in_use(&self) -> Vec<(Credential, Arc<Held>)> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, held| held.strong_count() > 0);
        all.iter().filter_map(|(credential, held)| Some((credential.clone(), held.upgrade()?))).collect()
    }

    async fn works(&self, credential: &Credential) -> Result<bool, StoreError> {
        let now = SystemClock.now();
        patient(async {
            match credential {
                Credential::Session(id) => {
                    Ok(self.accounts.session(*id, now).await?.is_some_and(|session| session.user.is_some()))
                }
                Credential::Token(id) => self.accounts.token_works(*id, now).await,
                Credential::Preview { cookie, sandbox, port } => {
                    Ok(self.accounts.preview_visitor(cookie, sandbox, *port, now).await?.is_some())
                }
                Credential::Link { secret, sandbox, port } => {
                    Ok(matches!(self.accounts.link(secret, sandbox, *port, now).await?, LinkUse::Open { .. }))
                }
            }
        })
        .await
    }
}
