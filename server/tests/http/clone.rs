//! New projects from a repository: real git against `git http-backend`, run by the agent of the in-memory
//! sandboxes.

use crate::{
    github::{session, sign_in, with},
    support::{
        Client, Setup, TestApp,
        github::{Fault, StandIn, everybody},
        until, until_within,
    },
};
use engine::store::{
    linked::{Identity, Link, LinkedAccounts, Tokens},
    repositories::Repositories,
};
use http::Method;
use model::{ProjectId, repository::Repository};
use secrecy::SecretString;
use serde_json::{Value, json};
use server::views::CloneFact;

async fn create(client: &Client, repository: Value) -> String {
    let answer = client.post("/api/projects", &json!({ "name": "Cloned", "database": false, "repository": repository })).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn reaches(client: &Client, id: &str, state: &str) -> Value {
    let path = format!("/api/projects/{id}/repository");
    until(&format!("the clone to be {state}"), async || client.get(&path).await.json()["state"] == state).await;
    client.get(&path).await.json()
}

async fn project(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/projects/{id}")).await.json()
}

async fn sandbox(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/sandbox/{id}")).await.json()
}

/// The owner has connected octocat, whose token this is.
async fn connect(app: &TestApp, host: &str, token: &str) {
    let linked = LinkedAccounts::new(app.pool.clone(), app.vault.clone(), host);
    let identity = Identity { id: "1".into(), login: "octocat".into() };
    let tokens = Tokens { access: SecretString::from(token), refresh: None, expires_at: None, scopes: "read:user,repo".into() };
    assert_eq!(linked.connect(app.owner, &identity, &tokens, jiff::Timestamp::now()).await.unwrap(), Link::Linked);
}

fn readme(app: &TestApp, folder: &str) -> Option<String> {
    std::fs::read_to_string(app.world.home.path().join(folder).join("README")).ok()
}

#[tokio::test]
async fn a_project_starts_from_a_repository_a_branch_and_a_depth() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("acme/Boats.io_x-1", false, &["main", "fix/totals"]);
    let owner = app.signed_in().await;
    let ask = json!({ "url": format!("{url}.git"), "branch": "fix/totals", "depth": 1 });
    let made = owner.post("/api/projects", &json!({ "name": "Cloned", "database": false, "repository": ask })).await;
    let origin = json!({ "url": format!("{url}.git"), "branch": "fix/totals", "title": "acme/Boats.io_x-1 · fix/totals" });
    assert_eq!((made.status.as_u16(), &made.json()["repository"]), (201, &origin), "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(project(&owner, &id).await["repository"], origin);
    for (search, found) in [("ACME/boats.io", 1), ("fix/tot", 1), ("octocat", 0)] {
        let all = owner.get(&format!("/api/projects?search={search}")).await.json();
        assert_eq!(all.as_array().unwrap().len(), found, "{search}");
    }
    assert_ne!(sandbox(&owner, &id).await["phase"], "Running", "it starts until the clone is there");
    let done = reaches(&owner, &id, "done").await;
    assert_eq!(
        (done["folder"].as_str(), done["branch"].as_str(), done["depth"].as_u64()),
        (Some("Boats.io_x-1"), Some("fix/totals"), Some(1))
    );
    until("the sandbox to run", async || sandbox(&owner, &id).await["phase"] == "Running").await;
    assert_eq!(readme(&app, "Boats.io_x-1").as_deref(), Some("fix/totals\n"));
    let shallow = app.world.home.path().join("Boats.io_x-1/.git/shallow");
    assert!(shallow.exists(), "one commit of two");
    assert!(!app.world.home.path().join(".Boats.io_x-1.cloning").exists());
    let other = app.somebody_else().await;
    assert_eq!(other.get(&format!("/api/projects/{id}/repository")).await.status, 404);
    let again = owner.post(&format!("/api/projects/{id}/repository"), &json!({ "action": "retry" })).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (409, "clone-not-failed"));
}

