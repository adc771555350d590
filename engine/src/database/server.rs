//! A role and a database on a PostgreSQL server that is already there: the embedded one, or one whose
//! administrator's URL was given.
//!
//! ```text
//!   look ──▶ CREATE ROLE + COMMENT ──▶ CREATE DATABASE … ALLOW_CONNECTIONS false ──▶ REVOKE + open it
//!            one transaction           one statement                                 one transaction
//! ```
//! What is ours is told by the role's comment, which names installation and project: it comes in one
//! transaction with the role, and a role cannot change its own. The database is ours if it belongs to
//! that role. So a crash leaves nothing that the next call cannot finish, and nothing that could be
//! anybody's; and nobody can connect before PUBLIC is shut out.
//!
//! The administrator may be a superuser, and before PostgreSQL 15 every role may make functions in `public` of each
//! database that it gets into, which win over the catalog's own where their arguments fit better. So nothing but the
//! catalog is looked for, and PUBLIC is kept out of the database that the administrator is in.

use super::{Database, DatabaseError, DatabaseSeen, DatabaseSpec, scram};
use crate::{
    orchestrator::{DatabaseEndpoint, Removed},
    store::postgres::error::is_away,
};
use model::{Cause, CauseCode, InstallationId, ProjectId, connection::Connection, view::DatabaseFigures};
use secrecy::ExposeSecret as _;
use sqlx::{
    AssertSqlSafe, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tracing::{info, warn};

/// How many connections a project may hold: enough for two pools of an app and a psql, too few to
/// keep others from the server.
const CONNECTION_LIMIT: u32 = 20;

/// Connections of the administrator. CREATE DATABASE takes most of 100 ms, so three make 30 a second, and one looks.
const ADMIN_CONNECTIONS: u32 = 4;

/// How long a connection may take before the server is unreachable.
const ACQUIRE: Duration = Duration::from_secs(3);

/// An administrator's connection looks for functions and operators in the catalog alone: what others made elsewhere would be
/// run with its rights.
pub const CATALOG_ALONE: (&str, &str) = ("search_path", "pg_catalog");

/// How often a verb starts over when another process was quicker at a part of it. With a row's lease
/// nobody else is at it, but for a process that lost its lease and does not know yet.
const TRIES: u32 = 10;

/// How sandboxes reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Host, as seen from a sandbox.
    pub host: String,
    /// Port, as seen from a sandbox.
    pub port: u16,
    /// Where an orchestrator forwards connections to, as the control plane's machine sees it.
    pub endpoint: Option<DatabaseEndpoint>,
}

/// Roles and databases on a given server.
#[derive(Debug, Clone)]
pub struct ServerDatabase {
    admin: PgPool,
    /// Who makes or removes something waits here, however long others take, and not for a connection: that says that nobody answers.
    turns: Arc<Semaphore>,
    installation: InstallationId,
    reach: Reach,
    /// Others' projects are on the server too.
    shared: bool,
    /// That PUBLIC stays let in was said.
    said: Arc<AtomicBool>,
}

/// A role of this installation's on the server, and the databases that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRole {
    /// Which project it was made for.
    pub project: ProjectId,
    /// Its name.
    pub role: String,
    /// Their names, in order.
    pub databases: Vec<String>,
}

/// What the server says of a role and a database.
#[derive(Debug)]
struct Look {
    /// The role is there.
    role: bool,
    /// Its comment says that it is this project's of this installation.
    ours: bool,
    login: bool,
    database: bool,
    /// It belongs to the role.
    owned: bool,
    /// It takes connections: [`ServerDatabase::open`] was done.
    open: bool,
    /// A DROP DATABASE broke off half way: it can only be dropped.
    broken: bool,
    /// The administrator is a superuser; otherwise it must be a member of what it makes.
    superuser: bool,
    version: i32,
}

