//! The preview's own cookie.
//!
//! `x.localhost` and `localhost` are different sites to a browser, so the app's Lax cookie never comes
//! with a preview in a frame; this one is made for that: `SameSite=None; Partitioned` in a frame, and so
//! bound to the app's page around it; `Lax` in a tab of its own. Chromium and Firefox take `Secure`
//! cookies of `*.localhost`, and of 127.0.0.1, over plain HTTP.
//!
//! Cookies know no ports. Where previews are ports of one host, a [`Jar`] keeps them apart by name: ours have the
//! port in it, and what the app sets for itself alone (`HttpOnly`) has the port and the preview in front. Its page
//! never sees such a name, and the app is given the one that it chose. What pages may read keeps its name: a page asks
//! for it by that, and the pages of all previews on that host can.

use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// What every cookie of ours begins with, on any host.
const OURS: [&str; 2] = ["fsa_", "__Host-fsa_"];
/// As long as what is stored of it.
const MAX_AGE_SECS: u64 = engine::store::accounts::previews::PREVIEW_SESSION_LIFE.as_secs();
/// As long as browsers keep any.
const MARK_AGE_SECS: u64 = 400 * 24 * 60 * 60;

/// The cookies of one preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jar {
    secure: bool,
    apart: Option<Apart>,
}

/// What tells the cookies of one port from those of another on the same host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Apart {
    /// The server's port.
    address: u16,
    /// Of the preview: a port may become another one's.
    mark: String,
}

/// The names of an app's cookies that a request brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brought(Vec<String>);

impl Jar {
    /// Of a preview with a host of its own.
    #[must_use]
    pub const fn of_host(secure: bool) -> Self {
        Self { secure, apart: None }
    }

    /// Of a preview that shares its host with others, by the server's port and the preview's label.
    #[must_use]
    pub fn of_port(secure: bool, address: u16, label: &str) -> Self {
        let mark = hex::encode(&Sha256::digest(label)[..6]);
        Self { secure, apart: Some(Apart { address, mark }) }
    }

    fn name(&self, what: &str) -> String {
        let host = if self.secure { "__Host-" } else { "" };
        match &self.apart {
            Some(Apart { address, .. }) => format!("{host}fsa_{what}_{address}"),
            None => format!("{host}fsa_{what}"),
        }
    }

