//! `/v1/files/PATH`: the home folder, and nothing outside it.
//!
//! Every path is resolved by the kernel with RESOLVE_BENEATH, in [`home`]: neither `..` nor a link leads out, also where somebody changes the
//! folders at the same time. Where the kernel cannot, nothing is served. All of it blocks, and runs on blocking threads.
//!
//! What is being uploaded is in `HOME/.fsa/uploads` until it is whole; it counts as any other file of the home folder.

mod home;
mod upload;
mod version;

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    rc::Rc,
    sync::PoisonError,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use rustix::io::Errno;
use tokio::{sync::mpsc, task::spawn_blocking};

pub use self::upload::clear_uploads;
use self::{
    home::{Found, Home, NotRenamed, Page},
    upload::PLACING,
    version::{Condition, Part, Version, part},
};
use super::{
    Agent,
    body::{Answer, Body, empty, json, with_type},
    error::Error,
    query::Query,
    router::allow,
};
use crate::protocol::http::Listing;

/// Bytes of a file in one piece of an answer.
const PIECE_BYTES: usize = 64 * 1024;

/// `GET` and `HEAD` of a file (with `Range`, `If-Range` and `If-None-Match`) or a folder (with `limit=COUNT` and `after=NAME`), with `without-state=1`
/// of none that is in the agent's own folders, where the last output of terminals is; `PUT` of a file (with `If-Match` and
/// `If-None-Match`), or of a folder with `mkdir=1`; `POST` with `to=PATH` renames (with `If-Match` of a file); `DELETE`, of a folder that is not empty with `recursive=1`.
///
/// # Errors
/// `400 Bad Request`: no path of the home folder; `403 Forbidden`: of the agent's own folders; `404 Not Found`; `409 Conflict`: a folder where a file should be, or the other way round,
/// or the file is not the one that was meant; `416 Range Not Satisfiable`; `507 Insufficient Storage`.
pub async fn route(agent: &Rc<Agent>, method: &Method, path: &str, request: Request<Incoming>) -> Result<Answer, Error> {
    let path = decoded(path)?;
    let query = Query::of(request.uri());
    let home = Home::new(&agent.config.home);
    match *method {
        Method::GET | Method::HEAD => {
            let page = page(&query, request.uri().query())?;
            let closed = if query.flag("without-state") {
                vec![agent.config.home.join(".fsa"), agent.config.state_dir.clone()]
            } else {
                Vec::new()
            };
            let opened = blocking(path.clone(), move |path| home.open(path, &page, &closed)).await?;
            get(agent, opened, &path, request.headers(), *method == Method::HEAD)
        }
        Method::PUT if agent.disk.over() => {
            upload::drain(request.into_body()).await;
            Err(Error::disk_full())
        }
        Method::PUT if query.flag("mkdir") => {
            blocking(path, move |path| home.make_folder(path)).await?;
            Ok(empty(StatusCode::CREATED))
        }
        Method::PUT => {
            let condition = Condition::of(request.headers())?;
            let (created, version) = upload::put(agent, home, path, condition, request.into_body()).await?;
            let mut answer = empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
            put_version(answer.headers_mut(), version.as_str());
            agent.disk.look_again();
            Ok(answer)
        }
        Method::POST => {
            let to = to(request.uri().query())?;
            let condition = Condition::of(request.headers())?;
            let version = rename(home, path, to, condition).await?;
            let mut answer = empty(StatusCode::NO_CONTENT);
            if let Some(version) = version {
                put_version(answer.headers_mut(), version.as_str());
            }
            Ok(answer)
        }
        Method::DELETE => {
            let recursive = query.flag("recursive");
            blocking(path, move |path| home.delete(path, recursive)).await?;
            agent.disk.look_again();
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => allow(method, &[], "/v1/files").map(|()| empty(StatusCode::OK)),
    }
}

/// Where something is to be renamed to. Not by [`Query`]: a name is bytes.
fn to(query: Option<&str>) -> Result<Vec<u8>, Error> {
    let to = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("to="));
    decoded(to.ok_or_else(|| Error::bad_request("no-target", "Say to where, as ?to=PATH."))?)
}

/// Which part of a folder is asked for. A name is bytes, here too.
fn page(query: &Query, text: Option<&str>) -> Result<Page, Error> {
    let after = text.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("after="));
    Ok(Page { after: after.map(|name| percent_decode_str(name).collect()), limit: query.parsed("limit")? })
}

/// Gives `from` the name `to`; of a file, which version that is then.
async fn rename(home: Home, from: Vec<u8>, to: Vec<u8>, condition: Condition) -> Result<Option<Version>, Error> {
    let (old, new, folder) = (shown(&from), shown(&to), shown(folder_of(&to)));
    // By names, to say so in words. What gets there by a link the kernel refuses.
    if is_within(&to, &from) {
        return Err(Error::bad_request("into-itself", format!("{old} cannot be moved into itself.")));
    }
    let work = move || {
        // No upload comes into place between the look at the version and the new name.
        let _one = PLACING.lock().unwrap_or_else(PoisonError::into_inner);
        home.rename(&from, &to, &condition)
    };
    let done = spawn_blocking(work).await.map_err(|_| Error::internal("The work on the file broke off."))?;
    done.map_err(|why| match why {
        NotRenamed::Old(error) => said(error, &old),
        NotRenamed::Folder(error) => said(error, &folder),
        NotRenamed::New(error) => said(error, &new),
        NotRenamed::Changed(versions) => Error::changed(versions),
    })
}

