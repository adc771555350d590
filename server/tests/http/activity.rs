//! What happened, by REST.

use crate::support::{Setup, TestApp, until};
use engine::store::{activity, repositories::Repositories};
use http::Method;
use model::view::Scope;
use serde_json::{Value, json};
use server::sweep::Sweep;

fn titles(page: &Value) -> Vec<String> {
    let all = page["activity"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
    all.iter().map(|one| one["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn asks_and_what_came_of_them_are_told_with_who_and_from_where() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Told").await;
    let program = app.token(Scope::Write).await;
    assert_eq!(program.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    let env = format!("/api/projects/{project}/env");
    assert_eq!(owner.send(Method::PUT, &env, &json!({ "set": { "GREETING": "hunter2" } })).await.status, 200);
    let path = format!("/api/projects/{project}/activity");
    let answer = owner.get(&path).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("hunter2"));
    let page = answer.json();
    assert_eq!(
        titles(&page),
        ["Added GREETING", "Stopping became Stopped", "Stopped the sandbox", "Creating became Running", "Made the project"]
    );
    assert_eq!((&page["next"], &page["keptDays"]), (&json!(null), &json!(90)));
    let [env, stopped, stop, running, made] = page["activity"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((env["actor"]["via"].as_str(), env["detail"].as_str()), (Some("browser"), None), "it does not run");
    assert_eq!(stop["actor"], json!({ "name": "Owner", "via": "token", "token": "test" }));
    assert_eq!(made["actor"], json!({ "name": "Owner", "via": "browser" }));
    assert_eq!(running["actor"]["via"], "system");
    assert!(running["detail"].as_str().unwrap().contains(" stages in "), "{running}");
    assert!(running["data"]["tookMs"].as_i64().is_some() && stopped["data"]["tookMs"].as_i64().is_some());
    assert_eq!((made["projectId"].as_str(), made["project"].as_str()), (Some(project.to_string().as_str()), Some("Told")));
    // What was refused, or intended already, is not told.
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 409);
    assert_eq!(owner.get(&path).await.json()["activity"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_control_plane_that_is_started_again_says_that_it_found_the_sandbox_as_it_was() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Goes on").await;
    app.settled().await;
    app.stop();
    let world = Some((app.world.clone(), app.databases.clone()));
    let next = app.again(Setup { world, ..Setup::default() }).await;
    let owner = next.signed_in().await;
    let path = format!("/api/projects/{project}/activity");
    let is_told = async || titles(&owner.get(&path).await.json()).iter().any(|title| title == "The sandbox went on");
    until("it to be told", is_told).await;
    let page = owner.get(&path).await.json();
    let told = page["activity"].as_array().unwrap().iter().find(|one| one["title"] == "The sandbox went on").unwrap();
    assert_eq!(told["actor"]["via"], "system");
    assert!(
        told["detail"].as_str().unwrap().starts_with("The control plane was started again, and found it as it was"),
        "{told}"
    );
    assert!(!titles(&page).iter().any(|title| title.contains("ended")), "{page}");
    next.reaches(&owner, project, "Running").await;
}

#[tokio::test]
async fn a_server_function_asks_in_the_name_of_who_is_signed_in() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "By the page").await;
    let ask = json!({ "id": project, "verb": "restart" });
    assert_eq!(owner.post("/api/fn/ask", &ask).await.status, 200);
    let page = owner.get(&format!("/api/projects/{project}/activity?kind=ask")).await.json();
    assert_eq!(page["activity"][0]["title"], "Restarted the sandbox");
    assert_eq!(page["activity"][0]["actor"], json!({ "name": "Owner", "via": "browser" }));
}

#[tokio::test]
async fn activity_comes_in_pages_and_filtered() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Pages").await;
    let row = app.store.project(app.owner, project).await.unwrap().unwrap();
    for n in 0..5 {
        let now = jiff::Timestamp::now();
        app.store
            .tell(row.sandbox.id, activity::refused(&format!("10.0.0.{n}:80"), "a private address", now), now)
            .await
            .unwrap();
    }
    let path = format!("/api/projects/{project}/activity");
    let mut next = format!("{path}?kind=network&limit=2");
    let mut all = Vec::new();
    while !next.is_empty() {
        let answer = owner.get(&next).await;
        all.extend(titles(&answer.json()));
        let link = answer.header("link").to_owned();
        assert_eq!(link.is_empty(), answer.json()["next"].is_null());
        next = link.split_once('>').map(|(address, _)| address.trim_start_matches('<').to_owned()).unwrap_or_default();
    }
    assert_eq!(all, [4, 3, 2, 1, 0].map(|n| format!("Refused a connection to 10.0.0.{n}:80")));
    let some = async |query: &str| titles(&owner.get(&format!("{path}?{query}")).await.json()).len();
    assert_eq!(some("actor=browser").await, 1);
    assert_eq!(some("search=10.0.0.3").await, 1);
    assert_eq!(some("since=2999-01-01T00:00:00Z").await, 0);
    assert_eq!(some("kind=phase,ask&since=2020-01-01T00:00:00Z").await, 2);
    for (query, code) in [
        ("kind=phases", "bad-kind"),
        ("since=yesterday", "bad-since"),
        ("limit=0", "bad-limit"),
        ("limit=1000", "bad-limit"),
        ("limit=x", "bad-query"),
        ("format=csv", "bad-format"),
        ("colour=red", "bad-query"),
        ("project=00000000-0000-0000-0000-000000000000", "bad-project"),
    ] {
        let answer = owner.get(&format!("{path}?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code), "{query}");
    }
}

#[tokio::test]
async fn activity_is_exported_as_lines_and_outlives_its_project() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Gone").await;
    let path = format!("/api/projects/{project}/activity");
    let by_header = owner.with("accept", "application/jsonl").get(&path).await;
    let by_query = owner.get(&format!("{path}?format=jsonl")).await;
    assert_eq!(by_header.text(), by_query.text());
    assert_eq!(by_query.header("content-type"), "application/jsonl");
    assert!(by_query.header("content-disposition").contains("activity.jsonl"));
    let lines: Vec<Value> = by_query.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["title"], "Made the project");
    assert_eq!(lines[1]["projectDeleted"], false);
    assert_eq!(owner.get(&format!("{path}?format=jsonl&limit=1")).await.text().lines().count(), 1);

    assert_eq!(owner.ask(Method::DELETE, &format!("/api/projects/{project}"), None).await.status, 202);
    until("the project to be gone", async || owner.get(&path).await.status == 404).await;
    let told = owner.get(&format!("/api/activity?project={project}")).await.json();
    assert_eq!(titles(&told)[0], "Everything of the project was removed");
    assert_eq!(titles(&told).last().unwrap(), "Made the project");
    assert!(told["activity"].as_array().unwrap().iter().all(|item| item["projectDeleted"] == true), "{told}");
    let stranger = app.somebody_else().await;
    assert_eq!(titles(&stranger.get(&format!("/api/activity?project={project}")).await.json()), [""; 0]);
    assert_eq!(titles(&stranger.get("/api/activity").await.json()), ["Signed in by the link"], "their own alone");
}

#[tokio::test]
async fn an_export_is_longer_than_what_is_read_at_once() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Long").await;
    sqlx::query(
        "INSERT INTO activity (owner_id, project_id, project, at, last_at, kind, actor, via, title, data)
        SELECT owner_id, project_id, project, at, at, 'run', 'system', 'system', 'n' || n, '{}'
        FROM activity, generate_series(1, 1300) n WHERE title = 'Made the project'",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let lines = owner.get(&format!("/api/projects/{project}/activity?format=jsonl&kind=run")).await.text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1300);
    assert!(lines.windows(2).all(|two| two[0]["id"].as_i64() > two[1]["id"].as_i64()));
    let some = owner.get(&format!("/api/projects/{project}/activity?format=jsonl&kind=run&limit=700")).await.text();
    assert_eq!(some.lines().count(), 700);
}

#[tokio::test]
async fn the_account_tells_of_tokens_and_of_who_signed_in_and_out_from_where() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let made = owner.post("/api/tokens", &json!({ "name": "ci", "scope": "read" })).await.json();
    let (id, secret) = (made["token"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned());
    let program = app.token(Scope::Write).await;
    assert_eq!(program.ask(Method::DELETE, &format!("/api/tokens/{id}"), None).await.status, 204);
    assert_eq!(program.ask(Method::DELETE, &format!("/api/tokens/{id}"), None).await.status, 404, "and is not told twice");
    assert_eq!(owner.post("/api/sign-out", &json!({ "everywhere": true })).await.status, 204);
    let answer = app.signed_in().await.get("/api/activity?kind=account").await;
    assert!(!answer.text().contains(&secret), "{}", answer.text());
    let page = answer.json();
    assert_eq!(
        titles(&page),
        [
            "Signed in by the link",
            "Signed out everywhere",
            "Revoked the token “ci”",
            "Made the token “test”",
            "Made the token “ci”",
            "Signed in by the link"
        ]
    );
    let [signed_in, signed_out, revoked, _, made, _] = page["activity"].as_array().unwrap().as_slice() else { panic!("{page}") };
    for entry in [signed_in, signed_out] {
        assert_eq!((entry["detail"].as_str(), entry["data"]["from"].as_str()), (Some("From 127.0.0.1"), Some("127.0.0.1")));
        assert_eq!(entry["actor"], json!({ "name": "Owner", "via": "browser" }));
    }
    assert_eq!(revoked["actor"], json!({ "name": "Owner", "via": "token", "token": "test" }));
    assert_eq!((made["detail"].as_str(), &made["projectId"]), (Some("Scope read, it does not expire"), &json!(null)));
    let other = app.somebody_else().await.get("/api/activity?kind=account").await.json();
    assert_eq!(titles(&other), ["Signed in by the link"], "each sees their own");
}

#[tokio::test]
async fn the_account_tells_of_sessions_that_were_ended() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    for _ in 0..3 {
        app.signed_in().await;
    }
    let sessions = owner.get("/api/sessions").await.json();
    let other =
        sessions.as_array().unwrap().iter().find(|one| one["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/sessions/{other}"), None).await.status, 204);
    assert_eq!(owner.ask(Method::DELETE, &format!("/api/sessions/{other}"), None).await.status, 404, "and is not told twice");
    for _ in 0..2 {
        assert!(owner.ask(Method::DELETE, "/api/sessions", None).await.status.is_success());
    }
    let page = owner.get("/api/activity?kind=account").await.json();
    assert_eq!(titles(&page)[..3], ["Ended the 2 other sessions", "Ended a session", "Signed in by the link"]);
    assert_eq!(page["activity"][0]["actor"], json!({ "name": "Owner", "via": "browser" }));
}

