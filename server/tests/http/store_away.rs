//! PostgreSQL away: words, and well again by itself.

use crate::support::{TestApp, until};
use serde_json::json;

#[tokio::test]
async fn an_away_database_is_said_and_comes_back() {
    let Some(app) = TestApp::start().await else { return };
    for text in ["could not create auth session", "hearing of changes", "sqlx_core::pool"] {
        app.log.allow(text);
    }
    let owner = app.signed_in().await;
    let program = app.token(model::view::Scope::Write).await;
    let (project, _) = app.running(&owner, "Away").await;
    assert_eq!(owner.get("/readyz").await.status, 200);

    app.gate.set_open(false);
    for client in [&owner, &program] {
        let answer = client.get("/api/projects").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-away"), "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        let ask = client.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
        assert_eq!(ask.status, 503);
    }
    assert_eq!(owner.get("/readyz").await.status, 503);
    assert_eq!(owner.get("/healthz").await.status, 200, "it is alive");

    app.gate.set_open(true);
    until("it to be well again", async || owner.get("/readyz").await.status == 200).await;
    let sandbox = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!(sandbox["desired"], "running", "nothing was half done");
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
}
