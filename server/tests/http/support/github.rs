//! A stand-in for GitHub: OAuth as its documentation has it, with its refusals, and the API's users,
//! organizations and repositories. What goes wrong is switched on by a test.

use axum::{
    Form, Json, Router,
    extract::{Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Redirect, Response},
    routing::{delete, get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use server::config::github::{Allowed, GitHubSettings};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const CLIENT: &str = "Iv1.stand-in";
const SECRET: &str = "stand-in-client-secret";

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every answer has this status and is a proxy's page.
    Page(u16),
    /// No answer.
    Silent,
    /// The hour's questions are used up.
    UsedUp,
    /// JSON of another form.
    Nonsense,
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: u64,
    pub login: String,
    /// By name: `active` or `pending`.
    pub organizations: HashMap<String, &'static str>,
    pub repositories: Vec<Value>,
}

struct Code {
    account: u64,
    challenge: String,
    redirect: String,
    scopes: String,
}

#[derive(Default)]
struct Inner {
    accounts: HashMap<u64, Account>,
    /// Who is signed in there, in the browser.
    browser: u64,
    /// They say no.
    declines: bool,
    /// They grant these alone.
    grants: Option<String>,
    /// Tokens end, and are refreshed.
    expires: Option<u64>,
    fault: Option<Fault>,
    codes: HashMap<String, Code>,
    /// By token.
    tokens: HashMap<String, u64>,
    refresh: HashMap<String, u64>,
    /// What is served over git, with whether it is private.
    served: HashMap<String, bool>,
    /// Every question: `GET /api/v3/user`.
    asked: Vec<String>,
    made: u64,
}

/// It, on a port of its own.
#[derive(Clone)]
pub struct StandIn {
    pub url: String,
    /// Repositories, as `git http-backend` wants them.
    root: Arc<tempfile::TempDir>,
    inner: Arc<Mutex<Inner>>,
}

impl StandIn {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let it = Self { url, root: Arc::new(tempfile::tempdir().unwrap()), inner: Arc::default() };
        let faulty = Router::new()
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(user))
            .route("/api/v3/user/repos", get(repositories))
            .route("/api/v3/user/memberships/orgs/{organization}", get(membership))
            .route("/api/v3/applications/{client}/token", delete(end_token))
            .layer(middleware::from_fn_with_state(it.clone(), fail));
        let app = faulty
            .route("/login/oauth/authorize", get(authorize))
            .route("/{owner}/{name}/{*path}", get(git).post(git))
            .with_state(it.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        it.account(1, "octocat");
        it.browse(1);
        it
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    /// Makes an account, or renames it.
    pub fn account(&self, id: u64, login: &str) {
        self.change(|inner| {
            let account = Account { id, login: login.into(), organizations: HashMap::new(), repositories: Vec::new() };
            inner.accounts.entry(id).or_insert(account).login = login.into();
        });
    }

    pub fn member(&self, id: u64, organization: &str, state: &'static str) {
        self.change(|inner| inner.accounts.get_mut(&id).unwrap().organizations.insert(organization.into(), state));
    }

    pub fn repository(&self, id: u64, name: &str, private: bool) {
        let url = self.url.clone();
        self.change(|inner| {
            let account = inner.accounts.get_mut(&id).unwrap();
            account.repositories.push(json!({
                "id": 1, "full_name": name, "clone_url": format!("{url}/{name}.git"), "private": private,
                "default_branch": "main", "description": null, "pushed_at": "2026-01-02T03:04:05Z", "owner": { "login": "x" },
            }));
        });
    }

    /// A repository that git clones from: its address. `branches` get a file each, `README` says which.
    pub fn serve(&self, name: &str, private: bool, branches: &[&str]) -> String {
        let folder = self.root.path().join(format!("{name}.git"));
        let script = r#"
            set -e
            git init -q --bare --initial-branch=main "$1"; cd "$1"; shift
            git config http.receivepack true
            for branch; do
                blob=$(echo "$branch" | git hash-object -w --stdin)
                tree=$(printf '100644 blob %s\tREADME\n' "$blob" | git mktree)
                first=$(git -c user.name=x -c user.email=x@x commit-tree -m first "$tree")
                git update-ref "refs/heads/$branch" "$(git -c user.name=x -c user.email=x@x commit-tree -p "$first" -m second "$tree")"
            done
        "#;
        let made = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).args(branches).status().unwrap();
        assert!(made.success());
        self.change(|inner| inner.served.insert(name.to_owned(), private));
        format!("{}/{name}", self.url)
    }

    /// Who is signed in there.
    pub fn browse(&self, id: u64) {
        self.change(|inner| inner.browser = id);
    }

    pub fn declines(&self, declines: bool) {
        self.change(|inner| inner.declines = declines);
    }

    pub fn grants(&self, scopes: Option<&str>) {
        self.change(|inner| inner.grants = scopes.map(str::to_owned));
    }

    pub fn expires(&self, seconds: Option<u64>) {
        self.change(|inner| inner.expires = seconds);
    }

    pub fn fault(&self, fault: Option<Fault>) {
        self.change(|inner| inner.fault = fault);
    }

    /// Takes every token back, as its owner does in GitHub's settings.
    pub fn revoke_all(&self) {
        self.change(|inner| {
            inner.tokens.clear();
            inner.refresh.clear();
        });
    }

    /// Ends access tokens alone.
    pub fn end_access(&self) {
        self.change(|inner| inner.tokens.clear());
    }

    /// Tokens that work.
    pub fn tokens(&self) -> Vec<String> {
        self.change(|inner| inner.tokens.keys().cloned().collect())
    }

    /// How often it was asked for something.
    pub fn asked(&self, what: &str) -> usize {
        self.change(|inner| inner.asked.iter().filter(|asked| *asked == what).count())
    }

    /// How the server under test knows it.
    pub fn settings(&self, allowed: Allowed) -> GitHubSettings {
        GitHubSettings {
            client_id: CLIENT.into(),
            client_secret: SecretString::from(SECRET),
            url: self.url.clone(),
            api: format!("{}/api/v3", self.url),
            host: self.url.split_once("://").unwrap().1.into(),
            allowed,
        }
    }
}

