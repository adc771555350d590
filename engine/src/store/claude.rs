//! A user's own Claude credentials, and how they are sealed: as one, since one without the other is none.

use super::{
    StoreError,
    postgres::error::{sealed, unreadable},
};
use crate::secrets::{Place, Vault};
use model::claude::{BASE_URL, ClaudeKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// Claude credentials. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct Claude {
    /// Which variable the secret is.
    pub kind: ClaudeKind,
    /// The key or token.
    pub secret: SecretString,
    /// Where it is sent; to Anthropic's own address, where it is absent.
    pub base_url: Option<String>,
}

impl PartialEq for Claude {
    fn eq(&self, other: &Self) -> bool {
        let same = self.kind == other.kind && self.base_url == other.base_url;
        same && self.secret.expose_secret() == other.secret.expose_secret()
    }
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plain<'a> {
    kind: ClaudeKind,
    secret: Cow<'a, str>,
    base_url: Option<Cow<'a, str>>,
}

impl Claude {
    /// As a sandbox gets them.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        let url = self.base_url.iter().map(|url| (BASE_URL.to_owned(), url.clone()));
        url.chain([(self.kind.variable().to_owned(), self.secret.expose_secret().to_owned())]).collect()
    }

    /// The variables of those that there may be.
    #[must_use]
    pub fn variables_of(claude: Option<&Self>) -> BTreeMap<String, String> {
        claude.map(Self::variables).unwrap_or_default()
    }

    pub(super) fn seal(&self, vault: &Vault, place: Place<'_>) -> Result<Vec<u8>, StoreError> {
        let secret = Cow::Borrowed(self.secret.expose_secret());
        let plain = Plain { kind: self.kind, secret, base_url: self.base_url.as_deref().map(Cow::Borrowed) };
        let plain = serde_json::to_vec(&plain).map_err(unreadable("write Claude credentials"))?;
        vault.seal(place, &plain).map_err(sealed("seal Claude credentials"))
    }

    pub(super) fn open(vault: &Vault, place: Place<'_>, bytes: &[u8]) -> Result<Self, StoreError> {
        let plain = vault.open(place, bytes).map_err(sealed("open Claude credentials"))?;
        // Not its own words: they might show what does not fit.
        let plain: Plain<'_> = serde_json::from_slice(&plain)
            .map_err(|_| "they are of another form")
            .map_err(unreadable("read Claude credentials"))?;
        let base_url = plain.base_url.map(Cow::into_owned);
        Ok(Self { kind: plain.kind, secret: SecretString::from(plain.secret.into_owned()), base_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_open_in_their_place_alone_and_debug_shows_no_secret() {
        let vault = Vault::from_text(&SecretString::from("11".repeat(32)), "a test").unwrap();
        let claude = Claude {
            kind: ClaudeKind::AuthToken,
            secret: SecretString::from("hunter2 \"quoted\""),
            base_url: Some("https://gateway.example".into()),
        };
        let place = |row| Place { table: "claude_credentials", column: "sealed", row };
        let sealed = claude.seal(&vault, place("ada")).unwrap();
        assert_eq!(Claude::open(&vault, place("ada"), &sealed).unwrap(), claude);
        assert!(Claude::open(&vault, place("bob"), &sealed).is_err());
        assert!(!format!("{claude:?}").contains("hunter2"));
        let variables = claude.variables();
        let names: Vec<&str> = variables.keys().map(String::as_str).collect();
        assert_eq!(names, ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"]);
    }
}
