//! Signing in by GitHub and connecting it, against a stand-in that checks what GitHub checks.

use crate::support::{
    Answer, Client, Setup, TestApp,
    github::{Fault, StandIn, everybody, nobody, these},
    until,
};
use engine::store::linked::{LinkedAccounts, Tokens};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use model::view::Scope;
use secrecy::SecretString;
use serde_json::json;
use server::{
    config::github::Allowed,
    github::{self, GitHub},
};
use std::time::Duration;

pub async fn with(allowed: Allowed) -> Option<(TestApp, StandIn)> {
    let github = StandIn::start().await;
    let app = TestApp::start_as(Setup { github: Some(github.settings(allowed)), ..Setup::default() }).await?;
    Some((app, github))
}

/// A browser that began: itself with the cookie, and GitHub's address.
async fn begin(browser: &Client, what: &str) -> (Client, String) {
    let answer = browser.post(&format!("/api/github/{what}"), &json!({ "next": "/projects/abc?tab=env" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("fsa_oauth=") && cookie.contains("HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let cookies = browser.headers().get("cookie").map(|own| format!("{}; ", own.to_str().unwrap())).unwrap_or_default();
    (browser.with("cookie", &format!("{cookies}{pair}")), answer.json()["url"].as_str().unwrap().to_owned())
}

/// What GitHub's page answers: the address to come back to, as a path.
async fn there(url: &str) -> String {
    let (port, path) = url.strip_prefix("http://127.0.0.1:").unwrap().split_once('/').unwrap();
    let answer = Client::new(port.parse().unwrap()).get(&format!("/{path}")).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let back = answer.header("location");
    format!("/github/callback{}", back.split_once("/github/callback").expect("the registered callback").1)
}

/// From the sign-in page to GitHub and back.
pub async fn sign_in(app: &TestApp) -> Answer {
    let (browser, url) = begin(&app.anonymous(), "sign-in").await;
    browser.get(&there(&url).await).await
}

pub fn session(app: &TestApp, answer: &Answer) -> Client {
    let mut cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = cookies.rfind(|cookie| cookie.starts_with("fsa_session=")).expect("a session");
    app.anonymous().with("cookie", cookie.split(';').next().unwrap()).with("origin", &app.public)
}

/// A page for a person that says no, and by which words.
#[track_caller]
fn refused(answer: &Answer, status: u16, words: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains("You were not signed in") || text.contains("GitHub was not connected"), "{text}");
    assert!(text.contains(words) && text.contains("Back to "), "{words} in {text}");
    assert!(answer.headers.get("set-cookie").is_none(), "nobody is signed in");
    assert!(!text.contains("secret") && !text.contains("code1"), "{text}");
}

#[tokio::test]
async fn a_page_knows_from_its_first_byte_whether_there_is_github() {
    let Some((app, _github)) = with(nobody()).await else { return };
    let root = |page: Answer| page.text().split_once("<head>").expect("a page").0.to_owned();
    let with = root(app.signed_in().await.get("/settings").await);
    assert!(with.contains("data-github"), "{with}");
    let Some(app) = TestApp::start().await else { return };
    let without = root(app.signed_in().await.get("/settings").await);
    assert!(without.contains("<html") && !without.contains("data-github"), "{without}");
}

#[tokio::test]
async fn github_signs_in_by_the_accounts_number_whatever_it_is_called() {
    let Some((app, github)) = with(everybody()).await else { return };
    let answer = sign_in(&app).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/projects/abc?tab=env"), "{}", answer.text());
    let first = session(&app, &answer).get("/api/me").await.json();
    assert_eq!((first["name"].as_str(), first["scope"].as_str()), (Some("octocat"), Some("write")));

    github.account(1, "renamed");
    github.account(2, "octocat");
    let again = session(&app, &sign_in(&app).await).get("/api/me").await.json();
    assert_eq!((again["user"].as_str(), again["name"].as_str()), (first["user"].as_str(), Some("renamed")));
    github.browse(2);
    let other = session(&app, &sign_in(&app).await).get("/api/me").await.json();
    assert_ne!(other["user"], first["user"], "who took the old name is somebody else");
}

#[tokio::test]
async fn tokens_are_sealed_and_in_no_answer() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.expires(Some(3600));
    let user = session(&app, &sign_in(&app).await);
    let shown = user.get("/api/github").await;
    assert_eq!(shown.json()["account"]["state"], "working", "{}", shown.text());
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT to_jsonb(a)::text FROM linked_accounts a").fetch_all(&app.pool).await.unwrap();
    assert_eq!(rows.len(), 1);
    for text in [&rows[0], &shown.text()] {
        assert!(!text.contains("gho_secret") && !text.contains("ghr_secret") && !text.contains(&hex::encode("gho_")), "{text}");
    }
}

#[tokio::test]
async fn a_state_works_once_in_the_browser_that_began() {
    let Some((app, _github)) = with(everybody()).await else { return };
    let (browser, url) = begin(&app.anonymous(), "sign-in").await;
    let back = there(&url).await;
    refused(&app.anonymous().get(&back).await, 400, "not begun in this browser");
    let (other, _) = begin(&app.anonymous(), "sign-in").await;
    refused(&other.get(&back).await, 400, "not begun in this browser");
    refused(&browser.get(&format!("{back}x")).await, 400, "not begun in this browser");
    for nothing in ["/github/callback", "/github/callback?code=x", "/github/callback?code=a&code=b&state=c"] {
        refused(&browser.get(nothing).await, 400, "not begun in this browser");
    }
    assert_eq!(browser.get(&back).await.status, 303, "what others tried did not use it up");
    refused(&browser.get(&back).await, 410, "used already");

    let (late, url) = begin(&app.anonymous(), "sign-in").await;
    let back = there(&url).await;
    sqlx::query("UPDATE oauth_states SET expires_at = now() - interval '1 s'").execute(&app.pool).await.unwrap();
    refused(&late.get(&back).await, 410, "more than ten minutes");
}

#[tokio::test]
async fn two_tabs_of_one_browser_do_not_end_each_others_sign_in() {
    let Some((app, _github)) = with(everybody()).await else { return };
    let (browser, first) = begin(&app.anonymous(), "sign-in").await;
    let (same, second) = begin(&browser, "sign-in").await;
    assert_eq!(same.get(&there(&first).await).await.status, 303);
    assert_eq!(same.get(&there(&second).await).await.status, 303);
}

#[tokio::test]
async fn only_whom_the_operator_allows_signs_in() {
    let Some((app, github)) = with(these(&["octocat"], &[7], &["acme", "closed"])).await else { return };
    app.log.allow("may not sign in");
    app.log.allow("does not say who is a member");
    assert_eq!(sign_in(&app).await.status, 303, "by login");
    github.account(7, "lucky");
    github.browse(7);
    assert_eq!(sign_in(&app).await.status, 303, "by number");
    github.account(3, "member");
    github.browse(3);
    refused(&sign_in(&app).await, 403, "The GitHub account member may not sign in");
    assert_eq!(github.tokens().len(), 2, "a token that is of no use is given back");
    github.member(3, "acme", "pending");
    refused(&sign_in(&app).await, 403, "may not sign in");
    github.member(3, "acme", "active");
    assert_eq!(sign_in(&app).await.status, 303, "by organization");
    // Allowed by its name, an account that is called otherwise now is another one to the list; by its number it is not.
    for (id, status) in [(1, 403_u16), (7, 303)] {
        github.account(id, "renamed");
        github.browse(id);
        assert_eq!(sign_in(&app).await.status, status, "{id}");
    }
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&app.pool).await.unwrap();
    assert_eq!(users, 4, "the owner and those three: who may not sign in leaves no row");
}

#[tokio::test]
async fn what_is_refused_at_github_is_said() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.declines(true);
    refused(&sign_in(&app).await, 403, "access was not granted");
    github.declines(false);
    github.grants(Some("read:user,user:email"));
    refused(&sign_in(&app).await, 403, "was not granted: repo");
    github.grants(Some(""));
    refused(&sign_in(&app).await, 403, "read:user, user:email, repo");
    github.grants(Some("user,repo,gist"));
    assert_eq!(sign_in(&app).await.status, 303, "one scope holds others");

    github.grants(None);
    let (browser, url) = begin(&app.anonymous(), "sign-in").await;
    let back = there(&url).await;
    refused(&browser.get(&back.replace("code=", "code=not-")).await, 410, "its own answer");
}

