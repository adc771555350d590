//! Asking GitHub: one client, and what may go wrong with it.

use super::GitHubError as Error;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, to its end. A visitor waits for it.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer that is read: a hundred repositories are some 700 KB.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// The longest that a visitor is told to wait, where GitHub says a nonsense.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// The client. No redirects: a token goes to the address that the operator named, and nowhere else.
///
/// # Errors
/// TLS cannot be set up.
pub fn client() -> Result<Client, reqwest::Error> {
    // The one provider that there is; reqwest panics where none was chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("fullstack-agent/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .build()
}

/// Sends, and reads the answer to its end.
///
/// # Errors
/// GitHub is away or slow.
pub async fn send(request: RequestBuilder) -> Result<(StatusCode, HeaderMap, Vec<u8>), Error> {
    let mut answer: Response = request.send().await.map_err(|error| unreached(&error))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreached(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Error::Away("it answered with more than 8 MB".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, headers, body))
}

fn unreached(error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        return Error::Slow;
    }
    // Its own text names the address, which may hold what is searched for.
    let mut why = error as &dyn std::error::Error;
    while let Some(source) = why.source() {
        why = source;
    }
    Error::Away(why.to_string())
}

/// Asks the API in an account's name.
///
/// # Errors
/// What GitHub's answer means; [`Error::Revoked`] for 401.
pub async fn ask(request: RequestBuilder, token: &SecretString) -> Result<(HeaderMap, Vec<u8>), Error> {
    let (status, headers, body) = send(signed(request, token)).await?;
    if status.is_success() { Ok((headers, body)) } else { Err(refused(status, &headers, &body)) }
}

fn signed(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    request
        .bearer_auth(token.expose_secret())
        .header("accept", "application/vnd.github+json")
        .header("x-github-api-version", "2022-11-28")
}

/// What it says of a repository, by `owner/name`. Of one that was renamed or given away GitHub answers another address of its
/// API, once (<https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects>); an
/// address that is not below `api` is not asked.
///
/// # Errors
/// As [`read`].
pub async fn repository<T: DeserializeOwned>(client: &Client, api: &str, path: &str, token: &SecretString) -> Result<T, Error> {
    let (status, headers, body) = send(signed(client.get(format!("{api}/repos/{path}")), token)).await?;
    if status.is_success() {
        return parse(&body);
    }
    let to = headers.get("location").filter(|_| status.is_redirection()).and_then(|to| to.to_str().ok());
    match to.filter(|to| to.strip_prefix(api).is_some_and(|rest| rest.starts_with('/'))) {
        Some(to) => read(client.get(to), token).await.map(|(_, said)| said),
        None => Err(refused(status, &headers, &body)),
    }
}

/// The same as [`ask`], as JSON.
///
/// # Errors
/// As [`ask`]; also that it is not of the form that was expected.
pub async fn read<T: DeserializeOwned>(request: RequestBuilder, token: &SecretString) -> Result<(HeaderMap, T), Error> {
    let (headers, body) = ask(request, token).await?;
    Ok((headers, parse(&body)?))
}

/// JSON that GitHub sent.
///
/// # Errors
/// It is something else: a proxy's page, for one.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| Error::Away("it answered with something that is not GitHub's".to_owned()))
}

/// What GitHub says with an error.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<serde_json::Value>,
}

/// What a refusal means. Both limits of GitHub's answer 403 or 429: the usual one by
/// `x-ratelimit-remaining: 0`, the secondary one by `retry-after`.
pub fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let number = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    let used_up = number("x-ratelimit-remaining") == Some(0) || number("retry-after").is_some();
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN if used_up || status == StatusCode::TOO_MANY_REQUESTS => {
            let until = number("x-ratelimit-reset").map(|at| at - Timestamp::now().as_second());
            let wait = number("retry-after").or(until).and_then(|wait| u64::try_from(wait).ok()).unwrap_or(60);
            Error::Busy(Duration::from_secs(wait.max(1)).min(MAX_WAIT))
        }
        StatusCode::UNAUTHORIZED => Error::Revoked,
        StatusCode::FORBIDDEN => Error::Forbidden(sentence(&said.message)),
        StatusCode::NOT_FOUND => Error::NotFound,
        StatusCode::UNPROCESSABLE_ENTITY => {
            let details = said.errors.iter().filter_map(|error| error["message"].as_str());
            Error::Invalid(sentence(details.chain([said.message.as_str()]).next().unwrap_or_default()))
        }
        status => Error::Away(format!("it answered {}", status.as_u16())),
    }
}

/// GitHub's own words, on one line and not too many.
pub fn sentence(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&str, &str)], body: &str) -> Error {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        refused(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn each_refusal_is_what_it_means() {
        let busy = |error: Error| match error {
            Error::Busy(wait) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!(busy(of(403, &[("retry-after", "7")], "{}")), 7);
        assert_eq!(busy(of(429, &[], "")), 60);
        let reset = (Timestamp::now().as_second() + 90).to_string();
        assert!((85..=90).contains(&busy(of(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)], ""))));
        assert_eq!(busy(of(429, &[("retry-after", "99999999")], "")), 3600);
        assert_eq!(busy(of(429, &[("retry-after", "-5")], "")), 60);
        assert!(matches!(of(401, &[], ""), Error::Revoked));
        let Error::Forbidden(said) = of(403, &[("x-ratelimit-remaining", "17")], r#"{"message": "SAML\nenforced"}"#) else {
            panic!("a refusal that is no limit is one")
        };
        assert_eq!(said, "SAMLenforced");
        assert!(matches!(of(500, &[], "<html>"), Error::Away(_)));
        assert!(matches!(of(302, &[], ""), Error::Away(_)), "redirects are not followed");
        let Error::Invalid(said) = of(422, &[], r#"{"message": "m", "errors": [{"message": "name already exists"}]}"#) else {
            panic!("it is refused")
        };
        assert_eq!(said, "name already exists");
    }
}
