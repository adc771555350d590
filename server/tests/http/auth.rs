//! Signing in and out, tokens, and that what they opened ends with them.

use crate::support::{
    Client, SIGN_IN_COMMAND, Setup, TestApp,
    client::{hear, say},
    until,
};
use http::Method;
use jiff::Timestamp;
use model::view::Scope;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_link_signs_in_once_and_says_why_it_does_not_again() {
    let Some(app) = TestApp::start().await else { return };
    let anybody = app.anonymous();
    let code = app.code().await;
    let answer = anybody.post("/api/sign-in", &json!({ "code": code })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("fsa_session="), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Domain"), "{cookie}");
    let mine = anybody.with("cookie", cookie.split(';').next().unwrap());
    assert_eq!(mine.get("/api/me").await.json()["scope"], "write");

    let again = anybody.post("/api/sign-in", &json!({ "code": code })).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (410, "link-used"));
    assert!(again.json()["details"]["nextSteps"][0].as_str().unwrap().contains("sign-in-link"));

    app.log.allow("never made");
    let forged = anybody.post("/api/sign-in", &json!({ "code": format!("{code}x") })).await;
    assert_eq!((forged.status.as_u16(), forged.code().as_str()), (401, "link-unknown"));

    let late = app.code().await;
    sqlx::query("UPDATE sign_in_codes SET expires_at = now() - interval '1 second' WHERE used_at IS NULL")
        .execute(&app.pool)
        .await
        .unwrap();
    let expired = anybody.post("/api/sign-in", &json!({ "code": late })).await;
    assert_eq!((expired.status.as_u16(), expired.code().as_str()), (410, "link-expired"));
    assert_eq!(anybody.get("/api/me").await.status, 401);
}

#[tokio::test]
async fn a_stranger_elsewhere_is_told_no_path_of_this_machine() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let opening = json!({ "what": "Opening" });
    let forwarded = |client: Client| client.with("x-forwarded-for", "203.0.113.7");
    for (visitor, told) in [(app.anonymous(), true), (forwarded(app.anonymous()), false)] {
        let page = visitor.get("/sign-in").await.text();
        let loaded = visitor.post("/api/fn/load", &opening).await.text();
        let refused = visitor.post("/api/sign-in", &json!({ "code": "wrong" })).await.text();
        for text in [page, loaded, refused] {
            assert!(text.contains("fullstack-agent sign-in-link"), "{text}");
            assert_eq!(text.contains(SIGN_IN_COMMAND), told, "{text}");
        }
    }
    let owner = forwarded(app.signed_in().await);
    assert!(owner.post("/api/fn/load", &opening).await.text().contains(SIGN_IN_COMMAND), "who is signed in reads it everywhere");
}

#[tokio::test]
async fn the_sign_in_page_says_where_its_visitor_gets_a_link() {
    let Some(app) = TestApp::start_as(Setup { secure: true, ..Setup::default() }).await else { return };
    let public = format!("{}/sign-in#…", app.public);
    let page = app.anonymous().get("/sign-in").await.text();
    assert!(page.contains("printed where the server was started") && page.contains(&format!("Sign in: {public}")), "{page}");

    let setup = Setup { secure: true, orchestrator: Some("kubernetes"), ..Setup::default() };
    let Some(app) = TestApp::start_as(setup).await else { return };
    // The address that browsers use, whatever a proxy in between makes of it.
    let page = app.anonymous().with("x-forwarded-proto", "http").get("/sign-in").await.text();
    assert!(page.contains("Ask who runs this installation for a link.") && page.contains(&public), "{page}");
    for of_one_machine in ["single-machine", "was started", "where the server runs", "on that machine"] {
        assert!(!page.contains(of_one_machine), "{of_one_machine}: {page}");
    }
}

