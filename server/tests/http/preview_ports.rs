//! Previews as ports of one host (`--preview-listen`): as private as those with names of their own, although browsers
//! send all cookies of a host to all its ports.

use crate::support::{Answer, Client, Setup, TestApp, apps, client::say, until};
use axum::{Router, routing::any};
use http::{Method, StatusCode, header};
use model::ProjectId;
use serde_json::json;

/// Says what it is asked, and sets a cookie of each kind.
fn harbour() -> Router {
    let cookies = || async {
        let set = [(header::SET_COOKIE, "sid=secret; Path=/; HttpOnly"), (header::SET_COOKIE, "theme=dark; Domain=127.0.0.1")];
        (axum::response::AppendHeaders(set), "set")
    };
    Router::new()
        .route("/headers", any(apps::headers))
        .route("/cookies", any(cookies))
        .route("/", any(|| async { "Boats for hire" }))
}

async fn app(ports: u16) -> Option<TestApp> {
    let app = TestApp::start_as(Setup { preview_ports: ports, ..Setup::default() }).await?;
    app.world.listen(3000, harbour());
    app.world.listen(5000, harbour());
    Some(app)
}

/// Where the preview of a port is: the code that opens it, and the server's port.
async fn address(owner: &Client, project: ProjectId, port: u16) -> (String, u16) {
    let made = owner.post(&format!("/api/projects/{project}/preview"), &json!({ "port": port })).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let url = made.json()["url"].as_str().unwrap().to_owned();
    let address = url.strip_prefix("http://127.0.0.1:").unwrap().strip_suffix('/').unwrap().parse().unwrap();
    assert_eq!(made.json()["action"], format!("{url}.fsa/enter"));
    (made.json()["code"].as_str().unwrap().to_owned(), address)
}

async fn post_code(app: &TestApp, visitor: &Client, code: &str) -> Answer {
    let form = visitor
        .with("origin", &app.public)
        .with("sec-fetch-site", "cross-site")
        .with("sec-fetch-dest", "iframe")
        .with("content-type", "application/x-www-form-urlencoded");
    form.ask(Method::POST, "/.fsa/enter", Some(format!("code={code}").into())).await
}

/// The cookies of an answer, as a browser sends them back.
fn cookies(answer: &Answer) -> String {
    let set = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().split(';').next().unwrap());
    set.collect::<Vec<_>>().join("; ")
}

/// A browser that was let in, with all that it knows by then.
async fn enter(app: &TestApp, owner: &Client, project: ProjectId, port: u16) -> (Client, u16) {
    let (code, address) = address(owner, project, port).await;
    let visitor = app.anonymous().at(address);
    let answer = post_code(app, &visitor, &code).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("clear-site-data"), "\"cache\", \"storage\"", "nothing is left of who had the port before");
    (visitor.with("cookie", &cookies(&answer)), address)
}

#[tokio::test]
async fn a_preview_has_a_port_that_stays_and_a_code_opens_it_once() {
    let Some(app) = app(3).await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Boats").await;
    let (code, at) = address(&owner, project, 3000).await;
    let visitor = app.anonymous().at(at);
    let stranger = visitor.get("/").await;
    assert_eq!(stranger.status, 401);
    assert!(!stranger.text().contains("Boats") && stranger.text().contains(&format!("{}/open/", app.public)));
    let entered = post_code(&app, &visitor, &code).await;
    assert_eq!(entered.status, 303, "{}", entered.text());
    assert!(cookies(&entered).contains(&format!("fsa_frame_{at}=")), "{}", cookies(&entered));
    let visitor = visitor.with("cookie", &cookies(&entered));
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    assert_eq!(post_code(&app, &visitor, &code).await.status, 401, "a code works once");

    let (code, again) = address(&owner, project, 3000).await;
    assert_eq!(again, at, "the address stays");
    let entered = post_code(&app, &visitor, &code).await;
    assert_eq!((entered.status.as_u16(), entered.header("clear-site-data")), (303, ""), "what the app stored is left to it");
    let urls = owner.get(&format!("/api/projects/{project}")).await.json()["sandbox"]["urls"].clone();
    assert_eq!(urls["application"], format!("{}/open/{project}/3000", app.public));
    assert_eq!(urls["preview"], format!("{}/open/{project}/{{port}}", app.public));
}