#[tokio::test]
async fn a_github_that_fails_is_said_with_what_to_do() {
    let Some((app, github)) = with(everybody()).await else { return };
    for (fault, status, words) in [
        (Fault::Page(500), 502, "it answered 500"),
        (Fault::Page(502), 502, "it answered 502"),
        (Fault::Page(200), 502, "something that is not GitHub"),
        (Fault::Nonsense, 502, "something that is not GitHub"),
        (Fault::Silent, 504, "within ten seconds"),
    ] {
        github.fault(Some(fault));
        let answer = sign_in(&app).await;
        refused(&answer, status, words);
        assert!(answer.text().contains("Try again in a minute"), "{}", answer.text());
    }
    github.fault(Some(Fault::UsedUp));
    let busy = sign_in(&app).await;
    refused(&busy, 503, "asked too often");
    assert_eq!(busy.header("retry-after"), "17");
    github.fault(None);
    assert_eq!(sign_in(&app).await.status, 303);
}

#[tokio::test]
async fn a_github_that_is_down_is_said_and_the_link_of_the_machine_still_signs_in() {
    let github = StandIn::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = github.settings(everybody());
    settings.url = format!("http://{gone}");
    settings.api = format!("http://{gone}/api/v3");
    let Some(app) = TestApp::start_as(Setup { github: Some(settings), ..Setup::default() }).await else { return };
    let (browser, url) = begin(&app.anonymous(), "sign-in").await;
    let state = url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let answer = browser.get(&format!("/github/callback?code=x&state={state}")).await;
    refused(&answer, 502, "Connection refused");
    assert!(!answer.text().contains(&gone.to_string()), "{}", answer.text());
    assert_eq!(app.signed_in().await.get("/api/me").await.status, 200);
}

