//! A raw stream to a port inside: the agent's `GET /v1/forward`.

use crate::keeper::protocol::Secret;
use engine::orchestrator::{BoxedIo, ConnectError};
use std::io;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

const LARGEST_HEAD: usize = 16 * 1024;

/// Turns a connection to the agent into one to a port.
pub async fn forward(mut agent: UnixStream, port: u16, token: &Secret) -> Result<BoxedIo, ConnectError> {
    let ask = format!(
        "GET /v1/forward?port={port} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: {}\r\n\r\n",
        token.0,
        sandbox_agent::protocol::FORWARD_UPGRADE,
    );
    agent.write_all(ask.as_bytes()).await.map_err(ConnectError::Io)?;
    let head = head(&mut agent).await.map_err(ConnectError::Io)?;
    match head.split(' ').nth(1) {
        Some("101") => Ok(Box::new(agent)),
        // Nobody there, or a port that is never forwarded.
        Some("502" | "503" | "404" | "403" | "400" | "409") => Err(ConnectError::NobodyListens(port)),
        _ => Err(ConnectError::Io(io::Error::other(format!("the agent answered {}", head.lines().next().unwrap_or_default())))),
    }
}

/// Byte by byte: what follows the head is the port's.
async fn head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LARGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}
