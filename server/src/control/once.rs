//! Asks with an `Idempotency-Key` that make no project and are no intent of one: each is carried out once for a key, within a
//! day. Nothing of an answer is kept, so what is asked again is answered by how things are by then.

use super::{Controller, may_change, store_error};
use crate::http::{auth::visit, errors, patience::patient};
use app::error::{ControlError, ErrorKind};
use engine::store::{
    StoreError,
    accounts::{Accounts, keys::KeyUse},
};
use jiff::Timestamp;
use model::{UserId, view::Viewer};
use std::time::Duration;
use tokio::{runtime::Handle, time::Instant};
use tracing::{Instrument as _, debug, error, warn};

/// For how long what became of a key is noted anew where the store is away.
///
/// A minute: PostgreSQL ends a statement of ours after half of it, so that one which takes a key after nobody waits for it any
/// more is over by then.
const AGAIN: Duration = Duration::from_secs(60);
/// The pause before the first of these; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(500);

/// A key that an ask has taken.
#[derive(Debug, Clone)]
pub struct TakenKey {
    accounts: Accounts,
    user: UserId,
    what: String,
    key: String,
    /// When. It is another ask's where it was taken at another time.
    at: Timestamp,
}

/// What became of what was asked with a key.
#[derive(Debug, Clone, Copy)]
enum Became {
    Done(Timestamp),
    NotDone,
    /// It was not begun, and it is not known whether the key was taken, or will be.
    NotTaken,
}

impl TakenKey {
    /// What was asked with it was not begun after all, and may be asked by the same key again.
    pub async fn not_begun(self) {
        self.noted(Became::NotDone).await;
    }

    /// `false` where it has to be noted again, though the store is there.
    async fn note(&self, became: Became) -> Result<bool, StoreError> {
        let forget = || patient(self.accounts.forget_key(self.user, &self.what, &self.key, self.at));
        match became {
            Became::Done(now) => patient(self.accounts.key_is_done(self.user, &self.what, &self.key, now)).await.map(|()| true),
            Became::NotDone => forget().await.map(|_| true),
            Became::NotTaken => forget().await,
        }
    }

    /// Notes it, and goes on in the background where the store is away.
    async fn noted(self, became: Became) {
        if let Err(error) = self.note(became).await {
            debug!(user.id = %self.user, "cannot note yet what became of a key: {error:#}");
            tokio::spawn(self.note_again(became).in_current_span());
        }
    }

    /// Notes it, later and later, until it is noted or [`AGAIN`] is over.
    async fn note_again(self, became: Became) {
        let (begin, mut pause) = (Instant::now(), PAUSE);
        loop {
            let noted = self.note(became).await;
            if matches!(noted, Ok(true)) {
                return;
            }
            if begin.elapsed() >= AGAIN {
                if let Err(error) = noted {
                    warn!(user.id = %self.user, "failed to note what became of a key: {error:#}");
                }
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// A key on its way to be taken: whoever gives that up, or hears nothing of it, forgets it.
struct Taking(Option<TakenKey>);

impl Drop for Taking {
    fn drop(&mut self) {
        if let (Some(key), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(key.note_again(Became::NotTaken).in_current_span());
        }
    }
}

impl Controller {
    /// Carries an ask of the viewer's out, once for a key. It goes on to its end, whether or not anybody still waits for its
    /// answer. The same key again is answered by `again`. What was refused may be asked by the same key again. Without a key,
    /// it is the ask alone.
    ///
    /// # Errors
    /// Those of the ask; `409 Conflict` while it is carried out; `503 Service Unavailable` where the key cannot be stored.
    pub async fn once<T, E>(
        &self,
        viewer: &Viewer,
        what: String,
        key: Option<String>,
        ask: impl Future<Output = Result<T, E>> + Send + 'static,
        again: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ControlError> + Send + 'static,
    {
        let Some(key) = key else { return ask.await };
        let taken = match self.take_key(viewer, what, key).await? {
            (KeyUse::First, taken) => taken,
            (KeyUse::UnderWay, _) => return Err(under_way().into()),
            (KeyUse::Done(_), _) => return again.await,
        };
        let clock = self.parts.clock.clone();
        let work = async move {
            let done = ask.await;
            taken.noted(if done.is_ok() { Became::Done(clock.now()) } else { Became::NotDone }).await;
            done
        };
        tokio::spawn(visit::carry(work).in_current_span()).await.unwrap_or_else(|failed| {
            error!(user.id = %viewer.user, "failed to carry an ask out: {failed}");
            Err(errors::internal().into())
        })
    }

    /// Takes a key of what is begun and cannot be looked at afterwards: nothing is answered for a second time.
    ///
    /// # Errors
    /// `409 Conflict`: it was begun by that key before; `503 Service Unavailable` where the key cannot be stored.
    pub async fn begin_once(&self, viewer: &Viewer, what: &str, key: Option<&str>) -> Result<Option<TakenKey>, ControlError> {
        let Some(key) = key else { return Ok(None) };
        if let (KeyUse::First, taken) = self.take_key(viewer, what.to_owned(), key.to_owned()).await? {
            return Ok(Some(taken));
        }
        let message = "A command was begun by this key already, and is not run again; what it wrote is kept nowhere.";
        let next = "Look at what it has done. To run it again, send another key.";
        Err(ControlError::new(ErrorKind::Conflict, "key-used", message, next))
    }

    /// What is known of a key, which is the ask's where nothing was.
    async fn take_key(&self, viewer: &Viewer, what: String, key: String) -> Result<(KeyUse, TakenKey), ControlError> {
        may_change(viewer)?;
        let taken = TakenKey { accounts: self.parts.accounts.clone(), user: viewer.user, what, key, at: self.now() };
        let mut taking = Taking(Some(taken.clone()));
        let known = patient(taken.accounts.take_key(taken.user, &taken.what, &taken.key, taken.at)).await;
        if !matches!(known, Err(StoreError::Away(_))) {
            taking.0 = None;
        }
        Ok((known.map_err(store_error)?, taken))
    }
}

fn under_way() -> ControlError {
    let message = "What was asked by this key is under way, or broke off without a word.";
    let next = "Ask again in a moment. Where it stays so, look at what was done, and ask by another key if it was not.";
    ControlError::new(ErrorKind::Conflict, "key-under-way", message, next)
}
