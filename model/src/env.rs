//! The environment of a sandbox: what a key is, how large values may be, which names are reserved,
//! and who wins.

use crate::claude::{BASE_URL, is_credential};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// A value's limit, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// The limit of a project's keys and values together, in bytes. Linux refuses an `execve` whose
/// arguments and environment together pass a quarter of the stack limit (2 MiB of the usual 8).
pub const MAX_TOTAL_BYTES: usize = 512 * 1024;
/// A key's limit, in bytes.
pub const MAX_KEY_BYTES: usize = 256;

/// Names that the control plane sets itself; a user's value would break the sandbox.
pub const RESERVED: &[&str] = &[
    "DATABASE_URL",
    "NODE_ENV",
    "POSTGRES_URL",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "PATH",
    "PWD",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "BASH_ENV",
    "ENV",
    "CLAUDE_CODE_SANDBOXED",
];

/// Why an environment is refused. HTTP: 422.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Not `[A-Za-z_][A-Za-z0-9_]*`.
    #[error("`{0}` is not a variable's name: it starts with a letter or `_` and goes on with letters, digits and `_`.")]
    Key(String),
    /// Over [`MAX_KEY_BYTES`].
    #[error("A variable's name has {0} bytes; at most {MAX_KEY_BYTES} fit.")]
    LongKey(usize),
    /// In [`RESERVED`], or of the agent's own prefix `FSA_`.
    #[error("`{0}` is set by FullStack Agent itself. Choose another name.")]
    Reserved(String),
    /// NUL cannot stand in a process' environment.
    #[error("The value of `{0}` has a NUL character in it, which no environment can hold.")]
    Nul(String),
    /// Over [`MAX_VALUE_BYTES`].
    #[error("The value of `{key}` has {bytes} bytes; at most {MAX_VALUE_BYTES} fit. Put it in a file instead.")]
    LongValue {
        /// Which.
        key: String,
        /// How many it has.
        bytes: usize,
    },
    /// Over [`MAX_TOTAL_BYTES`].
    #[error("All variables together have {0} bytes; at most {MAX_TOTAL_BYTES} fit.")]
    LongTotal(usize),
}

/// The name of a variable that a user may set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvKey(String);

