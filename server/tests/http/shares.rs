//! Previews that others than their owner may open.

use crate::support::{Answer, Client, TestApp, until};
use axum::{Router, body::Body, routing::get};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use model::{ProjectId, view::Scope};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

fn boats() -> Router {
    let endless = || async {
        Body::from_stream(futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>("more\n"), ()))
        }))
    };
    let headers = |headers: http::HeaderMap| async move { format!("{headers:?}") };
    Router::new().route("/", get(|| async { "Boats for hire" })).route("/endless", get(endless)).route("/headers", get(headers))
}

struct Shared {
    app: TestApp,
    owner: Client,
    project: ProjectId,
    name: String,
}

impl Shared {
    async fn start() -> Option<Self> {
        let app = TestApp::start().await?;
        let owner = app.signed_in().await;
        app.world.listen(3000, boats());
        app.world.listen(5000, boats());
        let (project, name) = app.running(&owner, "Boats").await;
        Some(Self { app, owner, project, name })
    }

    fn path(&self, port: u16) -> String {
        format!("/api/projects/{}/ports/{port}/share", self.project)
    }

    async fn share(&self, body: Value) -> Answer {
        self.owner.send(Method::PUT, &self.path(3000), &body).await
    }

    /// The secret of a new link.
    async fn link(&self) -> String {
        let made = self.share(json!({ "audience": "link", "expiresInHours": 1 })).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let url = made.json()["url"].as_str().unwrap().to_owned();
        let (address, secret) = url.split_once('#').unwrap();
        assert_eq!(address, format!("http://3000--{}.localhost:{}/.fsa/share", self.name, self.app.port));
        assert!(secret.len() >= 43);
        secret.to_owned()
    }

    fn at(&self, port: u16) -> Client {
        self.app.anonymous().with("host", &format!("{port}--{}.localhost:{}", self.name, self.app.port))
    }

    /// Comes by a link.
    async fn come(&self, secret: &str, port: u16) -> Answer {
        let own = format!("http://{port}--{}.localhost:{}", self.name, self.app.port);
        self.at(port).with("origin", &own).ask(Method::POST, "/.fsa/share", Some(secret.to_owned().into())).await
    }

    /// A browser with the cookie of a link.
    async fn guest(&self, secret: &str) -> Client {
        let come = self.come(secret, 3000).await;
        assert_eq!(come.status, 204, "{}", come.text());
        self.at(3000).with("cookie", come.header("set-cookie").split(';').next().unwrap())
    }

    async fn open_as(&self, client: &Client) -> Result<Client, StatusCode> {
        let made = client.post(&format!("/api/projects/{}/preview", self.project), &json!({ "port": 3000 })).await;
        if made.status != 200 {
            return Err(made.status);
        }
        let code = made.json()["code"].as_str().unwrap().to_owned();
        let answer = self
            .at(3000)
            .with("origin", &format!("http://localhost:{}", self.app.port))
            .with("content-type", "application/x-www-form-urlencoded")
            .ask(Method::POST, "/.fsa/enter", Some(format!("code={code}").into()))
            .await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        Ok(self.at(3000).with("cookie", answer.header("set-cookie").split(';').next().unwrap()))
    }
}

#[tokio::test]
async fn a_link_opens_one_port_to_whoever_has_it() {
    let Some(shared) = Shared::start().await else { return };
    assert_eq!(shared.owner.get(&shared.path(3000)).await.json(), json!({ "audience": "private" }));
    assert_eq!(shared.at(3000).get("/").await.status, 401);
    let secret = shared.link().await;
    let told = shared.owner.get(&shared.path(3000)).await.json();
    assert_eq!(told["audience"], "link");
    assert!(told["expiresAt"].is_string() && told.get("url").is_none(), "the link is told once: {told}");

    let page = shared.at(3000).get("/.fsa/share").await;
    assert!(page.status == 200 && page.text().contains("location.hash") && !page.text().contains(&secret));
    let come = shared.come(&secret, 3000).await;
    let cookie = come.header("set-cookie");
    assert!(cookie.starts_with("fsa_shared=") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains("Domain"), "{cookie}");
    let age: u64 = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    let said = 24 * 3600;
    assert!((said + 3590..=said + 3600).contains(&age), "a day longer than the link, so that its end is told: {cookie}");

    let guest = shared.guest(&secret).await;
    assert_eq!(guest.get("/").await.text(), "Boats for hire");
    assert!(!guest.get("/headers").await.text().contains(&secret), "the app inside never sees the link");
    let elsewhere = guest.with("host", &format!("5000--{}.localhost:{}", shared.name, shared.app.port));
    assert_eq!(elsewhere.get("/").await.status, 401, "a link opens one port");
    assert_eq!(shared.come(&secret, 5000).await.status, 401);
    // It is no sign-in.
    let host = format!("localhost:{}", shared.app.port);
    assert_eq!(guest.with("host", &host).get("/api/me").await.status, 401);
    assert_eq!(shared.at(3000).with("authorization", &format!("Bearer {secret}")).get("/").await.status, 401);
    let foreign = shared.at(3000).with("origin", "http://evil.example");
    assert_eq!(foreign.ask(Method::POST, "/.fsa/share", Some(secret.into())).await.status, 403);
}

