//! What the headers of a preview say on their way in and out.

use super::cookie::{Brought, Jar};
use crate::http::security::ClientAddress;
use engine::store::accounts::tokens::TOKEN_PREFIX;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Of one connection each (RFC 9110, 7.6.1), and what proxies add.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What asks something of the proxies before us: by `X-Accel-Redirect` nginx would send a file of its own. That it does not keep an
/// answer back (`X-Accel-Buffering`) is of that answer alone, and what streams needs it.
fn is_for_proxies(name: &HeaderName) -> bool {
    let accel = name.as_str().starts_with("x-accel-") && name != "x-accel-buffering";
    accel || matches!(name.as_str(), "x-sendfile" | "x-lighttpd-send-file" | "x-reproxy-url")
}

/// What a request on its way in must say.
pub struct Way<'a> {
    /// Where the app listens.
    pub port: u16,
    /// The host that the browser named.
    pub host: &'a str,
    /// The preview's own origin.
    pub origin: &'a str,
    /// The app's origin: the one that may frame it.
    pub app: &'a str,
    /// Who asks.
    pub from: Option<ClientAddress>,
    /// Its cookies.
    pub jar: &'a Jar,
}

/// What a request asks its connection to become.
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let asked = asked.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| asked).cloned()
}

/// Of a request on its way in: what is ours stays here, and the app sees itself at localhost.
pub fn go_in(headers: &mut HeaderMap, way: &Way<'_>, upgrade: Option<&HeaderValue>) -> Brought {
    strip_hop_by_hop(headers, upgrade);
    let brought = way.jar.strip(headers);
    // Of several, and of what is no text, the token is ours all the same.
    let ours = |value: &HeaderValue| {
        value.as_bytes().split(u8::is_ascii_whitespace).any(|word| word.starts_with(TOKEN_PREFIX.as_bytes()))
    };
    if headers.get_all(header::AUTHORIZATION).iter().any(ours) {
        headers.remove(header::AUTHORIZATION);
    }
    headers.remove(header::EXPECT);
    let own = upgrade.is_some() && headers.get(header::ORIGIN).is_some_and(|origin| origin == way.origin);
    let proto = way.origin.split("://").next().unwrap_or("http");
    let mut put = |name: &'static str, value: &str| {
        headers.remove(name);
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("host", &format!("localhost:{}", way.port));
    // Development servers let WebSockets in from the address that they know themselves by. A plain request keeps its
    // Origin, which frameworks compare with X-Forwarded-Host.
    if own {
        put("origin", &format!("http://localhost:{}", way.port));
    }
    put("x-forwarded-host", way.host);
    put("x-forwarded-proto", proto);
    let from = way.from.map(|ClientAddress(from)| from.to_string());
    put("x-forwarded-for", from.as_deref().unwrap_or("127.0.0.1"));
    headers.remove(header::FORWARDED);
    brought
}

/// Of an answer on its way out: it sets no cookie of ours, and who may frame it is ours to say.
pub fn come_out(headers: &mut HeaderMap, way: &Way<'_>, brought: &Brought, upgrade: Option<&HeaderValue>) {
    strip_hop_by_hop(headers, upgrade);
    way.jar.confine(headers, brought);
    headers.remove(header::X_FRAME_OPTIONS);
    // Another way to our own address, chosen by the app inside.
    headers.remove(header::ALT_SVC);
    let asked: Vec<HeaderName> = headers.keys().filter(|name| is_for_proxies(name)).cloned().collect();
    asked.iter().for_each(|name| drop(headers.remove(name)));
    without_foreign_cookies_cleared(headers);
    for name in [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        let policies: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        for policy in policies.iter().filter_map(|policy| policy.to_str().ok()) {
            if let Ok(policy) = HeaderValue::from_str(&without_frame_ancestors(policy)) {
                headers.append(&name, policy);
            }
        }
    }
    if let Ok(policy) = HeaderValue::from_str(&format!("frame-ancestors 'self' {}", way.app)) {
        headers.append(header::CONTENT_SECURITY_POLICY, policy);
    }
    if let Some(place) = headers.get(header::LOCATION).and_then(|place| place.to_str().ok())
        && let Some(outside) = outside(place, way)
        && let Ok(outside) = HeaderValue::from_str(&outside)
    {
        headers.insert(header::LOCATION, outside);
    }
}

