//! `GET /ws`: a WebSocket to a session, in stock ttyd's words or in our own.
//!
//! [`dialect`] turns frames of either into the same few [`dialect::Said`] and back; [`link`] is the conversation.

mod dialect;
mod link;

use std::rc::Rc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use self::{dialect::Dialect, link::Wish};
use super::{
    Agent,
    body::{Answer, Body},
    error::Error,
    listen::Door,
    query::Query,
    router::{allow, upgrades_to},
};
use crate::protocol::{FSA_SUBPROTOCOL, TTYD_SUBPROTOCOL, name::SessionName};

/// The longest message a viewer may send: a large paste of a ttyd client comes as one.
const MESSAGE_BYTES: usize = 8 << 20;

/// Answers the handshake and goes on in a task of its own. With `admitted` the request has shown the token; otherwise the first frame must.
///
/// # Errors
/// `400 Bad Request`, `426 Upgrade Required`: not a WebSocket, no subprotocol we speak, or a bad parameter; `401 Unauthorized`.
pub fn open(agent: &Rc<Agent>, door: Door, admitted: bool, request: Request<Incoming>) -> Result<Answer, Error> {
    allow(request.method(), &[http::Method::GET], "/ws")?;
    let headers = request.headers();
    if !upgrades_to(headers, "websocket") {
        return Err(Error::new(StatusCode::UPGRADE_REQUIRED, "websocket-wanted", "This is a WebSocket."));
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Error::bad_request("bad-handshake", "Sec-WebSocket-Key is missing."))?;
    let accept = derive_accept_key(key.as_bytes());
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Error::bad_request("bad-handshake", "Only version 13 of WebSocket is spoken here."));
    }
    let dialect = choose(headers, door)?;
    let wish = wish(&Query::of(request.uri()))?;

    let agent = agent.clone();
    spawn_local(async move {
        let Ok(stream) = hyper::upgrade::on(request).await else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(16 * 1024)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
        link::converse(&agent, dialect, admitted, wish, socket).await;
    });

    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.subprotocol()));
    let accept =
        HeaderValue::from_str(&accept).map_err(|_| Error::bad_request("bad-handshake", "Sec-WebSocket-Key does not fit."))?;
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

/// Ours where it is offered and the door lets it in, else ttyd's.
fn choose(headers: &http::HeaderMap, door: Door) -> Result<Dialect, Error> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    if door == Door::All && offered.contains(&FSA_SUBPROTOCOL) {
        Ok(Dialect::Fsa)
    } else if offered.contains(&TTYD_SUBPROTOCOL) {
        Ok(Dialect::Ttyd)
    } else {
        Err(Error::bad_request(
            "no-subprotocol",
            format!("Ask for the subprotocol {TTYD_SUBPROTOCOL} or, where all routes are, {FSA_SUBPROTOCOL}."),
        ))
    }
}

fn wish(query: &Query) -> Result<Wish, Error> {
    let name = query.get("session").filter(|name| !name.is_empty()).map(str::parse).transpose();
    let name = name.map_err(|error| Error::bad_request("bad-session-name", format!("{error}.")))?;
    Ok(Wish {
        name: name.unwrap_or_else(SessionName::main),
        offset: query.parsed("offset")?,
        id: query.get("id").filter(|id| !id.is_empty()).map(str::to_owned),
        restart: query.flag("restart"),
    })
}
