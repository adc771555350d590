//! `/api/sandbox/{project}/files`: the home folder of a sandbox that runs.
//!
//! ```text
//!   GET, HEAD  a folder as JSON, all or in pages (?limit=, ?after=); a file as its bytes (Range, If-None-Match)
//!   PUT        a file, whole or not at all (If-Match, If-None-Match); a folder with ?mkdir=1
//!   POST ?to=  another place or name, which nothing has yet (If-Match)
//!   DELETE     a file or an empty folder; all of a folder with ?recursive=1
//! ```
//!
//! The agent resolves paths, beneath the home folder and nowhere else; this passes on what is asked, and
//! streams both ways. Names are bytes: a path is passed on as it is encoded. No file is ever shown by a
//! browser as a page of ours: it has no type of its own, and is an attachment.

mod page;

use super::{
    auth::{
        visit::{self, Visit},
        watch::{Over, over},
    },
    errors::{self, Refusal},
    routes::Me,
    state::Plane,
};
use crate::agent::refused;
use app::error::{ControlError, ErrorKind};
use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use engine::store::{
    SandboxRow,
    activity::{self, FileChange},
};
use futures::{StreamExt as _, stream::BoxStream};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use model::{
    ProjectId,
    view::{Scope, Viewer},
};
use page::Page;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sandbox_agent::{
    client,
    protocol::http::{Entry, EntryKind, ErrorBody, Listing},
};
use serde::Serialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::warn;

/// The longest list of a folder: some hundred thousand names.
const LISTING_BYTES: usize = 16 << 20;
/// How long nothing of an upload may come.
const SILENCE: Duration = Duration::from_secs(60);
/// What a request may say to the agent besides its path.
const PARAMETERS: [(Method, &str); 5] =
    [(Method::GET, "limit"), (Method::GET, "after"), (Method::PUT, "mkdir"), (Method::POST, "to"), (Method::DELETE, "recursive")];
/// Passed on in a request.
const ASKED: [HeaderName; 6] =
    [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_NONE_MATCH, header::CONTENT_LENGTH, header::CONTENT_TYPE];
/// Passed on in an answer.
const ANSWERED: [HeaderName; 4] = [header::CONTENT_LENGTH, header::CONTENT_RANGE, header::ACCEPT_RANGES, header::ETAG];

/// A folder.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = FolderView)]
pub struct Folder {
    /// From the home folder, without slashes around it; the home folder itself is "".
    path: String,
    /// The home folder, as programs inside name it: "/home/agent".
    home: String,
    pub(super) entries: Vec<Item>,
}

/// What is in a folder.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = FileView)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub(super) name: String,
    /// The name percent-encoded, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    #[schema(value_type = String, example = "file")]
    pub(super) kind: EntryKind,
    pub(super) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<Timestamp>,
    /// Permission bits, as `ls` and `chmod` write them: "0644".
    mode: String,
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        let modified = i64::try_from(entry.modified_at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        let Entry { name, raw, kind, size, mode, .. } = entry;
        Self { name, raw, kind, size, modified_at: modified, mode: format!("{mode:04o}") }
    }
}

/// `GET` and `HEAD`: a folder, or the bytes of a file. Of a folder with `limit`, at most so many names, and the header `Link`
/// names the next page; with `after`, those behind that name.
///
/// # Errors
/// `400 Bad Request`: the path leads out of the home folder, or `limit` is no length of a page; `403 Forbidden` for what is in
/// `.fsa`, to a token of scope `read`; `404 Not Found`; `409 Conflict` while the sandbox does not run; `413 Content Too Large` for a folder with more names than one answer holds; `416 Range Not
/// Satisfiable`.
pub async fn get(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    request: Request,
) -> Result<Response, Refusal> {
    let name = name_of(request.uri().path());
    let (page, path) = (Page::of(request.uri().query().unwrap_or_default())?, request.uri().path().to_owned());
    let answer = Ask::of(&plane, &viewer, &visit, project_of(request.uri().path())).await?.pass(request).await?;
    if answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        return listing(answer, &page, &path).await;
    }
    let over = over(visit.credential.map(|credential| plane.watch.hold(credential)), plane.stop.clone());
    let (parts, body) = answer.into_parts();
    let mut response = match parts.status {
        StatusCode::NOT_MODIFIED => Body::empty(),
        // Cut off, and not ended: what was announced is longer.
        _ => Body::from_stream(body.into_data_stream().take_until(Box::pin(over))),
    }
    .into_response();
    *response.status_mut() = parts.status;
    let headers = response.headers_mut();
    for name in ANSWERED {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let mut put = |name, value: &str| drop(HeaderValue::from_str(value).map(|value| headers.insert(name, value)));
    put(header::CONTENT_TYPE, "application/octet-stream");
    put(header::CONTENT_DISPOSITION, &attachment(&name));
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; frame-ancestors 'none'");
    // Kept by the browser, and asked about each time.
    put(header::CACHE_CONTROL, "private, no-cache");
    if let Some(at) = parts.headers.get("x-modified-at").and_then(last_modified) {
        put(header::LAST_MODIFIED, &at);
    }
    Ok(response)
}