#[tokio::test]
async fn a_link_that_is_over_says_why() {
    let Some(shared) = Shared::start().await else { return };
    let came = Arc::new(Notify::new());
    let never = {
        let came = came.clone();
        move || {
            came.notify_one();
            std::future::pending::<()>()
        }
    };
    // Before anything is asked of it: connections to it are kept.
    shared.app.world.listen(3000, boats().route("/never", get(never)));
    let first = shared.link().await;
    let guest = shared.guest(&first).await;
    let mut stream = guest.open(Method::GET, "/endless", None).await.into_body();
    assert!(stream.frame().await.unwrap().is_ok());
    // Another link takes its place.
    let second = shared.link().await;
    let ended = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(Duration::from_secs(3), ended).await.expect("what streams ends with the link");
    until("the first link to be over", async || guest.get("/").await.status == 401).await;
    assert!(guest.get("/").await.text().contains("This link was withdrawn"));
    assert!(shared.come(&first, 3000).await.text().contains("This link was withdrawn"));

    let guest = shared.guest(&second).await;
    assert_eq!(guest.get("/").await.status, 200);
    // What streams, and what the app has not answered yet.
    let mut stream = guest.open(Method::GET, "/endless", None).await.into_body();
    assert!(stream.frame().await.unwrap().is_ok());
    let waits = tokio::spawn({
        let guest = guest.clone();
        async move { guest.get("/never").await }
    });
    tokio::time::timeout(Duration::from_secs(5), came.notified()).await.expect("the app is asked");
    let past = "UPDATE preview_shares SET expires_at = now() - interval '1 second' WHERE revoked_at IS NULL";
    sqlx::query(past).execute(&shared.app.pool).await.unwrap();
    let ended = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(Duration::from_secs(3), ended).await.expect("what streams ends with the link's time");
    let cut = tokio::time::timeout(Duration::from_secs(3), waits).await.expect("what waits ends too").unwrap();
    assert!(cut.status == 401 && cut.text().contains("This link has expired"), "{}", cut.text());
    until("the second link to be over", async || guest.get("/").await.status == 401).await;
    assert!(guest.get("/").await.text().contains("This link has expired"));
    // As a page of ours that waits is told, which then loads itself again.
    assert_eq!(guest.get("/.fsa/status").await.status, 401);
    let both = guest.with("cookie", &format!("{}; fsa_preview=over", guest.headers()["cookie"].to_str().unwrap()));
    assert!(both.get("/").await.text().contains("Sign in to see this preview"), "who was signed in, too, is led back");
    assert_eq!(shared.owner.get(&shared.path(3000)).await.json(), json!({ "audience": "private" }));

    let unknown = shared.come("nonsense", 3000).await;
    assert!(unknown.status == 401 && unknown.text().contains("This link opens nothing"), "{}", unknown.text());
    for _ in 0..2 {
        assert_eq!(shared.owner.ask(Method::DELETE, &shared.path(3000), None).await.status, 204);
    }
}

