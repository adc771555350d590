//! Ends what outlives its request (streams, terminals, commands) within a second of its session's or
//! token's end.
//!
//! Every credential in use by such a stream is looked up twice a second, since it may be ended by
//! another process (`token revoke`). With no stream, nothing is asked.

use engine::{
    clock::{Clock as _, SystemClock},
    store::{StoreError, accounts::Accounts},
};
use model::TokenId;
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

/// By what a visitor is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A session, by its id.
    Session(i128),
    /// An API token, by the row's id.
    Token(TokenId),
}

/// Watches the credentials of streams.
#[derive(Debug)]
pub struct CredentialWatch {
    accounts: Accounts,
    held: Mutex<HashMap<Credential, Weak<Held>>>,
    look: Notify,
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

impl CredentialWatch {
    /// Watches nothing before [`Self::run`].
    #[must_use]
    pub fn new(accounts: Accounts) -> Arc<Self> {
        Arc::new(Self { accounts, held: Mutex::default(), look: Notify::new() })
    }

    /// Watches a credential.
    #[must_use]
    pub fn hold(&self, credential: Credential) -> Arc<Held> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = all.get(&credential).and_then(Weak::upgrade).filter(|held| !held.over.is_cancelled()) {
            return held;
        }
        let held = Arc::new(Held { over: CancellationToken::new() });
        all.insert(credential, Arc::downgrade(&held));
        drop(all);
        self.look.notify_one();
        held
    }

    /// "Look now": something was signed out or revoked here.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Looks until the end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let all = self.in_use();
            for (credential, held) in &all {
                match self.works(*credential).await {
                    Ok(true) => {}
                    Ok(false) => held.over.cancel(),
                    // Nobody is signed out because the database is away.
                    Err(error) => debug!("cannot look whether a credential still works: {error:#}"),
                }
            }
            let idle = all.is_empty();
            drop(all);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look.notified() => {}
                () = tokio::time::sleep(PERIOD), if !idle => {}
            }
        }
    }

    fn in_use(&self) -> Vec<(Credential, Arc<Held>)> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, held| held.strong_count() > 0);
        all.iter().filter_map(|(credential, held)| Some((*credential, held.upgrade()?))).collect()
    }

    async fn works(&self, credential: Credential) -> Result<bool, StoreError> {
        let now = SystemClock.now();
        match credential {
            Credential::Session(id) => Ok(self.accounts.session(id, now).await?.is_some_and(|session| session.user.is_some())),
            Credential::Token(id) => self.accounts.token_works(id, now).await,
        }
    }
}