/// The app sees itself at localhost and may send the browser there.
fn outside(place: &str, way: &Way<'_>) -> Option<String> {
    let rest = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"]
        .iter()
        .find_map(|host| place.strip_prefix(&format!("http://{host}:{}", way.port)))?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then(|| format!("{}{rest}", way.origin))
}

/// `Clear-Site-Data` (<https://w3c.github.io/webappsec-clear-site-data/>): what is an origin's own goes. `"cookies"` would clear those of
/// the whole registrable domain, of which the app inside is one host and our own another, and `"*"` is that too: it becomes
/// the rest. What is not known yet may be as wide, and does not pass.
fn without_foreign_cookies_cleared(headers: &mut HeaderMap) {
    const CLEAR: HeaderName = HeaderName::from_static("clear-site-data");
    const OWN: [&str; 3] = ["\"cache\"", "\"storage\"", "\"executionContexts\""];
    let values: Vec<HeaderValue> = headers.get_all(&CLEAR).iter().cloned().collect();
    headers.remove(&CLEAR);
    let asked: Vec<&str> = values.iter().filter_map(|value| value.to_str().ok()).flat_map(members).collect();
    let kept: Vec<&str> = OWN.into_iter().filter(|own| asked.iter().any(|asked| asked == own || *asked == "\"*\"")).collect();
    if let Ok(kept) = HeaderValue::from_str(&kept.join(", "))
        && !kept.is_empty()
    {
        headers.insert(CLEAR, kept);
    }
}

/// The members of a list of quoted strings (RFC 9110, 5.6.1 and 5.6.4), with their quotes: a comma between quotes splits nothing.
fn members(list: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let splits = move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '"' => quoted = !quoted,
            '\\' => escaped = quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    };
    list.split(splits).map(|member| member.trim_matches([' ', '\t']))
}

/// Policies of one header are split by commas, directives by semicolons; no value has either.
fn without_frame_ancestors(policies: &str) -> String {
    let keeps = |directive: &&str| !directive.trim().to_ascii_lowercase().starts_with("frame-ancestors");
    let policies = policies.split(',').map(|policy| policy.split(';').filter(keeps).collect::<Vec<_>>().join(";"));
    policies.filter(|policy| !policy.trim().is_empty()).collect::<Vec<_>>().join(",")
}

fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
}

#[cfg(any(test, fuzzing))]
const WAY: Way<'_> = Way {
    port: 3000,
    host: "3000--a.localhost:4000",
    origin: "http://3000--a.localhost:4000",
    app: "http://localhost:4000",
    from: None,
    jar: &Jar::of_host(false),
};

/// What holds of any headers, both ways: what is ours stays ours.
#[cfg(any(test, fuzzing))]
pub fn holds(headers: HeaderMap, apart: bool, socket: bool) {
    let jar = if apart { Jar::of_port(false, 4100, "3000--a") } else { Jar::of_host(false) };
    let way = Way { jar: &jar, ..WAY };
    let upgrade = HeaderValue::from_static("websocket");
    let upgrade = socket.then_some(&upgrade);
    let mut inside = headers.clone();
    let brought = go_in(&mut inside, &way, upgrade);
    let texts = |headers: &HeaderMap, name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.as_bytes().iter().map(|byte| char::from(*byte)).collect()).collect()
    };
    for cookie in texts(&inside, "cookie").iter().flat_map(|value| value.split(';')) {
        assert!(!begins_as_ours(cookie), "{cookie}");
    }
    assert_eq!(texts(&inside, "host"), ["localhost:3000"]);
    assert_eq!(texts(&inside, "x-forwarded-for"), ["127.0.0.1"]);
    assert!(!texts(&inside, "authorization").iter().any(|value| value.starts_with("Bearer fsa_")));
    assert!(!inside.contains_key("transfer-encoding"));
    assert_eq!(inside.contains_key("upgrade"), socket);

    let mut outside = headers;
    come_out(&mut outside, &way, &brought, upgrade);
    for set in texts(&outside, "set-cookie") {
        let mut parts = set.split(';');
        let pair = parts.next().unwrap_or_default();
        assert!(!begins_as_ours(pair) || (apart && pair.starts_with("fsa_4100_")), "{set}");
        assert!(
            !parts.any(|part| part.split('=').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("domain"))),
            "{set}"
        );
    }
    assert!(!outside.contains_key("x-frame-options") && !outside.keys().any(is_for_proxies));
    let cleared = texts(&outside, "clear-site-data").join(",").to_ascii_lowercase();
    assert!(!cleared.contains("cookies") && !cleared.contains('*'), "{cleared}");
    let policies = texts(&outside, "content-security-policy").join(",").to_ascii_lowercase();
    let names = policies.split([',', ';']).filter_map(|directive| directive.split_ascii_whitespace().next());
    assert_eq!(names.filter(|name| *name == "frame-ancestors").count(), 1);
}