#[tokio::test]
async fn the_owner_of_a_machine_connects_github_and_disconnects_it() {
    let Some((app, github)) = with(nobody()).await else { return };
    let owner = app.signed_in().await;
    let before = owner.get("/api/github").await.json();
    assert_eq!((before["configured"].as_bool(), before["account"].is_null()), (Some(true), true));
    let off = app.anonymous().post("/api/github/sign-in", &json!({})).await;
    assert_eq!((off.status.as_u16(), off.code().as_str()), (404, "github-sign-in-off"));
    assert!(!app.anonymous().get("/sign-in").await.text().contains("Continue with GitHub"));

    let (browser, url) = begin(&owner, "connect").await;
    let back = there(&url).await;
    // Somebody who lures the owner to their own answer connects nothing.
    refused(
        &app.anonymous()
            .with("cookie", browser.headers().get("cookie").unwrap().to_str().unwrap().split("; ").nth(1).unwrap())
            .get(&back)
            .await,
        403,
        "no longer signed in",
    );
    let (browser, url) = begin(&owner, "connect").await;
    let answer = browser.get(&there(&url).await).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/projects/abc?tab=env"), "{}", answer.text());
    let account = owner.get("/api/github").await.json()["account"].clone();
    assert_eq!((account["login"].as_str(), account["state"].as_str()), (Some("octocat"), Some("working")));
    assert_eq!(account["scopes"], json!(["read:user", "user:email", "repo"]));
    assert_eq!(owner.get("/api/me").await.json()["name"], "Owner");

    assert_eq!(github.tokens().len(), 1);
    assert_eq!(owner.ask(Method::DELETE, "/api/github", None).await.status, 204);
    assert_eq!(github.tokens().len(), 0, "GitHub ended it too");
    assert!(owner.get("/api/github").await.json()["account"].is_null());
    let again = owner.ask(Method::DELETE, "/api/github", None).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (404, "github-not-connected"));
    let told = owner.get("/api/activity?kind=account").await.json();
    let [gone, connected, _signed_in] = told["activity"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(
        (gone["title"].as_str(), connected["title"].as_str()),
        (Some("Disconnected GitHub"), Some("Connected the GitHub account octocat"))
    );
    assert_eq!(
        (&gone["actor"], &connected["actor"]),
        (&json!({ "name": "Owner", "via": "browser" }), &json!({ "name": "Owner", "via": "browser" }))
    );
}

