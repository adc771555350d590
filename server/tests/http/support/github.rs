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
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use secrecy::SecretString;
use serde_json::{Value, json};
use server::config::github::{Allowed, GitHubSettings};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

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
    /// It is a GitHub App, and its tokens are of one.
    app: bool,
    /// Tokens that are narrowed, and to what.
    narrowed: HashMap<String, String>,
    /// The app is installed nowhere.
    uninstalled: bool,
    /// What is served over git, with whether it is private.
    served: HashMap<String, bool>,
    /// Where a repository of that name is by now.
    moved: HashMap<String, String>,
    /// When what is served was made by the API.
    made_at: HashMap<String, String>,
    /// What is pushed is refused with these words.
    refuses: Option<String>,
    /// git is answered with this status and nothing else.
    breaks: Option<u16>,
    /// An answer to a creation is lost: it is made, and nothing is said.
    loses: bool,
    /// Whose e-mail is public.
    email: Option<String>,
    /// Every question: `GET /api/v3/user`.
    asked: Vec<String>,
    made: u64,
}

impl Inner {
    fn token(&mut self, account: u64) -> String {
        self.made += 1;
        let token = format!("{}_secret{}", if self.app { "ghu" } else { "gho" }, self.made);
        self.tokens.insert(token.clone(), account);
        token
    }

    fn shown(&self, url: &str, full_name: &str, push: bool) -> Option<Value> {
        let private = *self.served.get(full_name)?;
        let made_at = self.made_at.get(full_name).cloned().unwrap_or_else(|| "2020-01-02T03:04:05Z".into());
        Some(json!({
            "id": 1, "full_name": full_name, "clone_url": format!("{url}/{full_name}.git"), "private": private,
            "default_branch": "main", "description": null, "pushed_at": null, "created_at": made_at,
            "permissions": { "admin": push, "push": push, "pull": true },
        }))
    }
}

/// It, on a port of its own.
#[derive(Clone)]
pub struct StandIn {
    pub url: String,
    /// Where its API is: on loopback, which needs no TLS.
    api: String,
    /// Repositories, as `git http-backend` wants them.
    root: Arc<tempfile::TempDir>,
    inner: Arc<Mutex<Inner>>,
}

