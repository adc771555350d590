//! The PostgreSQL server that was given for projects' databases.

use super::{Finding, Verdict};
use crate::settings::GivenServer;
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
        sqlx::query_as::<_, (bool, String)>(
            "SELECT rolsuper OR (rolcreaterole AND rolcreatedb), current_setting('server_version') FROM pg_roles
            WHERE rolname = current_user",
        )
        .fetch_one(&mut connection)
        .await
    };
    let detail = match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok((true, version))) => {
            let what = format!("PostgreSQL {version} at {place} answers, and the role may create roles and databases.");
            return Finding::ok(check, what, why);
        }
        Ok(Ok((false, _))) => {
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

#[cfg(test)]
mod tests {
    use super::*;

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
