//! The pool of connections to the control plane's database.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

/// How long a request waits for a connection before it is told that the database is away: longer
/// than any restart of PostgreSQL that nobody should notice, shorter than a reader's patience.
const ACQUIRE: Duration = Duration::from_secs(3);

/// How our connections are called in PostgreSQL's own list.
pub(super) const APPLICATION: &str = "fullstack-agent";

/// A pool that connects when it is first used. One connection of `max_connections` is the listener's.
#[must_use]
pub fn pool(options: PgConnectOptions, max_connections: u32) -> PgPool {
    // No statement of ours takes a second; one that takes thirty waits for a lock that will not come.
    let options = options
        .application_name(APPLICATION)
        .options([("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "30s")]);
    PgPoolOptions::new().max_connections(max_connections.max(2)).acquire_timeout(ACQUIRE).connect_lazy_with(options)
}
