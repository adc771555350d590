//! Commits, pushes and new repositories from the workspace: real git in the home folder of the in-memory sandboxes, pushing
//! to `git http-backend`.

use crate::{
    github::{session, sign_in, with},
    support::{
        Answer, Client, TestApp,
        github::{Fault, StandIn, everybody},
        until,
    },
};
use serde_json::{Value, json};

async fn project(client: &Client, repository: Option<&str>) -> String {
    let repository = repository.map(|url| json!({ "url": url }));
    let answer = client.post("/api/projects", &json!({ "name": "Work", "database": false, "repository": repository })).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    until("it to run", async || client.get(&format!("/api/sandbox/{id}")).await.json()["phase"] == "Running").await;
    id
}

fn at(id: &str, part: &str) -> String {
    format!("/api/projects/{id}/repository/{part}")
}

async fn status(client: &Client, id: &str) -> Value {
    let answer = client.get(&at(id, "status")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn commit(client: &Client, id: &str, message: &str) -> Answer {
    client.post(&at(id, "commit"), &json!({ "message": message })).await
}

async fn push(client: &Client, id: &str) -> Answer {
    client.post(&at(id, "push"), &json!({})).await
}

async fn publish(client: &Client, id: &str, ask: Value) -> Answer {
    client.post(&at(id, "publication"), &ask).await
}

/// What becomes of a publication.
async fn ended(client: &Client, id: &str) -> Value {
    let look = async || client.get(&at(id, "publication")).await.json();
    until("the publication to end", async || matches!(look().await["state"].as_str(), Some("done" | "failed"))).await;
    look().await
}

fn write(app: &TestApp, path: &str, text: &str) {
    let path = app.world.home.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Not waited for on the thread that also answers it.
async fn git(app: &TestApp, folder: &str, arguments: &[&str]) {
    let identity = ["-c", "user.name=Terminal", "-c", "user.email=t@example.com"];
    let mut command = tokio::process::Command::new("git");
    command.args(identity).arg("-C").arg(app.world.home.path().join(folder)).args(arguments).env("HOME", app.world.home.path());
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{}", answer.text());
    assert!(!answer.json()["details"]["nextSteps"].as_array().unwrap().is_empty(), "{}", answer.text());
}

async fn signed_in() -> Option<(TestApp, StandIn, Client)> {
    let (app, github) = with(everybody()).await?;
    let user = session(&app, &sign_in(&app).await);
    Some((app, github, user))
}

#[tokio::test]
async fn what_changed_is_committed_in_the_accounts_name_and_pushed() {
    let Some((app, github, user)) = signed_in().await else { return };
    let url = github.serve("octocat/boats", true, &["main"]);
    let id = project(&user, Some(&url)).await;
    until("the clone", async || user.get(&format!("/api/projects/{id}/repository")).await.json()["state"] == "done").await;
    let clean = status(&user, &id).await;
    assert_eq!((clean["branch"].as_str(), clean["ahead"].as_u64(), clean["behind"].as_u64()), (Some("main"), Some(0), Some(0)));
    assert_eq!((clean["url"].as_str(), clean["folder"].as_str()), (Some(url.as_str()), Some("boats")));
    let heard = |status: &Value| status["fetchedAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let cloned = heard(&clean);
    assert!((jiff::Timestamp::now().as_second() - cloned.as_second()).abs() < 60, "the clone told of it: {clean}");
    assert_eq!((clean["changes"].as_array().unwrap().len(), clean["commit"]["subject"].as_str()), (0, Some("second")));
    refused(&commit(&user, &id, "Nothing").await, 409, "nothing-to-commit");

    write(&app, "boats/README", "changed\n");
    write(&app, "boats/new file", "new\n");
    let changed = status(&user, &id).await;
    let changes = json!([{ "path": "README", "kind": "modified" }, { "path": "new file", "kind": "added" }]);
    assert_eq!(changed["changes"], changes);
    let done = commit(&user, &id, "Change it\n\n# not a comment").await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!((done.json()["ahead"].as_u64(), done.json()["changes"].as_array().unwrap().len()), (Some(1), 0));
    let pushed = push(&user, &id).await;
    assert_eq!((pushed.status.as_u16(), pushed.json()["ahead"].as_u64()), (200, Some(0)), "{}", pushed.text());
    assert!(heard(&pushed.json()) >= cloned);
    // What was heard some time ago is said to be of then.
    git(&app, "boats", &["reset", "-q", "--hard", "HEAD~1"]).await;
    for log in ["refs/remotes/origin/HEAD", "refs/remotes/origin/main"] {
        let file = app.world.home.path().join("boats/.git/logs").join(log);
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_767_323_045);
        std::fs::File::options().append(true).create(true).open(file).unwrap().set_modified(old).unwrap();
    }
    let behind = status(&user, &id).await;
    assert_eq!((behind["behind"].as_u64(), behind["fetchedAt"].as_str()), (Some(1), Some("2026-01-02T03:04:05Z")), "{behind}");
    git(&app, "boats", &["reset", "-q", "--hard", "origin/main"]).await;
    let log = github.git("octocat/boats", &["log", "-1", "--format=%an <%ae> %cn %B", "main"]);
    assert_eq!(log.trim(), "octocat <1+octocat@users.noreply.127.0.0.1> octocat Change it\n\n# not a comment");
    app.world.is_in_no_file(&github.tokens().remove(0));

    github.email(Some("octocat@example.com"));
    write(&app, "boats/README", "again\n");
    // The answers may be lost: what is asked again by the same key is done once, and answered.
    let keyed = user.with("idempotency-key", "again");
    for _ in 0..2 {
        let done = commit(&keyed, &id, "Again").await;
        assert_eq!((done.status.as_u16(), done.json()["ahead"].as_u64()), (200, Some(1)), "{}", done.text());
    }
    write(&app, "boats/README", "once more\n");
    assert_eq!(commit(&keyed, &id, "Not by this key").await.json()["changes"].as_array().unwrap().len(), 1);
    git(&app, "boats", &["checkout", "-q", "README"]).await;
    for _ in 0..2 {
        let done = push(&keyed, &id).await;
        assert_eq!((done.status.as_u16(), done.json()["ahead"].as_u64()), (200, Some(0)), "{}", done.text());
    }
    assert_eq!(github.git("octocat/boats", &["log", "-1", "--format=%ae", "main"]).trim(), "octocat@example.com");
    let told = user.get(&format!("/api/projects/{id}/activity?kind=ask")).await.json();
    let titles: Vec<&str> = told["activity"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert_eq!(titles[..3], ["Pushed main", "Committed “Again”", "Pushed main"], "{told}");

    for message in ["", "  \n ", &"x".repeat(10_001)] {
        assert_eq!(commit(&user, &id, message).await.status, 422);
    }
    for part in ["status", "publication"] {
        assert_eq!(app.somebody_else().await.get(&at(&id, part)).await.status, 404);
    }
}

#[tokio::test]
async fn a_push_that_is_rejected_says_the_way_on_and_loses_nothing() {
    let Some((app, github, user)) = signed_in().await else { return };
    let url = github.serve("octocat/boats", false, &["main"]);
    let id = project(&user, Some(&url)).await;
    until("the clone", async || user.get(&format!("/api/projects/{id}/repository")).await.json()["state"] == "done").await;
    // Somebody else was faster.
    let tree = github.git("octocat/boats", &["rev-parse", "main^{tree}"]);
    let theirs = github.git(
        "octocat/boats",
        &["-c", "user.name=x", "-c", "user.email=x@x", "commit-tree", "-p", "main", "-m", "theirs", tree.trim()],
    );
    github.git("octocat/boats", &["update-ref", "refs/heads/main", theirs.trim()]);
    write(&app, "boats/mine", "mine\n");
    assert_eq!(commit(&user, &id, "Mine").await.status, 200);
    let rejected = push(&user, &id).await;
    refused(&rejected, 409, "push-rejected");
    assert!(rejected.text().contains("git pull --rebase"), "{}", rejected.text());
    assert_eq!(github.git("octocat/boats", &["log", "-1", "--format=%s", "main"]).trim(), "theirs");
    git(&app, "boats", &["pull", "-q", "--rebase"]).await;
    assert_eq!(push(&user, &id).await.status, 200);
    assert_eq!(github.git("octocat/boats", &["log", "-1", "--format=%s", "main"]).trim(), "Mine");

    for (words, code) in [("Permission to octocat/boats.git denied to octocat.", "push-forbidden")] {
        write(&app, "boats/mine", words);
        assert_eq!(commit(&user, &id, "More").await.status, 200);
        github.refuses(Some(words));
        refused(&push(&user, &id).await, 409, code);
        github.refuses(None);
    }
    git(&app, "boats", &["checkout", "-q", "--detach"]).await;
    refused(&push(&user, &id).await, 409, "no-branch");
    git(&app, "boats", &["switch", "-q", "main"]).await;
    git(&app, "boats", &["remote", "remove", "origin"]).await;
    refused(&push(&user, &id).await, 409, "no-origin");
    std::fs::rename(app.world.home.path().join("boats"), app.world.home.path().join("ships")).unwrap();
    refused(&user.get(&at(&id, "status")).await, 409, "folder-gone");
    github.revoke_all();
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "revoked");
    refused(&push(&user, &id).await, 409, "github-revoked");
}

#[tokio::test]
async fn what_is_anothers_to_push_to_is_refused_before_git_has_a_token() {
    let Some((app, github, user)) = signed_in().await else { return };
    let url = github.serve("stranger/boats", false, &["main"]);
    let id = project(&user, Some(&url)).await;
    until("the clone", async || user.get(&format!("/api/projects/{id}/repository")).await.json()["state"] == "done").await;
    git(&app, "boats", &["commit", "-q", "--allow-empty", "-m", "Mine"]).await;
    // This one would take it of whoever has a token, so it was git that had none.
    refused(&push(&user, &id).await, 409, "push-forbidden");
    assert_eq!(github.git("stranger/boats", &["log", "-1", "--format=%s", "main"]).trim(), "second");
}

#[tokio::test]
async fn a_folder_becomes_a_new_private_repository() {
    let Some((app, github, user)) = signed_in().await else { return };
    let id = project(&user, None).await;
    assert!(user.get(&at(&id, "publication")).await.json().is_null());
    refused(&push(&user, &id).await, 409, "no-repository");
    refused(&commit(&user, &id, "x").await, 409, "no-repository");
    write(&app, "My app/index.js", "console.log(1)\n");
    write(&app, "My app/.env", "SECRET=hunter2\n");
    write(&app, "My app/node_modules/x/index.js", "\n");
    write(&app, ".ssh/id", "\n");
    assert_eq!(status(&user, &id).await["folders"], json!([{ "name": "My app", "repository": false }]));

    let ask = json!({ "folder": "My app", "name": "Boats.io_1", "message": "Begin" });
    let begun = publish(&user, &id, ask.clone()).await;
    assert_eq!((begun.status.as_u16(), begun.json()["visibility"].as_str()), (202, Some("private")), "{}", begun.text());
    let done = ended(&user, &id).await;
    let url = format!("{}/octocat/Boats.io_1.git", github.url);
    assert_eq!((done["state"].as_str(), done["url"].as_str()), (Some("done"), Some(url.as_str())), "{done}");
    assert!(github.is_private("octocat/Boats.io_1"));
    let log = github.git("octocat/Boats.io_1", &["log", "--format=%an %s", "main"]);
    assert_eq!(log.trim(), "octocat Begin");
    let files = github.git("octocat/Boats.io_1", &["ls-tree", "-r", "--name-only", "main"]);
    assert_eq!(files.lines().collect::<Vec<_>>(), [".gitignore", "index.js"], "neither secrets nor what npm brings");
    app.world.is_in_no_file(&github.tokens().remove(0));
    let shown = user.get(&format!("/api/projects/{id}")).await.json();
    assert_eq!(shown["repository"], json!({ "url": url, "branch": null, "title": "octocat/Boats.io_1" }));

    let now = status(&user, &id).await;
    assert_eq!(
        (now["url"].as_str(), now["upstream"].as_str(), now["ahead"].as_u64()),
        (Some(url.as_str()), Some("origin/main"), Some(0))
    );
    let again = publish(&user, &id, ask).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["state"].as_str()),
        (202, Some("done")),
        "the same ask is the same publication"
    );
    refused(&publish(&user, &id, json!({ "folder": "My app", "name": "other" })).await, 409, "has-repository");
    write(&app, "My app/index.js", "console.log(2)\n");
    assert_eq!(commit(&user, &id, "Go on").await.status, 200);
    assert_eq!(push(&user, &id).await.status, 200);
    assert_eq!(github.git("octocat/Boats.io_1", &["log", "-1", "--format=%s", "main"]).trim(), "Go on");
    until("it to be told", async || {
        let told = user.get(&format!("/api/projects/{id}/activity?search=Published")).await.json();
        told["activity"][0]["actor"]["name"] == "octocat"
    })
    .await;
    let host = github.url.strip_prefix("http://").unwrap();
    let helper = app.world.git_asks(1, "http", host, "octocat/Boats.io_1.git").await;
    assert_eq!(helper["username"], "x-access-token", "git in the terminal pushes there too");
}

#[tokio::test]
async fn local_commits_are_published_as_they_are() {
    let Some((app, github, user)) = signed_in().await else { return };
    github.member(1, "acme", "active");
    let id = project(&user, None).await;
    write(&app, "app/a", "a\n");
    git(&app, "app", &["init", "-q", "-b", "trunk"]).await;
    git(&app, "app", &["add", "."]).await;
    git(&app, "app", &["commit", "-q", "-m", "Mine"]).await;
    let begun = publish(&user, &id, json!({ "folder": "app", "name": "app", "owner": "acme", "visibility": "public" })).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    assert_eq!(ended(&user, &id).await["state"], "done");
    assert!(!github.is_private("acme/app"));
    assert_eq!(
        github.git("acme/app", &["log", "--format=%an %s", "trunk"]).trim(),
        "Terminal Mine",
        "nothing is committed that was not wanted"
    );
}

#[tokio::test]
async fn what_cannot_be_published_is_said_and_nothing_is_made() {
    let Some((app, github, user)) = signed_in().await else { return };
    let id = project(&user, None).await;
    std::fs::create_dir(app.world.home.path().join("empty")).unwrap();
    write(&app, "app/a", "a\n");
    write(&app, "other/a", "a\n");
    git(&app, "other", &["init", "-q"]).await;
    git(&app, "other", &["remote", "add", "origin", "https://u:hunter2@git.example/a/b"]).await;
    github.serve("octocat/taken", false, &["main"]);
    std::os::unix::fs::symlink(".", app.world.home.path().join("whole")).unwrap();
    for (folder, name, owner, code) in [
        ("gone", "x", None, "folder-gone"),
        ("empty", "x", None, "nothing-to-publish"),
        ("whole", "x", None, "folder-is-a-link"),
        ("other", "x", None, "other-origin"),
        ("app", "taken", None, "repository-name-taken"),
        ("app", "x", Some("unknown"), "repository-owner"),
        ("app", "x", Some("closed"), "github-forbids"),
    ] {
        let begun = publish(&user, &id, json!({ "folder": folder, "name": name, "owner": owner })).await;
        assert_eq!(begun.status, 202, "{}", begun.text());
        let failed = ended(&user, &id).await;
        assert_eq!((failed["state"].as_str(), failed["failure"]["code"].as_str()), (Some("failed"), Some(code)), "{failed}");
        assert!(
            !failed["failure"]["nextSteps"].as_array().unwrap().is_empty() && !failed.to_string().contains("hunter2"),
            "{failed}"
        );
        assert!(failed["url"].is_null() && user.get(&format!("/api/projects/{id}/repository")).await.json().is_null());
    }
    assert!(!app.world.home.path().join("app/.git").exists(), "nothing is begun inside before GitHub has it");

    for (fault, code) in [(Fault::Page(503), "github-away"), (Fault::UsedUp, "github-busy"), (Fault::Nonsense, "github-away")] {
        github.fault(Some(fault));
        assert_eq!(publish(&user, &id, json!({ "folder": "app", "name": "x" })).await.status, 202);
        assert_eq!(ended(&user, &id).await["failure"]["code"], code);
    }
    github.fault(None);
    github.grants(Some("read:user"));
    publish(&user, &id, json!({ "folder": "app", "name": "x" })).await;
    assert_eq!(ended(&user, &id).await["failure"]["code"], "scope-missing", "GitHub says that there is no such address");
    github.grants(None);
    for (ask, code) in [
        (json!({ "folder": "app", "name": "a b" }), "repository-name"),
        (json!({ "folder": "..", "name": "x" }), "folder-name"),
        (json!({ "folder": "app", "name": "x", "owner": "../user" }), "repository-owner"),
        (json!({ "folder": "app", "name": "x", "message": " " }), "message-empty"),
        (json!({ "folder": "app", "name": "x", "token": "y" }), "wrong-form"),
    ] {
        let answer = publish(&user, &id, ask).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, code));
    }
    assert_eq!(user.post(&format!("/api/sandbox/{id}/stop"), &json!({})).await.status, 202);
    until("it to stop", async || user.get(&format!("/api/sandbox/{id}")).await.json()["phase"] == "Stopped").await;
    for answer in [publish(&user, &id, json!({ "folder": "app", "name": "x" })).await, user.get(&at(&id, "status")).await] {
        refused(&answer, 409, "not-running");
    }
    let owner = app.signed_in().await;
    let other = project(&owner, None).await;
    refused(&publish(&owner, &other, json!({ "folder": "app", "name": "x" })).await, 409, "github-not-connected");
}

