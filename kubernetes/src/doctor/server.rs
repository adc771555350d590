//! The PostgreSQL server that was given for projects' databases, and what is on it of this installation that belongs to no
//! row.

use super::{Finding, Verdict, orphans::Known};
use crate::settings::GivenServer;
use engine::{
    database::{
        DatabaseError, DatabaseSeen,
        server::{OwnedRole, Reach, ServerDatabase},
    },
    orchestrator::Removed,
};
use model::{Cause, CauseCode, InstallationId};
use sqlx::ConnectOptions as _;
use std::time::Duration;

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Connects to it once, as the role that makes roles and databases.
pub async fn check(server: &GivenServer) -> Finding {
    let (check, why) = ("database server", "Projects' databases are made on it.");
    let place = format!("`{}:{}`", server.host, server.port);
    let asked = async {
        let mut connection = server.admin.connect().await?;
        // In whose database others may leave what an administrator runs: nothing is called but the catalog's.
        sqlx::query_as::<_, (bool, String, Option<String>)>(
            "SELECT r.rolsuper OR (r.rolcreaterole AND r.rolcreatedb), pg_catalog.current_setting('server_version'),
                (SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database d
                WHERE d.datname = pg_catalog.current_database() AND NOT pg_catalog.pg_has_role(d.datdba, 'USAGE') AND EXISTS (
                    SELECT FROM pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
                    WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'
                ))
            FROM pg_catalog.pg_roles r WHERE r.rolname = current_user",
        )
        .fetch_one(&mut connection)
        .await
    };
    let detail = match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok((true, version, None))) => {
            let what = format!("PostgreSQL {version} at {place} answers, and the role may create roles and databases.");
            return Finding::ok(check, what, why);
        }
        Ok(Ok((true, version, Some(open)))) => {
            return Finding::new(
                check,
                Verdict::Warn,
                format!(
                    "PostgreSQL {version} at {place} answers. Every role of it, projects' too, may connect to `{open}`, which FSA_DATABASE_SERVER_URL names."
                ),
                "What a project leaves there is in the way of the role that makes roles and databases.",
                &[
                    &format!(
                        "As its owner: `GRANT CONNECT ON DATABASE \"{open}\" TO` that role, then `REVOKE CONNECT ON DATABASE \"{open}\" FROM PUBLIC`."
                    ),
                    "Or name a database that the role owns: it is shut by itself.",
                ],
            );
        }
        Ok(Ok((false, ..))) => {
            return Finding::new(
                check,
                Verdict::Fail,
                format!("PostgreSQL at {place} answers, and the role may not create roles and databases."),
                why,
                &["Let it: `ALTER ROLE name CREATEROLE CREATEDB`, as a superuser of that server."],
            );
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not answer within {} s", ANSWER.as_secs()),
    };
    let finding = Finding::new(
        check,
        Verdict::Fail,
        format!("The PostgreSQL server at {place} lets nobody in."),
        why,
        &[
            "Check FSA_DATABASE_SERVER_URL: host, port, user, password, and a database that is there.",
            "Check that the server listens there, and that its pg_hba.conf takes connections from here.",
        ],
    );
    Finding { detail: Some(detail), ..finding }
}

pub(super) fn owned_by(server: &GivenServer, installation: InstallationId) -> ServerDatabase {
    let reach = Reach { host: server.host.clone(), port: server.port, endpoint: None };
    ServerDatabase::new(server.admin.clone(), installation, reach)
}

/// The roles of this installation on it whose project has no row, with their databases. Those of other installations, and
/// what is anybody else's, are never among them: a role's comment says whose it is, and a role cannot change its own.
///
/// # Errors
/// The server's.
pub async fn orphans(server: &GivenServer, installation: InstallationId, known: &Known) -> Result<Vec<OwnedRole>, Cause> {
    let owned = owned_by(server, installation).owned().await.map_err(caused)?;
    Ok(without_row(owned, known))
}

fn without_row(owned: Vec<OwnedRole>, known: &Known) -> Vec<OwnedRole> {
    owned.into_iter().filter(|role| !known.projects.contains(&role.project)).collect()
}

/// Removes one with its databases, ending open connections, if it still is this installation's.
///
/// # Errors
/// The server's, and that somebody inside does not go.
pub async fn remove(server: &GivenServer, installation: InstallationId, orphan: &OwnedRole) -> Result<(), Cause> {
    match owned_by(server, installation).discard(orphan).await.map_err(caused)? {
        Removed::Gone => Ok(()),
        Removed::Going => Err(Cause::new(
            CauseCode::DeletionOverdue,
            format!("The role `{}` has a database more by now, or somebody is connected to one and does not go.", orphan.role),
            &["Look again what it has, end what is connected, and ask again."],
        )),
    }
}

pub(super) fn caused(error: DatabaseError) -> Cause {
    match error {
        DatabaseError::Caused(cause) => cause,
        DatabaseError::Other(error) => Cause::new(
            CauseCode::Unexpected,
            "What this installation has on the PostgreSQL server could not be told.",
            &["Look again."],
        )
        .with_detail(format!("{error:#}")),
    }
}