#[tokio::test]
async fn terminals_and_commands_are_told_with_by_whom_and_not_what_they_were_given() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Inside").await;
    let program = app.token(Scope::Write).await;
    for _ in 0..2 {
        let ask = json!({ "command": ["printf", "hunter2"], "env": { "TOKEN": "hunter3" } });
        let ran = program.post(&format!("/api/sandbox/{project}/exec"), &ask).await;
        assert_eq!(ran.status, 200, "{}", ran.text());
    }
    let terminal = format!("/api/sandbox/{project}/terminal");
    for path in [terminal.clone(), format!("{terminal}?session=main&offset=40")] {
        let mut socket = owner.socket(&path, "fsa-tty.v1").await.unwrap();
        crate::support::client::say(&mut socket, "{\"columns\":80}").await;
        crate::support::client::hear(&mut socket).await.unwrap();
    }
    let told = async || owner.get(&format!("/api/projects/{project}/activity?kind=ask")).await;
    until("the terminal to be told", async || titles(&told().await.json()).len() == 3).await;
    let answer = told().await;
    assert!(!answer.text().contains("hunter"), "{}", answer.text());
    let page = answer.json();
    assert_eq!(titles(&page), ["Opened the terminal “main”", "Ran printf", "Made the project"]);
    let [opened, ran, _] = page["activity"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((&opened["times"], &ran["times"]), (&json!(1), &json!(2)), "who comes back opens nothing");
    assert_eq!(ran["actor"], json!({ "name": "Owner", "via": "token", "token": "test" }));
    assert_eq!(opened["actor"], json!({ "name": "Owner", "via": "browser" }));
}