#[tokio::test]
async fn one_preview_opens_no_other_of_the_same_host() {
    let Some(app) = app(4).await else { return };
    let owner = app.signed_in().await;
    let (one, _) = app.running(&owner, "One").await;
    let (other, _) = app.running(&owner, "Other").await;
    let (visitor, at) = enter(&app, &owner, one, 3000).await;
    let (_, elsewhere) = address(&owner, other, 3000).await;
    let (_, second) = address(&owner, one, 5000).await;
    for address in [elsewhere, second] {
        assert_eq!(visitor.at(address).get("/").await.status, 401, "all cookies come along, and open nothing");
        let renamed = visitor.headers()["cookie"].to_str().unwrap().replace(&at.to_string(), &address.to_string());
        assert_eq!(visitor.at(address).with("cookie", &renamed).get("/").await.status, 401, "under its name neither");
    }

    // A page of the other, in the same browser, that asks with all cookies.
    let page = visitor.with("origin", &format!("http://127.0.0.1:{elsewhere}")).with("sec-fetch-site", "same-site");
    let asked = [page.post("/headers", &json!({})).await, page.get("/headers").await, page.get("/.fsa/status").await];
    for answer in &asked {
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert_eq!(page.get("/.fsa/here").await.status, 204, "that it is there is no secret: the app may be of the same site");
    assert_eq!(page.without("sec-fetch-site").get("/headers").await.status, 403, "in a browser that says less");
    let less = visitor.with("referer", &format!("http://127.0.0.1:{elsewhere}/"));
    assert_eq!(less.with("accept", "image/png").get("/headers").await.status, 403, "a picture, in a browser that says less");
    assert_eq!(less.with("accept", "text/html,*/*;q=0.8").get("/headers").await.status, 200, "and a link");
    let own = visitor.with("accept", "image/png").with("referer", &format!("http://127.0.0.1:{at}/"));
    assert_eq!(own.get("/headers").await.status, 200, "its own page");
    assert_eq!(page.socket("/", "").await.err(), Some(StatusCode::FORBIDDEN));
    let link = page.without("origin").with("sec-fetch-mode", "navigate").with("sec-fetch-dest", "document");
    assert_eq!(link.get("/").await.status, 200, "a link leads there");
    assert_eq!(link.post("/", &json!({})).await.status, 403, "a form does not");
    let own = visitor.with("origin", &format!("http://127.0.0.1:{at}")).with("sec-fetch-site", "same-origin");
    assert_eq!(own.post("/headers", &json!({})).await.status, 200);
}

#[tokio::test]
async fn an_apps_own_cookies_stay_with_it() {
    let Some(app) = app(3).await else { return };
    let owner = app.signed_in().await;
    let (one, _) = app.running(&owner, "One").await;
    let (other, _) = app.running(&owner, "Other").await;
    let (visitor, at) = enter(&app, &owner, one, 3000).await;
    let (second, elsewhere) = enter(&app, &owner, other, 3000).await;
    let set = visitor.get("/cookies").await;
    assert!(set.headers.get_all("set-cookie").iter().all(|set| !set.to_str().unwrap().contains("Domain")));
    let jar = |client: &Client| client.headers()["cookie"].to_str().unwrap().to_owned();
    let all = format!("{}; {}; {}", jar(&visitor), jar(&second), cookies(&set));
    let seen = async |port| app.anonymous().at(port).with("cookie", &all).get("/headers").await.json()["cookie"].clone();
    assert_eq!(seen(at).await, "sid=secret; theme=dark");
    assert_eq!(seen(elsewhere).await, "theme=dark", "what no page reads, no other app is sent");
}

#[tokio::test]
async fn only_its_host_is_answered_and_only_with_previews() {
    let Some(app) = app(2).await else { return };
    let owner = app.signed_in().await;
    let (project, name) = app.running(&owner, "Hosts").await;
    let (visitor, at) = enter(&app, &owner, project, 3000).await;
    for host in
        ["evil.example".to_owned(), format!("localhost:{at}"), format!("3000--{name}.localhost:{at}"), format!("[::1]:{at}")]
    {
        let answer = visitor.with("host", &host).get("/").await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (421, "unknown-host"), "{host}");
    }
    assert_eq!(owner.without("origin").at(at).get("/api/projects").await.status, 401, "the API is not here");
    assert_eq!(visitor.with("host", "127.0.0.1:9999").get("/").await.status, 200, "behind a tunnel");
    assert_eq!(app.anonymous().at(at + 1).get("/").await.status, 404, "nobody's yet");
    assert_eq!(visitor.with("service-worker", "script").get("/sw.js").await.status, 403, "it would outlive the preview here");

    let page = owner.with("accept", "text/html").get("/").await;
    let policy = page.header("content-security-policy").to_owned();
    assert!(policy.contains("frame-src http://127.0.0.1:*;"), "{policy}");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:*"), "{policy}");

    let link =
        owner.send(Method::PUT, &format!("/api/projects/{project}/ports/3000/share"), &json!({ "audience": "link" })).await;
    let url = link.json()["url"].as_str().unwrap().to_owned();
    let (page, secret) = url.split_once('#').unwrap();
    assert_eq!(page, format!("http://127.0.0.1:{at}/.fsa/share"));
    let guest = app.anonymous().at(at).ask(Method::POST, "/.fsa/share", Some(secret.to_owned().into())).await;
    assert_eq!(guest.status, 204, "{}", guest.text());
    let guest = app.anonymous().at(at).with("cookie", &cookies(&guest));
    assert_eq!(guest.get("/").await.text(), "Boats for hire");
}