/// The home folder itself, as [`get`] answers it; of one with more than `enough` names not all of them.
///
/// # Errors
/// As [`get`].
pub(super) async fn home(
    plane: &Plane,
    viewer: &Viewer,
    visit: &Visit,
    project: ProjectId,
    enough: usize,
) -> Result<Folder, Refusal> {
    let path = format!("/api/sandbox/{project}/files?limit={enough}");
    let request = http::Request::get(path).body(Body::empty()).map_err(|_| bad_path())?;
    let answer = Ask::of(plane, viewer, visit, Some(project)).await?.pass(request).await?;
    folder(&whole(answer.into_body()).await?)
}

/// `PUT`: `201 Created` or `204 No Content`, with the new version as `ETag`. The folders above are made.
///
/// # Errors
/// As [`get`]; `409 Conflict` with `details.versions` where the file is not the one that was meant;
/// `507 Insufficient Storage`. Nothing was changed then.
pub async fn put(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    request: Request,
) -> Result<Response, Refusal> {
    change(&plane, &viewer, &visit, request).await
}

/// `POST ?to=PATH`: moves and renames, into a folder that is there. `204 No Content`, with a file's version as `ETag`.
///
/// # Errors
/// As [`get`]; `400 Bad Request` for a folder that is to go into itself; `409 Conflict` where something has that name, or with
/// `details.versions` where the file is not the one that was meant. Nothing was changed then.
pub async fn rename(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    request: Request,
) -> Result<Response, Refusal> {
    change(&plane, &viewer, &visit, request).await
}

/// `DELETE`: `204 No Content`.
///
/// # Errors
/// As [`get`]; `409 Conflict` for a folder that is not empty, without `recursive=1`.
pub async fn delete(
    State(plane): State<Plane>,
    Me(viewer): Me,
    Extension(visit): Extension<Visit>,
    request: Request,
) -> Result<Response, Refusal> {
    change(&plane, &viewer, &visit, request).await
}

async fn change(plane: &Plane, viewer: &Viewer, visit: &Visit, request: Request) -> Result<Response, Refusal> {
    let ask = Ask::of(plane, viewer, visit, project_of(request.uri().path())).await?;
    let sandbox = ask.sandbox.id;
    let change = match *request.method() {
        Method::DELETE => FileChange::Deleted,
        Method::POST => FileChange::Renamed,
        _ => FileChange::Written,
    };
    let answer = ask.pass(request).await?;
    let now = plane.now();
    let entry = activity::by(visit::actor(viewer), async { activity::files_changed(change, now) }).await;
    // It is changed, whether it can be noted or not.
    if let Err(error) = plane.store.tell(sandbox, entry, now).await {
        warn!(sandbox.id = %sandbox, "failed to tell of changed files: {error:#}");
    }
    let mut response = answer.status().into_response();
    if let Some(version) = answer.headers().get(header::ETAG) {
        response.headers_mut().insert(header::ETAG, version.clone());
    }
    Ok(response)
}

/// One request to the agent, for one viewer.
struct Ask<'a> {
    plane: &'a Plane,
    visit: &'a Visit,
    sandbox: SandboxRow,
    /// Who may open no terminal does not read what they showed.
    without_state: bool,
}

