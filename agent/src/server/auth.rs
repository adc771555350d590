//! The sandbox's token.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};

/// The one secret that opens the agent.
pub struct Token(SecretString);

impl Token {
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }

    /// Whether the request carries `Authorization: Bearer TOKEN`.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, token) = value.split_once(' ').unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer") && self.is(token.trim())
    }

    /// Whether a ttyd first frame carries the token, plain or in base64 as ttyd's own clients do.
    pub fn admits_first_frame(&self, auth_token: Option<&str>) -> bool {
        let Some(given) = auth_token else { return false };
        let encoded = STANDARD.encode(self.0.expose_secret());
        self.is(given) | same(encoded.as_bytes(), given.as_bytes())
    }

    /// For those who have shown it already.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn is(&self, given: &str) -> bool {
        same(self.0.expose_secret().as_bytes(), given.as_bytes())
    }
}

/// Compares in a time that depends on the lengths alone.
fn same(secret: &[u8], given: &[u8]) -> bool {
    let difference = secret.iter().zip(given).fold(0, |seen, (a, b)| std::hint::black_box(seen | (a ^ b)));
    secret.len() == given.len() && !secret.is_empty() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        Token::new("secret".to_owned().into()).admits(&headers)
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        assert!(admitted("Bearer secret") && admitted("bearer secret"));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret", "Bearer Secret"] {
            assert!(!admitted(wrong), "{wrong}");
        }
        assert!(!Token::new(String::new().into()).admits_first_frame(Some("")));
    }

    #[test]
    fn a_first_frame_may_carry_it_in_base64() {
        let token = Token::new("secret".to_owned().into());
        assert!(token.admits_first_frame(Some("secret")) && token.admits_first_frame(Some("c2VjcmV0")));
        assert!(!token.admits_first_frame(None) && !token.admits_first_frame(Some("c2VjcmV1")));
    }
}
