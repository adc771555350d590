//! `token create|list|revoke`, beside a running server.

use super::{CreateToken, accounts, say};
use crate::config::DataArgs;
use anyhow::{Context as _, Result, bail};
use engine::clock::{Clock as _, SystemClock};
use jiff::SignedDuration;
use model::{DisplayName, Timestamp};

/// Prints the secret, alone.
pub async fn create(data: &DataArgs, new: &CreateToken) -> Result<()> {
    let name: DisplayName = new.name.parse().context("--name: a token's name has 1 to 300 characters, such as `--name ci`")?;
    let accounts = accounts(data).await?;
    let now = SystemClock.now();
    let owner = accounts.ensure_owner(now).await?;
    let expires = new.days.and_then(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
    let token = accounts.make_token(owner.id, name.as_str(), new.scope, expires, now).await?;
    say(&token.secret);
    Ok(())
}

/// A line a token, newest first.
pub async fn list(data: &DataArgs) -> Result<()> {
    let accounts = accounts(data).await?;
    let owner = accounts.ensure_owner(SystemClock.now()).await?;
    let time = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), |at| format!("{at:.0}"));
    for token in accounts.tokens(owner.id).await? {
        let (expires, used) = (time(token.expires_at, "never"), time(token.last_used_at, "never"));
        // What one that was found somewhere is known by.
        let begins = token.prefix.map_or_else(|| "-".to_owned(), |prefix| prefix + "…");
        let (id, scope, name) = (token.id, token.scope.as_str(), token.name);
        say(&format!("{id}  {begins:13}  {scope:5}  expires {expires}  last used {used}  {name}"));
    }
    Ok(())
}

/// Says nothing where it worked.
pub async fn revoke(data: &DataArgs, id: &str) -> Result<()> {
    let accounts = accounts(data).await?;
    let now = SystemClock.now();
    let owner = accounts.ensure_owner(now).await?;
    let unknown = || anyhow::anyhow!("There is no token {id}. `fullstack-agent token list` shows the ids.");
    let token = id.parse().map_err(|_| unknown())?;
    if !accounts.revoke_token(owner.id, token, now).await? {
        bail!(unknown());
    }
    Ok(())
}