#[tokio::test]
async fn a_token_connects_nothing_that_would_sign_in_after_it() {
    let Some((app, github)) = with(nobody()).await else { return };
    let owner = app.signed_in().await;
    let token = app.token(Scope::Write).await;
    let none = token.post("/api/github/connect", &json!({})).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (403, "session-only"), "{}", none.text());
    assert_eq!(none.header("set-cookie"), "");

    // Nor does one finish what its owner began.
    let (browser, url) = begin(&owner, "connect").await;
    let bearer = token.headers().get("authorization").unwrap().to_str().unwrap();
    let back = there(&url).await;
    refused(&browser.with("authorization", bearer).get(&back).await, 403, "no longer signed in");
    assert!(owner.get("/api/github").await.json()["account"].is_null());
    assert_eq!(github.tokens().len(), 0, "nothing was fetched for it");
}

#[tokio::test]
async fn an_account_is_one_users_and_the_only_way_in_is_not_taken_away() {
    let Some((app, _github)) = with(everybody()).await else { return };
    let user = session(&app, &sign_in(&app).await);
    let only = user.ask(Method::DELETE, "/api/github", None).await;
    assert_eq!((only.status.as_u16(), only.code().as_str()), (409, "only-way-in"));
    let owner = app.signed_in().await;
    let (browser, url) = begin(&owner, "connect").await;
    refused(&browser.get(&there(&url).await).await, 409, "connected to another user");
    assert!(owner.get("/api/github").await.json()["account"].is_null());
}

#[tokio::test]
async fn no_other_account_takes_the_place_of_the_only_way_in() {
    let Some((app, github)) = with(everybody()).await else { return };
    let user = session(&app, &sign_in(&app).await);
    let own = github.tokens();
    github.account(2, "hubot");
    github.browse(2);
    let (browser, url) = begin(&user, "connect").await;
    refused(&browser.get(&there(&url).await).await, 409, "another GitHub account than hubot");
    assert_eq!(github.tokens(), own, "what was given for it is given back, and the user's own stays");
    github.browse(1);
    let again = session(&app, &sign_in(&app).await);
    for path in ["/api/me", "/api/github"] {
        assert_eq!(user.get(path).await.json(), again.get(path).await.json(), "{path}");
    }
    let (browser, url) = begin(&user, "connect").await;
    assert_eq!(browser.get(&there(&url).await).await.status, 303, "their own");
}

#[tokio::test]
async fn an_account_that_another_one_replaces_is_ended_at_github() {
    let Some((app, github)) = with(nobody()).await else { return };
    let owner = app.signed_in().await;
    github.account(2, "hubot");
    for (id, login) in [(1, "octocat"), (2, "hubot")] {
        github.browse(id);
        let (browser, url) = begin(&owner, "connect").await;
        assert_eq!(browser.get(&there(&url).await).await.status, 303, "who owns the machine has another way in");
        assert_eq!(owner.get("/api/github").await.json()["account"]["login"], login);
        assert_eq!(github.tokens().len(), 1, "{login}");
    }
}