#[tokio::test]
async fn a_process_that_was_killed_for_want_of_memory_is_told_once_with_the_limit_and_what_to_do() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Greedy").await;
    let path = format!("/api/projects/{project}/activity?kind=cause");
    let usage = |at: i64| json!({ "type": "usage", "cpuPercent": 1.0, "memoryBytes": 1, "processes": 1, "oomKilledAt": at });
    let at = jiff::Timestamp::now().as_millisecond();
    let told = async || owner.get(&path).await.json()["activity"].as_array().unwrap().clone();
    // An agent says it with every measurement, and another replica hears it as well.
    app.world.says(&usage(at)).await;
    until("the kill to be told", async || told().await.len() == 1).await;
    let row = app.store.project(app.owner, project).await.unwrap().unwrap();
    let cause = server::views::process_killed(row.sandbox.resources.limit_memory_bytes);
    let entry = activity::killed(&cause, jiff::Timestamp::from_millisecond(at).unwrap());
    app.store.tell(row.sandbox.id, entry, jiff::Timestamp::from_millisecond(at).unwrap()).await.unwrap();
    app.world.says(&usage(at)).await;
    app.world.says(&usage(at + 120_000)).await;
    until("the next to be told", async || told().await.len() == 2).await;
    for one in told().await {
        assert_eq!(
            (&one["times"], &one["actor"]["via"], &one["data"]["code"]),
            (&json!(1), &json!("system"), &json!("out-of-memory"))
        );
        assert!(one["title"].as_str().unwrap().contains(" MiB of memory"), "{one}");
        assert_eq!(one["detail"], "Use a larger size for the sandbox.");
    }
}