impl ServerDatabase {
    /// On the server that `admin` connects to, as a superuser or a role with CREATEROLE and CREATEDB.
    /// Connects when it is first used.
    #[must_use]
    pub fn new(admin: PgConnectOptions, installation: InstallationId, reach: Reach) -> Self {
        let options = admin.application_name("fullstack-agent databases").options([("statement_timeout", "30s"), CATALOG_ALONE]);
        let admin = PgPoolOptions::new().max_connections(ADMIN_CONNECTIONS).acquire_timeout(ACQUIRE).connect_lazy_with(options);
        // One stays for who only looks, and waits for no turn.
        let turns = Arc::new(Semaphore::new(ADMIN_CONNECTIONS as usize - 1));
        Self { admin, turns, installation, reach, shared: true, said: Arc::default() }
    }

    /// On a server that one project has for itself: PUBLIC stays let in to the administrator's database, where the server's
    /// own keepers (an operator's probe or exporter) may come as PUBLIC.
    #[must_use]
    pub fn of_one_project(self) -> Self {
        Self { shared: false, ..self }
    }

    async fn look(&self, spec: &DatabaseSpec) -> Result<Look, sqlx::Error> {
        let row = sqlx::query(
            "SELECT r.oid IS NOT NULL AS role,
                COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'::pg_catalog.name) = $3, false) AS ours,
                COALESCE(r.rolcanlogin, false) AS login, d.oid IS NOT NULL AS database, COALESCE(d.datdba = r.oid, false) AS owned,
                COALESCE(d.datallowconn, false) AS open, COALESCE(d.datconnlimit = -2, false) AS broken,
                (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
                current_setting('server_version_num')::integer AS version
            FROM (SELECT) AS one LEFT JOIN pg_roles r ON r.rolname = $1 LEFT JOIN pg_database d ON d.datname = $2",
        )
        .bind(&spec.role)
        .bind(&spec.database)
        .bind(comment(spec.installation, spec.project))
        .fetch_one(&self.admin)
        .await?;
        Ok(Look {
            role: row.try_get("role")?,
            ours: row.try_get("ours")?,
            login: row.try_get("login")?,
            database: row.try_get("database")?,
            owned: row.try_get("owned")?,
            open: row.try_get("open")?,
            broken: row.try_get("broken")?,
            superuser: row.try_get("superuser")?,
            version: row.try_get("version")?,
        })
    }

    /// Statements without parameters, which utility commands do not take; several are one transaction.
    async fn run(&self, statements: String) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&self.admin).await.map(|_| ())
    }

    async fn try_ensure(&self, spec: &DatabaseSpec, verifier: &str) -> Result<(), Failure> {
        let look = self.look(spec).await?;
        if look.role && !look.ours {
            return Err(taken("role", &spec.role));
        }
        if look.database && !look.owned {
            return Err(taken("database", &spec.database));
        }
        let (role, database) = (identifier(&spec.role), identifier(&spec.database));
        let password = literal(verifier);
        if look.role {
            self.run(format!("ALTER ROLE {role} LOGIN CONNECTION LIMIT {CONNECTION_LIMIT} PASSWORD {password}")).await?;
        } else {
            let comment = literal(&comment(spec.installation, spec.project));
            let member = if look.superuser { String::new() } else { format!("; GRANT {role} TO CURRENT_USER") };
            self.run(format!(
                "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
                    CONNECTION LIMIT {CONNECTION_LIMIT} PASSWORD {password};
                COMMENT ON ROLE {role} IS {comment}{member}"
            ))
            .await?;
        }
        if look.broken {
            self.run(format!("DROP DATABASE IF EXISTS {database}")).await?;
        }
        if !look.database || look.broken {
            // Copying template0 through the log takes a third of the time of copying its files and
            // waiting for two checkpoints; older servers have the second alone.
            let strategy = if look.version >= 150_000 { " STRATEGY wal_log" } else { "" };
            self.run(format!(
                "CREATE DATABASE {database} OWNER {role} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false{strategy}"
            ))
            .await?;
        }
        if !look.open || look.broken {
            self.open(spec).await?;
        } else if self.shared {
            self.shut_own().await?;
        }
        Ok(())
    }

    /// Shuts PUBLIC out and lets the role in.
    async fn open(&self, spec: &DatabaseSpec) -> Result<(), sqlx::Error> {
        if self.shared {
            self.shut_own().await?;
        }
        let database = identifier(&spec.database);
        let comment = literal(&comment(spec.installation, spec.project));
        self.run(format!(
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
            COMMENT ON DATABASE {database} IS {comment};
            ALTER DATABASE {database} ALLOW_CONNECTIONS true"
        ))
        .await
    }

    /// Keeps PUBLIC, and so the roles of projects, out of the database that the administrator is in. Where the administrator does
    /// not own it, that is said, and the project gets its database all the same: nothing of that one is run here.
    async fn shut_own(&self) -> Result<(), sqlx::Error> {
        let open: Option<(String, bool)> = sqlx::query_as(
            "SELECT d.datname::text, pg_has_role(d.datdba, 'USAGE') FROM pg_database d
            WHERE d.datname = current_database() AND EXISTS (
                SELECT FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a
                WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'
            )",
        )
        .fetch_optional(&self.admin)
        .await?;
        let Some((database, owns)) = open else { return Ok(()) };
        let name = identifier(&database);
        if owns {
            self.run(format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")).await?;
            // What is done is done, whether it can be told in full or not.
            let kept_out = self.kept_out().await.unwrap_or_default();
            let roles = if kept_out.is_empty() {
                "role".to_owned()
            } else {
                kept_out.iter().map(|role| identifier(role)).collect::<Vec<_>>().join(", ")
            };
            info!(
                roles = kept_out.len(),
                "took from PUBLIC the right to connect to `{database}`, which the administrator of projects' databases is in: \
                 `GRANT CONNECT ON DATABASE {name} TO {roles}` lets in again whoever is no project's"
            );
        } else if !self.said.swap(true, Ordering::Relaxed) {
            warn!(
                "every role of the PostgreSQL server may connect to `{database}`, which the administrator of projects' databases is in and \
                 does not own, so it cannot forbid that: as its owner, run `REVOKE CONNECT ON DATABASE {name} FROM PUBLIC`, after \
                 `GRANT CONNECT ON DATABASE {name} TO` the administrator"
            );
        }
        Ok(())
    }

    /// The first of the roles that may sign in and are of no project of any installation, and that may not connect to the database
    /// that the administrator is in.
    ///
    /// # Errors
    /// The server's.
    pub async fn kept_out(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
            WHERE d.datname = pg_catalog.current_database() AND r.rolcanlogin
                AND NOT pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')
                AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_shdescription c WHERE c.objoid = r.oid
                        AND c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND pg_catalog.starts_with(c.description, $1)
                )
            ORDER BY 1 LIMIT 20",
        )
        .bind(OWNED)
        .fetch_all(&self.admin)
        .await
    }

    async fn try_remove(&self, spec: &DatabaseSpec) -> Result<Removed, Failure> {
        let look = self.look(spec).await?;
        if !look.role || !look.ours {
            return Ok(Removed::Gone);
        }
        let databases = if look.database && look.owned { std::slice::from_ref(&spec.database) } else { &[] };
        self.drop_role(&spec.role, databases, true).await?;
        info!(project.id = %spec.project, database = spec.database, "removed the database");
        Ok(Removed::Gone)
    }

    /// Every role of this installation, told by its comment as everywhere: names are chosen for people, and another
    /// installation's on the same server look alike.
    ///
    /// # Errors
    /// With a cause: the server does not answer, or refuses.
    pub async fn owned(&self) -> Result<Vec<OwnedRole>, DatabaseError> {
        let rows = sqlx::query(
            "SELECT r.rolname::text AS role, substring(c.description FROM length($1) + 1) AS project,
                ARRAY(SELECT d.datname::text FROM pg_database d WHERE d.datdba = r.oid ORDER BY 1) AS databases
            FROM pg_roles r JOIN pg_shdescription c ON c.objoid = r.oid AND c.classoid = 'pg_authid'::regclass
            WHERE starts_with(c.description, $1) ORDER BY 1",
        )
        .bind(comment_prefix(self.installation))
        .fetch_all(&self.admin)
        .await
        .map_err(|error| DatabaseError::from(Failure::Sql(error)))?;
        let mut owned = Vec::new();
        for row in rows {
            let read = || -> Result<(String, String, Vec<String>), sqlx::Error> {
                Ok((row.try_get("role")?, row.try_get("project")?, row.try_get("databases")?))
            };
            let (role, project, databases) = read().map_err(|error| DatabaseError::from(Failure::Sql(error)))?;
            // What does not say which project it is of is left alone.
            if let Ok(project) = project.parse() {
                owned.push(OwnedRole { project, role, databases });
            }
        }
        Ok(owned)
    }

    /// Removes a role of [`Self::owned`] with the databases that it had there, ending open connections, if it still says that
    /// it is that project's of this installation. May be repeated; [`Removed::Going`], and all is left, where it has others
    /// by now, which nobody was asked about, and where somebody inside does not go.
    ///
    /// # Errors
    /// As [`Self::owned`].
    pub async fn discard(&self, owned: &OwnedRole) -> Result<Removed, DatabaseError> {
        let mut tries = 1;
        loop {
            match self.try_discard(owned).await {
                Err(Failure::Sql(error)) if tries < TRIES && overtaken(&error) => tries = again(tries).await,
                Err(Failure::Sql(error)) if code(&error).as_deref() == Some("55006") => return Ok(Removed::Going),
                done => return done.map_err(DatabaseError::from),
            }
        }
    }

    async fn try_discard(&self, owned: &OwnedRole) -> Result<Removed, Failure> {
        let databases: Option<Vec<String>> = sqlx::query_scalar(
            "SELECT ARRAY(SELECT d.datname::text FROM pg_database d WHERE d.datdba = r.oid ORDER BY 1) FROM pg_roles r
            WHERE r.rolname = $1 AND pg_catalog.shobj_description(r.oid, 'pg_authid'::pg_catalog.name) = $2",
        )
        .bind(&owned.role)
        .bind(comment(self.installation, owned.project))
        .fetch_optional(&self.admin)
        .await?;
        let Some(databases) = databases else { return Ok(Removed::Gone) };
        if databases.iter().any(|database| !owned.databases.contains(database)) {
            return Ok(Removed::Going);
        }
        // Of a role without a database nobody was asked whether data may go.
        self.drop_role(&owned.role, &databases, !databases.is_empty()).await?;
        info!(project.id = %owned.project, role = owned.role, ?databases, "removed a role and its databases that had no row");
        Ok(Removed::Gone)
    }

    /// Drops databases, whoever is in them, and then the role that they belong to.
    async fn drop_role(&self, role: &str, databases: &[String], and_all_it_owns: bool) -> Result<(), sqlx::Error> {
        let role = identifier(role);
        for database in databases {
            self.run(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(database))).await?;
        }
        match self.run(format!("DROP ROLE IF EXISTS {role}")).await {
            // Something elsewhere was given to it, which nobody but an administrator can do.
            Err(error) if and_all_it_owns && code(&error).as_deref() == Some("2BP01") => {
                self.run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await
            }
            done => done,
        }
    }
}