#[tokio::test]
async fn an_extra_sandbox_has_its_branch_whether_the_repository_has_it_or_not() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/boats", true, &["main", "fix/totals"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url, "depth": 1 })).await;
    reaches(&user, &id, "done").await;
    let folder = app.world.home.path().join("boats");
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git").arg("-C").arg(&folder).args(arguments).output().unwrap();
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    for (branch, from, content, upstream) in [
        ("fix/totals", None, "fix/totals\n", "origin/fix/totals"),
        ("new/one", Some("fix/totals"), "fix/totals\n", ""),
        ("new/two", None, "main\n", ""),
    ] {
        // All sandboxes of these tests have one home.
        std::fs::remove_dir_all(&folder).unwrap();
        let made = user.post(&format!("/api/projects/{id}/sandboxes"), &json!({ "branch": branch, "from": from })).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let extra = made.json()["id"].as_str().unwrap().to_owned();
        let done = reaches(&user, &extra, "done").await;
        assert_eq!((&done["checkout"], &done["branch"], &done["folder"]), (&json!(branch), &json!(from), &json!("boats")));
        assert_eq!(readme(&app, "boats").as_deref(), Some(content), "{branch}");
        assert_eq!(git(&["branch", "--show-current"]), branch);
        assert_eq!(git(&["rev-parse", "--abbrev-ref", "@{upstream}"]).replace("@{upstream}", ""), upstream, "{branch}");
    }
    assert_eq!(user.get(&format!("/api/projects/{id}/repository")).await.json()["checkout"], json!(null));
    std::fs::remove_dir_all(&folder).unwrap();
    let made = user.post(&format!("/api/projects/{id}/sandboxes"), &json!({ "branch": "new/three", "from": "nothing" })).await;
    let extra = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(reaches(&user, &extra, "failed").await["cause"]["code"], "branch-missing");
    assert!(!folder.exists() && !app.world.home.path().join(".boats.cloning").exists());
}

#[tokio::test]
async fn a_private_repository_is_cloned_by_its_owners_token_which_stays_nowhere() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/secrets", true, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url })).await;
    reaches(&user, &id, "done").await;
    assert_eq!(readme(&app, "secrets").as_deref(), Some("main\n"));
    app.world.is_in_no_file(&github.tokens().remove(0));
}

#[tokio::test]
async fn git_that_asks_several_at_once_is_answered_each() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/secrets", true, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url })).await;
    reaches(&user, &id, "done").await;
    let host = github.url.strip_prefix("http://").unwrap();
    let path = "octocat/secrets";
    for ask in 1..9_u64 {
        app.world.says(&json!({ "type": "credentials", "ask": ask, "protocol": "http", "host": host, "path": path })).await;
    }
    for ask in 1..9 {
        let answer = app.world.git_asks(ask, "http", host, path).await;
        assert!(!answer["password"].is_null(), "{ask}: {answer}");
    }
}

#[tokio::test]
async fn git_that_asks_without_end_is_answered_with_nothing() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/secrets", true, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url })).await;
    reaches(&user, &id, "done").await;
    let host = github.url.strip_prefix("http://").unwrap();
    let has = |answer: &Value| !answer["password"].is_null();
    assert!(has(&app.world.git_asks(1, "http", host, "octocat/secrets").await));
    let asks = 2..80_u64;
    for ask in asks.clone() {
        let path = "octocat/secrets";
        app.world.says(&json!({ "type": "credentials", "ask": ask, "protocol": "http", "host": host, "path": path })).await;
        if ask % 8 == 0 {
            // Agents of these tests lose what nobody reads in time.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let mut full = 0;
    for ask in asks {
        full += usize::from(has(&app.world.git_asks(ask, "http", host, "octocat/secrets").await));
    }
    assert!(full < 60, "{full} of 78 were answered in full");
}

#[tokio::test]
async fn git_inside_has_the_owners_token_for_the_projects_repository_alone() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/Secrets", true, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url })).await;
    reaches(&user, &id, "done").await;
    let host = github.url.strip_prefix("http://").unwrap();
    let own = app.world.git_asks(1, "http", host, "octocat/secrets.git").await;
    let token = github.tokens().remove(0);
    assert_eq!((own["username"].as_str(), own["password"].as_str()), (Some("x-access-token"), Some(token.as_str())));
    for (ask, protocol, host, path) in [
        (2, "http", host, "octocat/other.git"),
        (3, "http", host, ""),
        (4, "https", host, "octocat/Secrets"),
        (5, "http", "git.example", "octocat/Secrets"),
        (6, "http", format!("{host}.evil.example").as_str(), "octocat/Secrets"),
        (7, "http", format!("{host}.evil.example").as_str(), "octocat/Secrets"),
    ] {
        let answer = app.world.git_asks(ask, protocol, host, path).await;
        assert!(answer["password"].is_null() && answer["username"].is_null(), "{protocol} {host} {path}: {answer}");
    }
    github.revoke_all();
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "revoked");
    assert!(
        app.world.git_asks(8, "http", host, "octocat/Secrets").await["password"].is_null(),
        "what is revoked is not handed on"
    );
}

