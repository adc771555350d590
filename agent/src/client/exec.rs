//! `POST /v1/exec`.

use std::pin::pin;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::Method;
use secrecy::SecretString;

use super::{ClientError, Io, lines::lines, plain};
use crate::protocol::http::{ExecExit, ExecLine, ExecRequest, OutputStream};

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    Output(OutputStream, Bytes),
    /// Always last.
    Exit(ExecExit),
}

/// A command that ended, with all it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub exit: ExecExit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a command; dropping the stream ends it and its process group: SIGTERM, and two seconds later SIGKILL.
///
/// # Errors
/// See [`ClientError`]; a stream that ends without [`ExecEvent::Exit`] was cut off.
pub async fn exec(
    io: impl Io,
    token: &SecretString,
    ask: &ExecRequest,
) -> Result<impl Stream<Item = Result<ExecEvent, ClientError>> + Send + 'static, ClientError> {
    let request = plain::json_request(Method::POST, "/v1/exec", Some(ask))?;
    let body = plain::accepted(plain::send(io, Some(token), request).await?).await?.into_body();
    Ok(lines(body).map(|line| {
        Ok(match line? {
            ExecLine::Exit { exit } => ExecEvent::Exit(exit),
            ExecLine::Text { stream, data } => ExecEvent::Output(stream, data.into()),
            ExecLine::Binary { stream, base64 } => {
                ExecEvent::Output(stream, STANDARD.decode(base64).map_err(ClientError::unfit)?.into())
            }
        })
    }))
}

/// Runs a command and gathers what it writes, at most `limit` bytes of each stream; what is more is read and dropped.
///
/// # Errors
/// See [`ClientError`]; one that was cut off is [`ClientError::Broken`].
pub async fn exec_to_end(io: impl Io, token: &SecretString, ask: &ExecRequest, limit: usize) -> Result<Finished, ClientError> {
    gather(exec(io, token, ask).await?, limit).await
}

/// Gathers what a command writes until it ends, at most `limit` bytes of each stream; what is more is read and dropped.
///
/// # Errors
/// See [`ClientError`]; one that was cut off is [`ClientError::Broken`].
pub async fn gather(events: impl Stream<Item = Result<ExecEvent, ClientError>>, limit: usize) -> Result<Finished, ClientError> {
    let mut events = pin!(events);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        match event? {
            ExecEvent::Exit(exit) => return Ok(Finished { exit, stdout, stderr }),
            ExecEvent::Output(stream, data) => {
                let to = if stream == OutputStream::Stdout { &mut stdout } else { &mut stderr };
                to.extend_from_slice(&data[..data.len().min(limit.saturating_sub(to.len()))]);
            }
        }
    }
    Err(ClientError::broken("the output was cut off before the command ended"))
}
