//! `ETag` and `If-None-Match` ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#name-etag)): who asks again
//! and again gets a body only when it is another one.

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// JSON with its tag; `304 Not Modified` without a body where the visitor has it already.
#[must_use]
pub fn json<T: Serialize>(asked: &HeaderMap, value: &T) -> Response {
    let Ok(body) = serde_json::to_vec(value) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok()).any(|tags| matches(tags, &tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    // Kept by who asked alone, and asked for again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    response
}

/// By the weak comparison, which is the one that is meant for this.
fn matches(tags: &str, tag: &str) -> bool {
    tags.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(tags: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap())])
    }

    #[test]
    fn the_same_body_is_not_sent_again() {
        let first = json(&HeaderMap::new(), &"one");
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(first.status(), 200);
        for same in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = json(&asked(&same), &"one");
            assert_eq!((again.status().as_u16(), again.headers()[header::ETAG].to_str().unwrap()), (304, tag.as_str()));
        }
        assert_eq!(json(&asked(&tag), &"two").status(), 200);
    }
}