impl<'a> Ask<'a> {
    /// Of the sandbox that an address names, if it names one of the viewer's.
    async fn of(plane: &'a Plane, viewer: &Viewer, visit: &'a Visit, project: Option<ProjectId>) -> Result<Self, Refusal> {
        let project = project.ok_or_else(ControlError::not_found)?;
        let sandbox = plane.controller.row(viewer, project).await?.sandbox;
        Ok(Self { plane, visit, sandbox, without_state: viewer.scope < Scope::Write })
    }

    /// The agent's answer, if it is no refusal.
    async fn pass(self, request: Request) -> Result<http::Response<Incoming>, Refusal> {
        let agent = self.plane.agent(&self.sandbox);
        let mut path = address(&request)?;
        if self.without_state {
            // The agent looks where links lead to as well; one that is older does not.
            if is_state(rest_of(request.uri().path())) {
                return Err(state_folder());
            }
            path.push_str("&without-state=1");
        }
        let io = agent.reach().await?;
        let mut asked = http::Request::builder().method(request.method().clone()).uri(path);
        for name in ASKED {
            for value in request.headers().get_all(&name) {
                asked = asked.header(name.clone(), value.clone());
            }
        }
        let (body, state) = watched(request.into_body());
        let asked = asked.body(body).map_err(|_| bad_path())?;
        let over =
            over(self.visit.credential.clone().map(|credential| self.plane.watch.hold(credential)), self.plane.stop.clone());
        let answer = tokio::select! {
            over = over => return Err(ended(over).into()),
            answer = client::request(io, agent.token(), asked) => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) if state.late.load(Ordering::Relaxed) => return Err(late()),
            Err(_) if state.broken.load(Ordering::Relaxed) => return Err(broken()),
            Err(error) => return Err(refused(&error).into()),
        };
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let body =
            Limited::new(answer.into_body(), LISTING_BYTES).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(said(status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// What became of a body on its way.
#[derive(Default)]
struct BodyState {
    late: AtomicBool,
    broken: AtomicBool,
}

/// A body that is given up when nothing comes, and that says why it ended.
fn watched(body: Body) -> (Body, Arc<BodyState>) {
    let state = Arc::new(BodyState::default());
    if axum::body::HttpBody::size_hint(&body).exact() == Some(0) {
        return (Body::empty(), state);
    }
    let seen = state.clone();
    let pieces = tokio_stream::StreamExt::timeout(body.into_data_stream(), SILENCE);
    let pieces: BoxStream<'static, Result<Bytes, axum::BoxError>> = pieces
        .map(move |piece| match piece {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                seen.broken.store(true, Ordering::Relaxed);
                Err(error.into())
            }
            Err(late) => {
                seen.late.store(true, Ordering::Relaxed);
                Err(late.into())
            }
        })
        .boxed();
    (Body::from_stream(pieces), state)
}

/// The address at the agent, as the request encodes it.
fn address(request: &Request) -> Result<String, Refusal> {
    let path = rest_of(request.uri().path());
    let mut query = Vec::new();
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let page = if *method == Method::GET { Page::of(request.uri().query().unwrap_or_default())? } else { Page::default() };
    for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !PARAMETERS.iter().any(|(of, known)| of == method && *known == name) {
            let message = format!("There is no parameter {} here.", name.escape_debug().take(100).collect::<String>());
            let next = "GET of a folder takes `limit` and `after`, PUT takes `mkdir`, POST takes `to`, DELETE takes `recursive`.";
            return Err(Refusal::new(ErrorKind::Malformed, "bad-query", message, next));
        }
        query.push(page.ask().filter(|_| name == "limit").unwrap_or_else(|| pair.to_owned()));
    }
    Ok(format!("/v1/files{path}?{}", query.join("&")))
}

/// The project in a path. Not by axum, which reads all of the path as UTF-8, and names are bytes.
fn project_of(path: &str) -> Option<ProjectId> {
    path.split('/').nth(3).and_then(|id| id.parse().ok())
}

/// `/a/b` of `/api/sandbox/ID/files/a/b`.
fn rest_of(path: &str) -> &str {
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    slashes.nth(4).and_then(|at| path.get(at..)).unwrap_or("/")
}

/// Whether a path names the agent's own folder of the home folder, or something in it.
fn is_state(rest: &str) -> bool {
    let path: Vec<u8> = percent_decode_str(rest).collect();
    path.split(|byte| *byte == b'/').find(|part| !part.is_empty() && *part != b".") == Some(b".fsa")
}

/// The last part of a path, for whoever saves it.
fn name_of(path: &str) -> Vec<u8> {
    percent_decode_str(rest_of(path).trim_end_matches('/').rsplit('/').next().unwrap_or_default()).collect()
}

/// RFC 6266: for every browser, and rightly for those of today.
fn attachment(name: &[u8]) -> String {
    /// RFC 8187's `attr-char`.
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let plain: String = String::from_utf8_lossy(name)
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%' | '/') || c == ' ' { c } else { '_' })
        .collect();
    let utf8 = String::from_utf8_lossy(name);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", percent_encode(utf8.as_bytes(), KEPT))
}

fn last_modified(seconds: &HeaderValue) -> Option<String> {
    let at = Timestamp::from_second(seconds.to_str().ok()?.parse().ok()?).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

async fn listing(answer: http::Response<Incoming>, page: &Page, path: &str) -> Result<Response, Refusal> {
    let head = answer.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let body = whole(answer.into_body()).await?;
    if body.is_empty() && head {
        // To a HEAD.
        return Ok(([(header::CONTENT_TYPE, "application/json")], Body::empty()).into_response());
    }
    let mut folder = folder(&body)?;
    let next = page.cut(&mut folder, path);
    let mut response = axum::Json(folder).into_response();
    response.headers_mut().extend(next);
    Ok(response)
}

/// All of a list.
async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, LISTING_BYTES).collect().await.map_err(|_| {
        let message = "The folder has more names than one answer may hold.";
        let next = "List it in a terminal, or by REST in pages: with `?limit=1000`, and then as the header `Link` says.";
        Refusal::new(ErrorKind::TooLarge, "folder-too-large", message, next)
    })?;
    Ok(body.to_bytes())
}

