//! `ETag` and `If-None-Match` ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#name-etag)): who asks again
//! and again gets a body only when it is another one. Every `GET` of the table of routes passes here.

use super::errors::{Refusal, internal};
use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What is measured again and again while nothing changes: a tag is the same without it, and so a weak one.
const MEASURED: [&str; 2] = ["usage", "figures"];

/// An answer with its tag, where it is JSON and whole: no stream, and not the bytes of a file. `304 Not Modified` without a body
/// where the visitor knows it already, but for what is measured.
pub async fn tagged(known: &[HeaderValue], response: Response) -> Response {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let whole = response.body().size_hint().exact().is_some_and(|bytes| bytes > 0);
    if response.status() != StatusCode::OK || !is_json || !whole || response.headers().contains_key(header::ETAG) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(mut body) = to_bytes(body, usize::MAX).await else { return Refusal::from(internal()).into_response() };
    // What is kept by its tag leads to the next page, and a page that is full may get one behind it later.
    let link = parts.headers.get(header::LINK).map(HeaderValue::as_bytes).unwrap_or_default();
    let tag = tag_of(&body, link);
    if known.iter().filter_map(|tags| tags.to_str().ok()).any(|tags| matches(tags, &tag)) {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        body.clear();
    }
    parts.headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    // Kept by who asked alone, and asked for again each time; what is secret says that it is not kept at all.
    parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept, authorization, cookie"));
    Response::from_parts(parts, Body::from(body))
}

fn tag_of(body: &[u8], link: &[u8]) -> String {
    let hash = |body: &[u8]| hex::encode(&Sha256::new().chain_update(body).chain_update(link).finalize()[..16]);
    let named = |name: &str| body.windows(name.len()).any(|part| part == name.as_bytes());
    // To look for the names costs less than to read what has none of them.
    if MEASURED.iter().any(|name| named(name))
        && let Ok(mut lasting) = serde_json::from_slice::<Value>(body)
        && without_measures(&mut lasting)
    {
        return format!("W/\"{}\"", hash(lasting.to_string().as_bytes()));
    }
    format!("\"{}\"", hash(body))
}

/// Takes measures out; whether there were any.
fn without_measures(value: &mut Value) -> bool {
    match value {
        Value::Object(fields) => {
            let own = MEASURED.iter().fold(false, |found, name| fields.remove(*name).is_some() | found);
            fields.values_mut().fold(own, |found, field| without_measures(field) | found)
        }
        Value::Array(items) => items.iter_mut().fold(false, |found, item| without_measures(item) | found),
        _ => false,
    }
}

/// By the weak comparison, which is the one that is meant for this.
fn matches(tags: &str, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    tags.split(',').map(str::trim).any(|one| one == "*" || opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask<T: serde::Serialize>(tags: &[&str], value: &T) -> Response {
        let known: Vec<HeaderValue> = tags.iter().map(|tags| HeaderValue::from_str(tags).unwrap()).collect();
        tagged(&known, axum::Json(value).into_response()).await
    }

    fn tag(response: &Response) -> String {
        response.headers()[header::ETAG].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_same_body_is_not_sent_again() {
        let first = ask(&[], &"one").await;
        let of_one = tag(&first);
        assert_eq!((first.status().as_u16(), first.body().size_hint().exact()), (200, Some(5)));
        for same in [of_one.clone(), format!("\"other\", W/{of_one}"), "*".to_owned()] {
            let again = ask(&[same.as_str()], &"one").await;
            assert_eq!((again.status().as_u16(), tag(&again)), (304, of_one.clone()));
            assert_eq!((again.body().size_hint().exact(), again.headers().get(header::CONTENT_TYPE)), (Some(0), None));
        }
        assert_eq!(ask(&["\"other\"", of_one.as_str()], &"one").await.status(), 304, "in a header of its own");
        assert_eq!(ask(&[of_one.as_str()], &"two").await.status(), 200);
    }

    #[tokio::test]
    async fn a_measure_makes_no_other_tag() {
        let at = |phase: &str, cpu: u8| serde_json::json!([{ "sandbox": { "phase": phase, "usage": { "cpuPercent": cpu } } }]);
        let first = tag(&ask(&[], &at("Running", 1)).await);
        assert!(first.starts_with("W/"), "the body is another: {first}");
        assert_eq!(ask(&[first.as_str()], &at("Running", 2)).await.status(), 304);
        assert_eq!(ask(&[first.as_str()], &at("Stopped", 2)).await.status(), 200);
        let word = tag(&ask(&[], &serde_json::json!([{ "name": "usage" }])).await);
        assert!(!word.starts_with("W/"), "a word is no measure: {word}");
    }

    #[tokio::test]
    async fn a_page_that_another_follows_has_another_tag() {
        let page = |link: Option<&'static str>| {
            let mut response = axum::Json(["one"]).into_response();
            response.headers_mut().extend(link.map(|link| (header::LINK, HeaderValue::from_static(link))));
            response
        };
        let last = tag(&tagged(&[], page(None)).await);
        let followed = "</api/tokens?limit=1&after=one>; rel=\"next\"";
        let now = tagged(&[HeaderValue::from_str(&last).unwrap()], page(Some(followed))).await;
        assert_eq!((now.status().as_u16(), now.headers()[header::LINK].to_str().unwrap()), (200, followed));
        let again = tagged(&[HeaderValue::from_str(&tag(&now)).unwrap()], page(Some(followed))).await;
        assert_eq!((again.status().as_u16(), again.headers()[header::LINK].to_str().unwrap()), (304, followed));
    }

    #[tokio::test]
    async fn streams_and_files_and_refusals_have_none() {
        let stream = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>("{}")]));
        let json = || [(header::CONTENT_TYPE, "application/json")];
        for (what, response) in [
            ("a stream", (json(), stream).into_response()),
            ("a file", ([(header::CONTENT_TYPE, "application/octet-stream")], "{}").into_response()),
            ("a refusal", (StatusCode::NOT_FOUND, axum::Json("no")).into_response()),
            ("the answer to a HEAD", (json(), Body::empty()).into_response()),
        ] {
            let answered = tagged(&[HeaderValue::from_static("*")], response).await;
            assert!(answered.status() != 304 && !answered.headers().contains_key(header::ETAG), "{what}");
        }
        let own = ([(header::CACHE_CONTROL, "no-store")], axum::Json("secret")).into_response();
        assert_eq!(tagged(&[], own).await.headers()[header::CACHE_CONTROL], "no-store");
    }
}
