//! What stock ttyd does, and nothing else: its page at `/`, `/token`, and `/ws` of the subprotocol `tty`, with a real shell on pipes for each
//! who comes. Source: ttyd's `server.c`, `http.c` and `protocol.c`.

use axum::{
    Router,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{StatusCode, Uri};
use serde_json::Value;
use std::process::Stdio;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// It.
pub fn server() -> Router {
    Router::new()
        .route("/", get(|| async { "<!DOCTYPE html><title>ttyd - Terminal</title>" }))
        .route("/token", get(|| async { axum::Json(serde_json::json!({ "token": "" })) }))
        .route("/ws", get(terminal))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404") })
}

/// With another subprotocol libwebsockets hangs up; arguments are taken only where `-a` says so.
async fn terminal(uri: Uri, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["tty"]);
    if upgrade.selected_protocol().is_none() || uri.query().is_some() {
        return StatusCode::FORBIDDEN.into_response();
    }
    upgrade.on_upgrade(converse)
}

async fn converse(mut socket: WebSocket) {
    let hello = [b"1sh (sandbox)".to_vec(), b"2{ }".to_vec()];
    for frame in hello {
        if socket.send(Message::Binary(frame.into())).await.is_err() {
            return;
        }
    }
    let Some(Ok(Message::Binary(first))) = socket.recv().await else { return };
    let first: Value = serde_json::from_slice(&first).expect("the first frame is a JSON object");
    let size = |frame: &Value| format!("{}x{}", frame["columns"], frame["rows"]);
    let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let (mut input, mut output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
    input.write_all(format!("size={}\n", size(&first)).as_bytes()).await.unwrap();
    let mut buffer = vec![0; 4096];
    let mut paused = false;
    loop {
        tokio::select! {
            read = output.read(&mut buffer), if !paused => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    let frame = [b"0", &buffer[..length]].concat();
                    if socket.send(Message::Binary(frame.into())).await.is_err() {
                        return;
                    }
                }
            },
            said = socket.recv() => {
                let Some(Ok(Message::Binary(frame))) = said else { return };
                match frame.first() {
                    Some(b'0') => input.write_all(&frame[1..]).await.unwrap_or_default(),
                    Some(b'1') => {
                        let to: Value = serde_json::from_slice(&frame[1..]).expect("a size is JSON");
                        input.write_all(format!("size={}\n", size(&to)).as_bytes()).await.unwrap_or_default();
                    }
                    Some(b'2') => paused = true,
                    Some(b'3') => paused = false,
                    Some(b'{') => {}
                    other => panic!("ttyd: unknown message type: {other:?}"),
                }
            }
        }
    }
    let _ = socket.send(Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await;
}
