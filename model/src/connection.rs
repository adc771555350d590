//! Connection strings of a project's PostgreSQL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;

/// A literal IPv6 address keeps its colons; the `%` before a zone is encoded (RFC 6874).
const ADDRESS: &AsciiSet = &PART.remove(b':');

/// Everything but the unreserved characters of RFC 3986.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stands in the place of a password that is not shown.
pub const HIDDEN: &str = "••••••••";

/// Where a project's database is, and who may enter. `Debug` never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// Host name or address, as the sandbox sees it.
    pub host: String,
    /// TCP port, as the sandbox sees it.
    pub port: u16,
    /// The project's own role.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The project's own database.
    pub database: String,
}

impl Connection {
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=public`, every part percent-encoded: for
    /// Prisma and node-postgres. libpq refuses it (`invalid URI query parameter: "schema"`).
    #[must_use]
    pub fn database_url(&self) -> String {
        format!("{}?schema=public", self.postgres_url())
    }

    /// The same without a query: for psql, psycopg and everything else on libpq.
    #[must_use]
    pub fn postgres_url(&self) -> String {
        let part = |text: &str| utf8_percent_encode(text, PART).to_string();
        let host = match self.host.contains(':') {
            true => format!("[{}]", utf8_percent_encode(&self.host, ADDRESS)),
            false => part(&self.host),
        };
        format!("postgresql://{}:{}@{host}:{}/{}", part(&self.user), part(&self.password), self.port, part(&self.database))
    }

    /// The same with [`HIDDEN`] in the place of the password: to be shown, not to connect by.
    #[must_use]
    pub fn hidden_url(&self) -> String {
        // No part has a colon or an `@` of its own.
        Self { password: String::new(), ..self.clone() }.postgres_url().replacen(":@", &format!(":{HIDDEN}@"), 1)
    }

    /// Every variable that the sandbox gets of it.
    #[must_use]
    pub fn variables(&self) -> BTreeMap<String, String> {
        [
            ("DATABASE_URL", self.database_url()),
            ("POSTGRES_URL", self.postgres_url()),
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", self.database.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}@{}:{}/{})", self.user, self.host, self.port, self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    /// Names, IPv4 and IPv6 addresses, with a zone or without, folders of sockets, and anything at all.
    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9.-]{1,30}",
            any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|address| format!("{address}%eth0")),
            "/[a-z/ ]{1,20}",
            "\\PC{1,20}",
        ]
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let at = |host: &str| Connection {
            host: host.into(),
            port: 5432,
            user: "u".into(),
            password: "p".into(),
            database: "d".into(),
        };
        assert_eq!(at("fd00::5").postgres_url(), "postgresql://u:p@[fd00::5]:5432/d");
        assert_eq!(at("fe80::1%eth0").postgres_url(), "postgresql://u:p@[fe80::1%25eth0]:5432/d");
        assert_eq!(at("/run/postgresql").postgres_url(), "postgresql://u:p@%2Frun%2Fpostgresql:5432/d");
    }

    #[test]
    fn a_hidden_password_is_in_no_part_of_the_line() {
        let (user, host) = ("u:@".to_owned(), "fd00::5".to_owned());
        let of = Connection { host, port: 5432, user, password: "s3cret".into(), database: "d".into() };
        assert_eq!(of.hidden_url(), "postgresql://u%3A%40:••••••••@[fd00::5]:5432/d");
    }

    proptest! {
        #[test]
        fn every_part_survives_the_url(
            host in host(), port: u16, user in "\\PC{1,20}", password in "\\PC{1,40}", database in "\\PC{1,20}",
        ) {
            let connection = Connection { host: host.clone(), port, user: user.clone(), password: password.clone(), database: database.clone() };
            let url = connection.database_url();
            let rest = url.strip_prefix("postgresql://").unwrap().strip_suffix("?schema=public").unwrap();
            let (who, place) = rest.split_once('@').unwrap();
            let (u, p) = who.split_once(':').unwrap();
            let (place, d) = place.split_once('/').unwrap();
            let (h, n) = match place.strip_prefix('[') {
                Some(address) => address.split_once("]:").unwrap(),
                None => place.split_once(':').unwrap(),
            };
            prop_assert!(!h.contains(['/', '@', '?', '#', '[', ']']), "{h}");
            prop_assert_eq!(place.starts_with('['), host.contains(':'), "an address with colons stands in brackets");
            let plain = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
            prop_assert_eq!((plain(u), plain(p), plain(d)), (user, password, database));
            prop_assert_eq!((plain(h), n.parse::<u16>().unwrap()), (host, port));
        }
    }

    #[test]
    fn debug_hides_the_password() {
        let connection =
            Connection { host: "h".into(), port: 1, user: "u".into(), password: "hunter2".into(), database: "d".into() };
        assert!(!format!("{connection:?}").contains("hunter2"));
    }
}