#[async_trait::async_trait]
impl Database for ServerDatabase {
    async fn ensure(&self, spec: &DatabaseSpec) -> Result<(), DatabaseError> {
        check(spec)?;
        let verifier = scram::verifier(&spec.password, rand::random())
            .ok_or_else(|| anyhow::anyhow!("a database's password is not printable ASCII"))?;
        let _turn = self.turns.acquire().await;
        let mut tries = 1;
        loop {
            match self.try_ensure(spec, &verifier).await {
                Err(Failure::Sql(error)) if tries < TRIES && overtaken(&error) => tries = again(tries).await,
                done => return done.map_err(DatabaseError::from),
            }
        }
    }

    async fn observe(&self, spec: &DatabaseSpec) -> Result<DatabaseSeen, DatabaseError> {
        let look = self.look(spec).await.map_err(|error| DatabaseError::from(Failure::Sql(error)))?;
        let ready = look.ours && look.login && look.owned && look.open && !look.broken;
        Ok(DatabaseSeen { ready, present: look.ours })
    }

    async fn remove(&self, spec: &DatabaseSpec) -> Result<Removed, DatabaseError> {
        check(spec)?;
        let _turn = self.turns.acquire().await;
        let mut tries = 1;
        loop {
            match self.try_remove(spec).await {
                Err(Failure::Sql(error)) if tries < TRIES && overtaken(&error) => tries = again(tries).await,
                // Somebody is in it who does not go within five seconds.
                Err(Failure::Sql(error)) if code(&error).as_deref() == Some("55006") => return Ok(Removed::Going),
                done => return done.map_err(DatabaseError::from),
            }
        }
    }