#[tokio::test]
async fn an_account_whose_token_cannot_be_opened_is_replaced_and_disconnected() {
    let Some((app, github)) = with(nobody()).await else { return };
    app.log.allow("cannot be ended at GitHub");
    let owner = app.signed_in().await;
    github.account(2, "hubot");
    for (id, login) in [(1, "octocat"), (1, "octocat"), (2, "hubot")] {
        github.browse(id);
        let (browser, url) = begin(&owner, "connect").await;
        let answer = browser.get(&there(&url).await).await;
        assert_eq!(answer.status, 303, "{login}: {}", answer.text());
        assert_eq!(owner.get("/api/github").await.json()["account"]["login"], login);
        sqlx::raw_sql(r"UPDATE linked_accounts SET token = '\x00'").execute(&app.pool).await.unwrap();
    }
    let gone = owner.ask(Method::DELETE, "/api/github", None).await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert!(owner.get("/api/github").await.json()["account"].is_null());
}

#[tokio::test]
async fn a_revocation_is_seen_and_said_and_signing_in_again_mends_it() {
    let Some((app, github)) = with(everybody()).await else { return };
    let user = session(&app, &sign_in(&app).await);
    assert_eq!(user.get("/api/github/repositories").await.status, 200);
    github.revoke_all();
    let seen = user.get("/api/github").await.json();
    assert_eq!(seen["account"]["state"], "revoked");
    assert!(seen["account"]["message"].as_str().unwrap().contains("revoked"));
    let before = github.asked("GET /api/v3/user");
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "revoked");
    assert_eq!(github.asked("GET /api/v3/user"), before, "GitHub is not asked again with what it does not take");
    let told = user.get("/api/activity?search=does+not+give+access").await.json();
    let told: Vec<_> = told["activity"].as_array().unwrap().iter().map(|one| one["actor"]["via"].as_str()).collect();
    assert_eq!(told, [Some("system")], "it is told once");
    assert_eq!(user.get("/api/me").await.status, 200, "the session is ours, and goes on");
    let user = session(&app, &sign_in(&app).await);
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "working");
}

#[tokio::test]
async fn tokens_that_end_are_refreshed_once() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.expires(Some(30));
    let user = session(&app, &sign_in(&app).await);
    github.end_access();
    github.expires(Some(3600));
    let asks = (0..5).map(|_| user.get("/api/github"));
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer.json()["account"]["state"], "working", "{}", answer.text());
    }
    assert_eq!(github.tokens().len(), 1, "five that came at once refreshed it once");
    assert_eq!(github.asked("POST /login/oauth/access_token"), 2);

    github.expires(Some(30));
    let user = session(&app, &sign_in(&app).await);
    github.revoke_all();
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "revoked", "a refresh that is refused is a revocation");
}

#[tokio::test]
async fn a_refresh_with_which_another_replica_was_first_is_no_revocation() {
    let Some((app, github)) = with(everybody()).await else { return };
    github.expires(Some(30));
    let user = session(&app, &sign_in(&app).await);
    let host = github.settings(everybody()).host;
    let (owner, ..) = app.accounts.who_sign_in_by(&host).await.unwrap().remove(0);
    let other = LinkedAccounts::new(app.pool.clone(), app.vault.clone(), &host);
    let old = other.of(owner).await.unwrap().unwrap();
    // It has used the refresh token up, and stores what it got once this server was refused.
    github.revoke_all();
    let stores = async {
        until("a refresh that is refused", async || github.asked("POST /login/oauth/access_token") == 2).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let access = SecretString::from(github.token(old.identity.id.parse().unwrap()));
        let ends = Timestamp::now() + SignedDuration::from_hours(1);
        let new = Tokens { access, refresh: None, expires_at: Some(ends), scopes: old.tokens.scopes.clone() };
        other.renew(&old, &new, Timestamp::now()).await.unwrap()
    };
    let (answer, stored) = tokio::join!(user.get("/api/github"), stores);
    assert!(stored);
    assert_eq!(answer.json()["account"]["state"], "working", "{}", answer.text());
    let told = user.get("/api/activity?search=does+not+give+access").await.json();
    assert_eq!(told["activity"], json!([]));
}