fn allowed(everybody: bool, logins: &[&str], ids: &[u64], organizations: &[&str]) -> Allowed {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Allowed { everybody, logins: names(logins), ids: ids.iter().copied().collect(), organizations: names(organizations) }
}

/// Everybody may sign in.
pub fn everybody() -> Allowed {
    allowed(true, &[], &[], &[])
}

/// Nobody may: GitHub is for connecting alone.
pub fn nobody() -> Allowed {
    Allowed::default()
}

/// These may.
pub fn these(logins: &[&str], ids: &[u64], organizations: &[&str]) -> Allowed {
    allowed(false, logins, ids, organizations)
}

async fn fail(State(it): State<StandIn>, request: Request, next: Next) -> Response {
    let fault = it.change(|inner| {
        inner.asked.push(format!("{} {}", request.method(), request.uri().path()));
        inner.fault
    });
    match fault {
        None => next.run(request).await,
        Some(Fault::Page(status)) => (StatusCode::from_u16(status).unwrap(), "<html>a proxy</html>").into_response(),
        Some(Fault::Silent) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::OK.into_response()
        }
        Some(Fault::UsedUp) => {
            let message = json!({ "message": "API rate limit exceeded" });
            (StatusCode::FORBIDDEN, [("x-ratelimit-remaining", "0"), ("retry-after", "17")], Json(message)).into_response()
        }
        Some(Fault::Nonsense) => Json(json!({ "hello": "world" })).into_response(),
    }
}

async fn authorize(State(it): State<StandIn>, Query(query): Query<HashMap<String, String>>) -> Response {
    let get = |name: &str| query.get(name).cloned().unwrap_or_default();
    let fits = get("client_id") == CLIENT && get("response_type") == "code" && get("code_challenge_method") == "S256";
    if !fits || get("code_challenge").len() != 43 || get("state").is_empty() {
        return (StatusCode::NOT_FOUND, "no such app").into_response();
    }
    it.change(|inner| {
        let back = get("redirect_uri");
        if inner.declines {
            return Redirect::to(&format!(
                "{back}?error=access_denied&error_description=The+user+has+denied&state={}",
                get("state")
            ));
        }
        inner.made += 1;
        let code = format!("code{}", inner.made);
        let scopes = inner.grants.clone().unwrap_or_else(|| get("scope").replace(' ', ","));
        let made = Code { account: inner.browser, challenge: get("code_challenge"), redirect: back.clone(), scopes };
        inner.codes.insert(code.clone(), made);
        Redirect::to(&format!("{back}?code={code}&state={}", get("state")))
    })
    .into_response()
}

/// As GitHub, with status 200 for errors too.
async fn token(State(it): State<StandIn>, Form(form): Form<HashMap<String, String>>) -> Json<Value> {
    let get = |name: &str| form.get(name).cloned().unwrap_or_default();
    let refused = |code: &str| Json(json!({ "error": code, "error_description": "No.", "error_uri": "https://docs.example" }));
    if get("client_id") != CLIENT || get("client_secret") != SECRET {
        return refused("incorrect_client_credentials");
    }
    it.change(|inner| {
        let (account, scopes) = if get("grant_type") == "refresh_token" {
            match inner.refresh.remove(&get("refresh_token")) {
                Some(account) => (account, String::new()),
                None => return refused("bad_refresh_token"),
            }
        } else {
            let Some(code) = inner.codes.remove(&get("code")) else { return refused("bad_verification_code") };
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier").as_bytes()));
            if challenge != code.challenge || get("redirect_uri") != code.redirect {
                return refused("bad_verification_code");
            }
            (code.account, code.scopes)
        };
        inner.made += 1;
        let token = format!("gho_secret{}", inner.made);
        inner.tokens.insert(token.clone(), account);
        let mut answer = json!({ "access_token": token, "token_type": "bearer", "scope": scopes });
        if let Some(seconds) = inner.expires {
            let refresh = format!("ghr_secret{}", inner.made);
            inner.refresh.insert(refresh.clone(), account);
            answer["expires_in"] = json!(seconds);
            answer["refresh_token"] = json!(refresh);
            answer["refresh_token_expires_in"] = json!(15_897_600);
        }
        Json(answer)
    })
}