#[tokio::test]
async fn signing_in_leads_to_where_the_visitor_wanted_to_go_and_nowhere_else() {
    let Some(app) = TestApp::start().await else { return };
    for (next, to) in [
        (json!("/projects/abc?tab=env#x"), "/projects/abc?tab=env#x"),
        (json!("/open/x/3000"), "/open/x/3000"),
        (json!(null), "/"),
        (json!(""), "/"),
        (json!("//evil.example"), "/"),
        (json!("/\\evil.example"), "/"),
        (json!("/\t/evil.example"), "/"),
        (json!("https://evil.example/"), "/"),
        (json!("javascript:alert(1)"), "/"),
        (json!("projects"), "/"),
    ] {
        let answer = app.anonymous().post("/api/sign-in", &json!({ "code": app.code().await, "next": next })).await;
        assert_eq!((answer.status.as_u16(), answer.json()["next"].as_str().unwrap()), (200, to), "{next}");
    }
    let page = app.anonymous().get("/projects/0198c2f0-0000-7000-8000-000000000000?a=b").await;
    assert_eq!(
        (page.status.as_u16(), page.header("location")),
        (302, "/sign-in?next=/projects/0198c2f0-0000-7000-8000-000000000000%3Fa%3Db")
    );
    assert_eq!(app.anonymous().get("/").await.header("location"), "/sign-in");
}