#[tokio::test]
async fn a_strangers_public_repository_is_cloned_and_gets_no_token() {
    for (name, private, given) in [
        ("stranger/bait", false, false),
        ("stranger/shared", true, true),
        ("octocat/open", false, true),
        ("acme/open", false, true),
    ] {
        let Some((app, github)) = with(everybody()).await else { return };
        github.member(1, "acme", "active");
        let user = session(&app, &sign_in(&app).await);
        let url = github.serve(name, private, &["main"]);
        let id = create(&user, json!({ "url": url })).await;
        reaches(&user, &id, "done").await;
        assert_eq!(readme(&app, name.split('/').nth(1).unwrap()).as_deref(), Some("main\n"), "{name}");
        let host = github.url.strip_prefix("http://").unwrap();
        let answer = app.world.git_asks(1, "http", host, name).await;
        assert_eq!(!answer["password"].is_null(), given, "{name}: {answer}");
        assert_eq!(github.asked(&format!("GET /api/v3/repos/{name}")), 1, "GitHub is asked once for a while");
    }
}

#[tokio::test]
async fn a_token_of_a_github_app_is_narrowed_to_the_repository_that_git_has_it_for() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.is_app();
    github.serve("octocat/boats", true, &["main"]);
    github.moves("octocat/ships", "octocat/boats");
    let owner = app.signed_in().await;
    let whole = github.token(1);
    let host = github.url.strip_prefix("http://").unwrap();
    connect(&app, host, &whole).await;
    let id = create(&owner, json!({ "url": format!("{}/octocat/ships", github.url) })).await;
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "ships").as_deref(), Some("main\n"));
    let token = async |ask| app.world.git_asks(ask, "http", host, "octocat/ships").await["password"].as_str().map(str::to_owned);
    let given = token(1).await.unwrap();
    assert_ne!(given, whole);
    assert_eq!(github.narrowed(&given).as_deref(), Some("octocat/boats"), "by its name of now");
    assert_eq!(token(2).await.as_ref(), Some(&given), "one for a while");
    let narrow = "POST /api/v3/applications/Iv1.stand-in/token/scoped";
    assert_eq!(github.asked(narrow), 1, "the clone's is git's as well");

    // It ends with the account's.
    assert_eq!(owner.ask(Method::DELETE, "/api/github", None).await.status, 204);
    assert_eq!(github.tokens(), Vec::<String>::new());
}

#[tokio::test]
async fn a_token_that_github_does_not_narrow_is_not_lent() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.is_app();
    github.uninstalls();
    let url = github.serve("octocat/open", false, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": url })).await;
    reaches(&user, &id, "done").await;
    assert_eq!(readme(&app, "open").as_deref(), Some("main\n"), "what is public is read without");
    let host = github.url.strip_prefix("http://").unwrap();
    assert!(app.world.git_asks(1, "http", host, "octocat/open").await["password"].is_null());
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "working", "the account's own");
}

