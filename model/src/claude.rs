//! Claude credentials of a user's own: which there are, and what they may be.

use serde::{Deserialize, Serialize};

/// The variable of an API key.
pub const API_KEY: &str = "ANTHROPIC_API_KEY";
/// The variable of an auth token.
pub const AUTH_TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";
/// The variable of the address that is asked.
pub const BASE_URL: &str = "ANTHROPIC_BASE_URL";

/// The limit of a key or token, in bytes. It goes into a header of each request.
pub const MAX_SECRET_BYTES: usize = 8 * 1024;
/// The limit of a base URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_000;

/// Which variable a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ClaudeKind {
    /// `ANTHROPIC_API_KEY`, sent as `X-Api-Key`.
    ApiKey,
    /// `ANTHROPIC_AUTH_TOKEN`, sent as `Authorization: Bearer`.
    AuthToken,
}

impl ClaudeKind {
    /// The variable that it is inside.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::ApiKey => API_KEY,
            Self::AuthToken => AUTH_TOKEN,
        }
    }

    /// In a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::AuthToken => "auth token",
        }
    }
}

/// Whether a variable is a credential, of which there is one.
#[must_use]
pub fn is_credential(key: &str) -> bool {
    matches!(key, API_KEY | AUTH_TOKEN)
}

/// Why credentials are refused. Never shows the secret. HTTP: 422.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaudeError {
    /// Nothing but space.
    #[error("There is no key or token in it.")]
    Empty,
    /// Over [`MAX_SECRET_BYTES`].
    #[error("The key or token has {0} bytes; at most {MAX_SECRET_BYTES} fit.")]
    Long(usize),
    /// What no header can carry.
    #[error("The key or token has spaces, line breaks or other characters in it that none has.")]
    Characters,
    /// Not http or https.
    #[error("A base URL begins with https:// or http://.")]
    Scheme,
    /// A name or password in it.
    #[error("The base URL has a name or password in it, and it is shown in the settings.")]
    UrlCredentials,
    /// No host, or no port that there can be.
    #[error("The base URL names no host, or a port that there cannot be.")]
    Host,
    /// Over [`MAX_URL_BYTES`], or characters that stand in no address of an API.
    #[error("The base URL has a `?`, a `#` or other characters in it that stand in none, or is over {MAX_URL_BYTES} bytes long.")]
    UrlCharacters,
}

impl ClaudeError {
    /// As the API writes it, and the field that it is about.
    #[must_use]
    pub fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Empty => ("claude-value-empty", "value"),
            Self::Long(_) => ("claude-value-too-long", "value"),
            Self::Characters => ("claude-value-characters", "value"),
            Self::Scheme => ("claude-url-scheme", "baseUrl"),
            Self::UrlCredentials => ("claude-url-credentials", "baseUrl"),
            Self::Host => ("claude-url-host", "baseUrl"),
            Self::UrlCharacters => ("claude-url-characters", "baseUrl"),
        }
    }

    /// What to do.
    #[must_use]
    pub fn next(self) -> &'static str {
        match self {
            Self::Empty => "Paste one.",
            Self::Long(_) | Self::Characters => "Paste it again, alone and whole.",
            Self::Scheme | Self::Host | Self::UrlCharacters => {
                "Give an address such as https://gateway.example.com, or leave it out for Anthropic’s own."
            }
            Self::UrlCredentials => "Take what stands before the @ out.",
        }
    }
}

/// A key or token without the space that came along when it was pasted.
///
/// # Errors
/// It is none.
pub fn secret(text: &str) -> Result<&str, ClaudeError> {
    let text = text.trim();
    match text.len() {
        0 => Err(ClaudeError::Empty),
        bytes if bytes > MAX_SECRET_BYTES => Err(ClaudeError::Long(bytes)),
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(ClaudeError::Characters),
        _ => Ok(text),
    }
}

