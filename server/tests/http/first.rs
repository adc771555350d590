//! What pages show before any script of theirs runs: the content of their elements, in the HTML.

use crate::{
    github,
    support::{Answer, Client, TestApp, agent::RealAgent, github::everybody},
};
use jiff::{Timestamp, tz::Offset};
use model::ProjectId;
use serde_json::{Value, json};
use std::sync::Arc;

/// What an element of a page has in it, as it was sent.
#[track_caller]
fn inside(page: &Answer, element: &str) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let (_, rest) = text.split_once(&format!("<{element}")).unwrap_or_else(|| panic!("no {element} in {text}"));
    let (tag, _) = rest.split_once(&format!("</{element}>")).unwrap();
    tag.split_once('>').unwrap().1.to_owned()
}

/// The data beside it, if there is any.
fn data(inside: &str) -> Option<Value> {
    let (_, rest) = inside.split_once("<script type=\"application/json\" data-first>")?;
    let (json, after) = rest.split_once("</script>").unwrap();
    assert_eq!(after, "", "it is the last in its element");
    Some(serde_json::from_str(json).unwrap())
}

async fn page(client: &Client, project: ProjectId, part: &str) -> Answer {
    client.get(&format!("/projects/{project}/{part}")).await
}

/// Whoever may not see a project gets nothing of it.
async fn is_nobody_elses(app: &TestApp, project: ProjectId, part: &str, of_it: &str) {
    let strangers = page(&app.somebody_else().await, project, part).await;
    assert_eq!(strangers.status, 404, "{part}");
    let nobodys = page(&app.anonymous(), project, part).await;
    assert_eq!(nobodys.status, 302, "{part}");
    for answer in [strangers, nobodys] {
        let text = answer.text();
        assert!(!text.contains(of_it) && !text.contains("data-first"), "{part}: {text}");
    }
}

#[tokio::test]
async fn activity_has_its_rows_by_the_clock_of_who_looks() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Told </script><!--").await;
    app.settled().await;
    let shown = inside(&page(&owner, project, "activity").await, "fsa-activity");
    assert!(shown.contains("<p>Made the project</p>") && shown.contains("<p>Creating became Running</p>"), "{shown}");
    let told = data(&shown).expect("the data");
    assert_eq!(told, owner.get(&format!("/api/projects/{project}/activity")).await.json(), "as by REST");
    assert_eq!(shown.matches("<li class=\"event\"").count(), told["activity"].as_array().unwrap().len());

    let at: Timestamp = told["activity"][0]["at"].as_str().unwrap().parse().unwrap();
    let east = Offset::from_seconds(600 * 60).unwrap().to_datetime(at);
    let cookie = format!("{}; offset=600", owner.headers()["cookie"].to_str().unwrap());
    let shown = inside(&page(&owner.with("cookie", &cookie), project, "activity").await, "fsa-activity");
    let clock = format!(">{:02}:{:02}:{:02}</time>", east.hour(), east.minute(), east.second());
    assert!(shown.contains(&clock), "{clock} in {shown}");
    is_nobody_elses(&app, project, "activity", "Made the project").await;
}

#[tokio::test]
async fn activity_of_the_account_has_all_projects_and_what_happened_to_itself_and_nothing_of_anothers() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (one, _) = app.running(&owner, "One of two").await;
    let (two, _) = app.running(&owner, "Two of two").await;
    app.settled().await;
    let shown = inside(&owner.get("/activity").await, "fsa-activity");
    for (project, name) in [(one, "One of two"), (two, "Two of two")] {
        assert!(shown.contains(&format!("<p><a href=\"/projects/{project}\"><bdi>{name}</bdi></a></p>")), "{shown}");
    }
    assert!(shown.contains("<p>Signed in by the link</p>") && shown.contains(">Account</button>"), "{shown}");
    assert_eq!(data(&shown), Some(owner.get("/api/activity").await.json()), "as by REST");

    let stranger = app.somebody_else().await;
    let page = stranger.get("/activity").await;
    let told = data(&inside(&page, "fsa-activity")).expect("the data");
    let titles: Vec<&str> = told["activity"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Signed in by the link"], "their own alone");
    assert!(!page.text().contains("of two"));
    let nobodys = app.anonymous().get("/activity").await;
    assert_eq!(nobodys.status, 302);
    assert!(!nobodys.text().contains("data-first"));
}