#[tokio::test]
async fn an_address_is_free_again_when_its_sandbox_is_gone() {
    let Some(app) = app(1).await else { return };
    let owner = app.signed_in().await;
    let (first, _) = app.running(&owner, "First").await;
    let (visitor, at) = enter(&app, &owner, first, 3000).await;
    let refused = owner.post(&format!("/api/projects/{first}/preview"), &json!({ "port": 5000 })).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "no-preview-address"));

    owner.post(&format!("/api/sandbox/{first}/stop"), &json!({})).await;
    app.reaches(&owner, first, "Stopped").await;
    assert_eq!(visitor.get("/").await.status, 503, "it waits for its sandbox");
    owner.ask(Method::DELETE, &format!("/api/projects/{first}"), None).await;
    until("the address to be nobody's", async || visitor.get("/").await.status == 404).await;

    let (second, _) = app.running(&owner, "Second").await;
    let (code, next) = address(&owner, second, 3000).await;
    assert_eq!(next, at);
    assert_eq!(visitor.get("/").await.status, 401, "the old cookie opens nothing of it");
    let entered = post_code(&app, &visitor, &code).await;
    assert_eq!(entered.header("clear-site-data"), "\"cache\", \"storage\"");

    // What was opened long ago and is shared with nobody makes room.
    sqlx::query("UPDATE preview_ports SET used_at = now() - interval '13 hours'").execute(&app.pool).await.unwrap();
    assert_eq!(address(&owner, second, 5000).await.1, at);
    until("the address to be another port's", async || {
        let page = app.anonymous().at(at).get("/").await.text();
        page.contains("/5000")
    })
    .await;
}

#[tokio::test]
async fn a_socket_of_the_previews_own_page_is_joined() {
    let Some(app) = app(1).await else { return };
    app.world.listen(3000, Router::new().route("/echo", any(apps::echo)));
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Sockets").await;
    let (visitor, at) = enter(&app, &owner, project, 3000).await;
    let own = visitor.with("origin", &format!("http://127.0.0.1:{at}")).with("sec-fetch-site", "same-origin");
    let mut socket = own.socket("/echo", "").await.unwrap();
    say(&mut socket, "ahoy").await;
    assert_eq!(crate::support::client::hear(&mut socket).await.unwrap(), "ahoy");
}