#[tokio::test]
async fn a_publication_goes_on_after_a_lost_answer_a_crash_and_a_failed_push() {
    let Some((app, github, user)) = signed_in().await else { return };
    let id = project(&user, None).await;
    write(&app, "app/a", "a\n");
    let ask = json!({ "folder": "app", "name": "app" });
    github.loses_an_answer();
    publish(&user, &id, ask.clone()).await;
    assert_eq!(ended(&user, &id).await["failure"]["code"], "github-away");
    // It is there by now. This time it is the push that fails.
    github.refuses(Some("Permission to octocat/app.git denied to octocat."));
    publish(&user, &id, ask.clone()).await;
    let failed = ended(&user, &id).await;
    assert_eq!(failed["failure"]["code"], "push-forbidden", "{failed}");
    assert!(failed["url"].as_str().unwrap().ends_with("/octocat/app.git"));
    github.refuses(None);
    // A control plane was killed in the middle: its claim is over.
    sqlx::query("UPDATE publications SET state = 'working', holder = 'killed', held_until = now() - interval '1 s'")
        .execute(&app.pool)
        .await
        .unwrap();
    let other = project(&user, None).await;
    publish(&user, &other, json!({ "folder": "nothing", "name": "x" })).await;
    let done = ended(&user, &id).await;
    assert_eq!(done["state"], "done", "{done}");
    assert_eq!(github.git("octocat/app", &["log", "--format=%s", "main"]).trim(), "First commit", "it is committed once");
    assert_eq!(github.asked("POST /api/v3/user/repos"), 2, "what is there is not made again");
}