#[tokio::test]
async fn files_have_the_home_folder_while_it_can_be_read() {
    let Some(app) = TestApp::start().await else { return };
    let agent = Arc::new(RealAgent::start(&[]));
    app.world.files_of(agent.clone());
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Files").await;
    std::fs::create_dir(agent.home.join("src")).unwrap();
    for name in ["README.md", "<!-- <b>.txt"] {
        std::fs::write(agent.home.join(name), "ahoy").unwrap();
    }
    let shown = inside(&page(&owner, project, "files").await, "fsa-files");
    for name in ["README.md", "src", "&lt;!-- &lt;b&gt;.txt"] {
        assert!(shown.contains(&format!("<bdi class=\"file-name mono\">{name}</bdi>")), "{name} in {shown}");
    }
    assert!(shown.contains("<span class=\"file-size\">4 bytes</span>"), "{shown}");
    assert_eq!(data(&shown).expect("the data"), owner.get(&format!("/api/sandbox/{project}/files")).await.json());
    is_nobody_elses(&app, project, "files", "README.md").await;

    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    assert_eq!(inside(&page(&owner, project, "files").await, "fsa-files"), "", "the element says why");
}

#[tokio::test]
async fn a_database_has_all_but_its_password() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Rows").await;
    let view = owner.get(&format!("/api/projects/{project}/database")).await.json();
    let of = |name: &str| view[name].as_str().unwrap().to_owned();
    let line = owner.post(&format!("/api/projects/{project}/database/reveal"), &json!({})).await.json();
    let password = line["psql"].as_str().unwrap().split([':', '@']).nth(2).unwrap().to_owned();
    let answer = page(&owner, project, "database").await;
    assert!(!answer.text().contains(&password), "nobody asked for it");
    let shown = inside(&answer, "fsa-database");
    let size = app::size::bytes(view["figures"]["sizeBytes"].as_u64().unwrap());
    for part in ["Ready", "0.memory", &format!("<dt>Size</dt><dd>{size}</dd>"), "<dt>Connections</dt><dd>0</dd>"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for name in ["host", "user", "database"] {
        assert!(shown.contains(&format!("<code>{}</code>", of(name))), "{name} in {shown}");
    }
    assert_eq!(data(&shown).expect("the data"), view, "as by REST");
    is_nobody_elses(&app, project, "database", &of("database")).await;

    let made = owner.post("/api/projects", &json!({ "name": "Without", "database": false })).await.json();
    let without = made["id"].as_str().unwrap().parse().unwrap();
    let shown = inside(&page(&owner, without, "database").await, "fsa-database");
    assert!(shown.contains("This project has no database"), "{shown}");
    assert_eq!(data(&shown), Some(Value::Null));
}

