//! The preview's own cookie.
//!
//! `x.localhost` and `localhost` are different sites to a browser, so the app's Lax cookie never comes
//! with a preview in a frame; this one is made for that: `SameSite=None; Partitioned` in a frame, and so
//! bound to the app's page around it; `Lax` in a tab of its own. Chromium and Firefox take `Secure`
//! cookies of `*.localhost` over plain HTTP.

use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};

/// What every cookie of ours begins with, on any host.
const OURS: [&str; 2] = ["fsa_", "__Host-fsa_"];
/// As long as what is stored of it.
const MAX_AGE_SECS: u64 = engine::store::accounts::PREVIEW_SESSION_LIFE.as_secs();

fn name(secure: bool, framed: bool) -> &'static str {
    match (secure, framed) {
        (true, true) => "__Host-fsa_frame",
        (true, false) => "__Host-fsa_preview",
        (false, true) => "fsa_frame",
        (false, false) => "fsa_preview",
    }
}

/// The header's value.
pub fn set(secret: &SecretString, secure: bool, framed: bool) -> String {
    let (name, secret) = (name(secure, framed), secret.expose_secret());
    let how = match (framed, secure) {
        (true, _) => "Secure; SameSite=None; Partitioned",
        (false, true) => "Secure; SameSite=Lax",
        (false, false) => "SameSite=Lax",
    };
    format!("{name}={secret}; Path=/; HttpOnly; Max-Age={MAX_AGE_SECS}; {how}")
}

/// The header's value for who came by a public link, which is over in so many seconds.
pub fn set_shared(secret: &str, secure: bool, max_age_secs: u64) -> String {
    let how = if secure { "; Secure" } else { "" };
    format!("{}={secret}; Path=/; HttpOnly; Max-Age={max_age_secs}; SameSite=Lax{how}", shared_name(secure))
}

/// The secret of the public link by which a request comes.
pub fn shared(headers: &HeaderMap, secure: bool) -> Option<String> {
    pairs(headers).find(|(name, _)| *name == shared_name(secure)).map(|(_, value)| value.to_owned())
}

fn shared_name(secure: bool) -> &'static str {
    if secure { "__Host-fsa_shared" } else { "fsa_shared" }
}

/// The secrets that a request brings.
pub fn all(headers: &HeaderMap, secure: bool) -> Vec<String> {
    let wanted = [name(secure, true), name(secure, false)];
    pairs(headers).filter(|(name, _)| wanted.contains(name)).map(|(_, value)| value.to_owned()).take(4).collect()
}

/// The values of a cookie.
pub fn named<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers).filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| name.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(ours)))
}

/// Takes our cookies out of a request on its way to the app.
pub fn strip(headers: &mut HeaderMap) {
    let kept: Vec<String> =
        pairs(headers).filter(|(name, _)| !is_ours(name)).map(|(name, value)| format!("{name}={value}")).collect();
    headers.remove(header::COOKIE);
    if let Some(kept) = Some(kept.join("; ")).filter(|kept| !kept.is_empty()).and_then(|kept| HeaderValue::from_str(&kept).ok()) {
        headers.insert(header::COOKIE, kept);
    }
}

/// Takes out of an answer what would set a cookie of our name, and the domain of every cookie: an app
/// sets cookies of its own host alone, and none that another preview or the control plane would be sent.
pub fn confine(headers: &mut HeaderMap) {
    let set: Vec<HeaderValue> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    headers.remove(header::SET_COOKIE);
    for value in set {
        // What is not text could be read otherwise by a browser than by us.
        let Ok(text) = value.to_str() else { continue };
        let mut parts = text.split(';');
        let pair = parts.next().unwrap_or_default();
        if is_ours(pair.split('=').next().unwrap_or_default().trim()) || is_ours(pair.trim().trim_start_matches('=')) {
            continue;
        }
        let is_domain = |part: &&str| part.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("domain"));
        let rest = parts.filter(|part| !is_domain(part)).map(|part| format!(";{part}"));
        if let Ok(value) = HeaderValue::from_str(&std::iter::once(pair.to_owned()).chain(rest).collect::<String>()) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_inside_never_sees_our_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("fsa_preview=s; theme=dark; __Host-fsa_frame=t"));
        headers.append(header::COOKIE, HeaderValue::from_static("FSA_session=u; a=b=c"));
        strip(&mut headers);
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
        confine(&mut headers);
        assert_eq!(headers.get_all(header::SET_COOKIE).iter().collect::<Vec<_>>(), ["sid=1; HttpOnly", "b=2;Path=/"]);
    }
}