    async fn figures(&self, spec: &DatabaseSpec) -> Result<Option<DatabaseFigures>, DatabaseError> {
        let row = sqlx::query(
            "SELECT pg_database_size(d.oid) AS size, r.rolconnlimit AS most, current_setting('server_version') AS version,
                (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usesysid = r.oid) AS connections
            FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
            WHERE d.datname = $1 AND r.rolname = $2
                AND pg_catalog.shobj_description(r.oid, 'pg_authid'::pg_catalog.name) = $3",
        )
        .bind(&spec.database)
        .bind(&spec.role)
        .bind(comment(spec.installation, spec.project))
        .fetch_optional(&self.admin)
        .await
        .map_err(|error| DatabaseError::from(Failure::Sql(error)))?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<DatabaseFigures, sqlx::Error> {
            let (size, connections): (i64, i64) = (row.try_get("size")?, row.try_get("connections")?);
            let (most, version): (i32, String) = (row.try_get("most")?, row.try_get("version")?);
            Ok(DatabaseFigures {
                size_bytes: u64::try_from(size).unwrap_or_default(),
                connections: u32::try_from(connections).unwrap_or(u32::MAX),
                // -1: no limit.
                most_connections: u32::try_from(most).ok(),
                // `15.14 (Debian 15.14-0+deb12u1)`
                version: version.split(' ').next().unwrap_or_default().to_owned(),
            })
        };
        read().map(Some).map_err(|error| DatabaseError::from(Failure::Sql(error)))
    }