#[tokio::test]
async fn a_repository_that_github_says_nothing_of_gets_no_token_until_it_does() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/secrets", true, &["main"]);
    let user = session(&app, &sign_in(&app).await);
    github.fault(Some(Fault::Page(503)));
    let id = create(&user, json!({ "url": url })).await;
    let failed = reaches(&user, &id, "failed").await;
    assert_eq!(failed["cause"]["code"], "repository-unreachable", "{failed}");
    assert!(failed["cause"]["message"].as_str().unwrap().contains("GitHub did not say whether"), "{failed}");
    let host = github.url.strip_prefix("http://").unwrap();
    assert!(app.world.git_asks(1, "http", host, "octocat/secrets").await["password"].is_null());
    github.fault(None);
    retry(&user, &id).await;
    reaches(&user, &id, "done").await;
    github.fault(Some(Fault::Page(503)));
    assert!(!app.world.git_asks(2, "http", host, "octocat/secrets").await["password"].is_null(), "what it said holds");
}

#[tokio::test]
async fn a_repository_that_was_renamed_is_looked_up_where_it_is() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.serve("octocat/boats", true, &["main"]);
    github.moves("octocat/ships", "octocat/boats");
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": format!("{}/octocat/ships", github.url) })).await;
    reaches(&user, &id, "done").await;
    assert_eq!(readme(&app, "ships").as_deref(), Some("main\n"));
}

#[tokio::test]
async fn a_clone_that_failed_has_a_cause_and_ways_on_and_the_project_is_kept() {
    let Some((app, github)) = with(everybody()).await else { return };
    let owner = app.signed_in().await;
    github.serve("octocat/private", true, &["main"]);
    github.serve("octocat/empty", false, &[]);
    github.serve("octocat/one", false, &["main"]);
    for (name, branch, code) in [
        ("octocat/private", None, "repository-refused"),
        ("octocat/one", Some("nothing"), "branch-missing"),
        ("octocat/empty", Some("main"), "branch-missing"),
    ] {
        let id = create(&owner, json!({ "url": format!("{}/{name}", github.url), "branch": branch })).await;
        let failed = reaches(&owner, &id, "failed").await;
        assert_eq!(failed["cause"]["code"], code, "{failed}");
        assert!(!failed["cause"]["nextSteps"].as_array().unwrap().is_empty());
        until("it to be said of the sandbox", async || sandbox(&owner, &id).await["phase"] == "Error").await;
        let seen = sandbox(&owner, &id).await;
        assert_eq!((seen["cause"]["code"].as_str(), seen["stages"][4]["state"].as_str()), (Some(code), Some("failed")));
        let skipped = owner.post(&format!("/api/projects/{id}/repository"), &json!({ "action": "skip" })).await;
        assert_eq!((skipped.status.as_u16(), skipped.json()["state"].as_str()), (200, Some("skipped")));
        assert!(project(&owner, &id).await["repository"].is_null(), "it goes on without");
        until("it to run without", async || sandbox(&owner, &id).await["phase"] == "Running").await;
    }
    let id = create(&owner, json!({ "url": format!("{}/octocat/empty", github.url) })).await;
    reaches(&owner, &id, "done").await;

    let id = create(&owner, json!({ "url": format!("{}/octocat/later", github.url) })).await;
    reaches(&owner, &id, "failed").await;
    github.serve("octocat/later", false, &["main"]);
    assert_eq!(owner.post(&format!("/api/sandbox/{id}/restart"), &json!({})).await.status, 202, "a restart tries again");
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "later").as_deref(), Some("main\n"));

    // What is there already is not written over.
    let id = create(&owner, json!({ "url": format!("{}/octocat/later", github.url) })).await;
    let failed = reaches(&owner, &id, "failed").await;
    assert!(failed["cause"]["message"].as_str().unwrap().contains("there already"), "{failed}");
}

