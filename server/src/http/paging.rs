//! Lists in pages: how many, and where the next one is.

use super::errors::Refusal;
use app::error::ErrorKind;
use axum::{
    Json,
    extract::{Query, rejection::QueryRejection},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, Uri, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many a page has, where nobody says.
pub const USUAL: usize = 50;
/// How many it has at most.
pub const MOST: usize = 200;

/// What a list that is read as a whole is asked for with: of what a person makes by hand there is little, and a page of it is
/// taken from all of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// How many at most.
    #[serde(default)]
    limit: Option<usize>,
    /// Where the page before ended, as its `Link` says.
    #[serde(default)]
    after: Option<String>,
}

/// A query, or what is wrong with it.
pub type Asked = Result<Query<Wish>, QueryRejection>;

/// What is asked for.
///
/// # Errors
/// `400 Bad Request`: it is something else, or `limit` is no length of a page.
pub fn read(asked: Asked) -> Result<Wish, Refusal> {
    let Query(wish) = asked.map_err(|_| {
        let message = "This list is asked for by `limit` and `after` (where the page before ended).";
        Refusal::new(ErrorKind::Malformed, "bad-query", message, "Ask for example for `?limit=20`, and follow the header `Link`.")
    })?;
    wish.limit.map(|asked| limit(Some(asked))).transpose()?;
    Ok(wish)
}

impl Wish {
    /// An array: all of it as it is where nothing was asked for, else what comes after, and at most so much. A place is a
    /// text of its own for each, and they go up along the list: so it is known what comes after one that is gone by now.
    #[must_use]
    pub fn answer<T: Serialize>(self, uri: &Uri, mut all: Vec<T>, place: impl Fn(&T) -> String) -> Response {
        let mut next = None;
        if self.limit.is_some() || self.after.is_some() {
            all.sort_by_cached_key(&place);
            all.retain(|one| self.after.as_ref().is_none_or(|after| place(one) > *after));
        }
        if let Some(limit) = self.limit.filter(|limit| *limit < all.len()) {
            all.truncate(limit);
            next = all.last().and_then(|last| self::next(uri, "after", &place(last)));
        }
        let mut response = Json(all).into_response();
        response.headers_mut().extend(next);
        response
    }
}

/// The beginning of a place in a list that has the newest first: it goes up as time goes down, and is always as long.
#[must_use]
pub fn newest_first(at: Timestamp) -> String {
    format!("{:016x}", i64::MAX.saturating_sub(at.as_microsecond()))
}

/// The length of a page.
///
/// # Errors
/// `400 Bad Request`: it is none.
pub fn limit(asked: Option<usize>) -> Result<usize, Refusal> {
    let limit = asked.unwrap_or(USUAL);
    if (1..=MOST).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("A page has 1 to {MOST} entries, and {limit} were asked for.");
    Err(Refusal::new(ErrorKind::Malformed, "bad-limit", message, "Leave `limit` out, or give a number in that range."))
}

/// The header [`Link`](https://www.rfc-editor.org/rfc/rfc8288) of the next page: the same request with
/// another cursor.
#[must_use]
pub fn next(uri: &Uri, cursor: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let given: Vec<(String, String)> = serde_urlencoded::from_str(uri.query().unwrap_or_default()).unwrap_or_default();
    let mut pairs: Vec<(String, String)> = given.into_iter().filter(|(key, _)| key != cursor).collect();
    pairs.push((cursor.to_owned(), value.to_owned()));
    let query = serde_urlencoded::to_string(pairs).ok()?;
    let link = HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", uri.path())).ok()?;
    Some((header::LINK, link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_the_same_request_with_another_cursor() {
        let uri: Uri = "/api/projects?limit=2&after=old&search=a%26b%20c".parse().unwrap();
        let (_, link) = next(&uri, "after", "new").unwrap();
        assert_eq!(link, "</api/projects?limit=2&search=a%26b+c&after=new>; rel=\"next\"");
    }

    fn page(query: &str, all: &[&str]) -> (Vec<String>, Option<String>) {
        let uri: Uri = format!("/api/tokens{query}").parse().unwrap();
        let wish = read(Query::try_from_uri(&uri)).unwrap();
        let response = wish.answer(&uri, all.to_vec(), |one| (*one).to_owned());
        let link = response.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        let body = futures::executor::block_on(axum::body::to_bytes(response.into_body(), usize::MAX)).unwrap();
        (serde_json::from_slice(&body).unwrap(), link)
    }

    #[test]
    fn a_list_is_whole_unless_it_is_asked_for_in_pages() {
        assert_eq!(page("", &["b", "a"]), (vec!["b".to_owned(), "a".to_owned()], None), "as it is");
        let all = ["a", "b", "c"];
        let (first, link) = page("?limit=2", &all);
        assert_eq!(
            (first, link.as_deref()),
            (vec!["a".to_owned(), "b".to_owned()], Some("</api/tokens?limit=2&after=b>; rel=\"next\""))
        );
        assert_eq!(page("?limit=2&after=b", &all), (vec!["c".to_owned()], None));
        assert_eq!(page("?limit=2&after=b", &["a", "c"]), (vec!["c".to_owned()], None), "that one is gone by now");
        assert_eq!(page("?limit=3", &all).1, None, "there is no page behind the last one");
        assert_eq!(page("?after=a", &all).0, ["b", "c"]);
    }

    #[test]
    fn a_list_that_is_asked_for_by_something_else_is_refused() {
        for (query, code) in
            [("limit=0", "bad-limit"), ("limit=201", "bad-limit"), ("limit=x", "bad-query"), ("page=2", "bad-query")]
        {
            let uri: Uri = format!("/api/tokens?{query}").parse().unwrap();
            assert_eq!(read(Query::try_from_uri(&uri)).unwrap_err().error().code, code, "{query}");
        }
    }

    #[test]
    fn what_is_newer_comes_first() {
        let at = |text: &str| newest_first(text.parse().unwrap());
        assert!(at("2026-11-28T17:00:01Z") < at("2026-11-28T17:00:00Z"));
        assert!(at("2026-11-28T17:00:00Z") < at("1969-01-01T00:00:00Z"));
        assert_eq!(at("2026-11-28T17:00:00Z").len(), 16);
    }

    #[test]
    fn a_page_has_a_length() {
        assert_eq!((limit(None).unwrap(), limit(Some(1)).unwrap(), limit(Some(MOST)).unwrap()), (USUAL, 1, MOST));
        assert!(limit(Some(0)).is_err() && limit(Some(MOST + 1)).is_err());
    }
}