    fn credentials(&self, spec: &DatabaseSpec) -> Connection {
        Connection {
            host: self.reach.host.clone(),
            port: self.reach.port,
            user: spec.role.clone(),
            password: spec.password.expose_secret().to_owned(),
            database: spec.database.clone(),
        }
    }

    fn endpoint(&self) -> Option<DatabaseEndpoint> {
        self.reach.endpoint.clone()
    }

    async fn list(&self) -> Result<Vec<ProjectId>, DatabaseError> {
        let prefix = comment_prefix(self.installation);
        let projects: Vec<String> = sqlx::query_scalar(
            "SELECT substring(c.description FROM length($1) + 1) FROM pg_shdescription c
            WHERE c.classoid = 'pg_authid'::regclass AND starts_with(c.description, $1) ORDER BY 1",
        )
        .bind(&prefix)
        .fetch_all(&self.admin)
        .await
        .map_err(|error| DatabaseError::from(Failure::Sql(error)))?;
        Ok(projects.iter().filter_map(|project| project.parse().ok()).collect())
    }
}

/// How the comment of every project's role begins, of whichever installation.
const OWNED: &str = "FullStack Agent: installation ";

fn comment_prefix(installation: InstallationId) -> String {
    format!("{OWNED}{installation}, project ")
}

fn comment(installation: InstallationId, project: ProjectId) -> String {
    format!("{}{project}", comment_prefix(installation))
}

/// Names are ours and plain; one that is not is a mistake of the caller, and is quoted all the same.
fn check(spec: &DatabaseSpec) -> Result<(), DatabaseError> {
    for name in [&spec.role, &spec.database] {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        // Reserved for the server's own roles.
        if !plain || name.starts_with("pg_") {
            return Err(DatabaseError::Other(anyhow::anyhow!("`{}` is no name for a role or database", name.escape_debug())));
        }
    }
    Ok(())
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Holds whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

enum Failure {
    Caused(Cause),
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

fn taken(what: &str, name: &str) -> Failure {
    Failure::Caused(Cause::new(
        CauseCode::NameTaken,
        format!("PostgreSQL has a {what} \"{name}\" already that is not this project's; it was left as it is."),
        &["Rename or remove it, if nobody needs it: then the project goes on by itself.", "Or delete the project."],
    ))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}

/// Another process did, or undid, a part of it between two of our statements: it exists (42710,
/// 42P04, 23505 on a catalog's index), it is gone (42704, 3D000), or its row was written (XX000 "tuple
/// concurrently updated").
fn overtaken(error: &sqlx::Error) -> bool {
    match code(error).as_deref() {
        Some("42710" | "42P04" | "23505" | "42704" | "3D000") => true,
        Some("XX000") => error.to_string().contains("concurrently"),
        _ => false,
    }
}

/// Makes way for the other: the longer, the oftener.
async fn again(tries: u32) -> u32 {
    tokio::time::sleep(Duration::from_millis(5) * tries).await;
    tries + 1
}

impl From<Failure> for DatabaseError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Caused(cause) => Self::Caused(cause),
            Failure::Sql(error) => Self::Caused(cause(&error)),
        }
    }
}

