//! Handlers that several tests put into the apps behind previews.

use axum::{
    Json,
    extract::{Request, WebSocketUpgrade},
    response::Response,
};
use futures::StreamExt as _;
use serde_json::{Value, json};

/// A WebSocket that says what it hears.
pub async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// The headers that it is asked with.
pub async fn headers(request: Request) -> Json<Value> {
    let pairs: serde_json::Map<_, _> =
        request.headers().iter().map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
    Json(Value::from(pairs))
}