impl StandIn {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        Self::answer(listener, url).await
    }

    /// One whose repositories are cloned by https, and the certificate that git has to trust for it.
    pub async fn start_tls() -> (Self, String) {
        let mut wish = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = wish.self_signed(&key).unwrap();
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let (plain, wrapped) =
            (TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
        let behind = plain.local_addr().unwrap();
        let url = format!("https://localhost:{}", wrapped.local_addr().unwrap().port());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = wrapped.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Who does not trust it hangs up.
                    let Ok(mut client) = acceptor.accept(stream).await else { return };
                    let mut server = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        (Self::answer(plain, url).await, certificate.pem())
    }

    async fn answer(listener: TcpListener, url: String) -> Self {
        let api = format!("http://{}/api/v3", listener.local_addr().unwrap());
        let it = Self { url, api, root: Arc::new(tempfile::tempdir().unwrap()), inner: Arc::default() };
        let faulty = Router::new()
            .route("/login/oauth/access_token", post(token))
            .route("/api/v3/user", get(user))
            .route("/api/v3/user/repos", get(repositories).post(create))
            .route("/api/v3/orgs/{owner}/repos", post(create_for))
            .route("/api/v3/repos/{owner}/{name}", get(repository))
            .route("/api/v3/user/memberships/orgs/{organization}", get(membership))
            .route("/api/v3/applications/{client}/token", delete(end_token))
            .route("/api/v3/applications/{client}/token/scoped", post(narrow_token))
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
            let owner = name.split('/').next().unwrap();
            let kind = if owner == account.login { "User" } else { "Organization" };
            account.repositories.push(json!({
                "id": 1, "full_name": name, "clone_url": format!("{url}/{name}.git"), "private": private,
                "default_branch": "main", "description": null, "pushed_at": "2026-01-02T03:04:05Z",
                "owner": { "login": owner, "type": kind },
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

    /// It is a GitHub App from now on.
    pub fn is_app(&self) {
        self.change(|inner| inner.app = true);
    }

    /// The app is taken off every repository.
    pub fn uninstalls(&self) {
        self.change(|inner| inner.uninstalled = true);
    }

    /// What a token is narrowed to.
    pub fn narrowed(&self, token: &str) -> Option<String> {
        self.change(|inner| inner.narrowed.get(token).cloned())
    }

    /// Refuses what is pushed from now on, as a hook of the server's does.
    pub fn refuses(&self, words: Option<&str>) {
        self.change(|inner| inner.refuses = words.map(str::to_owned));
    }

    /// From now on git is answered with this status, as by a proxy before a server that is down.
    pub fn breaks(&self, status: Option<u16>) {
        self.change(|inner| inner.breaks = status);
    }

    /// The next creation is done and not answered.
    pub fn loses_an_answer(&self) {
        self.change(|inner| inner.loses = true);
    }

    /// What everybody's public e-mail is.
    pub fn email(&self, email: Option<&str>) {
        self.change(|inner| inner.email = email.map(str::to_owned));
    }

    /// A repository is renamed or given away: its old name leads to the new one.
    pub fn moves(&self, from: &str, to: &str) {
        self.change(|inner| inner.moved.insert(from.to_owned(), to.to_owned()));
    }

    /// Adds a commit to `main`, whose tree the lines of `git mktree` add to.
    fn commit(&self, name: &str, lines: &str) {
        let folder = self.root.path().join(format!("{name}.git"));
        let script = r#"
            set -e
            cd "$1"
            tree=$( (git ls-tree main; printf '%s' "$2") | git mktree --missing)
            commit=$(git -c user.name=x -c user.email=x@x commit-tree -p main -m more "$tree")
            git update-ref refs/heads/main "$commit"
        "#;
        let made = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).arg(lines).status().unwrap();
        assert!(made.success());
    }

    fn blob(&self, name: &str, bytes: &[u8]) -> String {
        use std::io::Write as _;
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(self.root.path().join(format!("{name}.git"))).args(["hash-object", "-w", "--stdin"]);
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    }

    /// A file `big` of so many bytes that no compression makes smaller.
    pub fn grow(&self, name: &str, bytes: usize) {
        let mut noise = vec![0; bytes];
        rand::fill(noise.as_mut_slice());
        let blob = self.blob(name, &noise);
        self.commit(name, &format!("100644 blob {blob}\tbig\n"));
    }

    /// A submodule of `main`.
    pub fn submodule(&self, name: &str, path: &str, url: &str, of: &str) {
        let head = self.git(of, &["rev-parse", "main"]);
        let (folder, last) = path.split_once('/').unwrap();
        let settings = self.blob(name, format!("[submodule \"x\"]\n\tpath = {path}\n\turl = {url}\n").as_bytes());
        let script = r#"cd "$1"; printf '160000 commit %s\t%s\n' "$2" "$3" | git mktree --missing"#;
        let at = self.root.path().join(format!("{name}.git"));
        let made =
            std::process::Command::new("sh").args(["-c", script, "sh"]).arg(at).args([head.trim(), last]).output().unwrap();
        let tree = String::from_utf8(made.stdout).unwrap();
        self.commit(name, &format!("100644 blob {settings}\t.gitmodules\n040000 tree {}\t{folder}\n", tree.trim()));
    }

    /// Whether what is served is private.
    pub fn is_private(&self, name: &str) -> bool {
        self.change(|inner| inner.served[name])
    }

    /// Its owner makes what is served private, or public.
    pub fn changes(&self, name: &str, private: bool) {
        self.change(|inner| inner.served.insert(name.to_owned(), private));
    }

    /// Its owner deletes what is served.
    pub fn deletes(&self, name: &str) {
        self.change(|inner| (inner.served.remove(name), inner.made_at.remove(name)));
        std::fs::remove_dir_all(self.root.path().join(format!("{name}.git"))).unwrap();
    }

    /// What git says of a bare repository: `log --format=%an <%ae> %s main`.
    pub fn git(&self, name: &str, arguments: &[&str]) -> String {
        let folder = self.root.path().join(format!("{name}.git"));
        let done = std::process::Command::new("git").arg("-C").arg(folder).args(arguments).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
    }

    fn make(&self, owner: &str, wish: &Value) -> Response {
        let scopes = self.change(|inner| inner.grants.clone()).unwrap_or_else(|| "repo".into());
        if !scopes.contains("repo") {
            return (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response();
        }
        let full_name = format!("{owner}/{}", wish["name"].as_str().unwrap());
        if self.change(|inner| inner.served.contains_key(&full_name)) {
            let said = json!({
                "message": "Repository creation failed.",
                "errors": [{ "resource": "Repository", "code": "custom", "field": "name", "message": "name already exists on this account" }],
            });
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(said)).into_response();
        }
        self.serve(&full_name, wish["private"].as_bool().unwrap(), &[]);
        let lost = self.change(|inner| {
            inner.made_at.insert(full_name.clone(), jiff::Timestamp::now().to_string());
            std::mem::take(&mut inner.loses)
        });
        if lost {
            return (StatusCode::BAD_GATEWAY, "<html>a proxy</html>").into_response();
        }
        let shown = self.change(|inner| inner.shown(&self.url, &full_name, true));
        (StatusCode::CREATED, Json(shown.unwrap())).into_response()
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

    /// A token of an account's that works, as a sign-in gets one.
    pub fn token(&self, id: u64) -> String {
        self.change(|inner| inner.token(id))
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
            api: self.api.clone(),
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
        let token = inner.token(account);
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
    Ok(Json(json!({ "id": account.id, "login": account.login, "name": null, "email": it.change(|inner| inner.email.clone()) })))
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

async fn create(State(it): State<StandIn>, headers: HeaderMap, Json(wish): Json<Value>) -> Result<Response, Response> {
    let account = who(&it, &headers)?;
    Ok(it.make(&account.login, &wish))
}

async fn create_for(
    State(it): State<StandIn>,
    headers: HeaderMap,
    Path(owner): Path<String>,
    Json(wish): Json<Value>,
) -> Result<Response, Response> {
    let account = who(&it, &headers)?;
    if owner == "closed" {
        let message = "You need admin access to the organization before adding a repository to it.";
        return Err((StatusCode::FORBIDDEN, Json(json!({ "message": message }))).into_response());
    }
    if !account.organizations.contains_key(&owner) {
        return Err((StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response());
    }
    Ok(it.make(&owner, &wish))
}

async fn repository(
    State(it): State<StandIn>,
    headers: HeaderMap,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    let account = who(&it, &headers)?;
    let full_name = format!("{owner}/{name}");
    if let Some(to) = it.change(|inner| inner.moved.get(&full_name).cloned()) {
        let to = format!("{}/repos/{to}", it.api);
        return Err((StatusCode::MOVED_PERMANENTLY, [("location", to)], Json(json!({ "message": "Moved" }))).into_response());
    }
    let push = owner == account.login || account.organizations.get(&owner) == Some(&"active");
    let none = || (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response();
    it.change(|inner| inner.shown(&it.url, &full_name, push)).map(Json).ok_or_else(none)
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
    if let Some(status) = it.change(|inner| inner.breaks) {
        return (StatusCode::from_u16(status).unwrap(), "<html>a proxy</html>").into_response();
    }
    let repository = format!("{owner}/{}", name.trim_end_matches(".git"));
    let repository = it.change(|inner| inner.moved.get(&repository).cloned()).unwrap_or(repository);
    let basic = request.headers().get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let password = password_of(&request);
    let known = password.is_some_and(|token| {
        let reaches = |inner: &Inner| inner.narrowed.get(&token).is_none_or(|to| *to == repository);
        it.change(|inner| inner.tokens.contains_key(&token) && reaches(inner))
    });
    match it.change(|inner| inner.served.get(&repository).copied()) {
        // As GitHub: what is private is not there, and who says nothing is asked who they are.
        _ if basic.is_none() && it.change(|inner| inner.served.get(&repository) != Some(&false)) => {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"GitHub\"")], "").into_response();
        }
        Some(private) if known || !private => {}
        _ => return (StatusCode::NOT_FOUND, "Repository not found.").into_response(),
    }
    if request.uri().query() == Some("service=git-receive-pack") {
        if password_of(&request).is_none() {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"GitHub\"")], "").into_response();
        }
        if let Some(words) = it.change(|inner| inner.refuses.clone()) {
            return (StatusCode::FORBIDDEN, [("content-type", "text/plain")], words).into_response();
        }
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

fn password_of(request: &Request) -> Option<String> {
    let basic = request.headers().get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let text = basic.and_then(|basic| STANDARD.decode(basic).ok()).and_then(|text| String::from_utf8(text).ok())?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// As GitHub: of a token that is not narrowed yet, to what the app is installed on.
async fn narrow_token(State(it): State<StandIn>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let said = |status: StatusCode, message: &str| (status, Json(json!({ "message": message }))).into_response();
    if headers.get("authorization").is_none_or(|value| value.to_str().unwrap() != basic) {
        return said(StatusCode::UNAUTHORIZED, "Requires authentication");
    }
    let of = body["access_token"].as_str().unwrap_or_default();
    let to = format!("{}/{}", body["target"].as_str().unwrap(), body["repositories"][0].as_str().unwrap());
    it.change(|inner| {
        let whole = of.starts_with("ghu_") && !inner.narrowed.contains_key(of);
        let Some(account) = inner.tokens.get(of).copied().filter(|_| whole) else {
            return said(StatusCode::NOT_FOUND, "Not Found");
        };
        if inner.uninstalled || !inner.served.contains_key(&to) {
            return said(
                StatusCode::UNPROCESSABLE_ENTITY,
                "There is at least one repository that does not exist or is not accessible",
            );
        }
        let token = inner.token(account);
        inner.narrowed.insert(token.clone(), to);
        Json(json!({ "id": 1, "token": token, "expires_at": null, "scopes": [] })).into_response()
    })
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
