//! PostgreSQL away: words, and well again by itself.

use crate::support::{TestApp, until};
use serde_json::json;

#[tokio::test]
async fn an_away_database_is_said_and_comes_back() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["could not create auth session", "hearing of changes", "hear of changes"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let program = app.token(model::view::Scope::Write).await;
    let (project, _) = app.running(&owner, "Away").await;
    assert_eq!(owner.get("/readyz").await.status, 200);

    // Nobody may connect, and whoever is connected is not any more.
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&app.pool).await.unwrap();
    let admin = sqlx::PgPool::connect_with(crate::postgres::server().unwrap()).await.unwrap();
    let run = async |statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&admin).await.unwrap();
    };
    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    run(end.clone()).await;
    run(end).await;

    for client in [&owner, &program] {
        let answer = client.get("/api/projects").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-away"), "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        let ask = client.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
        assert_eq!(ask.status, 503);
    }
    assert_eq!(owner.get("/readyz").await.status, 503);
    assert_eq!(owner.get("/healthz").await.status, 200, "it is alive");

    run(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
    until("it to be well again", async || owner.get("/readyz").await.status == 200).await;
    let sandbox = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!(sandbox["desired"], "running", "nothing was half done");
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
}
