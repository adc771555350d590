//! Lists in pages: how many, and where the next one is.

use super::errors::Refusal;
use app::error::ErrorKind;
use http::{HeaderName, HeaderValue, Uri, header};

/// How many a page has, where nobody says.
pub const USUAL: usize = 50;
/// How many it has at most.
pub const MOST: usize = 200;

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

    #[test]
    fn a_page_has_a_length() {
        assert_eq!((limit(None).unwrap(), limit(Some(1)).unwrap(), limit(Some(MOST)).unwrap()), (USUAL, 1, MOST));
        assert!(limit(Some(0)).is_err() && limit(Some(MOST + 1)).is_err());
    }
}