/// The same of headers as fuzzing tells them: lines as they come over the wire, after a byte of choices.
#[cfg(any(test, fuzzing))]
pub fn holds_of(data: &[u8]) {
    let Some((choices, lines)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    holds(headers, choices & 1 == 1, choices & 2 == 2);
}

#[cfg(any(test, fuzzing))]
fn begins_as_ours(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '=']).to_ascii_lowercase();
    text.starts_with("fsa_") || text.starts_with("__host-fsa_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// No usual run compiles the fuzz target: it is here that it still calls this, and what it begins with.
    #[test]
    fn what_fuzzing_begins_with_holds() {
        let target = std::fs::read_to_string("../fuzz/src/bin/preview_headers.rs").unwrap();
        assert!(target.contains(std::any::type_name_of_val(&holds_of)), "{target}");
        for seed in std::fs::read_dir("../fuzz/seeds/preview-headers").unwrap() {
            holds_of(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn frames_are_ours_to_allow() {
        let mut headers = HeaderMap::new();
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'self'; Frame-Ancestors 'none'; img-src *, frame-ancestors 'none'"),
        );
        come_out(&mut headers, &WAY, &Brought::default(), None);
        assert!(!headers.contains_key(header::X_FRAME_OPTIONS));
        let policies: Vec<_> = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src 'self'; img-src *", "frame-ancestors 'self' http://localhost:4000"]);
    }

    #[test]
    fn nothing_is_asked_of_the_proxies_before_us() {
        let mut headers = HeaderMap::new();
        for name in ["x-accel-redirect", "x-accel-buffering", "x-accel-expires", "x-sendfile", "alt-svc", "x-accelerated"] {
            headers.append(name, HeaderValue::from_static("/etc/passwd"));
        }
        headers.append("x-accel-redirect", HeaderValue::from_static("/etc/shadow"));
        come_out(&mut headers, &WAY, &Brought::default(), None);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-security-policy", "x-accel-buffering", "x-accelerated"]);
    }

    #[test]
    fn only_what_is_the_apps_own_is_cleared() {
        let cleared = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("clear-site-data", HeaderValue::from_static(value));
            }
            come_out(&mut headers, &WAY, &Brought::default(), None);
            headers.get_all("clear-site-data").iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let everything = r#""cache", "storage", "executionContexts""#;
        let passing: [(&[&'static str], &str); 7] = [
            (&[r#""cache""#], r#""cache""#),
            (&[r#""executionContexts" ,"storage""#], r#""storage", "executionContexts""#),
            (&[r#""cache", "cookies""#, "\t\"storage\""], r#""cache", "storage""#),
            (&[r#""cache", "cache""#, r#""cache""#], r#""cache""#),
            (&[r#""*""#], everything),
            (&[r#""cookies", "*", "cache""#], everything),
            (&[r#", ,"cache","#], r#""cache""#),
        ];
        for (values, kept) in passing {
            assert_eq!(cleared(values), [kept], "{values:?}");
        }
        for out in [
            r#""cookies""#,
            r#""COOKIES" "#,
            "cookies",
            // No quoted strings, or other ones: no browser knows them.
            "cache",
            "*",
            "'cache'",
            r#""Cache""#,
            r#"" cache""#,
            r#""c\ache""#,
            r#""cache";v=1"#,
            r#""cache" "storage""#,
            // Commas that are a string's own, and an end that does not come.
            r#""x, "cache", y""#,
            r#""x\", "cache""#,
            r#""a,"*",b"#,
            "\"cache",
            // What may be as wide as cookies are.
            r#""clientHints", "prefetchCache", "prerenderCache", "somethingNew""#,
            "",
        ] {
            assert!(cleared(&[out]).is_empty(), "{out}");
        }
    }

    #[test]
    fn a_way_to_localhost_leads_outside() {
        let out = |place| outside(place, &WAY);
        assert_eq!(out("http://localhost:3000/next?a=b").as_deref(), Some("http://3000--a.localhost:4000/next?a=b"));
        assert_eq!(out("http://127.0.0.1:3000").as_deref(), Some("http://3000--a.localhost:4000"));
        assert_eq!(out("http://localhost:30001/"), None);
        assert_eq!(out("/relative"), None);
        assert_eq!(out("https://example.com/"), None);
    }

    #[test]
    fn a_websocket_of_the_apps_own_page_comes_from_where_the_app_is() {
        let origin = |origin: &'static str, upgrade: Option<&HeaderValue>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            go_in(&mut headers, &WAY, upgrade);
            headers[header::ORIGIN].to_str().unwrap().to_owned()
        };
        let websocket = HeaderValue::from_static("websocket");
        assert_eq!(origin(WAY.origin, Some(&websocket)), "http://localhost:3000");
        assert_eq!(origin("https://evil.example", Some(&websocket)), "https://evil.example", "the app may refuse others");
        assert_eq!(origin(WAY.origin, None), WAY.origin, "what frameworks compare with X-Forwarded-Host");
    }

    #[test]
    fn what_is_ours_does_not_go_in() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer fsa_secret"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("cookie", "fsa_preview=1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("accept", "text/html"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        go_in(&mut headers, &WAY, None);
        let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "accept: text/html",
                "host: localhost:3000",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: 3000--a.localhost:4000",
                "x-forwarded-proto: http"
            ]
        );
    }

    /// Names that matter, in odd cases, and any other; values of any bytes that a header may have.
    fn any_headers() -> impl Strategy<Value = HeaderMap> {
        let name = prop_oneof![
            Just("cookie"),
            Just("set-cookie"),
            Just("connection"),
            Just("host"),
            Just("authorization"),
            Just("x-frame-options"),
            Just("clear-site-data"),
            Just("content-security-policy"),
            Just("x-forwarded-for"),
            Just("transfer-encoding"),
            Just("location"),
            Just("x-accel-redirect"),
            Just("x-other"),
        ];
        let word = prop_oneof![
            Just("\"cookies\""),
            Just("\"*\""),
            Just("\"cache\""),
            Just("fsa_preview=a"),
            Just("__Host-fsa_session=b"),
            Just("FSA_frame"),
            Just("=fsa_session=c"),
            Just("sid=1"),
            Just("Domain=localhost"),
            Just("domain"),
            Just("HttpOnly"),
            Just("Max-Age=0"),
            Just("frame-ancestors 'none'"),
            Just("default-src *"),
            Just("close, cookie"),
            Just("host"),
            Just("upgrade"),
            Just("Bearer fsa_x"),
            Just("http://localhost:3000/x"),
        ];
        let between = prop_oneof![Just(";"), Just("; "), Just(","), Just(" ; "), Just("\t"), Just("\u{e9}"), Just("=")];
        let value = prop::collection::vec((word, between), 0..6)
            .prop_map(|words| words.into_iter().flat_map(|(word, between)| [word, between]).collect::<String>());
        prop::collection::vec((name, value), 0..12).prop_map(|all| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                // As a byte, not as UTF-8.
                let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.append(HeaderName::from_static(name), value);
                }
            }
            headers
        })
    }

    /// Found by libFuzzer (`fuzz/seeds/preview-headers/under-the-prefix`).
    #[test]
    fn a_name_of_ours_does_not_go_in_under_the_apps_prefix() {
        for name in ["__host-fsa_x", "fsa_preview", " fsa_frame", ""] {
            let mut headers = HeaderMap::new();
            let cookie = format!("fsa_4100_044e12feb1eb_{name}=fsa_secret; sid=1");
            headers.insert(header::COOKIE, HeaderValue::from_str(&cookie).unwrap());
            let jar = Jar::of_port(false, 4100, "3000--a");
            go_in(&mut headers, &Way { jar: &jar, ..WAY }, None);
            assert_eq!(headers[header::COOKIE], "sid=1", "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_headers_are_what_is_ours_stays_ours(headers in any_headers(), apart in any::<bool>(), socket in any::<bool>()) {
            holds(headers, apart, socket);
        }
    }
}