#[tokio::test]
async fn what_happened_is_kept_for_as_many_days_as_the_operator_says() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Remembered").await;
    assert_eq!(owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await.status, 202);
    app.reaches(&owner, project, "Stopped").await;
    app.settled().await;
    let told = async || titles(&owner.get(&format!("/api/projects/{project}/activity")).await.json());
    let all = ["Stopping became Stopped", "Stopped the sandbox", "Creating became Running", "Made the project"];
    assert_eq!(told().await, all);
    let now = jiff::Timestamp::now();
    // When it began, and when it last happened.
    for (title, [at, last_at]) in
        [("Made the project", [31, 31]), ("Creating became Running", [31, 29]), ("Stopped the sandbox", [29, 29])]
    {
        let done = sqlx::query("UPDATE activity SET at = now() - make_interval(days => $2), last_at = now() - make_interval(days => $3) WHERE title = $1")
            .bind(title)
            .bind(at)
            .bind(last_at)
            .execute(&app.pool)
            .await
            .unwrap();
        assert_eq!(done.rows_affected(), 1, "{title}");
    }
    let sweep = |activity_days| Sweep {
        accounts: app.accounts.clone(),
        repositories: Repositories::new(app.pool.clone()),
        store: app.store.clone(),
        activity_days,
    };
    sweep(32).once(now).await;
    assert_eq!(told().await, all, "all of it is younger");
    sweep(30).once(now).await;
    assert_eq!(told().await, all[..3], "what is older is gone, and what happened again since is not");
    sweep(1).once(now).await;
    assert_eq!(told().await, all[..1]);
    assert_eq!(owner.get("/api/projects").await.json()[0]["name"], "Remembered", "and nothing else with it");
}

#[tokio::test]
async fn a_requests_id_goes_with_it_to_the_agent() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Ids").await;
    let named = owner.with("x-request-id", "from-a-test.1");
    let ran = named.post(&format!("/api/sandbox/{project}/exec"), &json!({ "command": ["true"] })).await;
    assert_eq!((ran.status.as_u16(), ran.header("x-request-id")), (200, "from-a-test.1"));
    let streamed = named.with("accept", "application/x-ndjson");
    assert_eq!(streamed.post(&format!("/api/sandbox/{project}/exec"), &json!({ "command": ["true"] })).await.status, 200);
    named.get(&format!("/api/sandbox/{project}/files/README.md")).await;
    let mut terminal = named.socket(&format!("/api/sandbox/{project}/terminal"), "fsa-tty.v1").await.unwrap();
    crate::support::client::say(&mut terminal, "{\"columns\":80}").await;
    crate::support::client::hear(&mut terminal).await.unwrap();
    let asked = app.world.asked.lock().unwrap().clone();
    for path in ["/v1/exec", "/v1/files/README.md", "/ws"] {
        let ids: Vec<_> = asked.iter().filter(|(at, _)| at == path).map(|(_, id)| id.as_deref()).collect();
        assert!(!ids.is_empty() && ids.iter().all(|id| *id == Some("from-a-test.1")), "{path}: {asked:?}");
    }
}
