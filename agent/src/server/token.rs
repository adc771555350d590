//! Reading the token that the agent is opened with.

use std::{fs, io::Read};

use anyhow::{Context, ensure};
use secrecy::SecretString;

use super::{
    config::{TOKEN_VARIABLE, TokenSource},
    raw,
};

/// Reads the token and closes where it came from. White space around it does not count.
///
/// # Errors
/// The source cannot be read, or holds nothing: an agent without a token would be open to all.
pub fn read(source: &TokenSource) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    match source {
        TokenSource::Descriptor(fd) => {
            let fd = raw::inherited(*fd).with_context(|| format!("take over descriptor {fd}"))?;
            fs::File::from(fd).read_to_string(&mut text).context("read the token")?;
        }
        TokenSource::File(path) => {
            text = fs::read_to_string(path).with_context(|| format!("read the token from {}", path.display()))?
        }
        TokenSource::Environment => {
            text = std::env::var(TOKEN_VARIABLE).with_context(|| format!("read the token from {TOKEN_VARIABLE}"))?
        }
    }
    let token = text.trim();
    ensure!(!token.is_empty(), "the token is empty");
    Ok(token.to_owned().into())
}