/// A base URL without the space around it; `None` where there is nothing else.
///
/// # Errors
/// It is none. Where it leads is not asked: it is opened inside a sandbox, behind the filter there, and by the server
/// never.
pub fn base_url(text: &str) -> Result<Option<&str>, ClaudeError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'?' | b'#');
    if text.len() > MAX_URL_BYTES || !text.bytes().all(fits) {
        return Err(ClaudeError::UrlCharacters);
    }
    let (scheme, rest) = text.split_once("://").ok_or(ClaudeError::Scheme)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(ClaudeError::Scheme);
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(ClaudeError::UrlCredentials);
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, port) = inner.split_once(']').ok_or(ClaudeError::Host)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(ClaudeError::Host);
            }
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(ClaudeError::Host)?) })
        }
        None => {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')) {
                return Err(ClaudeError::Host);
            }
            (host, port)
        }
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.is_empty() || port.is_some_and(|port| !is_port(port)) {
        return Err(ClaudeError::Host);
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_a_header_carries() {
        assert_eq!(secret("  sk-ant-api03-AbC_d-9\n"), Ok("sk-ant-api03-AbC_d-9"));
        assert_eq!(secret(" \t\n"), Err(ClaudeError::Empty));
        assert_eq!(secret(&"x".repeat(MAX_SECRET_BYTES)).map(str::len), Ok(MAX_SECRET_BYTES));
        assert_eq!(secret(&"x".repeat(MAX_SECRET_BYTES + 1)), Err(ClaudeError::Long(MAX_SECRET_BYTES + 1)));
        for bad in ["two words", "a\nb", "a\0b", "schlüssel", "a\u{200b}b"] {
            assert_eq!(secret(bad), Err(ClaudeError::Characters), "{bad:?}");
        }
    }

    #[test]
    fn a_base_url_is_http_and_names_a_host() {
        for good in [
            "https://gateway.example.com",
            "HTTPS://gateway.example.com:8443/anthropic/v1/",
            "http://host.sandbox.internal:4010",
            "http://127.0.0.1:8080",
            "http://[fd00::5]:80/x",
            "http://[::1]",
        ] {
            assert_eq!(base_url(&format!(" {good} ")), Ok(Some(good)));
        }
        assert_eq!(base_url("  "), Ok(None));
        for (bad, why) in [
            ("gateway.example.com", ClaudeError::Scheme),
            ("ftp://gateway.example.com", ClaudeError::Scheme),
            ("javascript://gateway", ClaudeError::Scheme),
            ("https://user:secret@gateway.example.com", ClaudeError::UrlCredentials),
            ("https://", ClaudeError::Host),
            ("https:///path", ClaudeError::Host),
            ("https://:443", ClaudeError::Host),
            ("https://gateway:0", ClaudeError::Host),
            ("https://gateway:65536", ClaudeError::Host),
            ("https://gateway:+80", ClaudeError::Host),
            ("https://gateway:", ClaudeError::Host),
            ("https://[::1", ClaudeError::Host),
            ("https://[gateway]", ClaudeError::Host),
            ("https://[::1]80", ClaudeError::Host),
            ("https://gate|way", ClaudeError::Host),
            ("https://gateway/?key=1", ClaudeError::UrlCharacters),
            ("https://gateway/#x", ClaudeError::UrlCharacters),
            ("https://gate way", ClaudeError::UrlCharacters),
            ("https://gätewäy", ClaudeError::UrlCharacters),
            ("https://gateway/a\nB=1", ClaudeError::UrlCharacters),
        ] {
            assert_eq!(base_url(bad), Err(why), "{bad}");
        }
        assert_eq!(base_url(&format!("https://g/{}", "x".repeat(MAX_URL_BYTES))), Err(ClaudeError::UrlCharacters));
    }

    #[test]
    fn no_error_shows_what_was_given() {
        let told =
            base_url("https://user:hunter2@gateway").unwrap_err().to_string() + &secret("hunter2 ö").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