impl EnvKey {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvKey {
    type Err = EnvError;
    fn from_str(text: &str) -> Result<Self, EnvError> {
        if text.len() > MAX_KEY_BYTES {
            return Err(EnvError::LongKey(text.len()));
        }
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(EnvError::Key(text.escape_debug().take(80).collect()));
        }
        if RESERVED.contains(&text) || text.starts_with("FSA_") {
            return Err(EnvError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for EnvKey {
    type Error = EnvError;
    fn try_from(text: String) -> Result<Self, EnvError> {
        text.parse()
    }
}

impl From<EnvKey> for String {
    fn from(key: EnvKey) -> String {
        key.0
    }
}

impl fmt::Display for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks raw pairs as a whole.
///
/// # Errors
/// The first pair, in key order, that breaks a rule; or the total.
pub fn check(pairs: &BTreeMap<String, String>) -> Result<BTreeMap<EnvKey, String>, EnvError> {
    let mut checked = BTreeMap::new();
    let mut total = 0;
    for (key, value) in pairs {
        let key: EnvKey = key.parse()?;
        if value.contains('\0') {
            return Err(EnvError::Nul(key.0));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(EnvError::LongValue { key: key.0, bytes: value.len() });
        }
        total += key.as_str().len() + value.len() + 2;
        checked.insert(key, value.clone());
    }
    if total > MAX_TOTAL_BYTES { Err(EnvError::LongTotal(total)) } else { Ok(checked) }
}

/// The environment of a container; later wins: the operator's credentials, the account's own, the
/// project's variables, the request's, and then what the system sets.
///
/// One Claude credential wins as a whole: where a layer has a key or a token, it is not beside one of a
/// layer below, and the account's is not sent to the operator's address.
#[must_use]
pub fn merge(
    operator: &BTreeMap<String, String>,
    account: &BTreeMap<String, String>,
    project: &BTreeMap<EnvKey, String>,
    request: &BTreeMap<EnvKey, String>,
    system: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let plain = |vars: &BTreeMap<EnvKey, String>| vars.iter().map(|(k, v)| (k.0.clone(), v.clone())).collect::<Vec<_>>();
    let mut merged = operator.clone();
    if account.keys().any(|key| is_credential(key)) {
        merged.remove(BASE_URL);
    }
    for layer in [account.clone().into_iter().collect(), plain(project), plain(request)] {
        if layer.iter().any(|(key, _)| is_credential(key)) {
            merged.retain(|key, _| !is_credential(key));
        }
        merged.extend(layer);
    }
    merged.extend(system.clone());
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_keys_are_refused_with_the_reason() {
        for bad in ["", "1A", "A=B", "A B", "A\nB", "A\0B", "Ä", "a-b"] {
            assert!(matches!(bad.parse::<EnvKey>(), Err(EnvError::Key(_))), "{bad:?}");
        }
        for reserved in ["DATABASE_URL", "PGHOST", "NODE_ENV", "FSA_TOKEN"] {
            assert!(matches!(reserved.parse::<EnvKey>(), Err(EnvError::Reserved(_))), "{reserved}");
        }
        for good in ["a", "_", "lower_case", "database_url", "A1"] {
            assert!(good.parse::<EnvKey>().is_ok(), "{good}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let one = |value: String| check(&BTreeMap::from([("K".to_owned(), value)]));
        assert!(one("x".repeat(MAX_VALUE_BYTES)).is_ok());
        assert!(matches!(one("x".repeat(MAX_VALUE_BYTES + 1)), Err(EnvError::LongValue { .. })));
        assert!(matches!(one("a\0".into()), Err(EnvError::Nul(_))));
        let many: BTreeMap<_, _> = (0..9).map(|n| (format!("K{n}"), "x".repeat(60_000))).collect();
        assert!(matches!(check(&many), Err(EnvError::LongTotal(_))));
    }

    #[test]
    fn one_claude_credential_wins_as_a_whole() {
        let raw = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| (format!("ANTHROPIC_{key}"), (*value).to_owned())).collect()
        };
        let merged = |account: &[(&str, &str)], project: &[(&str, &str)], request: &[(&str, &str)]| {
            let operator = raw(&[("API_KEY", "operator"), ("BASE_URL", "http://operator"), ("MODEL", "m")]);
            let [project, request] = [project, request].map(|pairs| check(&raw(pairs)).unwrap());
            let merged = merge(&operator, &raw(account), &project, &request, &BTreeMap::new());
            merged.into_iter().map(|(key, value)| format!("{}={value}", key.trim_start_matches("ANTHROPIC_"))).collect::<Vec<_>>()
        };
        assert_eq!(merged(&[], &[], &[]), ["API_KEY=operator", "BASE_URL=http://operator", "MODEL=m"]);
        assert_eq!(merged(&[("AUTH_TOKEN", "own")], &[], &[]), ["AUTH_TOKEN=own", "MODEL=m"]);
        assert_eq!(merged(&[("API_KEY", "own")], &[], &[]), ["API_KEY=own", "MODEL=m"], "not to the operator's address");
        assert_eq!(
            merged(&[("AUTH_TOKEN", "own"), ("BASE_URL", "http://own")], &[], &[]),
            ["AUTH_TOKEN=own", "BASE_URL=http://own", "MODEL=m"]
        );
        // A project's variables win, and keep the address below: that is what they could do before.
        assert_eq!(
            merged(&[("AUTH_TOKEN", "own"), ("BASE_URL", "http://own")], &[("API_KEY", "project")], &[]),
            ["API_KEY=project", "BASE_URL=http://own", "MODEL=m"]
        );
        assert_eq!(merged(&[], &[("AUTH_TOKEN", "project")], &[]), ["AUTH_TOKEN=project", "BASE_URL=http://operator", "MODEL=m"]);
        assert_eq!(
            merged(&[], &[("AUTH_TOKEN", "project")], &[("API_KEY", "request")]),
            ["API_KEY=request", "BASE_URL=http://operator", "MODEL=m"]
        );
    }

    proptest! {
        #[test]
        fn later_wins(key in "[A-Z]{1,3}Z", layers: [Option<u8>; 5]) {
            let text = |n: Option<u8>| n.map(|n| n.to_string());
            let raw = |n: Option<u8>| text(n).map(|v| (key.clone(), v)).into_iter().collect::<BTreeMap<_, _>>();
            let typed = |n: Option<u8>| check(&raw(n)).unwrap();
            let merged = merge(&raw(layers[0]), &raw(layers[1]), &typed(layers[2]), &typed(layers[3]), &raw(layers[4]));
            let expected = layers.iter().rev().find_map(|n| text(*n));
            prop_assert_eq!(merged.get(&key).cloned(), expected);
        }
    }
}