#[tokio::test]
async fn a_clone_whose_server_was_killed_is_begun_anew() {
    let Some((app, github)) = with(everybody()).await else { return };
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": format!("{}/octocat/lost", github.url) })).await;
    reaches(&owner, &id, "failed").await;
    github.serve("octocat/lost", false, &["main"]);
    std::fs::create_dir(app.world.home.path().join(".lost.cloning")).unwrap();
    sqlx::query("UPDATE repositories SET state = 'cloning', holder = 'killed', held_until = now() - interval '1 s'")
        .execute(&app.pool)
        .await
        .unwrap();
    let other = owner
        .post("/api/projects", &json!({ "name": "Wakes", "repository": { "url": format!("{}/octocat/x", github.url) } }))
        .await;
    assert_eq!(other.status, 201);
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "lost").as_deref(), Some("main\n"));
}

#[tokio::test]
async fn two_processes_show_a_clone_as_it_goes_whichever_clones() {
    let Some((app, github)) = with(everybody()).await else { return };
    // Untold, it looks every fifteen seconds: longer than is waited for here.
    let beside = app.beside().await;
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": format!("{}/octocat/later", github.url) })).await;
    let row = app.store.project(app.owner, id.parse().unwrap()).await.unwrap().unwrap();
    let shown = || beside.facts(row.sandbox.id).clone;
    until("its failure to be shown beside", async || matches!(shown(), CloneFact::Failed(_))).await;
    until("and here", async || sandbox(&owner, &id).await["phase"] == "Error").await;
    github.serve("octocat/later", false, &["main"]);
    let again = owner.post(&format!("/api/projects/{id}/repository"), &json!({ "action": "retry" })).await;
    assert_eq!(again.status, 200, "{}", again.text());
    until("its end to be shown beside", async || shown() == CloneFact::Settled).await;
    assert_eq!(reaches(&owner, &id, "done").await["folder"], "later");
    until("and here", async || sandbox(&owner, &id).await["phase"] == "Running").await;
}

#[tokio::test]
async fn a_repository_that_is_missing_is_said_to_be_so_to_who_may_see_private_ones() {
    let Some((app, github)) = with(everybody()).await else { return };
    let user = session(&app, &sign_in(&app).await);
    let id = create(&user, json!({ "url": format!("{}/octocat/missing", github.url) })).await;
    let failed = reaches(&user, &id, "failed").await;
    assert_eq!(failed["cause"]["code"], "repository-not-found", "{failed}");
    assert!(failed["cause"]["message"].as_str().unwrap().contains("octocat/missing"), "{failed}");
}

#[tokio::test]
async fn a_huge_repository_says_how_far_it_is() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/huge", false, &["main"]);
    github.grow("octocat/huge", 48 << 20);
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": url, "depth": 1 })).await;
    let path = format!("/api/projects/{id}/repository");
    let mut told = Vec::new();
    // 48 MB are made, packed and unpacked, and other test programs run beside this one.
    until_within(std::time::Duration::from_secs(30), "the clone to be there", async || {
        let now = owner.get(&path).await.json();
        told.extend(now["progress"].as_str().map(str::to_owned));
        now["state"] == "done"
    })
    .await;
    assert!(told.iter().any(|text| text.contains('%')), "{told:?}");
    assert_eq!(std::fs::metadata(app.world.home.path().join("huge/big")).unwrap().len(), 48 << 20);
}

#[tokio::test]
async fn submodules_that_cannot_be_fetched_do_not_keep_a_clone_from_being_there() {
    let Some((app, github)) = with(everybody()).await else { return };
    let inner = github.serve("octocat/inner", false, &["main"]);
    let url = github.serve("octocat/outer", false, &["main"]);
    // Submodules are followed over TLS alone: what a repository names may be anything.
    github.submodule("octocat/outer", "modules/inner", &inner, "octocat/inner");
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": url })).await;
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "outer").as_deref(), Some("main\n"));
    assert_eq!(readme(&app, "outer/modules/inner"), None);
    assert!(app.world.home.path().join("outer/.gitmodules").exists());
}

