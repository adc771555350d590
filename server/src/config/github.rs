//! GitHub: under which name this installation asks there, and who may sign in by it.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use secrecy::SecretString;
use std::collections::BTreeSet;
use url::Url;

/// The variable with the client secret; it has no flag, since every user of the machine can read a command
/// line.
pub const CLIENT_SECRET: &str = "FSA_GITHUB_CLIENT_SECRET";

/// What `serve` takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GitHubArgs {
    /// The client id of an OAuth app (or GitHub App) whose callback is PUBLIC-URL/github/callback; its secret is read from FSA_GITHUB_CLIENT_SECRET, in the environment or in .env
    #[arg(long, env = "FSA_GITHUB_CLIENT_ID", value_name = "ID")]
    pub github_client_id: Option<String>,
    /// GitHub's address, where it is an Enterprise server [default: https://github.com]
    #[arg(long, env = "FSA_GITHUB_URL", value_name = "URL")]
    pub github_url: Option<String>,
    /// Its API's address [default: https://api.github.com, of an Enterprise server URL/api/v3]
    #[arg(long, env = "FSA_GITHUB_API_URL", value_name = "URL")]
    pub github_api_url: Option<String>,
    /// Who may sign in by GitHub: logins, id:NUMBER for an account whatever it is called, or * for everybody
    #[arg(long, env = "FSA_ALLOW_GITHUB_USERS", value_name = "LOGIN", value_delimiter = ',')]
    pub allow_github_users: Vec<String>,
    /// Organizations whose members may sign in by GitHub, or * for everybody
    #[arg(long, env = "FSA_ALLOW_GITHUB_ORGS", value_name = "ORG", value_delimiter = ',')]
    pub allow_github_orgs: Vec<String>,
}

/// Who may sign in by GitHub.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Everybody.
    pub everybody: bool,
    /// Logins, in lower case.
    pub logins: BTreeSet<String>,
    /// Numbers of accounts.
    pub ids: BTreeSet<u64>,
    /// Organizations, in lower case.
    pub organizations: BTreeSet<String>,
}

impl Allowed {
    /// Whether anybody may: if not, GitHub can be connected, and nobody signs in by it.
    #[must_use]
    pub fn anybody(&self) -> bool {
        self.everybody || !(self.logins.is_empty() && self.ids.is_empty() && self.organizations.is_empty())
    }

    /// Whether an account is named. Its organizations are to be asked for where it is not.
    #[must_use]
    pub fn names(&self, id: u64, login: &str) -> bool {
        self.everybody || self.ids.contains(&id) || self.logins.contains(&login.to_ascii_lowercase())
    }
}

/// GitHub, as this installation uses it.
#[derive(Debug, Clone)]
pub struct GitHubSettings {
    /// The app's public name.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// `https://github.com`, without a slash at the end.
    pub url: String,
    /// `https://api.github.com`, without a slash at the end.
    pub api: String,
    /// `github.com`, with a port unless it is the usual one.
    pub host: String,
    /// Who may sign in.
    pub allowed: Allowed,
}

impl GitHubArgs {
    /// The settings; `None` where GitHub is not used.
    ///
    /// # Errors
    /// What is wrong, and an example of right.
    pub fn read(&self, secret: Option<SecretString>) -> Result<Option<GitHubSettings>> {
        let given = |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let allowed = self.allowed()?;
        let Some(client_id) = given(&self.github_client_id) else {
            if allowed.anybody() {
                bail!(
                    "--allow-github-users and --allow-github-orgs say who may sign in by GitHub, and no app of GitHub's is named. \
                     Make one there, and give its client id: `--github-client-id Iv1.0123456789abcdef`."
                );
            }
            return Ok(None);
        };
        let Some(client_secret) = secret else {
            bail!(
                "--github-client-id {client_id}: its secret is missing. Put a line `{CLIENT_SECRET}=…` into .env in --secret-dir, or \
                 into the environment. It is on the app's page at GitHub."
            );
        };
        let url = base("--github-url", given(&self.github_url).as_deref().unwrap_or("https://github.com"))?;
        let (host, own) = (authority(&url), url.as_str().trim_end_matches('/').to_owned());
        let api = match given(&self.github_api_url) {
            Some(api) => base("--github-api-url", &api)?.as_str().trim_end_matches('/').to_owned(),
            None if host == "github.com" => "https://api.github.com".to_owned(),
            None => format!("{own}/api/v3"),
        };
        Ok(Some(GitHubSettings { client_id, client_secret, url: own, api, host, allowed }))
    }