    fn way(&self, framed: bool) -> &'static str {
        match (framed, self.secure) {
            (true, _) => "Secure; SameSite=None; Partitioned",
            (false, true) => "Secure; SameSite=Lax",
            (false, false) => "SameSite=Lax",
        }
    }

    /// The header's value.
    #[must_use]
    pub fn set(&self, secret: &SecretString, framed: bool) -> String {
        let name = self.name(if framed { "frame" } else { "preview" });
        format!("{name}={}; Path=/; HttpOnly; Max-Age={MAX_AGE_SECS}; {}", secret.expose_secret(), self.way(framed))
    }

    /// The header's value for who came by a public link; browsers keep it for so many seconds.
    #[must_use]
    pub fn set_shared(&self, secret: &str, max_age_secs: u64) -> String {
        format!("{}={secret}; Path=/; HttpOnly; Max-Age={max_age_secs}; {}", self.name("shared"), self.way(false))
    }

    /// The secret of the public link by which a request comes.
    #[must_use]
    pub fn shared(&self, headers: &HeaderMap) -> Option<String> {
        let name = self.name("shared");
        named(headers, &name).next().map(str::to_owned)
    }

    /// The secrets that a request brings.
    #[must_use]
    pub fn all(&self, headers: &HeaderMap) -> Vec<String> {
        let wanted = [self.name("frame"), self.name("preview")];
        let ours = pairs(headers).filter(|(name, _)| wanted.iter().any(|wanted| wanted == name));
        ours.map(|(_, value)| value.to_owned()).take(4).collect()
    }

    /// The header's value that notes which preview a browser saw on this port, unless it did last time; then nothing of
    /// another is left there.
    #[must_use]
    pub fn first_seen(&self, headers: &HeaderMap, framed: bool) -> Option<String> {
        let Apart { mark, .. } = self.apart.as_ref()?;
        let name = self.name("was");
        let seen = named(headers, &name).any(|value| value == mark);
        (!seen).then(|| format!("{name}={mark}; Path=/; HttpOnly; Max-Age={MARK_AGE_SECS}; {}", self.way(framed)))
    }

    /// What stands before the names of the app's cookies that no page reads.
    fn prefix(&self) -> Option<String> {
        self.apart.as_ref().map(|Apart { address, mark }| format!("fsa_{address}_{mark}_"))
    }

    /// Takes our cookies out of a request on its way to the app, and gives it its own.
    pub fn strip(&self, headers: &mut HeaderMap) -> Brought {
        let prefix = self.prefix();
        let own = |name: &str| Some(name.strip_prefix(prefix.as_deref()?)?.to_owned());
        let kept_apart: Vec<String> = pairs(headers).filter_map(|(name, _)| own(name)).collect();
        let passed = pairs(headers).filter_map(|(name, value)| match own(name) {
            // Not by way of the app's prefix either.
            Some(name) => {
                let begins = name.trim_start_matches(NAMELESS);
                (!is_ours(begins) && !is_ours(&nameless(&name, value))).then(|| format!("{name}={value}"))
            }
            // Another preview's page may have set one of the same name.
            None => (!is_ours(name) && !is_ours(&nameless(name, value)) && !kept_apart.iter().any(|apart| apart == name))
                .then(|| format!("{name}={value}")),
        });
        let passed = passed.collect::<Vec<_>>().join("; ");
        let brought = Brought(pairs(headers).map(|(name, _)| name.to_owned()).collect());
        headers.remove(header::COOKIE);
        if let Some(passed) =
            Some(passed).filter(|passed| !passed.is_empty()).and_then(|passed| HeaderValue::from_str(&passed).ok())
        {
            headers.insert(header::COOKIE, passed);
        }
        brought
    }

    /// Takes out of an answer what would set a cookie of our name, and the domain of every cookie: an app
    /// sets cookies of its own host alone, and none that another preview or the control plane would be sent.
    pub fn confine(&self, headers: &mut HeaderMap, brought: &Brought) {
        let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in set {
            // What is not text could be read otherwise by a browser than by us.
            let Ok(text) = value.to_str() else { continue };
            let mut parts = text.split(';');
            let pair = parts.next().unwrap_or_default();
            let name = pair.split('=').next().unwrap_or_default().trim();
            if is_ours(name) || is_ours(pair.trim_start_matches(NAMELESS)) {
                continue;
            }
            let is = |part: &str, what: &str| part.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(what));
            let parts: Vec<&str> = parts.filter(|part| !is(part, "domain")).collect();
            let mut put = |pair: &str, parts: &[&str]| {
                let rest = parts.iter().map(|part| format!(";{part}"));
                let text = std::iter::once(pair.to_owned()).chain(rest).collect::<String>();
                if let Ok(value) = HeaderValue::from_str(&text) {
                    headers.append(header::SET_COOKIE, value);
                }
            };
            let Some(prefix) = self.prefix().filter(|_| pair.contains('=')) else {
                put(pair, &parts);
                continue;
            };
            let (own, open) = (format!("{prefix}{name}"), name.to_owned());
            let hidden = parts.iter().any(|part| is(part, "httponly"));
            let (chosen, other) = if hidden { (&own, &open) } else { (&open, &own) };
            put(&format!("{chosen}={}", pair.split_once('=').map_or("", |(_, value)| value)), &parts);
            // Changed from one kind to the other, or cleared as the other: it is one cookie to the app.
            if brought.0.contains(other) {
                let kept = parts.iter().copied().filter(|part| !is(part, "max-age") && !is(part, "expires"));
                put(&format!("{other}="), &kept.chain([" Max-Age=0"]).collect::<Vec<_>>());
            }
        }
    }
}