/// An app with a GitHub whose repositories are cloned by https, and what git inside has to be told to trust it.
async fn over_tls() -> Option<(TestApp, StandIn, impl Fn())> {
    let (github, certificate) = StandIn::start_tls().await;
    let app = TestApp::start_as(Setup { github: Some(github.settings(everybody())), ..Setup::default() }).await?;
    let home = app.world.home.clone();
    let trust = move || {
        let file = home.path().join("authority.pem");
        std::fs::write(&file, &certificate).unwrap();
        std::fs::write(home.path().join(".gitconfig"), format!("[http]\n\tsslCAInfo = {}\n", file.display())).unwrap();
    };
    Some((app, github, trust))
}

async fn retry(client: &Client, id: &str) {
    let again = client.post(&format!("/api/projects/{id}/repository"), &json!({ "action": "retry" })).await;
    assert_eq!(again.status, 200, "{}", again.text());
}

#[tokio::test]
async fn a_clone_over_https_has_its_submodules_and_trusts_nobody_by_itself() {
    let Some((app, github, trust)) = over_tls().await else { return };
    let inner = github.serve("octocat/inner", false, &["main"]);
    let url = github.serve("octocat/outer", false, &["main"]);
    assert!(url.starts_with("https://localhost:"), "{url}");
    github.submodule("octocat/outer", "modules/inner", &inner, "octocat/inner");
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": url })).await;
    let failed = reaches(&owner, &id, "failed").await;
    assert_eq!(failed["cause"]["code"], "repository-unreachable", "nobody signed its certificate: {failed}");
    trust();
    retry(&owner, &id).await;
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "outer").as_deref(), Some("main\n"));
    assert_eq!(readme(&app, "outer/modules/inner").as_deref(), Some("main\n"));
}

#[tokio::test]
async fn a_private_repository_is_cloned_over_https_by_its_owners_token() {
    let Some((app, github, trust)) = over_tls().await else { return };
    trust();
    let url = github.serve("octocat/secrets", true, &["main"]);
    let owner = app.signed_in().await;
    let id = create(&owner, json!({ "url": url })).await;
    let failed = reaches(&owner, &id, "failed").await;
    assert_eq!(failed["cause"]["code"], "repository-refused", "no account is connected: {failed}");

    let (token, host) = (github.token(1), url.split('/').nth(2).unwrap());
    connect(&app, host, &token).await;
    retry(&owner, &id).await;
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "secrets").as_deref(), Some("main\n"));
    app.world.is_in_no_file(&token);

    // What git inside asks for later.
    let own = app.world.git_asks(1, "https", host, "octocat/secrets.git").await;
    assert_eq!((own["username"].as_str(), own["password"].as_str()), (Some("x-access-token"), Some(token.as_str())));
    let plain = app.world.git_asks(2, "http", host, "octocat/secrets.git").await;
    assert!(plain["password"].is_null(), "never without TLS: {plain}");
}

#[tokio::test]
async fn a_host_that_answers_with_an_error_is_not_said_to_be_silent() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/busy", false, &["main"]);
    let owner = app.signed_in().await;
    github.breaks(Some(503));
    let id = create(&owner, json!({ "url": url })).await;
    let failed = reaches(&owner, &id, "failed").await["cause"].clone();
    assert_eq!(failed["code"], "repository-unreachable", "{failed}");
    assert!(failed["message"].as_str().unwrap().contains("answered with an error, 503"), "{failed}");
    github.breaks(Some(429));
    retry(&owner, &id).await;
    let failed = reaches(&owner, &id, "failed").await["cause"].clone();
    assert!(failed["message"].as_str().unwrap().contains("asked too often"), "{failed}");
    assert!(failed["nextSteps"][0].as_str().unwrap().contains("in a few minutes"), "{failed}");
    github.breaks(None);
    retry(&owner, &id).await;
    reaches(&owner, &id, "done").await;
    assert_eq!(readme(&app, "busy").as_deref(), Some("main\n"));
}