#[tokio::test]
async fn signing_in_again_changes_the_session_and_ends_the_old_one() {
    let Some(app) = TestApp::start().await else { return };
    let first = app.signed_in().await;
    let answer = first.post("/api/sign-in", &json!({ "code": app.code().await })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = app.anonymous().with("cookie", answer.header("set-cookie").split(';').next().unwrap());
    assert_eq!(first.get("/api/me").await.status, 401, "the id that was known before opens nothing");
    assert_eq!(second.get("/api/me").await.status, 200);
}

#[tokio::test]
async fn signing_out_ends_the_session_everywhere_and_no_other() {
    let Some(app) = TestApp::start().await else { return };
    let (here, elsewhere) = (app.signed_in().await, app.signed_in().await);
    assert_eq!(here.ask(Method::POST, "/api/sign-out", None).await.status, 204);
    assert_eq!(here.get("/api/me").await.status, 401);
    assert_eq!(elsewhere.get("/api/me").await.status, 200);
    let third = app.signed_in().await;
    assert_eq!(elsewhere.post("/api/sign-out", &json!({ "everywhere": true })).await.status, 204);
    assert_eq!(third.get("/api/me").await.status, 401);
}

#[tokio::test]
async fn many_wrong_codes_have_to_wait() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let mut last = 401;
    for _ in 0..25 {
        let answer = app.anonymous().post("/api/sign-in", &json!({ "code": "wrong" })).await;
        last = answer.status.as_u16();
        if last == 429 {
            assert_eq!(answer.code(), "too-many");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
            break;
        }
    }
    assert_eq!(last, 429);
    // Behind the same router there may be somebody whose link is right.
    let answer = app.anonymous().post("/api/sign-in", &json!({ "code": app.code().await })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn many_wrong_tokens_have_to_wait_and_lock_nobody_out() {
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("never made");
    let (right, session) = (app.token(Scope::Read).await, app.signed_in().await);
    let over = app.accounts.make_token(app.owner, "old", Scope::Write, Some(Timestamp::now()), Timestamp::now()).await.unwrap();
    let wrong = [over.secret.as_str(), "fsa_nonsense", "nonsense"];
    let mut answers = Vec::new();
    for secret in wrong.iter().cycle().take(120) {
        answers.push(app.anonymous().with("authorization", &format!("Bearer {secret}")).get("/api/me").await);
    }
    assert!(answers[..100].iter().all(|answer| answer.status == 401 && answer.code() == "bad-token"));
    let refused = answers.last().unwrap();
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "too-many"));
    assert!((1..=6).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    assert!(!refused.text().contains("nonsense"), "what was brought is not said again");
    for let_in in [&right, &session] {
        assert_eq!(let_in.get("/api/me").await.status, 200, "from the same address");
    }
    let code = app.anonymous().post("/api/sign-in", &json!({ "code": "wrong" })).await;
    assert_eq!(code.code(), "link-unknown", "links are counted apart");
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_is_over_when_revoked_or_expired() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let made = owner.post("/api/tokens", &json!({ "name": "ci", "scope": "read", "days": 1 })).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let program = app.anonymous().with("authorization", &format!("Bearer {secret}"));
    assert_eq!(program.get("/api/me").await.json()["scope"], "read");
    let listed = owner.get("/api/tokens").await;
    assert!(!listed.text().contains(&secret) && listed.json()[0]["lastUsedAt"].is_string(), "{}", listed.text());
    let prefix = json!(&secret[..12]);
    assert_eq!((&made.json()["token"]["prefix"], &listed.json()[0]["prefix"]), (&prefix, &prefix), "by which it is known again");
    // One that was made before that was kept.
    sqlx::query("UPDATE api_tokens SET prefix = NULL").execute(&app.pool).await.unwrap();
    assert_eq!(owner.get("/api/tokens").await.json()[0]["prefix"], json!(null));

    let stranger = app.somebody_else().await;
    let path = format!("/api/tokens/{}", made.json()["token"]["id"].as_str().unwrap());
    assert_eq!(stranger.ask(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(owner.ask(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(program.get("/api/me").await.code(), "bad-token");
    assert_eq!(owner.ask(Method::DELETE, &path, None).await.status, 404);

    let expired =
        app.accounts.make_token(app.owner, "old", Scope::Write, Some(Timestamp::now()), Timestamp::now()).await.unwrap();
    assert_eq!(app.anonymous().with("authorization", &format!("Bearer {}", expired.secret)).get("/api/me").await.status, 401);
    for odd in ["Bearer", "Bearer ", "Basic eDp4", "Bearer fsa_"] {
        assert_eq!(app.anonymous().with("authorization", odd).get("/api/me").await.status, 401, "{odd}");
    }
    for (bad, code) in [
        (json!({ "name": "", "scope": "read" }), "bad-token-name"),
        (json!({ "name": "x", "scope": "admin" }), "wrong-form"),
        (json!({ "name": "x", "scope": "read", "days": 0 }), "bad-expiry"),
    ] {
        let answer = owner.post("/api/tokens", &bad).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (422, code));
    }
}

#[tokio::test]
async fn a_token_that_a_token_made_does_not_outlive_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let by = |secret: &serde_json::Value| app.anonymous().with("authorization", &format!("Bearer {}", secret.as_str().unwrap()));
    let made = owner.post("/api/tokens", &json!({ "name": "maker", "scope": "write", "days": 2 })).await.json();
    assert!(made["token"]["madeBy"].is_null(), "a session made it: {made}");
    let (maker, id, end) = (by(&made["secret"]), &made["token"]["id"], &made["token"]["expiresAt"]);
    assert!(end.is_string(), "{made}");

    let asked = [(json!(null), true), (json!(90), true), (json!(1), false)];
    let mut children = Vec::new();
    for (days, as_the_maker) in asked {
        let child = maker.post("/api/tokens", &json!({ "name": "child", "scope": "write", "days": days })).await;
        assert_eq!(child.status, 201, "{}", child.text());
        let child = child.json();
        assert_eq!((&child["token"]["expiresAt"] == end, &child["token"]["madeBy"]), (as_the_maker, id), "{days}: {child}");
        children.push(by(&child["secret"]));
    }
    // A page's server function that a program calls is no way around.
    let ask = json!({ "name": "child", "scope": "read", "days": null });
    let child = maker.post("/api/fn/create-token", &ask).await.json();
    assert_eq!((&child["token"]["expiresAt"], &child["token"]["madeBy"]), (end, id), "{child}");
    children.push(by(&child["secret"]));
    let grandchild = children[0].post("/api/tokens", &json!({ "name": "grandchild", "scope": "read" })).await.json();
    assert_eq!(&grandchild["token"]["expiresAt"], end);
    children.push(by(&grandchild["secret"]));
    let listed = owner.get("/api/tokens").await.json();
    assert_eq!(listed.as_array().unwrap().iter().filter(|token| &token["madeBy"] == id).count(), 4, "{listed}");

    let beside = app.token(Scope::Write).await;
    let path = format!("/api/tokens/{}", id.as_str().unwrap());
    assert_eq!(owner.ask(Method::DELETE, &path, None).await.status, 204);
    for child in children.iter().chain([&maker]) {
        assert_eq!(child.get("/api/me").await.code(), "bad-token");
    }
    assert_eq!(beside.get("/api/me").await.status, 200);
    let told = owner.get("/api/activity?kind=account").await.text();
    assert_eq!(told.matches("The token that made it was revoked").count(), 5, "{told}");
}

#[tokio::test]
async fn what_a_credential_opened_ends_with_it_within_a_second() {
    use http_body_util::BodyExt as _;
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Ends").await;
    app.world.writes(&["a line"]);
    // Revoked aside, as the command line does it: this process is not told.
    let token = app.accounts.make_token(app.owner, "x", Scope::Write, None, Timestamp::now()).await.unwrap();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let timed = app.accounts.make_token(app.owner, "timed", Scope::Write, None, Timestamp::now()).await.unwrap();
    let timed = app.anonymous().with("authorization", &format!("Bearer {}", timed.secret));
    let (leaving, late) = (app.signed_in().await, app.signed_in().await);
    for (who, how) in
        [(&program, "revoked"), (&leaving, "signed out"), (&timed, "its token expired"), (&late, "its session expired")]
    {
        let events = who.open(Method::GET, "/api/events", None).await;
        let mut terminal = who.socket(&format!("/api/sandbox/{project}/terminal"), "fsa-tty.v1").await.unwrap();
        say(&mut terminal, "hello").await;
        assert_eq!(hear(&mut terminal).await.unwrap(), "hello");
        let ask = json!({ "command": ["wait"] });
        let exec = who
            .with("accept", "application/x-ndjson")
            .with("content-type", "application/json")
            .open(Method::POST, &format!("/api/sandbox/{project}/exec"), Some(ask.to_string().into()))
            .await;
        let log = who.open(Method::GET, &format!("/api/sandbox/{project}/logs?follow=true"), None).await;
        assert_eq!((events.status().as_u16(), exec.status().as_u16(), log.status().as_u16()), (200, 200, 200));

        let start = Instant::now();
        match how {
            "revoked" => assert!(app.accounts.revoke_token(app.owner, token.token.id, Timestamp::now()).await.unwrap()),
            "signed out" => assert_eq!(who.ask(Method::POST, "/api/sign-out", None).await.status, 204),
            _ => {
                let over = match how {
                    "its token expired" => "UPDATE api_tokens SET expires_at = now() - interval '1 second' WHERE name = 'timed'",
                    // Of all of them, as the last thing here.
                    _ => "UPDATE sessions SET expires_at = now() - interval '1 second'",
                };
                assert!(sqlx::query(over).execute(&app.pool).await.unwrap().rows_affected() > 0);
            }
        }
        assert_eq!(hear(&mut terminal).await, Err(4401), "{how}");
        drop(terminal);
        tokio::time::timeout(Duration::from_secs(5), events.into_body().collect()).await.unwrap().unwrap();
        let log = tokio::time::timeout(Duration::from_secs(5), log.into_body().collect()).await.unwrap().unwrap();
        assert_eq!(log.to_bytes(), "{\"at\":null,\"text\":\"a line\"}\n");
        let _ = tokio::time::timeout(Duration::from_secs(5), exec.into_body().collect()).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(1500), "{how}: it took {:?}", start.elapsed());
        if how != "its session expired" {
            until("the others to be unharmed", async || owner.get("/api/me").await.status == 200).await;
        }
    }
}

#[tokio::test]
async fn a_credential_that_is_hard_to_look_up_keeps_no_other_open() {
    use http_body_util::BodyExt as _;
    let Some(app) = TestApp::start().await else { return };
    app.log.allow("slow statement");
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(app.token(Scope::Read).await.open(Method::GET, "/api/events", None).await);
    }
    let leaving = app.signed_in().await.open(Method::GET, "/api/events", None).await;
    // The app's pool of these tests has one connection.
    let other = crate::postgres::aside(&app.pool.connect_options()).await;
    let mut hard = app.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE api_tokens IN ACCESS EXCLUSIVE MODE").execute(&mut *hard).await.unwrap();
    sqlx::query("UPDATE sessions SET expires_at = now() - interval '1 second'").execute(&other).await.unwrap();
    // A hard one is waited for ten seconds (`PATIENCE`): whoever waits for that is no sooner done.
    let ended = tokio::time::timeout(Duration::from_secs(8), leaving.into_body().collect()).await;
    hard.rollback().await.unwrap();
    assert!(ended.is_ok(), "it waited for the others");
}

#[tokio::test]
async fn a_command_whose_end_nobody_waits_for_is_told_why() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Commands").await;
    let token = app.accounts.make_token(app.owner, "x", Scope::Write, None, Timestamp::now()).await.unwrap();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let run = |client: crate::support::Client| {
        tokio::spawn(async move { client.post(&format!("/api/sandbox/{project}/exec"), &json!({ "command": ["wait"] })).await })
    };
    let (revoked, stopped) = (run(program), run(owner));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!revoked.is_finished() && !stopped.is_finished());
    assert!(app.accounts.revoke_token(app.owner, token.token.id, Timestamp::now()).await.unwrap());
    assert_eq!(revoked.await.unwrap().status, 401);
    app.stop();
    let answer = stopped.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "restarting"), "{}", answer.text());
    assert!(answer.text().contains("The server is restarting; whether the command finished is not known."));
}