#[tokio::test]
async fn repositories_are_searched_and_come_in_pages() {
    let Some((app, github)) = with(everybody()).await else { return };
    for number in 0..250 {
        github.repository(1, &format!("acme/{}-{number:03}", if number % 2 == 0 { "Boat" } else { "kayak" }), number == 0);
    }
    github.repository(1, "octocat/canoe", false);
    github.repository(1, "Zebra/canoe", false);
    let user = session(&app, &sign_in(&app).await);
    let all = user.get("/api/github/repositories").await.json();
    assert_eq!(
        (all["total"].as_u64(), all["repositories"].as_array().unwrap().len(), all["nextPage"].as_u64()),
        (Some(252), 30, Some(2))
    );
    let first = &all["repositories"][0];
    assert_eq!((first["fullName"].as_str(), first["private"].as_bool()), (Some("acme/Boat-000"), Some(true)));
    assert_eq!(first["cloneUrl"], format!("{}/acme/Boat-000.git", github.url));
    let last = user.get("/api/github/repositories?page=9").await.json();
    assert_eq!((last["repositories"].as_array().unwrap().len(), last["nextPage"].is_null()), (12, true));
    let found = user.get("/api/github/repositories?search=ACME%20boat-24").await.json();
    let names: Vec<&str> =
        found["repositories"].as_array().unwrap().iter().map(|one| one["fullName"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme/Boat-240", "acme/Boat-242", "acme/Boat-244", "acme/Boat-246", "acme/Boat-248"]);
    assert_eq!(found["organizations"], json!(["Zebra", "acme"]), "of all, the account itself left out");
    assert_eq!(user.get("/api/github/repositories?search=dinghy").await.json()["total"], 0);
    assert_eq!(github.asked("GET /api/v3/user/repos"), 3, "the list is read once");
    for bad in ["page=0", "page=-1", "page=x", "other=1", &format!("search={}", "x".repeat(201))] {
        let answer = user.get(&format!("/api/github/repositories?{bad}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "bad-query"), "{bad}");
    }
}

#[tokio::test]
async fn asking_for_repositories_says_what_is_wrong() {
    let Some((app, github)) = with(everybody()).await else { return };
    let reader = app.token(Scope::Read).await.get("/api/github/repositories").await;
    assert_eq!((reader.status.as_u16(), reader.code().as_str()), (403, "read-only"), "{}", reader.text());
    let owner = app.token(Scope::Write).await;
    let none = owner.get("/api/github/repositories").await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (409, "github-not-connected"));
    let user = session(&app, &sign_in(&app).await);
    for (fault, status, code) in [(Fault::Page(503), 502, "github-away"), (Fault::UsedUp, 503, "github-busy")] {
        github.fault(Some(fault));
        let answer = user.get("/api/github/repositories").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
        if fault == Fault::UsedUp {
            assert_eq!(answer.header("retry-after"), "17");
        }
    }
    assert_eq!(user.get("/api/github").await.json()["account"]["state"], "unknown", "not reachable is not revoked");
    let Some(app) = TestApp::start().await else { return };
    let without = app.signed_in().await;
    assert_eq!(without.get("/api/github").await.json(), json!({ "configured": false, "account": null }));
    let answer = without.get("/api/github/repositories").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "github-not-configured"));
}

#[tokio::test]
async fn the_sign_in_page_offers_github_where_it_signs_in() {
    let Some((app, _github)) = with(everybody()).await else { return };
    let page = app.anonymous().get("/sign-in").await.text();
    assert!(page.contains("Continue with GitHub") && page.contains("one-time link"), "{page}");
    let mut last = None;
    for _ in 0..40 {
        last = Some(app.anonymous().post("/api/github/sign-in", &json!({})).await);
    }
    let last = last.unwrap();
    assert_eq!(last.status, 429, "each is a row, so there is a limit");
    assert!((1..=6).contains(&last.header("retry-after").parse::<u32>().unwrap()));
}

#[tokio::test]
async fn who_is_taken_off_the_list_is_signed_out_at_the_next_start() {
    let Some((app, github)) = with(everybody()).await else { return };
    let (owner, visitor) = (app.signed_in().await, session(&app, &sign_in(&app).await));
    let made = visitor.post("/api/tokens", &json!({ "name": "ci", "scope": "write" })).await.json();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", made["secret"].as_str().unwrap()));
    // As a server that is started again with another list does before it answers.
    let starts = async |allowed: Allowed| {
        let settings = github.settings(allowed);
        let linked = LinkedAccounts::new(app.pool.clone(), app.vault.clone(), &settings.host);
        GitHub::new(settings, linked, &app.public).unwrap().shut_out(&app.accounts).await;
    };
    let statuses = async || {
        let mut all = Vec::new();
        for client in [&owner, &visitor, &program] {
            all.push(client.get("/api/me").await.status.as_u16());
        }
        all
    };
    starts(these(&[], &[1], &[])).await;
    starts(these(&["octocat"], &[], &[])).await;
    assert_eq!(statuses().await, [200, 200, 200], "by number or name, they are on it");
    github.member(1, "acme", "active");
    starts(these(&[], &[], &["acme"])).await;
    assert_eq!(statuses().await, [200, 200, 200], "a member");
    github.fault(Some(Fault::Page(502)));
    app.log.allow("cannot look whether a user may still sign in");
    starts(these(&[], &[], &["other"])).await;
    assert_eq!(statuses().await, [200, 200, 200], "GitHub does not say that they are none");
    github.fault(None);
    starts(these(&[], &[], &["other"])).await;
    assert_eq!(statuses().await, [200, 401, 401], "the owner of the machine has another way in");
    let told = app.signed_in().await;
    assert_eq!(told.get("/api/me").await.status, 200);
    let entries: i64 =
        sqlx::query_scalar("SELECT count(*) FROM activity WHERE kind = 'account' AND title LIKE 'Signed out: octocat%'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(entries, 1);
    starts(nobody()).await;
    assert_eq!(statuses().await, [200, 401, 401]);
}

#[tokio::test]
async fn of_whom_github_does_not_say_that_they_are_no_member_nothing_is_stopped_or_unshared() {
    let Some((app, github)) = with(everybody()).await else { return };
    app.log.allow("GitHub does not say who is a member");
    let visitor = session(&app, &sign_in(&app).await);
    let (project, _) = app.running(&visitor, "Boats").await;
    let share = format!("/api/projects/{project}/ports/3000/share");
    let shared = visitor.send(Method::PUT, &share, &json!({ "audience": "users" })).await;
    assert_eq!(shared.status, 200, "{}", shared.text());
    let left = async || {
        let desired: String = sqlx::query_scalar("SELECT desired FROM sandboxes").fetch_one(&app.pool).await.unwrap();
        let shares: i64 = sqlx::query_scalar("SELECT count(*) FROM preview_shares WHERE revoked_at IS NULL")
            .fetch_one(&app.pool)
            .await
            .unwrap();
        (desired, shares)
    };
    for (organizations, is_revoked, expected) in [
        // "closed" lets no app look.
        (&["other", "closed"][..], false, ("running", 1)),
        (&["other"][..], true, ("running", 1)),
        (&["other"][..], false, ("stopped", 0)),
    ] {
        let visitor = session(&app, &sign_in(&app).await);
        if is_revoked {
            github.revoke_all();
        }
        let settings = github.settings(these(&[], &[], organizations));
        let linked = LinkedAccounts::new(app.pool.clone(), app.vault.clone(), &settings.host);
        GitHub::new(settings, linked, &app.public).unwrap().shut_out(&app.accounts).await;
        assert_eq!(visitor.get("/api/me").await.status, 401, "{organizations:?}");
        let (desired, shares) = left().await;
        assert_eq!((desired.as_str(), shares), expected, "{organizations:?}");
    }
}

#[tokio::test]
async fn who_signed_in_by_another_github_than_is_used_now_is_signed_out() {
    let Some((app, stand_in)) = with(everybody()).await else { return };
    let (owner, other) = (app.signed_in().await, app.somebody_else().await);
    let own = stand_in.settings(everybody()).host;
    let visitor = session(&app, &sign_in(&app).await);
    let made = visitor.post("/api/tokens", &json!({ "name": "ci", "scope": "write" })).await.json();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", made["secret"].as_str().unwrap()));
    for (host, expected) in [(own.as_str(), 200), ("github.example", 401)] {
        github::shut_out_others(&app.accounts, host).await;
        for client in [&visitor, &program] {
            assert_eq!(client.get("/api/me").await.status, expected, "{host}");
        }
        for client in [&owner, &other] {
            assert_eq!(client.get("/api/me").await.status, 200, "they do not sign in by GitHub");
        }
    }
    let back = session(&app, &sign_in(&app).await);
    let told = back.get("/api/activity?kind=account").await.text();
    assert_eq!(told.matches("Signed out: octocat may not sign in here any more").count(), 1, "{told}");
}

#[tokio::test]
async fn while_github_is_not_configured_its_users_are_refused_and_what_they_have_is_kept() {
    let Some((app, stand_in)) = with(everybody()).await else { return };
    let signed = sign_in(&app).await;
    let made = session(&app, &signed).post("/api/tokens", &json!({ "name": "ci", "scope": "write" })).await.json();
    let bearer = format!("Bearer {}", made["secret"].as_str().unwrap());
    let clients = |app: &TestApp| [session(app, &signed), app.anonymous().with("authorization", &bearer)];

    let off = app.again(Setup::default()).await;
    let terminal = format!("/api/sandbox/{}/terminal", uuid::Uuid::nil());
    for client in clients(&off) {
        for path in ["/api/me", "/api/projects", "/api/events", terminal.as_str()] {
            let answer = client.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "github-off"), "{path}: {}", answer.text());
            assert!(answer.text().contains("not configured for it now"), "{}", answer.text());
        }
        assert_eq!(client.post("/api/projects", &json!({ "name": "Boats" })).await.status, 401);
    }
    let [browser, _] = clients(&off);
    let page = browser.get("/").await;
    assert_eq!(page.status, 401);
    assert!(page.text().contains("Sign-in by GitHub is off") && page.text().contains("are kept"), "{}", page.text());
    assert_eq!(browser.get("/sign-in").await.status, 200);
    for client in [off.signed_in().await, off.somebody_else().await] {
        assert_eq!(client.get("/api/me").await.status, 200, "they do not sign in by GitHub");
    }
    off.log.allow("GitHub is not configured, and users sign in by it");
    github::tell_of_kept_out(&off.accounts).await;

    let on = app.again(Setup { github: Some(stand_in.settings(everybody())), ..Setup::default() }).await;
    for client in clients(&on) {
        let answer = client.get("/api/me").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // With GitHub configured and nobody allowed they are over.
    let settings = stand_in.settings(nobody());
    let linked = LinkedAccounts::new(on.pool.clone(), on.vault.clone(), &settings.host);
    GitHub::new(settings, linked, &on.public).unwrap().shut_out(&on.accounts).await;
    for client in clients(&on) {
        assert_eq!(client.get("/api/me").await.status, 401);
    }
}
