//! Making an API token, whose secret is told once.

use super::{Controller, may_change, store_error};
use crate::http::{auth::visit, patience::patient};
use app::error::{ControlError, ErrorKind};
use engine::store::{
    accounts::{keys::Made, tokens},
    activity,
};
use jiff::SignedDuration;
use model::{
    DisplayName, TokenId,
    view::{NewToken, Scope, Viewer},
};

impl Controller {
    /// Makes an API token; with a key, once for it within a day.
    ///
    /// # Errors
    /// `403 Forbidden`, `422 Unprocessable Content`; `409 Conflict`: by that key it was made before, and its secret, which is
    /// kept nowhere, is not told again.
    pub async fn create_token_once(
        &self,
        viewer: &Viewer,
        name: &str,
        scope: Scope,
        days: Option<u32>,
        key: Option<String>,
    ) -> Result<NewToken, ControlError> {
        may_change(viewer)?;
        let name: DisplayName = name.parse().map_err(|_| {
            let message = "A token needs a name of 1 to 300 characters on one line, such as the program that will use it.";
            ControlError::new(ErrorKind::Invalid, "bad-token-name", message, "Type one.").at("name")
        })?;
        if days.is_some_and(|days| !(1..=3650).contains(&days)) {
            let message = "A token expires in 1 to 3650 days, or never.";
            return Err(ControlError::new(ErrorKind::Invalid, "bad-expiry", message, "Give a number in that range.").at("days"));
        }
        let (now, actor) = (self.now(), visit::actor(viewer));
        let expires = days.and_then(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
        let maker = visit::maker();
        let (accounts, user, name) = (&self.parts.accounts, viewer.user, name.as_str());
        let made = async {
            match (key, maker) {
                (Some(key), made_by) => {
                    accounts.make_token_once(user, tokens::fresh(name, scope, expires, made_by, now), &key).await
                }
                (None, Some(maker)) => {
                    let made = accounts.make_token_by(maker, user, name, scope, expires, now).await?;
                    Ok(made.map_or(Made::MakerGone, Made::Now))
                }
                (None, None) => accounts.make_token(user, name, scope, expires, now).await.map(Made::Now),
            }
        };
        match activity::by(actor, patient(made)).await.map_err(store_error)? {
            Made::Now(token) => Ok(token),
            Made::Before(id) => Err(token_made_before(id)),
            Made::MakerGone => Err(ControlError::signed_out()),
        }
    }
}

fn token_made_before(id: Option<TokenId>) -> ControlError {
    let message = "A token was made by this key already. Its secret was in the first answer, and is kept nowhere.";
    let which = id.map_or_else(|| "it".to_owned(), |id| format!("the token {id}"));
    let next = format!("Where that answer is lost, revoke {which}, and make another one by another key.");
    ControlError::new(ErrorKind::Conflict, "key-used", message, &next)
}