#[tokio::test]
async fn a_log_has_its_last_lines_and_a_slow_one_holds_no_page() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Logs").await;
    app.world.writes(&["first", "\u{1b}[31mred </script> <!--\u{1b}[0m", "last"]);
    let shown = inside(&page(&owner, project, "logs").await, "fsa-log");
    assert!(shown.contains("<div>red &lt;/script&gt; &lt;!--\n</div><div>last\n</div>"), "{shown}");
    let told = data(&shown).expect("the data");
    assert_eq!(told[1], json!({ "at": null, "text": "\u{1b}[31mred </script> <!--\u{1b}[0m" }), "as by REST");
    is_nobody_elses(&app, project, "logs", "red &lt;/script").await;
    for (address, chosen) in [("logs", "sandbox"), ("logs?source=events", "events"), ("logs?source=none", "sandbox")] {
        let shown = inside(&page(&owner, project, address).await, "fsa-log");
        assert!(shown.contains(&format!("<option value=\"{chosen}\" selected>")), "{address}: {shown}");
        assert_eq!(shown.matches(" selected>").count(), 1, "{address}: {shown}");
    }
    // As it is downloaded: by a link, which has no say in what it accepts.
    let by_link = |format: &str| format!("/api/sandbox/{project}/logs?source=sandbox&format={format}");
    let text = owner.with("accept", "text/html").get(&by_link("text")).await;
    assert_eq!(text.text(), "first\n\u{1b}[31mred </script> <!--\u{1b}[0m\nlast\n");
    assert!(
        owner.with("accept", "text/plain").get(&by_link("json")).await.text().starts_with("{\"at\":null,\"text\":\"first\"}\n")
    );
    assert_eq!(owner.get(&by_link("html")).await.code(), "bad-log-format");

    app.world.hang_logs();
    assert_eq!(inside(&page(&owner, project, "logs").await, "fsa-log"), "", "the frame alone");
}

#[tokio::test]
async fn settings_have_sessions_and_whose_claude_credentials_are_used() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let other = app.signed_in().await;
    let page = owner.get("/settings").await;
    let shown = inside(&page, "fsa-sessions");
    assert_eq!(shown.matches("<li class=\"setting\">").count(), 2, "{shown}");
    assert_eq!(shown.matches("this browser</span>").count(), 1, "{shown}");
    // When one ends moves on with each use of it.
    let ids = |all: Option<Value>| -> Vec<Value> {
        all.expect("the data").as_array().unwrap().iter().map(|one| json!([one["id"], one["current"]])).collect()
    };
    assert_eq!(ids(data(&shown)), ids(Some(owner.get("/api/sessions").await.json())), "as by REST");
    let others = data(&inside(&other.get("/settings").await, "fsa-sessions"));
    assert_ne!(ids(others), ids(data(&shown)), "each is another’s other");
    let strangers = data(&inside(&app.somebody_else().await.get("/settings").await, "fsa-sessions"));
    assert_eq!(strangers.expect("the data").as_array().unwrap().len(), 1, "their own alone");

    assert!(inside(&page, "fsa-claude").contains("<h3>No credentials</h3>"));
    let secret = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz";
    let put = json!({ "kind": "apiKey", "value": secret });
    assert_eq!(owner.send(http::Method::PUT, "/api/claude", &put).await.status, 200);
    let page = owner.get("/settings").await;
    let shown = inside(&page, "fsa-claude");
    assert!(shown.contains("<h3>API key <span") && shown.contains("It ends in wxyz."), "{shown}");
    assert!(!page.text().contains(secret), "nobody reads it back");
    assert_eq!(data(&shown), Some(owner.get("/api/claude").await.json()));
}

#[tokio::test]
async fn settings_have_what_is_connected_without_asking_github() {
    let Some((app, github)) = github::with(everybody()).await else { return };
    let owner = app.signed_in().await;
    let shown = inside(&owner.get("/settings").await, "fsa-github");
    assert!(shown.contains("<h3>Not connected</h3>"), "{shown}");
    assert_eq!(data(&shown), Some(owner.get("/api/github").await.json()));

    let octocat = github::session(&app, &github::sign_in(&app).await);
    let asked = github.asked("GET /api/v3/user");
    let shown = inside(&octocat.get("/settings").await, "fsa-github");
    assert!(shown.contains("<h3>Connected as octocat</h3>") && shown.contains("<span class=\"tag\">repo</span>"), "{shown}");
    assert_eq!(data(&shown).expect("the data")["account"]["state"], "unknown");
    assert_eq!(github.asked("GET /api/v3/user"), asked, "no page waits for GitHub");
    assert_eq!(octocat.get("/api/github").await.json()["account"]["state"], "working");
    assert!(github.asked("GET /api/v3/user") > asked, "who wants to know asks");

    let Some(app) = TestApp::start().await else { return };
    assert_eq!(inside(&app.signed_in().await.get("/settings").await, "fsa-github"), "", "where there is none");
}
