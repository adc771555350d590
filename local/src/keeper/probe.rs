//! Asks the agent how it is, as anyone could: `GET /healthz` over its socket.

use super::protocol::Agent;
use std::{io, path::Path, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LONGEST: Duration = Duration::from_secs(5);
const LARGEST: u64 = 64 * 1024;

/// How far the agent that listens at a path is.
pub async fn ask(socket: &Path) -> Agent {
    match tokio::time::timeout(LONGEST, health(socket)).await {
        Ok(Ok(agent)) => agent,
        Ok(Err(_)) | Err(_) => Agent::Silent,
    }
}

async fn health(socket: &Path) -> io::Result<Agent> {
    let mut stream = crate::sockets::connect_async(socket)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    let no_answer = || io::Error::from(io::ErrorKind::InvalidData);
    let text = std::str::from_utf8(&answer).map_err(|_| no_answer())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(no_answer());
    }
    // A body may come in chunks; the object in it is what counts.
    let object = body.find('{').zip(body.rfind('}')).and_then(|(from, to)| body.get(from..=to)).ok_or_else(no_answer)?;
    let health: serde_json::Value = serde_json::from_str(object)?;
    let started = health.get("shellStarted").and_then(serde_json::Value::as_bool).unwrap_or(false);
    Ok(if started { Agent::ShellStarted } else { Agent::Answering })
}
