//! Who asks.
//!
//! ```text
//!   cookie fsa_session ─▶ tower-sessions ─▶ axum-login ─┐
//!                                                       ├─▶ visit::Visit, on every request
//!   Authorization: Bearer fsa_… ────────────────────────┘
//! ```
//!
//! [`sign_in`] makes and ends sessions; [`watch`] ends streams whose session or token is over.

pub mod session_store;
pub mod sign_in;
pub mod visit;
pub mod watch;

use crate::http::patience::Turns;
use app::error::{ControlError, ErrorKind};
use engine::store::{StoreError, accounts::Accounts};
use model::UserId;

/// Someone who is signed in, as axum-login keeps them.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Their id.
    pub id: UserId,
    /// As pages name them.
    pub name: String,
    /// Whether they are let in nowhere for now.
    pub kept_out: bool,
}

/// The refusal of who is known, and kept out: they sign in by GitHub, and this server is not configured for it now.
#[must_use]
pub fn kept_out() -> ControlError {
    ControlError::new(
        ErrorKind::SignedOut,
        "github-off",
        "You sign in by GitHub, and this server is not configured for it now. Your sessions and tokens open nothing meanwhile, and are kept.",
        "Ask who runs this server: once GitHub is configured again, they work as before.",
    )
}

impl axum_login::AuthUser for SignedIn {
    type Id = uuid::Uuid;
    fn id(&self) -> uuid::Uuid {
        self.id.0
    }
    /// There is no password whose change would end sessions: signing out does, by removing the row.
    fn session_auth_hash(&self) -> &[u8] {
        self.id.0.as_bytes()
    }
}

/// Reads users for axum-login. Nobody authenticates here: [`sign_in`] takes the code.
#[derive(Debug, Clone)]
pub struct Backend {
    accounts: Accounts,
    turns: Turns,
}

impl Backend {
    /// On the tables of accounts.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self { turns: Turns::of(&accounts), accounts }
    }
}

impl axum_login::AuthnBackend for Backend {
    type User = SignedIn;
    type Credentials = ();
    type Error = StoreError;

    async fn authenticate(&self, (): ()) -> Result<Option<SignedIn>, StoreError> {
        Ok(None)
    }

    async fn get_user(&self, id: &uuid::Uuid) -> Result<Option<SignedIn>, StoreError> {
        let (accounts, id) = (self.accounts.clone(), UserId(*id));
        let user = self.turns.take(async move { accounts.user(id).await }).await?;
        Ok(user.map(|user| SignedIn { id: user.id, name: user.name, kept_out: user.kept_out }))
    }
}