fn folder(body: &[u8]) -> Result<Folder, Refusal> {
    let Listing { path, home, entries } = serde_json::from_slice(body).map_err(|_| Refusal::from(errors::internal()))?;
    Ok(Folder { path, home, entries: entries.into_iter().map(Item::from).collect() })
}

/// A refusal of the agent's, in the shape of ours. Its sentence is for people.
fn said(status: StatusCode, body: ErrorBody) -> Refusal {
    let next = match body.code.as_str() {
        "not-found" => "List the folder it should be in.",
        "changed" => "Read the file again, put both together, and send the version of that reading in `If-Match`.",
        "not-empty" => "Add `?recursive=1` to delete all that is in it.",
        "into-itself" => "Choose a folder that is not in it.",
        "exists" => "Choose another name, or delete what has it.",
        "is-a-folder" | "not-a-folder" | "not-a-file" => "Look at the folder that it is in.",
        "dangling-link" => "Delete the link, or write to the path that it names.",
        "outside-home" => "Name a path from the home folder on; a link that leads out of it is not followed.",
        "no-such-range" => "Ask for a part within the file, or for all of it.",
        "disk-full" => "Delete files that are not needed, and send it again. Nothing was changed.",
        "forbidden" => "Change its permissions in a terminal.",
        "state-folder" => WRITES,
        _ => "Mend the request, and send it again.",
    };
    let kind = match status.as_u16() {
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 | 507 => ErrorKind::Conflict,
        400..=499 if status != StatusCode::UNAUTHORIZED => ErrorKind::Malformed,
        501 => ErrorKind::Unavailable,
        _ => return refused(&client::ClientError::Refused { status, body }).into(),
    };
    let versions = body.versions;
    let refusal = Refusal::new(kind, &body.code, body.error, next).with_status(status);
    match versions {
        Some(versions) => {
            let current = versions.current.clone().unwrap_or_default();
            let refusal = if current.is_empty() { refusal } else { refusal.with_header(header::ETAG, current) };
            refusal.with_detail("versions", serde_json::json!(versions))
        }
        None => refusal,
    }
}

