//! The tables' shape, brought up to date at start.

use super::{error::is_away, pool::APPLICATION};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, migrate::MigrateError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Ours, and nobody's else: a database with sqlx's own default may be some app's.
const TABLE: &str = "fullstack_agent_migrations";

/// Held while migrating; any number will do that is always the same. "fsa" in ASCII.
const LOCK: i64 = 0x66_73_61;

/// The oldest PostgreSQL that the tests run on is 15; 14 has everything that is used.
const OLDEST: i32 = 140_000;

/// How long another server's migration is waited for. A migration of ours takes seconds; one that takes
/// longer, or hangs, is for the operator to look at.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked whether the other is done.
const PERIOD: Duration = Duration::from_millis(100);

/// Why the database cannot be used. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// It is away.
    #[error("The control plane's database does not answer. Check that PostgreSQL runs, and FSA_DATABASE_URL where it is set.")]
    Away(#[source] sqlx::Error),
    /// It refuses the sign-in.
    #[error(
        "PostgreSQL refused the sign-in of `{user}` to the control plane's database. Check user and password in FSA_DATABASE_URL, and pg_hba.conf of that server."
    )]
    SignIn {
        /// As whom.
        user: String,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// There is no such database on it.
    #[error("PostgreSQL has no database `{database}`. Make it (`createdb {database}`), or correct the name in FSA_DATABASE_URL.")]
    Missing {
        /// Its name.
        database: String,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// Another server migrates it, and does not come to an end.
    #[error(
        "Another FullStack Agent has been bringing the tables of the control plane's database up to date for over {} s. Wait until it is done and start this one again; if none is running, look for its connection in pg_stat_activity and end it.",
        .0.as_secs()
    )]
    Busy(Duration),
    /// Too old a server.
    #[error("The control plane's database is PostgreSQL {found}; FullStack Agent needs 14 or newer.")]
    OldServer {
        /// Its version, as it says it.
        found: String,
    },
    /// Somebody else's database.
    #[error(
        "The database `{database}` is not empty, and its tables are not FullStack Agent's. Nothing was changed. Give it a database of its own: `createdb fullstack_agent`, and name that one in FSA_DATABASE_URL."
    )]
    NotOurs {
        /// Its name.
        database: String,
    },
    /// Written by a newer version.
    #[error(
        "The database `{database}` was written by a newer version of FullStack Agent (migration {found}; this one knows {known}). Nothing was changed. Start that version, or restore a backup from before the upgrade."
    )]
    Newer {
        /// Its name.
        database: String,
        /// The newest migration in it.
        found: i64,
        /// The newest that this program has.
        known: i64,
    },
    /// A server of an older version is at work on it.
    #[error(
        "A server of an older version of FullStack Agent runs on the database `{database}`, and this command's version would change its tables under it. Nothing was changed. Restart the server with this version first."
    )]
    Serving {
        /// Its name.
        database: String,
    },
    /// A migration that was applied is not the one that this program has.
    #[error(
        "The database `{database}` was written by another build of FullStack Agent: its migration {version} is not this one's. Start that build, or give this one a database of its own."
    )]
    Differs {
        /// Its name.
        database: String,
        /// Which.
        version: i64,
    },
    /// The rest.
    #[error("The tables of the control plane's database could not be brought up to date.")]
    Failed(#[source] anyhow::Error),
}

/// Brings the tables up to date, one process at a time, and shuts everybody else out of the database.
///
/// # Errors
/// The database is away, refuses the sign-in, is not there, is too old, not ours, or newer than this
/// program: then it is as it was. Another server is at it for over a minute.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrationError> {
    alone(pool, PATIENCE, false).await
}

/// The same with another patience for another server's migration.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_within(pool: &PgPool, patience: Duration) -> Result<(), MigrationError> {
    alone(pool, patience, false).await
}

/// As [`migrate`], for a command beside a server that may run: then it only looks whether both are of
/// one version.
///
/// # Errors
/// As [`migrate`]; and the server is of an older version.
pub async fn migrate_unless_served(pool: &PgPool) -> Result<(), MigrationError> {
    alone(pool, PATIENCE, true).await
}

async fn alone(pool: &PgPool, patience: Duration, beside: bool) -> Result<(), MigrationError> {
    // A connection of its own, closed at the end: the lock goes with it, whatever happens.
    let mut connection = pool.acquire().await.map_err(|error| refused(pool, error))?.detach();
    let done = run(&mut connection, patience, beside).await;
    let _ = connection.close().await;
    done
}

/// The newest migration that this program has.
#[must_use]
pub fn newest() -> i64 {
    migrator().iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_locking(false);
    migrator
}

