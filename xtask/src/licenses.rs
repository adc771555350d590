//! Every dependency has a licence that allows this use, and TLS comes from one provider.

use crate::shell::cargo;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Licences that ask for no more than to be named.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "Unlicense",
    "MPL-2.0",
    "CDLA-Permissive-2.0",
    "WTFPL",
    "NCSA",
];

/// Two TLS providers in one program panic at run time; OpenSSL is none of ours.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"];

/// Fails with the names of those that do not.
pub fn check() -> Result<()> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"]).read()?)?;
    let mut refused = Vec::new();
    for package in metadata["packages"].as_array().context("read cargo's metadata")? {
        let name = package["name"].as_str().unwrap_or_default();
        let license = package["license"].as_str().unwrap_or_default();
        if BANNED.contains(&name) {
            refused.push(format!("{name}: not to be used here"));
        } else if !allowed(license) {
            refused.push(format!("{name}: licence `{license}`"));
        }
    }
    if refused.is_empty() { Ok(()) } else { bail!("dependencies that may not be used:\n  {}", refused.join("\n  ")) }
}

/// One side of each `OR`, all of each `AND`.
fn allowed(expression: &str) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    plain.split(" AND ").all(|part| part.split(" OR ").any(|licence| ALLOWED.contains(&licence.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_of_an_or_will_do() {
        assert!(allowed("MIT OR GPL-3.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(!allowed(""));
    }
}
