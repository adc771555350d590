//! Sessions of tower-sessions in our own tables.

use crate::http::patience::Turns;
use engine::{
    clock::{Clock as _, SystemClock},
    store::{
        StoreError,
        accounts::{Accounts, sessions::SessionRow},
    },
};
use jiff::Timestamp;
use model::UserId;
use std::collections::HashMap;
use tower_sessions::{
    SessionStore,
    cookie::time::OffsetDateTime,
    session::{Id, Record},
    session_store::{Error, Result},
};

/// Sessions in PostgreSQL. An error says `away` where asking again may help.
#[derive(Debug, Clone)]
pub struct Sessions {
    accounts: Accounts,
    turns: Turns,
}

/// Begins the message of an error that passes by itself: tower-sessions keeps texts only.
pub const AWAY: &str = "away: ";

impl Sessions {
    /// On the tables of accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { turns: Turns::of(&accounts), accounts }
    }
}

#[async_trait::async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        loop {
            let (accounts, row) = (self.accounts.clone(), row(record)?);
            if self.turns.take(async move { accounts.create_session(&row).await }).await.map_err(failed)? {
                return Ok(());
            }
            record.id = Id::default();
        }
    }

    /// A session that was ended meanwhile stays ended.
    async fn save(&self, record: &Record) -> Result<()> {
        let (accounts, row) = (self.accounts.clone(), row(record)?);
        self.turns.take(async move { accounts.save_session(&row).await }).await.map_err(failed)?;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let (accounts, key) = (self.accounts.clone(), id.0);
        let found = self.turns.take(async move { accounts.session(key, SystemClock.now()).await }).await.map_err(failed)?;
        let Some(row) = found else { return Ok(None) };
        let data: HashMap<String, serde_json::Value> =
            serde_json::from_slice(&row.data).map_err(|error| Error::Decode(error.to_string()))?;
        let expiry_date =
            OffsetDateTime::from_unix_timestamp(row.expires_at.as_second()).map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let (accounts, key) = (self.accounts.clone(), id.0);
        self.turns.take(async move { accounts.end_session(key).await }).await.map_err(failed)
    }
}

fn row(record: &Record) -> Result<SessionRow> {
    let data = serde_json::to_vec(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
    // Where axum-login keeps who it is.
    let user = record.data.get("axum-login.data").and_then(|data| data.get("user_id")?.as_str()?.parse().ok()).map(UserId);
    let expires_at =
        Timestamp::from_second(record.expiry_date.unix_timestamp()).map_err(|error| Error::Encode(error.to_string()))?;
    Ok(SessionRow { id: record.id.0, user, data, expires_at })
}

fn failed(error: StoreError) -> Error {
    match error {
        StoreError::Away(error) => {
            super::visit::store_is_away();
            Error::Backend(format!("{AWAY}{error:#}"))
        }
        StoreError::NoRoom(error) => {
            super::visit::store_is_full();
            super::visit::store_is_away();
            Error::Backend(format!("{AWAY}{error:#}"))
        }
        StoreError::Broken(error) => Error::Backend(format!("{error:#}")),
        refused @ (StoreError::Full(_) | StoreError::Refused(_)) => Error::Backend(refused.to_string()),
    }
}