fn ended(over: Over) -> ControlError {
    match over {
        Over::SignedOut => ControlError::signed_out(),
        Over::Stopping => ControlError::new(
            ErrorKind::Unavailable,
            "restarting",
            "The server is restarting; whether the change was made is not known.",
            "Ask again in a few seconds, after a look at the file.",
        ),
    }
}

const WRITES: &str = "Use a token of scope `write`.";

fn state_folder() -> Refusal {
    let message = "What is in .fsa, where what terminals showed is kept, is not for a token of scope `read`.";
    Refusal::new(ErrorKind::Forbidden, "state-folder", message, WRITES)
}

fn bad_path() -> Refusal {
    Refusal::new(ErrorKind::Malformed, "bad-path", "The path cannot be passed on.", "Percent-encode it.")
}

fn broken() -> Refusal {
    Refusal::new(ErrorKind::Malformed, "body-broken", "The body broke off before its end; nothing was changed.", "Send it again.")
}

fn late() -> Refusal {
    let message = "Nothing of the body came for a minute; nothing was changed.";
    Refusal::new(ErrorKind::Malformed, "body-late", message, "Send it again.").with_status(StatusCode::REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_goes_on_as_it_is_encoded() {
        let of = |method: Method, uri: &str| {
            address(&http::Request::builder().method(method).uri(uri).body(Body::empty()).unwrap())
                .map_err(|e| e.error().code.clone())
        };
        assert_eq!(of(Method::GET, "/api/sandbox/x/files").unwrap(), "/v1/files/?");
        assert_eq!(of(Method::GET, "/api/sandbox/x/files/a%2Fb/%ff%0a").unwrap(), "/v1/files/a%2Fb/%ff%0a?");
        assert_eq!(of(Method::POST, "/api/sandbox/x/files/a?to=b%20c").unwrap(), "/v1/files/a?to=b%20c");
        assert_eq!(of(Method::PUT, "/api/sandbox/x/files/a?mkdir").unwrap(), "/v1/files/a?mkdir");
        assert_eq!(of(Method::HEAD, "/api/sandbox/x/files/a?after=%ff&limit=2").unwrap(), "/v1/files/a?after=%ff&limit=3");
        assert_eq!(of(Method::GET, "/api/sandbox/x/files/a?limit=0").unwrap_err(), "bad-limit");
        for (method, uri) in [(Method::PUT, "/a?mkdri=1"), (Method::DELETE, "/a?recursive=1&to=b"), (Method::GET, "/a?mkdir=1")] {
            assert_eq!(of(method, &format!("/api/sandbox/x/files{uri}")).unwrap_err(), "bad-query", "{uri}");
        }
    }

    #[test]
    fn the_agents_own_folder_is_known_in_every_spelling() {
        for rest in ["/.fsa", "/.fsa/", "//.fsa/sessions/main.log", "/./.fsa", "/%2efsa/x", "/%2F.fsa", "/.%66sa"] {
            assert!(is_state(rest), "{rest}");
        }
        for rest in ["/", "", "/.fsa-other", "/src/.fsa", "/.FSA", "/x"] {
            assert!(!is_state(rest), "{rest}");
        }
    }

    #[test]
    fn whoever_saves_a_file_is_told_its_name() {
        let named = |path: &str| attachment(&name_of(&format!("/api/sandbox/x/files/{path}")));
        assert_eq!(named("a/b.txt"), "attachment; filename=\"b.txt\"; filename*=UTF-8''b.txt");
        assert_eq!(named("%22%0d%0aX%3a%20y"), "attachment; filename=\"___X: y\"; filename*=UTF-8''%22%0D%0AX%3A%20y");
        assert_eq!(named("gr%C3%BC%C3%9Fe"), "attachment; filename=\"gr__e\"; filename*=UTF-8''gr%C3%BC%C3%9Fe");
        assert_eq!(named("%ff"), "attachment; filename=\"_\"; filename*=UTF-8''%EF%BF%BD");
    }
}