/// What a given server says of a project's database. `runs`: whether the sandbox should run, and so have it.
pub(super) fn on_server(server: &GivenServer, role: &str, seen: Result<DatabaseSeen, Cause>, runs: bool) -> Finding {
    let (check, why) = ("database", "The project's own data is in it.");
    let place = format!("`{}:{}`", server.host, server.port);
    match seen {
        Ok(DatabaseSeen { ready: true, .. }) => {
            Finding::ok(check, format!("PostgreSQL at {place} has the role `{role}` and its database, and lets it in."), why)
        }
        Ok(DatabaseSeen { present: true, .. }) => Finding::new(
            check,
            Verdict::Fail,
            format!("PostgreSQL at {place} has the role `{role}`, and does not let it into a database of its own."),
            why,
            &["Restart the sandbox: it is put right then, and its database is made anew, empty, if it was removed."],
        ),
        Ok(_) => Finding::new(
            check,
            if runs { Verdict::Fail } else { Verdict::Warn },
            format!("PostgreSQL at {place} has no role `{role}` of this installation."),
            why,
            &["Start the sandbox: its database is made then. It is empty, if there was one: restore it from a backup."],
        ),
        Err(cause) => Finding::of_cause(check, Verdict::Fail, &cause, why),
    }
}

/// The finding of the doctor.
pub async fn check_orphans(server: &GivenServer, installation: InstallationId, known: &Known) -> Finding {
    told(orphans(server, installation, known).await)
}

fn told(orphans: Result<Vec<OwnedRole>, Cause>) -> Finding {
    let (check, why) = ("orphans on the database server", "Databases without a row take disk and are of no use.");
    let orphans = match orphans {
        Ok(orphans) => orphans,
        Err(cause) => return Finding::of_cause(check, Verdict::Warn, &cause, why),
    };
    if orphans.is_empty() {
        return Finding::ok(check, "Every role and database of this installation on it has a row.", why);
    }
    let named: Vec<String> = orphans
        .iter()
        .map(|orphan| match orphan.databases.as_slice() {
            [] => format!("role {}", orphan.role),
            [database] if *database == orphan.role => format!("database and role {database}"),
            databases => format!("role {} with the databases {}", orphan.role, databases.join(", ")),
        })
        .collect();
    let mut mend = Vec::new();
    if orphans.iter().any(|orphan| orphan.databases.is_empty()) {
        mend.push("Remove what holds no data: `fullstack-agent doctor --remove-orphans`.");
    }
    if orphans.iter().any(|orphan| !orphan.databases.is_empty()) {
        mend.push("With their data, which cannot be had back: `fullstack-agent doctor --remove-orphans --with-data`.");
    }
    let what = format!("{} of this installation's roles belong to no row: {}.", orphans.len(), named.join("; "));
    Finding::new(check, Verdict::Warn, what, why, &mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProjectId;
    use uuid::Uuid;

    fn role(project: u128, role: &str, databases: &[&str]) -> OwnedRole {
        let databases = databases.iter().map(|name| (*name).to_owned()).collect();
        OwnedRole { project: ProjectId(Uuid::from_u128(project)), role: role.to_owned(), databases }
    }

    #[test]
    fn what_has_no_row_is_named_with_what_goes_with_it() {
        let known = Known { projects: [ProjectId(Uuid::from_u128(1))].into(), ..Known::default() };
        let all =
            vec![role(1, "kept", &["kept"]), role(2, "shop_1", &["shop_1"]), role(3, "bare", &[]), role(4, "two", &["a", "b"])];
        let left = without_row(all, &known);
        assert_eq!(left.iter().map(|role| role.role.as_str()).collect::<Vec<_>>(), ["shop_1", "bare", "two"]);
        let finding = told(Ok(left));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.what.starts_with("3 of this installation's roles"), "{finding:?}");
        assert!(finding.what.contains("database and role shop_1; role bare; role two with the databases a, b"), "{finding:?}");
        assert!(!finding.what.contains("kept") && finding.mend.len() == 2, "{finding:?}");
        assert!(finding.mend[1].contains("--with-data"));
        assert_eq!(told(Ok(Vec::new())).verdict, Verdict::Ok);
    }

    #[test]
    fn a_project_is_found_on_the_server_or_missed() {
        let server = GivenServer::parse("postgresql://admin:hunter2@db.example.com/postgres", None).unwrap();
        let seen = |present, ready| Ok(DatabaseSeen { present, ready });
        let away = || Err(Cause::new(CauseCode::DatabaseUnreachable, "It does not answer.", &["Look at it."]));
        for (seen, runs, verdict, words) in [
            (seen(true, true), true, Verdict::Ok, "lets it in"),
            (seen(true, false), true, Verdict::Fail, "does not let it"),
            (seen(false, false), true, Verdict::Fail, "has no role `shop_1`"),
            (seen(false, false), false, Verdict::Warn, "has no role `shop_1`"),
            (away(), false, Verdict::Fail, "does not answer"),
        ] {
            let finding = on_server(&server, "shop_1", seen, runs);
            assert_eq!((finding.check.as_str(), finding.verdict), ("database", verdict), "{finding:?}");
            assert!(finding.what.contains(words) && (verdict == Verdict::Ok || !finding.mend.is_empty()), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_without_its_password() {
        let server = GivenServer::parse("postgresql://admin:hunter2@192.0.2.1:1/postgres?sslmode=disable", None).unwrap();
        let closed = GivenServer { admin: server.admin.clone().host("127.0.0.1"), ..server };
        let finding = check(&closed).await;
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.what.contains("`192.0.2.1:1`") && !finding.mend.is_empty(), "{finding:?}");
        assert!(!format!("{finding:?}{closed:?}").contains("hunter2"));
    }
}