/// Takes the lock. Asked again and again rather than waited for, so that it can be said and given up.
async fn lock(connection: &mut PgConnection, patience: Duration) -> Result<(), MigrationError> {
    let start = Instant::now();
    let mut said = false;
    loop {
        let taken: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await.map_err(failed)?;
        if taken {
            return Ok(());
        }
        if start.elapsed() >= patience {
            return Err(MigrationError::Busy(patience));
        }
        if !said {
            info!("waiting for another server's migration of the control plane's database");
            said = true;
        }
        sleep(PERIOD).await;
    }
}

async fn run(connection: &mut PgConnection, patience: Duration, beside: bool) -> Result<(), MigrationError> {
    // The pool's limit is for requests; a migration may take its time.
    sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await.map_err(failed)?;
    // Who migrates is not who serves.
    sqlx::query("SET application_name = 'fullstack-agent migration'").execute(&mut *connection).await.map_err(failed)?;
    lock(connection, patience).await?;
    let (database, version, found): (String, i32, String) = sqlx::query_as(
        "SELECT current_database()::text, current_setting('server_version_num')::integer, current_setting('server_version')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if version < OLDEST {
        return Err(MigrationError::OldServer { found });
    }
    let (ours, foreign): (bool, bool) = sqlx::query_as(
        "SELECT to_regclass($1) IS NOT NULL, EXISTS (
            SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
                AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        )",
    )
    .bind(TABLE)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if foreign && !ours {
        return Err(MigrationError::NotOurs { database });
    }
    if ours {
        let newest_there: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM fullstack_agent_migrations")
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if let Some(found) = newest_there.filter(|found| *found > newest()) {
            return Err(MigrationError::Newer { database, found, known: newest() });
        }
        if beside && newest_there.is_none_or(|found| found < newest()) && is_served(connection).await? {
            return Err(MigrationError::Serving { database });
        }
    }
    migrator().run_direct(None, &mut *connection, false).await.map_err(|error| match error {
        MigrateError::VersionMismatch(version) | MigrateError::VersionMissing(version) => {
            MigrationError::Differs { database: database.clone(), version }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        error => MigrationError::Failed(error.into()),
    })?;
    shut_out(connection, &database).await
}

/// Nobody but the owner may connect to the control plane's database: PostgreSQL lets PUBLIC in by default,
/// and so every project's role, which could fill it with temporary tables, listen to every change and
/// tell of made-up ones. Where this role may not forbid it, that is said.
async fn shut_out(connection: &mut PgConnection, database: &str) -> Result<(), MigrationError> {
    if !public_may_enter(connection).await? {
        return Ok(());
    }
    let name = database.replace('"', "\"\"");
    let revoke = format!("REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC");
    let revoked = sqlx::raw_sql(AssertSqlSafe(revoke)).execute(&mut *connection).await;
    if revoked.is_err() || public_may_enter(connection).await? {
        warn!(
            "every role of the PostgreSQL server may connect to the control plane's database `{database}`, and this one does not own \
             it, so it cannot forbid that: as its owner, run `REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC`"
        );
    } else {
        info!(
            "took from PUBLIC every right on the control plane's database `{database}`: `GRANT CONNECT ON DATABASE \"{name}\" TO role` \
             lets a role in again"
        );
    }
    Ok(())
}

async fn public_may_enter(connection: &mut PgConnection) -> Result<bool, MigrationError> {
    sqlx::query_scalar(
        "SELECT EXISTS (
            SELECT FROM pg_database d, aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a
            WHERE d.datname = current_database() AND a.grantee = 0
        )",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// Why no connection could be made.
fn refused(pool: &PgPool, source: sqlx::Error) -> MigrationError {
    let code = source.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned);
    let options = pool.connect_options();
    let user = options.get_username().to_owned();
    match code.as_deref() {
        Some("28P01" | "28000") => MigrationError::SignIn { user, source },
        // PostgreSQL's own default: the user's name.
        Some("3D000") => MigrationError::Missing { database: options.get_database().map_or(user, str::to_owned), source },
        _ => failed(source),
    }
}

/// Whether a server is connected: it always is, to hear of changes.
async fn is_served(connection: &mut PgConnection) -> Result<bool, MigrationError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1)",
    )
    .bind(APPLICATION)
    .fetch_one(connection)
    .await
    .map_err(failed)
}

fn failed(error: sqlx::Error) -> MigrationError {
    if is_away(&error) { MigrationError::Away(error) } else { MigrationError::Failed(error.into()) }
}
