//! Asks with an `Idempotency-Key` that make no project and are no intent of one: each is carried out once for a key, within a
//! day. Nothing of an answer is kept, so what is asked again is answered by how things are by then.

use super::{Controller, may_change, store_error};
use crate::http::{auth::visit, errors, patience::patient};
use app::error::{ControlError, ErrorKind};
use engine::store::accounts::keys::KeyUse;
use model::view::Viewer;
use tracing::{Instrument as _, error, warn};

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
        match self.take_key(viewer, &what, &key).await? {
            KeyUse::First => {}
            KeyUse::UnderWay => return Err(under_way().into()),
            KeyUse::Done(_) => return again.await,
        }
        let (accounts, clock, user) = (self.parts.accounts.clone(), self.parts.clock.clone(), viewer.user);
        let work = async move {
            let done = ask.await;
            let noted = if done.is_ok() {
                patient(accounts.key_is_done(user, &what, &key, clock.now())).await
            } else {
                patient(accounts.forget_key(user, &what, &key)).await
            };
            if let Err(error) = noted {
                warn!(user.id = %user, "failed to note what became of a key: {error:#}");
            }
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
    pub async fn begin_once(&self, viewer: &Viewer, what: &str, key: Option<&str>) -> Result<(), ControlError> {
        let Some(key) = key else { return Ok(()) };
        if self.take_key(viewer, what, key).await? == KeyUse::First {
            return Ok(());
        }
        let message = "A command was begun by this key already, and is not run again; what it wrote is kept nowhere.";
        let next = "Look at what it has done. To run it again, send another key.";
        Err(ControlError::new(ErrorKind::Conflict, "key-used", message, next))
    }

    /// It was not begun after all, and may be asked by the same key again.
    pub async fn not_begun(&self, viewer: &Viewer, what: &str, key: Option<&str>) {
        let Some(key) = key else { return };
        if let Err(error) = patient(self.parts.accounts.forget_key(viewer.user, what, key)).await {
            warn!(user.id = %viewer.user, "failed to forget a key: {error:#}");
        }
    }

    async fn take_key(&self, viewer: &Viewer, what: &str, key: &str) -> Result<KeyUse, ControlError> {
        may_change(viewer)?;
        patient(self.parts.accounts.take_key(viewer.user, what, key, self.now())).await.map_err(store_error)
    }
}

fn under_way() -> ControlError {
    let message = "What was asked by this key is under way, or broke off without a word.";
    let next = "Ask again in a moment. Where it stays so, look at what was done, and ask by another key if it was not.";
    ControlError::new(ErrorKind::Conflict, "key-under-way", message, next)
}