    fn allowed(&self) -> Result<Allowed> {
        let mut allowed = Allowed::default();
        let names = |list: &[String]| -> Vec<String> {
            list.iter().map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
        };
        for name in names(&self.allow_github_users) {
            match name.strip_prefix("id:") {
                _ if name == "*" => allowed.everybody = true,
                Some(id) => {
                    let wrong = || anyhow!("--allow-github-users {name}: behind `id:` stands a number, as in `id:583231`.");
                    allowed.ids.insert(id.parse().map_err(|_| wrong())?);
                }
                None => {
                    allowed.logins.insert(checked("--allow-github-users", "octocat", name)?);
                }
            }
        }
        for name in names(&self.allow_github_orgs) {
            if name == "*" {
                allowed.everybody = true;
            } else {
                allowed.organizations.insert(checked("--allow-github-orgs", "acme", name)?);
            }
        }
        Ok(allowed)
    }
}

/// Letters, digits, `-`, and `_` for the users that an Enterprise manages.
fn checked(flag: &str, example: &str, name: String) -> Result<String> {
    let fits = name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits { Ok(name) } else { bail!("{flag} {name}: that is no name at GitHub. Write for example `{flag} {example}`.") }
}

/// An address that paths are appended to. TLS, but for this very machine.
fn base(flag: &str, text: &str) -> Result<Url> {
    let wrong = |why: &str| anyhow!("{flag} {text}: {why}. Write for example `{flag} https://github.example.com`.");
    let url = Url::parse(text).map_err(|_| wrong("that is no address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        bail!(wrong("a name or password has no place in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        bail!(wrong("it ends behind its path"));
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(url::Host::Ipv4(ip))) if ip.is_loopback() => Ok(url),
        ("http", Some(url::Host::Ipv6(ip))) if ip.is_loopback() => Ok(url),
        ("http", Some(url::Host::Domain("localhost"))) => Ok(url),
        ("http", Some(_)) => bail!(wrong("tokens go over TLS alone")),
        _ => bail!(wrong("it begins with https://")),
    }
}

/// Host and port, as a browser writes them.
#[must_use]
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        github: GitHubArgs,
    }

    fn read(line: &[&str], secret: Option<&str>) -> Result<Option<GitHubSettings>> {
        Line::parse_from(["x"].iter().chain(line)).github.read(secret.map(SecretString::from))
    }

    #[test]
    fn without_a_client_id_there_is_no_github() {
        assert!(read(&[], None).unwrap().is_none());
        assert!(read(&[], Some("s")).unwrap().is_none());
        assert!(read(&["--allow-github-users", "a"], None).unwrap_err().to_string().contains("--github-client-id Iv1"));
        assert!(read(&["--github-client-id", "x"], None).unwrap_err().to_string().contains("FSA_GITHUB_CLIENT_SECRET=…"));
    }

    #[test]
    fn addresses_follow_from_each_other() {
        let addresses = |more: &[&str]| {
            let line: Vec<&str> = ["--github-client-id", "x"].iter().chain(more).copied().collect();
            read(&line, Some("s")).map(|settings| settings.unwrap()).map(|s| (s.url, s.api, s.host))
        };
        let of = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(addresses(&[]).unwrap(), of("https://github.com", "https://api.github.com", "github.com"));
        assert_eq!(
            addresses(&["--github-url", "https://GHE.example:8443/"]).unwrap(),
            of("https://ghe.example:8443", "https://ghe.example:8443/api/v3", "ghe.example:8443")
        );
        let both = ["--github-url", "http://127.0.0.1:1", "--github-api-url", "http://localhost:2/api/"];
        assert_eq!(addresses(&both).unwrap(), of("http://127.0.0.1:1", "http://localhost:2/api", "127.0.0.1:1"));
        for bad in ["nonsense", "http://ghe.example", "ssh://git@x", "https://u:p@x", "https://x/?a=b"] {
            let error = addresses(&["--github-url", bad]).unwrap_err().to_string();
            assert!(error.contains("`--github-url https://github.example.com`"), "{error}");
        }
    }

    #[test]
    fn who_may_sign_in_is_named_by_login_number_or_organization() {
        let allowed = |line: &[&str]| {
            let line: Vec<&str> = ["--github-client-id", "x"].iter().chain(line).copied().collect();
            read(&line, Some("s")).map(|settings| settings.unwrap().allowed)
        };
        let none = allowed(&[]).unwrap();
        assert!(!none.anybody() && !none.names(1, "a"));
        let some = allowed(&["--allow-github-users", "Octo-Cat, id:7", "--allow-github-orgs", "Acme"]).unwrap();
        assert!(some.names(1, "octo-CAT") && some.names(7, "renamed") && !some.names(1, "7") && !some.names(1, "acme"));
        assert!(some.organizations.contains("acme") && some.anybody());
        assert!(allowed(&["--allow-github-orgs", "*"]).unwrap().names(1, "x"));
        for bad in ["id:x", "a b", "a/b", "https://github.com/a"] {
            assert!(allowed(&["--allow-github-users", bad]).is_err(), "{bad}");
        }
    }
}