/// The values of a cookie.
pub fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers).filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// What may stand before a cookie without a name, whose value is then read as a name by some.
const NAMELESS: [char; 3] = [' ', '\t', '='];

fn nameless(name: &str, value: &str) -> String {
    if name.trim().is_empty() { value.trim_start_matches(NAMELESS).to_owned() } else { String::new() }
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| name.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_inside_never_sees_our_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("fsa_preview=s; theme=dark; __Host-fsa_frame=t"));
        headers.append(header::COOKIE, HeaderValue::from_static("FSA_session=u; a=b=c"));
        Jar::of_host(false).strip(&mut headers);
        assert_eq!(headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["theme=dark; a=b=c"]);
    }

    #[test]
    fn the_app_inside_sets_cookies_of_its_own_host_alone() {
        let mut headers = HeaderMap::new();
        for value in [
            "fsa_preview=x; Path=/",
            "__host-fsa_session=x",
            "=fsa_session=x",
            "sid=1; Domain=.localhost; HttpOnly",
            "b=2; domain = example.com;Path=/",
        ] {
            headers.append(header::SET_COOKIE, HeaderValue::from_static(value));
        }
        Jar::of_host(false).confine(&mut headers, &Brought::default());
        assert_eq!(headers.get_all(header::SET_COOKIE).iter().collect::<Vec<_>>(), ["sid=1; HttpOnly", "b=2;Path=/"]);
    }

    fn came(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookies).unwrap())])
    }

    fn answered(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(header::SET_COOKIE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_an_app_sets_on_a_shared_host_reaches_no_other() {
        let (one, other) = (Jar::of_port(false, 4100, "3000--a"), Jar::of_port(false, 4101, "3000--b"));
        let mut answer = answered(&["sid=1; Path=/; HttpOnly; Domain=127.0.0.1", "theme=dark", "fsa_4101_x=1; HttpOnly"]);
        one.confine(&mut answer, &Brought::default());
        let set: Vec<_> = answer.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        let mark = one.prefix().unwrap();
        assert_eq!(set, [format!("{mark}sid=1; Path=/; HttpOnly"), "theme=dark".to_owned()]);

        let sent = format!("{mark}sid=1; theme=dark; sid=2; fsa_frame_4100=s; fsa_preview_4101=t");
        let (mut own, mut foreign) = (came(&sent), came(&sent));
        let brought = one.strip(&mut own);
        other.strip(&mut foreign);
        assert_eq!(own[header::COOKIE], "sid=1; theme=dark", "its own, whatever another page set");
        assert_eq!(foreign[header::COOKIE], "theme=dark; sid=2");
        assert_eq!((one.all(&came(&sent)), other.all(&came(&sent))), (vec!["s".to_owned()], vec!["t".to_owned()]));

        // The port became another preview's.
        let later = Jar::of_port(false, 4100, "3000--c");
        let mut next = came(&format!("{mark}sid=1"));
        later.strip(&mut next);
        assert!(next.get(header::COOKIE).is_none());

        // As express' clearCookie does.
        let mut cleared = answered(&["sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        one.confine(&mut cleared, &brought);
        let set: Vec<_> = cleared.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(
            set,
            ["sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), format!("{mark}sid=; Path=/; Max-Age=0")]
        );
    }

    #[test]
    fn a_port_that_was_anothers_is_noticed_once() {
        let (one, other) = (Jar::of_port(false, 4100, "3000--a"), Jar::of_port(false, 4100, "3000--b"));
        let mark = one.first_seen(&HeaderMap::new(), true).unwrap();
        let again = came(mark.split(';').next().unwrap());
        assert_eq!(one.first_seen(&again, true), None);
        assert!(other.first_seen(&again, true).is_some());
        assert_eq!(Jar::of_host(true).first_seen(&HeaderMap::new(), true), None, "a host of its own is nobody else's");
    }
}
