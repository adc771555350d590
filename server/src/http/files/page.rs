//! A folder in pages, in the order of its names' bytes.

use super::{Folder, Item};
use crate::http::errors::Refusal;
use app::error::ErrorKind;
use http::{HeaderName, HeaderValue, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// How many names a page has at most.
const MOST: usize = 5_000;

/// The part of a folder that is asked for; all of it where nothing is.
#[derive(Debug, Default)]
pub(super) struct Page {
    limit: Option<usize>,
    /// Where the page before ended. Names are bytes.
    after: Option<Vec<u8>>,
}

impl Page {
    /// What `limit` and `after` of a query say.
    ///
    /// # Errors
    /// `400 Bad Request`: `limit` is no length of a page.
    pub(super) fn of(query: &str) -> Result<Self, Refusal> {
        let value = |name: &str| {
            let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let read = |text: &str| text.parse::<usize>().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(bad_limit);
        Ok(Self {
            limit: value("limit").map(read).transpose()?,
            after: value("after").map(|name| percent_decode_str(name).collect()),
        })
    }

    /// How the agent is asked for so many: for one more, by which it is known whether there is another page.
    pub(super) fn ask(&self) -> Option<String> {
        self.limit.map(|limit| format!("limit={}", limit + 1))
    }

    /// Keeps what was asked for, also where an older agent gave all there is; and the header `Link` of the next page, if
    /// there is one, for a folder at that path.
    pub(super) fn cut(&self, folder: &mut Folder, path: &str) -> Option<(HeaderName, HeaderValue)> {
        if self.limit.is_none() && self.after.is_none() {
            return None;
        }
        folder.entries.sort_by_cached_key(bytes);
        if let Some(after) = &self.after {
            folder.entries.retain(|item| bytes(item) > *after);
        }
        let limit = self.limit.filter(|limit| *limit < folder.entries.len())?;
        folder.entries.truncate(limit);
        let last = bytes(folder.entries.last()?);
        let last = percent_encode(&last, NON_ALPHANUMERIC);
        let link = HeaderValue::from_str(&format!("<{path}?limit={limit}&after={last}>; rel=\"next\"")).ok()?;
        Some((header::LINK, link))
    }
}

/// A name as it is in its folder.
fn bytes(item: &Item) -> Vec<u8> {
    item.raw.as_ref().map_or_else(|| item.name.clone().into_bytes(), |raw| percent_decode_str(raw).collect())
}

fn bad_limit() -> Refusal {
    let message = format!("A page of a folder has 1 to {MOST} names.");
    Refusal::new(ErrorKind::Malformed, "bad-limit", message, "Leave `limit` out, or give a number in that range.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_agent::protocol::http::EntryKind;

    fn folder(names: &[(&str, Option<&str>)]) -> Folder {
        let item = |(name, raw): &(&str, Option<&str>)| Item {
            name: (*name).to_owned(),
            raw: raw.map(str::to_owned),
            kind: EntryKind::File,
            size: 0,
            modified_at: None,
            mode: "0644".to_owned(),
        };
        Folder { path: "a b".to_owned(), home: "/home/agent".to_owned(), entries: names.iter().map(item).collect() }
    }

    fn page(query: &str) -> (Vec<String>, Option<String>) {
        // As an agent gives it that knows no pages.
        let mut folder = folder(&[("b&+", None), ("\u{fffd}", Some("%FF")), ("a", None), ("é", None)]);
        let link = Page::of(query).unwrap().cut(&mut folder, "/files/a%20b");
        let names = folder.entries.into_iter().map(|item| item.name).collect();
        (names, link.map(|(_, link)| link.to_str().unwrap().to_owned()))
    }

    #[test]
    fn pages_follow_each_other_whatever_the_names_are_and_whatever_the_agent_gave() {
        assert_eq!(page("").0, ["b&+", "\u{fffd}", "a", "é"], "all, as it came");
        assert_eq!(page("limit=4"), (vec!["a".into(), "b&+".into(), "é".into(), "\u{fffd}".into()], None));
        let (mut seen, mut query) = (Vec::new(), "limit=1".to_owned());
        for _ in 0..4 {
            let (names, link) = page(&query);
            seen.extend(names);
            let Some(link) = link else { break };
            let address = link.strip_prefix("</files/a%20b?").and_then(|link| link.strip_suffix(">; rel=\"next\""));
            query = address.unwrap_or_else(|| panic!("{link}")).to_owned();
        }
        assert_eq!(seen, ["a", "b&+", "é", "\u{fffd}"]);
        assert_eq!(page("after=a").0, ["b&+", "é", "\u{fffd}"]);
        assert_eq!(page("limit=2&after=%FF"), (vec![], None));
    }

    #[test]
    fn a_page_has_a_length() {
        for query in ["limit", "limit=", "limit=0", "limit=5001", "limit=-1", "limit=x"] {
            assert_eq!(Page::of(query).unwrap_err().error().code, "bad-limit", "{query}");
        }
        assert_eq!(Page::of("after=x&limit=5000").unwrap().ask().as_deref(), Some("limit=5001"));
        assert_eq!(Page::of("after=x").unwrap().ask(), None);
    }
}