#[tokio::test]
async fn the_activity_says_who_opened_a_preview_and_who_closed_it() {
    let Some(shared) = Shared::start().await else { return };
    let secret = shared.link().await;
    assert_eq!(shared.share(json!({ "audience": "users" })).await.status, 200);
    let program = shared.app.token(Scope::Write).await;
    for _ in 0..2 {
        assert_eq!(program.ask(Method::DELETE, &shared.path(3000), None).await.status, 204);
    }
    assert_eq!(shared.share(json!({ "audience": "nobody" })).await.status, 422);
    let answer = shared.owner.get(&format!("/api/projects/{}/activity?kind=ask", shared.project)).await;
    assert!(!answer.text().contains(&secret), "{}", answer.text());
    let told = answer.json();
    let [private, users, link, _made] = told["activity"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!(private["title"], "Made the preview of port 3000 private");
    assert_eq!(private["actor"], json!({ "name": "Owner", "via": "token", "token": "test" }));
    assert_eq!(users["title"], "Shared the preview of port 3000 with everybody who is signed in");
    assert_eq!(users["detail"], "Until it is made private");
    assert_eq!(users["actor"], json!({ "name": "Owner", "via": "browser" }));
    assert_eq!(link["title"], "Shared the preview of port 3000 with whoever has its link");
    assert!(link["detail"].as_str().unwrap().starts_with("Until 2"), "{link}");
    assert_eq!(
        (&link["data"]["verb"], &link["data"]["port"], &link["data"]["audience"]),
        (&json!("share"), &json!(3000), &json!("link"))
    );
}

#[tokio::test]
async fn who_is_signed_in_may_look_where_the_owner_says_so() {
    let Some(shared) = Shared::start().await else { return };
    let other = shared.app.somebody_else().await;
    let way = format!("/open/{}/3000", shared.name);
    assert_eq!(shared.open_as(&other).await.err(), Some(StatusCode::NOT_FOUND));
    assert_eq!(other.get(&way).await.status, 404);
    assert_eq!(shared.share(json!({ "audience": "users" })).await.json()["audience"], "users");
    assert_eq!(other.get(&way).await.status, 200);
    assert_eq!(shared.app.anonymous().get(&way).await.status, 401);
    let visitor = shared.open_as(&other).await.unwrap();
    assert_eq!(visitor.get("/").await.text(), "Boats for hire");
    // Of the project itself there is nothing to see.
    for path in ["", "/env", "/ports/3000/share"] {
        assert_eq!(other.get(&format!("/api/projects/{}{path}", shared.project)).await.status, 404, "{path}");
    }
    let made = other.post(&format!("/api/projects/{}/preview", shared.project), &json!({ "port": 5000 })).await;
    assert_eq!(made.status, 404, "another port is private");
    let owner = shared.open_as(&shared.owner).await.unwrap();
    assert_eq!(shared.share(json!({ "audience": "private" })).await.json(), json!({ "audience": "private" }));
    until("the visitor to be out", async || visitor.get("/").await.status == 401).await;
    assert_eq!(owner.get("/").await.status, 200, "the owner is not");
    assert_eq!(shared.open_as(&other).await.err(), Some(StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_link_that_a_token_made_ends_with_the_token() {
    let Some(shared) = Shared::start().await else { return };
    let token = shared.owner.post("/api/tokens", &json!({ "name": "ci", "scope": "write", "days": 1 })).await.json();
    let program = shared.app.anonymous().with("authorization", &format!("Bearer {}", token["secret"].as_str().unwrap()));
    let users = program.send(Method::PUT, &shared.path(5000), &json!({ "audience": "users" })).await.json();
    let a_month = json!({ "audience": "link", "expiresInHours": 720 });
    let link = program.send(Method::PUT, &shared.path(3000), &a_month).await.json();
    for share in [&users, &link] {
        assert_eq!(share["expiresAt"], token["token"]["expiresAt"], "no longer than the token: {share}");
    }
    let secret = link["url"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let guest = shared.guest(&secret).await;
    let mut stream = guest.open(Method::GET, "/endless", None).await.into_body();
    assert!(stream.frame().await.unwrap().is_ok());
    let shares = format!("/api/projects/{}/shares", shared.project);
    assert_eq!(shared.owner.get(&shares).await.json().as_array().unwrap().len(), 2);

    let path = format!("/api/tokens/{}", token["token"]["id"].as_str().unwrap());
    assert_eq!(shared.owner.ask(Method::DELETE, &path, None).await.status, 204);
    let ended = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(Duration::from_secs(3), ended).await.expect("what streams ends with the token");
    until("the guest to be out", async || guest.get("/").await.status == 401).await;
    assert!(guest.get("/").await.text().contains("This link was withdrawn"));
    assert!(shared.come(&secret, 3000).await.text().contains("This link was withdrawn"));
    assert_eq!(shared.owner.get(&shares).await.json(), json!([]));
    assert_eq!(shared.owner.get(&shared.path(3000)).await.json(), json!({ "audience": "private" }));
    let told = shared.owner.get(&format!("/api/projects/{}/activity?kind=ask", shared.project)).await.json();
    let told: Vec<&Value> =
        told["activity"].as_array().unwrap().iter().filter(|told| told["data"]["verb"] == "unshare").collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for told in told {
        assert_eq!(told["detail"], "The token that shared it was revoked", "{told}");
        assert_eq!(told["actor"], json!({ "name": "Owner", "via": "browser" }), "who revoked it: {told}");
    }

    // What a session shares is nobody's but the owner's to end.
    let again = shared.link().await;
    let guest = shared.guest(&again).await;
    let other =
        shared.app.accounts.make_token(shared.app.owner, "other", Scope::Write, None, jiff::Timestamp::now()).await.unwrap();
    assert!(shared.app.accounts.revoke_token(shared.app.owner, other.token.id, jiff::Timestamp::now()).await.unwrap());
    shared.owner.ask(Method::POST, "/api/sign-out", None).await;
    assert_eq!(guest.get("/").await.text(), "Boats for hire");
    assert_eq!(shared.come(&again, 3000).await.status, 204);
}

#[tokio::test]
async fn who_came_by_what_a_token_shares_with_users_is_out_with_the_token() {
    let Some(shared) = Shared::start().await else { return };
    let (app, now) = (&shared.app, jiff::Timestamp::now());
    let token = app.accounts.make_token(app.owner, "ci", Scope::Write, None, now).await.unwrap();
    let program = app.anonymous().with("authorization", &format!("Bearer {}", token.secret));
    let users = json!({ "audience": "users" });
    let made = program.send(Method::PUT, &shared.path(3000), &users).await;
    assert!(made.status == 200 && made.json().get("expiresAt").is_none(), "{}", made.text());
    let other = app.somebody_else().await;
    let visitor = shared.open_as(&other).await.unwrap();
    let mut stream = visitor.open(Method::GET, "/endless", None).await.into_body();
    assert!(stream.frame().await.unwrap().is_ok());
    // Revoked aside, as the command line does it: this process is not told.
    assert!(app.accounts.revoke_token(app.owner, token.token.id, jiff::Timestamp::now()).await.unwrap());
    let ended = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(Duration::from_secs(3), ended).await.expect("what streams ends with the token");
    until("the visitor to be out", async || visitor.get("/").await.status == 401).await;
    assert_eq!(shared.open_as(&other).await.err(), Some(StatusCode::NOT_FOUND));
    assert_eq!(program.send(Method::PUT, &shared.path(3000), &users).await.code(), "bad-token");
    assert_eq!(shared.share(users).await.json()["audience"], "users");
    assert!(shared.open_as(&other).await.is_ok());
}

#[tokio::test]
async fn what_is_shared_is_listed_to_the_owner_without_secrets_and_until_it_ends() {
    let Some(shared) = Shared::start().await else { return };
    let path = format!("/api/projects/{}/shares", shared.project);
    assert_eq!(shared.owner.get(&path).await.json(), json!([]));
    let users = shared.owner.send(Method::PUT, &shared.path(5000), &json!({ "audience": "users" })).await;
    assert_eq!(users.status, 200, "{}", users.text());
    let secret = shared.link().await;
    let answer = shared.app.token(Scope::Read).await.get(&path).await;
    assert!(!answer.text().contains(&secret), "{}", answer.text());
    let told = answer.json();
    let [link, users] = told.as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&link["port"], &link["audience"]), (&json!(3000), &json!("link")));
    assert!(link["expiresAt"].is_string() && link.get("url").is_none(), "{link}");
    assert_eq!((&users["port"], &users["audience"]), (&json!(5000), &json!("users")));
    assert!(users["createdAt"].is_string() && users.get("expiresAt").is_none(), "{users}");
    assert_eq!(shared.app.somebody_else().await.get(&path).await.status, 404);

    let past = "UPDATE preview_shares SET expires_at = now() - interval '1 second' WHERE port = 3000";
    sqlx::query(past).execute(&shared.app.pool).await.unwrap();
    assert_eq!(shared.owner.ask(Method::DELETE, &shared.path(5000), None).await.status, 204);
    assert_eq!(shared.owner.get(&path).await.json(), json!([]));
}

#[tokio::test]
async fn a_share_that_cannot_be_is_refused() {
    let Some(shared) = Shared::start().await else { return };
    for (port, body, status, code) in [
        ("3000", json!({ "audience": "link", "expiresInHours": 0 }), 422, "bad-expiry"),
        ("3000", json!({ "audience": "link", "expiresInHours": 721 }), 422, "bad-expiry"),
        ("3000", json!({ "audience": "everybody" }), 422, "wrong-form"),
        ("3000", json!({}), 422, "wrong-form"),
        ("0", json!({ "audience": "link" }), 400, "not-a-port"),
        ("65536", json!({ "audience": "link" }), 400, "not-a-port"),
        ("x", json!({ "audience": "link" }), 400, "not-a-port"),
        ("5432", json!({ "audience": "link" }), 403, "port-reserved"),
        ("7681", json!({ "audience": "users" }), 403, "port-reserved"),
    ] {
        let path = shared.path(3000).replace("/3000/", &format!("/{port}/"));
        let answer = shared.owner.send(Method::PUT, &path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{port} {body}");
    }
    let reader = shared.app.token(Scope::Read).await;
    assert_eq!(reader.get(&shared.path(3000)).await.json(), json!({ "audience": "private" }));
    assert_eq!(reader.send(Method::PUT, &shared.path(3000), &json!({ "audience": "users" })).await.code(), "read-only");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM preview_shares").fetch_one(&shared.app.pool).await.unwrap();
    assert_eq!(rows, 0);
}