/// What an error of the server means, and what to do.
fn cause(error: &sqlx::Error) -> Cause {
    let detail = error.to_string();
    let code = code(error).unwrap_or_default();
    let cause = match code.as_str() {
        "53100" => Cause::new(
            CauseCode::DiskFull,
            "PostgreSQL has no space left on its disk.",
            &["Make room on the disk of the PostgreSQL server: then the project goes on by itself."],
        ),
        "53300" => Cause::new(
            CauseCode::DatabaseUnreachable,
            "PostgreSQL takes no more connections: all of max_connections are in use.",
            &["Close connections that nobody needs.", "Raise max_connections of the PostgreSQL server, and restart it."],
        ),
        "28000" | "28P01" => Cause::new(
            CauseCode::DatabaseRefused,
            "PostgreSQL refused the administrator's sign-in with which databases are made.",
            &["Check user and password of the administrator's URL.", "Check pg_hba.conf of the PostgreSQL server."],
        ),
        "42501" => Cause::new(
            CauseCode::DatabaseRefused,
            "PostgreSQL refused: the administrator may not make roles and databases.",
            &["Give it the right: `ALTER ROLE … CREATEROLE CREATEDB`."],
        ),
        "2BP01" => Cause::new(
            CauseCode::DatabaseRefused,
            "The project's role owns something in a database that is not its project's, or was let into one, so it stays.",
            &[
                "See what: as an administrator, in each database, `SELECT relname FROM pg_class WHERE relowner = 'ROLE'::regrole`.",
                "Give it to somebody there, `REASSIGN OWNED BY role TO somebody`, or take it away, and ask again.",
            ],
        ),
        _ if is_away(error) => Cause::new(
            CauseCode::DatabaseUnreachable,
            "PostgreSQL, where the project's database is, does not answer.",
            &[
                "Check that the PostgreSQL server runs and can be reached from here.",
                "It is asked again and again; nothing is lost.",
            ],
        ),
        _ => Cause::new(
            CauseCode::DatabaseRefused,
            "PostgreSQL refused to make or remove the project's database.",
            &["Read what it said, below, and its log.", "Then restart the sandbox, or delete the project again."],
        ),
    };
    cause.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }

    #[test]
    fn odd_names_are_refused() {
        let (slug, object) = crate::database::contract::names(uuid::Uuid::nil());
        let spec = |name: &str| DatabaseSpec {
            project: ProjectId(uuid::Uuid::nil()),
            sandbox: model::SandboxId(uuid::Uuid::nil()),
            slug: slug.clone(),
            name: object.clone(),
            installation: InstallationId(uuid::Uuid::nil()),
            role: name.to_owned(),
            database: "fine_1".to_owned(),
            password: "p".into(),
        };
        assert!(check(&spec("fine_2")).is_ok());
        for odd in ["", "1a", "_a", "A", "a-b", "a b", "a\"", "a;", "ä", "pg_a", &"a".repeat(64)] {
            assert!(check(&spec(odd)).is_err(), "{odd}");
        }
    }

    #[test]
    fn every_cause_says_what_to_do() {
        let away = cause(&sqlx::Error::PoolTimedOut);
        assert_eq!(away.code, CauseCode::DatabaseUnreachable);
        assert!(!away.next_steps.is_empty() && away.detail.is_some());
        assert_eq!(cause(&sqlx::Error::RowNotFound).code, CauseCode::DatabaseRefused);
    }
}
