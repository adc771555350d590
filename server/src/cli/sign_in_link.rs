//! `sign-in-link`: a new one-time link, beside a running server.

use super::{accounts, say};
use crate::config::{DataArgs, public_url};
use anyhow::{Context as _, Result};
use engine::clock::{Clock as _, SystemClock};
use secrecy::ExposeSecret as _;
use std::{fs, path::Path};

/// The file in the data folder that says where the server of it is.
const ADDRESS: &str = "address";

/// Prints it, alone on its line.
pub async fn print(data: &DataArgs) -> Result<()> {
    let public = match &data.public_url {
        Some(url) => public_url(url)?,
        None => fs::read_to_string(data.data_dir().join(ADDRESS))
            .map_or_else(|_| "http://localhost:4000".to_owned(), |text| text.trim().to_owned()),
    };
    let accounts = accounts(data).await?;
    let now = SystemClock.now();
    let owner = accounts.ensure_owner(now).await?;
    let code = accounts.make_sign_in_code(owner.id, now).await?;
    say(&format!("{public}/sign-in#{}", code.expose_secret()));
    Ok(())
}

/// Notes where the server is, for [`print`].
pub fn note_address(data_dir: &Path, public: &str) -> Result<()> {
    let path = data_dir.join(ADDRESS);
    fs::write(&path, format!("{public}\n")).with_context(|| format!("write {}", path.display()))
}