#[tokio::test]
async fn bad_repositories_are_refused_at_the_door_and_nothing_is_made() {
    let Some((app, github)) = with(everybody()).await else { return };
    let owner = app.signed_in().await;
    let before = app.tables().await;
    for (repository, code) in [
        (json!({ "url": "git@github.com:a/b" }), "repository-scheme"),
        (json!({ "url": "file:///etc/passwd" }), "repository-scheme"),
        (json!({ "url": "http://github.com/a/b" }), "repository-scheme"),
        (json!({ "url": "https://u:hunter2@github.com/a/b" }), "repository-credentials"),
        (json!({ "url": "https://10.0.0.1/a/b" }), "repository-host"),
        (json!({ "url": format!("{}/a/..", github.url) }), "repository-path"),
        (json!({ "url": "https://github.com/a/b", "branch": "-x" }), "repository-branch"),
        (json!({ "url": "https://github.com/a/b", "depth": 0 }), "repository-depth"),
    ] {
        let answer = owner.post("/api/projects", &json!({ "name": "Bad", "repository": repository })).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, code), "{repository}");
        let field = match code {
            "repository-branch" | "repository-depth" => code.replace('-', "."),
            _ => "repository.url".to_owned(),
        };
        assert_eq!(answer.json()["details"]["field"], field, "{repository}");
        assert!(!answer.text().contains("hunter2"));
    }
    for repository in [
        json!({ "url": 1 }),
        json!({}),
        json!({ "url": "https://a.b/c", "token": "x" }),
        json!({ "url": "https://a.b/c", "depth": -1 }),
    ] {
        let answer = owner.post("/api/projects", &json!({ "name": "Bad", "repository": repository })).await;
        assert_eq!(answer.status, 422, "{repository}");
    }
    assert_eq!(app.tables().await, before);
}

#[tokio::test]
async fn the_same_create_again_is_the_same_project_with_one_repository() {
    let Some((app, github)) = with(everybody()).await else { return };
    let url = github.serve("octocat/once", false, &["main"]);
    let owner = app.signed_in().await.with("idempotency-key", "k1");
    let first = create(&owner, json!({ "url": url })).await;
    assert_eq!(create(&owner, json!({ "url": url })).await, first);
    reaches(&owner, &first, "done").await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM repositories").fetch_one(&app.pool).await.unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_project_that_is_stored_later_than_anybody_waits_has_its_repository() {
    let Some((app, github)) = with(everybody()).await else { return };
    for text in ["sqlx::postgres::notice", "sqlx_core::pool", "sqlx::pool"] {
        app.log.allow(text);
    }
    let url = github.serve("octocat/late", false, &["main"]);
    let owner = app.signed_in().await;
    sqlx::raw_sql(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(11); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON projects DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION late();",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let ask = json!({ "name": "Late", "database": false, "repository": { "url": url } });
    let answer = owner.post("/api/projects", &ask).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store-away"), "{}", answer.text());
    let mut id = None;
    until("the project to be there all the same", async || {
        id = owner.get("/api/projects").await.json()[0]["id"].as_str().map(str::to_owned);
        id.is_some()
    })
    .await;
    reaches(&owner, &id.unwrap(), "done").await;
    assert_eq!(readme(&app, "late").as_deref(), Some("main\n"));
}

#[tokio::test]
async fn what_no_project_was_made_with_is_swept_once_it_is_old() {
    let Some((app, github)) = with(everybody()).await else { return };
    let owner = app.signed_in().await;
    let url = github.serve("octocat/late", false, &["main"]);
    let all = Repositories::new(app.pool.clone());
    let rows = async || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM repositories").fetch_one(&app.pool).await.unwrap();
    let kept = create(&owner, json!({ "url": url })).await;
    reaches(&owner, &kept, "done").await;
    let of = Repository { url, branch: None, depth: None, folder: "late".to_owned(), checkout: None };
    let asked = jiff::Timestamp::now();
    all.add(ProjectId(uuid::Uuid::now_v7()), &of, asked).await.unwrap();
    all.sweep(asked).await.unwrap();
    assert_eq!(rows().await, 2, "it may be on its way");
    all.sweep(asked + jiff::SignedDuration::from_hours(2)).await.unwrap();
    assert_eq!(rows().await, 1, "the project's own stays");
}