#[tokio::test]
async fn a_folder_is_pushed_to_no_repository_of_the_other_visibility() {
    let Some((app, github, user)) = signed_in().await else { return };
    write(&app, "one/a", "a\n");
    write(&app, "two/a", "a\n");
    let ask = |name: &str, visibility: &str| json!({ "folder": name, "name": name, "visibility": visibility });
    let pushed = |name: &str| github.git(name, &["for-each-ref"]);
    github.refuses(Some("Permission to octocat/x.git denied to octocat."));
    let (one, two) = (project(&user, None).await, project(&user, None).await);
    for (id, name, visibility) in [(&one, "one", "public"), (&two, "two", "private")] {
        publish(&user, id, ask(name, visibility)).await;
        assert_eq!(ended(&user, id).await["failure"]["code"], "push-forbidden");
    }
    github.refuses(None);
    let other = publish(&user, &one, ask("one", "private")).await;
    refused(&other, 409, "repository-visibility");
    assert!(other.text().contains("is public") && other.text().contains("/octocat/one/settings"), "{}", other.text());
    assert_eq!(pushed("octocat/one"), "");
    github.changes("octocat/one", true);
    assert_eq!(publish(&user, &one, ask("one", "private")).await.status, 202, "its owner has changed it");
    let done = ended(&user, &one).await;
    assert_eq!((done["state"].as_str(), done["visibility"].as_str()), (Some("done"), Some("private")), "{done}");
    refused(&publish(&user, &one, ask("one", "public")).await, 409, "repository-visibility");

    // It was made public behind the back of the same ask.
    github.changes("octocat/two", false);
    publish(&user, &two, ask("two", "private")).await;
    let failed = ended(&user, &two).await;
    assert_eq!(failed["failure"]["code"], "repository-visibility", "{failed}");
    assert_eq!(pushed("octocat/two"), "");
    assert_eq!(publish(&user, &two, ask("two", "public")).await.status, 202);
    assert_eq!(ended(&user, &two).await["state"], "done");
    assert_eq!(github.asked("POST /api/v3/user/repos"), 2, "none was made anew");
}

#[tokio::test]
async fn a_repository_that_was_deleted_at_github_is_made_anew() {
    let Some((app, github, user)) = signed_in().await else { return };
    let id = project(&user, None).await;
    write(&app, "app/a", "a\n");
    for (made, fails) in [(1, true), (2, false), (3, false)] {
        github.refuses(fails.then_some("Permission to octocat/app.git denied to octocat."));
        assert_eq!(publish(&user, &id, json!({ "folder": "app", "name": "app" })).await.status, 202);
        let end = ended(&user, &id).await;
        assert_eq!(end["state"], if fails { "failed" } else { "done" }, "{end}");
        assert_eq!(github.asked("POST /api/v3/user/repos"), made);
        if !fails {
            assert_eq!(github.git("octocat/app", &["log", "--format=%s", "main"]).trim(), "First commit");
        }
        github.deletes("octocat/app");
    }
}