#[allow(clippy::result_large_err, reason = "an answer is what it is")]
fn who(it: &StandIn, headers: &HeaderMap) -> Result<Account, Response> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned));
    let found = token.and_then(|token| it.change(|inner| inner.accounts.get(inner.tokens.get(&token)?).cloned()));
    found.ok_or_else(|| (StatusCode::UNAUTHORIZED, Json(json!({ "message": "Bad credentials" }))).into_response())
}

/// The e-mail is private.
async fn user(State(it): State<StandIn>, headers: HeaderMap) -> Result<Json<Value>, Response> {
    let account = who(&it, &headers)?;
    Ok(Json(json!({ "id": account.id, "login": account.login, "name": null, "email": null })))
}

async fn repositories(
    State(it): State<StandIn>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Response> {
    let all = who(&it, &headers)?.repositories;
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let (page, size) = (number("page").unwrap_or(1), number("per_page").unwrap_or(30).min(100));
    let shown: Vec<&Value> = all.iter().skip((page - 1) * size).take(size).collect();
    let next = format!("<{}/api/v3/user/repos?page={}>; rel=\"next\", <x>; rel=\"last\"", it.url, page + 1);
    let answer = Json(json!(shown));
    Ok(if page * size < all.len() { ([("link", next)], answer).into_response() } else { answer.into_response() })
}

async fn membership(
    State(it): State<StandIn>,
    headers: HeaderMap,
    Path(organization): Path<String>,
) -> Result<Json<Value>, Response> {
    let account = who(&it, &headers)?;
    let none = || (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response();
    if organization == "closed" {
        let message =
            "Although you appear to have the correct authorization credentials, the organization has enabled restrictions.";
        return Err((StatusCode::FORBIDDEN, Json(json!({ "message": message }))).into_response());
    }
    let state = account.organizations.get(&organization).ok_or_else(none)?;
    Ok(Json(json!({ "state": state, "role": "member" })))
}

/// git over HTTP, by `git http-backend`. A private repository wants a token as the password.
async fn git(State(it): State<StandIn>, Path((owner, name, path)): Path<(String, String, String)>, request: Request) -> Response {
    use http_body_util::BodyExt as _;
    use tokio::io::AsyncWriteExt as _;
    let repository = format!("{owner}/{}", name.trim_end_matches(".git"));
    let basic = request.headers().get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let password = basic.and_then(|basic| STANDARD.decode(basic).ok()).and_then(|text| String::from_utf8(text).ok());
    let password = password.and_then(|text| text.split_once(':').map(|(_, password)| password.to_owned()));
    let known = password.is_some_and(|token| it.change(|inner| inner.tokens.contains_key(&token)));
    match it.change(|inner| inner.served.get(&repository).copied()) {
        // As GitHub: what is private is not there, and who says nothing is asked who they are.
        _ if basic.is_none() && it.change(|inner| inner.served.get(&repository) != Some(&false)) => {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"GitHub\"")], "").into_response();
        }
        Some(private) if known || !private => {}
        _ => return (StatusCode::NOT_FOUND, "Repository not found.").into_response(),
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut command = tokio::process::Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", it.root.path()).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("PATH_INFO", format!("/{repository}.git/{path}")).env("QUERY_STRING", parts.uri.query().unwrap_or_default());
    command.env("REQUEST_METHOD", parts.method.as_str()).env("CONTENT_TYPE", header("content-type"));
    command.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
    command.env("CONTENT_LENGTH", body.len().to_string()).env("REMOTE_USER", "x");
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (sent, output) = tokio::join!(
        async move {
            let sent = stdin.write_all(&body).await;
            drop(stdin);
            sent
        },
        child.wait_with_output()
    );
    let (_, output) = (sent, output.unwrap().stdout);
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut response = Response::new(axum::body::Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => *response.status_mut() = StatusCode::from_u16(value[..3].parse().unwrap()).unwrap(),
            name => {
                let name = name.to_ascii_lowercase().parse::<http::HeaderName>().unwrap();
                response.headers_mut().insert(name, value.parse().unwrap());
            }
        }
    }
    response
}

async fn end_token(State(it): State<StandIn>, headers: HeaderMap, Json(body): Json<Value>) -> StatusCode {
    if headers.get("authorization").is_none_or(|value| !value.to_str().unwrap().starts_with("Basic ")) {
        return StatusCode::NOT_FOUND;
    }
    let token = body["access_token"].as_str().unwrap_or_default();
    it.change(
        |inner| if inner.tokens.remove(token).is_some() { StatusCode::NO_CONTENT } else { StatusCode::UNPROCESSABLE_ENTITY },
    )
}
