//! The name of a terminal session.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// 1–64 characters of `A–Z a–z 0–9 . _ -`, but not `.` or `..`: it is part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(String);

/// The session that every sandbox starts with.
pub const MAIN: &str = "main";

/// A name that is no [`SessionName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session's name has 1 to 64 of the characters A-Z, a-z, 0-9, dot, underscore and hyphen")]
pub struct BadSessionName;

impl SessionName {
    /// [`MAIN`].
    pub fn main() -> Self {
        Self(MAIN.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionName {
    type Err = BadSessionName;

    fn from_str(text: &str) -> Result<Self, BadSessionName> {
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits && text != "." && text != ".." { Ok(Self(text.to_owned())) } else { Err(BadSessionName) }
    }
}

impl TryFrom<String> for SessionName {
    type Error = BadSessionName;

    fn try_from(text: String) -> Result<Self, BadSessionName> {
        text.parse()
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad:?}");
        }
        for good in ["main", "a.b_c-9", &"x".repeat(64)] {
            assert!(good.parse::<SessionName>().is_ok(), "{good:?}");
        }
    }
}