fn get(agent: &Agent, opened: Found, path: &[u8], headers: &HeaderMap, head: bool) -> Result<Answer, Error> {
    let condition = Condition::of(headers)?;
    match opened {
        Found::Closed => {
            let sentence = "What is in .fsa, where what terminals showed is kept, is not for who may only read files.";
            Err(Error::new(StatusCode::FORBIDDEN, "state-folder", sentence))
        }
        Found::Folder(entries) => {
            let home = agent.config.home.display().to_string();
            Ok(json(StatusCode::OK, &Listing { path: String::from_utf8_lossy(path).into_owned(), home, entries }))
        }
        Found::File { version, .. } if condition.known(&version) => {
            let mut answer = empty(StatusCode::NOT_MODIFIED);
            put_version(answer.headers_mut(), version.as_str());
            Ok(answer)
        }
        Found::File { file, length, version, modified_at } => {
            let part = part(headers, length, &version)?;
            let (status, sent) = match part {
                Some(part) => (StatusCode::PARTIAL_CONTENT, part),
                None => (StatusCode::OK, Part { start: 0, length }),
            };
            let body = if head { Body::empty() } else { stream(file, sent) };
            let mut answer = with_type(status, "application/octet-stream", body);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sent.length));
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            headers.insert("x-modified-at", HeaderValue::from(modified_at));
            if part.is_some() {
                let range = format!("bytes {}-{}/{length}", sent.start, sent.start + sent.length - 1);
                headers.extend(HeaderValue::from_str(&range).ok().map(|range| (header::CONTENT_RANGE, range)));
            }
            put_version(headers, version.as_str());
            Ok(answer)
        }
    }
}

fn put_version(headers: &mut HeaderMap, version: &str) {
    headers.extend(HeaderValue::from_str(version).ok().map(|version| (header::ETAG, version)));
}

/// Exactly the part that was announced: a file that grows meanwhile is cut, one that shrinks cuts the answer off.
fn stream(mut file: File, part: Part) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    spawn_blocking(move || {
        if let Err(error) = file.seek(SeekFrom::Start(part.start)) {
            let _ = sender.blocking_send(Err(error));
            return;
        }
        let mut file = file.take(part.length);
        let mut left = part.length;
        while left > 0 {
            let mut piece = vec![0; PIECE_BYTES];
            let read = match file.read(&mut piece) {
                Ok(0) => Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter")),
                Ok(count) => {
                    left -= count as u64;
                    piece.truncate(count);
                    Ok(Bytes::from(piece))
                }
                Err(error) => Err(error),
            };
            let stop = read.is_err();
            if sender.blocking_send(read).is_err() || stop {
                return;
            }
        }
    });
    Body::Stream(receiver)
}

/// The path of a request without the slashes around it.
fn decoded(path: &str) -> Result<Vec<u8>, Error> {
    let path: Vec<u8> = percent_decode_str(path).collect();
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(start, |last| last + 1);
    let path = &path[start..end];
    if path.contains(&0) || path.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(outside());
    }
    Ok(path.to_owned())
}

/// The path of the folder that has it.
fn folder_of(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

/// Whether a path is one of something in a folder.
fn is_within(path: &[u8], folder: &[u8]) -> bool {
    let mut inner = parts(path);
    parts(folder).all(|part| inner.next() == Some(part)) && inner.next().is_some()
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

async fn blocking<T: Send + 'static>(
    path: Vec<u8>,
    work: impl FnOnce(&[u8]) -> Result<T, Errno> + Send + 'static,
) -> Result<T, Error> {
    let shown = shown(&path);
    let done = spawn_blocking(move || work(&path)).await.map_err(|_| Error::internal("The work on the file broke off."))?;
    done.map_err(|error| said(error, &shown))
}

/// A path in a sentence: on one line.
fn shown(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let path: String = path.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if path.is_empty() { "The home folder".to_owned() } else { path }
}

/// An error of the system in words.
fn said(error: Errno, path: &str) -> Error {
    match error {
        Errno::NOENT => Error::not_found(format!("There is no {path}.")),
        Errno::NOTDIR => Error::conflict("not-a-folder", format!("A part of {path} is not a folder.")),
        Errno::ISDIR => Error::conflict("is-a-folder", format!("{path} is a folder.")),
        Errno::NOTEMPTY => Error::conflict("not-empty", format!("{path} is not empty. Say recursive=1 to delete all of it.")),
        Errno::EXIST => Error::conflict("exists", format!("{path} exists already.")),
        Errno::XDEV | Errno::LOOP => outside(),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            Error::new(StatusCode::FORBIDDEN, "forbidden", format!("{path} may not be touched: {error}."))
        }
        Errno::NAMETOOLONG | Errno::INVAL => Error::bad_request("bad-path", format!("{path} cannot be a path here: {error}.")),
        Errno::NOSPC | Errno::DQUOT => Error::disk_full(),
        Errno::NXIO => Error::conflict("not-a-file", format!("{path} is neither a file nor a folder.")),
        Errno::NOSYS => Error::new(
            StatusCode::NOT_IMPLEMENTED,
            "old-kernel",
            "This kernel has no openat2 (Linux 5.6), so files cannot be served safely.",
        ),
        other => Error::internal(format!("{path}: {other}.")),
    }
}

fn outside() -> Error {
    Error::bad_request("outside-home", "The path leads out of the home folder.")
}
