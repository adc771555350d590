//! `/v1/files/PATH`: the home folder, and nothing outside it.
//!
//! Every path is resolved by the kernel with RESOLVE_BENEATH, in [`home`]: neither `..` nor a link leads out, also where somebody changes the
//! folders at the same time. Where the kernel cannot, nothing is served. All of it blocks, and runs on blocking threads.

mod home;
mod upload;

use std::{fs::File, io::Read, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use rustix::io::Errno;
use tokio::{sync::mpsc, task::spawn_blocking};

use self::home::{Found, Home};
use super::{
    Agent,
    body::{Answer, Body, empty, json, with_type},
    error::Error,
    query::Query,
    router::allow,
};

/// Bytes of a file in one piece of an answer.
const PIECE_BYTES: usize = 64 * 1024;

/// # Errors
/// `400 Bad Request`: no path of the home folder; `404 Not Found`; `409 Conflict`: a folder where a file should be, or the other way round;
/// `507 Insufficient Storage`.
pub async fn route(agent: &Rc<Agent>, method: &Method, path: &str, request: Request<Incoming>) -> Result<Answer, Error> {
    let path = decoded(path)?;
    let query = Query::of(request.uri());
    let home = Home::new(&agent.config.home);
    match *method {
        Method::GET | Method::HEAD => get(home, path, *method == Method::HEAD).await,
        Method::PUT if agent.disk.over() => Err(Error::disk_full()),
        Method::PUT if query.flag("mkdir") => {
            blocking(path, move |path| home.make_folder(path)).await?;
            Ok(empty(StatusCode::CREATED))
        }
        Method::PUT => {
            let created = upload::put(home, path, request.into_body()).await?;
            Ok(empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT }))
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

async fn get(home: Home, path: String, head: bool) -> Result<Answer, Error> {
    let shown = path.clone();
    match blocking(path, move |path| home.open(path)).await? {
        Found::Folder(entries) => Ok(json(StatusCode::OK, &crate::protocol::http::Listing { path: shown, entries })),
        Found::File { file, length } => {
            let body = if head { Body::empty() } else { stream(file, length) };
            let mut answer = with_type(StatusCode::OK, "application/octet-stream", body);
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            Ok(answer)
        }
    }
}

/// Exactly `length` bytes, as was announced: a file that grows meanwhile is cut, one that shrinks cuts the answer off.
fn stream(file: File, length: u64) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    spawn_blocking(move || {
        let mut file = file.take(length);
        let mut left = length;
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
fn decoded(path: &str) -> Result<String, Error> {
    let path = percent_decode_str(path).decode_utf8().map_err(|_| Error::bad_request("bad-path", "The path is not UTF-8."))?;
    let path = path.trim_matches('/');
    if path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(outside());
    }
    Ok(path.to_owned())
}

async fn blocking<T: Send + 'static>(
    path: String,
    work: impl FnOnce(&str) -> Result<T, Errno> + Send + 'static,
) -> Result<T, Error> {
    let shown = path.clone();
    let done = spawn_blocking(move || work(&path)).await.map_err(|_| Error::internal("The work on the file broke off."))?;
    done.map_err(|error| said(error, &shown))
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
