//! What a failure of PostgreSQL means to callers.

use crate::{
    secrets::VaultError,
    store::{StoreError, Why},
};

/// SQLSTATE `disk_full`: what PostgreSQL makes of `ENOSPC`.
const DISK_FULL: &str = "53100";

/// An error of sqlx as one of the store: `.map_err(while_doing("read the projects"))`.
pub(crate) fn while_doing(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let (full, away) = (code_of(&error).as_deref() == Some(DISK_FULL), is_away(&error));
        let error = anyhow::Error::new(error).context(doing);
        match (full, away) {
            (true, _) => StoreError::NoRoom(error),
            (false, true) => StoreError::Away(error),
            (false, false) => StoreError::Broken(error),
        }
    }
}

/// A vault's error as one of the store.
pub(crate) fn sealed(what: &'static str) -> impl Fn(VaultError) -> StoreError {
    move |error| StoreError::Broken(anyhow::Error::new(error).context(what))
}

/// A column that holds what no version of ours wrote.
pub(crate) fn unreadable<E>(what: &'static str) -> impl Fn(E) -> StoreError
where
    E: std::fmt::Display,
{
    move |error| StoreError::Broken(anyhow::anyhow!("{error}").context(what))
}

/// Whether asking again later may help: PostgreSQL is away, starting, stopping, a standby, full up, or
/// it undid us in favour of another.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(_) => code_of(error).is_some_and(|code| is_away_code(&code)),
        _ => false,
    }
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Database(error) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// Why it is away, by what PostgreSQL said. A pool that waited in vain may have been full, or before a server that is gone.
pub(in crate::store) fn why(error: &anyhow::Error) -> Why {
    let code = error.chain().find_map(|part| part.downcast_ref::<sqlx::Error>().and_then(code_of));
    code.map_or(Why::Silent, |code| why_code(&code))
}

fn why_code(code: &str) -> Why {
    match code {
        "25006" => Why::ReadOnly,
        "40001" | "40P01" => Why::Undone,
        "55P03" | "57014" => Why::Busy,
        "55000" => Why::Restarting,
        code if code.starts_with("53") => Why::Busy,
        code if code.starts_with("57P") => Why::Restarting,
        _ => Why::Silent,
    }
}

/// By [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html): 08 connection, 53
/// resources (too many connections, disk, memory), 57P admin shutdown, crash, starting up, 25006
/// read-only, 25P03 and 25P04 a transaction that was ended because we were slow (a machine that slept),
/// 40001 and 40P01 undone in favour of another, 55000 taking no connections now, 55P03 and 57014 waited
/// too long.
pub(crate) fn is_away_code(code: &str) -> bool {
    code.starts_with("08")
        || code.starts_with("53")
        || code.starts_with("57P")
        || matches!(code, "25006" | "25P03" | "25P04" | "40001" | "40P01" | "55000" | "55P03" | "57014")
}

/// `anyhow`'s context that keeps the kind of a [`StoreError`].
pub(crate) trait Because<T> {
    /// Says of what it was a part.
    fn because(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Because<T> for Result<T, StoreError> {
    fn because(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| match error {
            StoreError::Away(error) => StoreError::Away(error.context(doing)),
            StoreError::NoRoom(error) => StoreError::NoRoom(error.context(doing)),
            StoreError::Broken(error) => StoreError::Broken(error.context(doing)),
            StoreError::Full(_) | StoreError::Refused(_) => error,
        })
    }
}

/// A constraint of ours as a rule that a caller knows, instead of an error.
pub(crate) trait OnConstraint<T> {
    /// If the constraint of that name was violated, `instead`.
    fn on_constraint(self, name: &str, instead: impl FnOnce() -> T) -> Result<T, sqlx::Error>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(self, name: &str, instead: impl FnOnce() -> T) -> Result<T, sqlx::Error> {
        match self {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some(name) => Ok(instead()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_away() {
        for code in ["57P01", "57P02", "57P03", "53300", "53100", "08006", "40P01", "25006", "25P03"] {
            assert!(is_away_code(code), "{code}");
        }
        for code in ["23505", "42601", "42P01", "28P01", "22P02"] {
            assert!(!is_away_code(code), "{code}");
        }
        assert!(is_away(&sqlx::Error::PoolTimedOut));
        assert!(!is_away(&sqlx::Error::RowNotFound));
    }

    #[test]
    fn why_it_is_away_is_what_postgres_says() {
        for (code, expected) in [
            ("25006", Why::ReadOnly),
            ("40001", Why::Undone),
            ("40P01", Why::Undone),
            ("53300", Why::Busy),
            ("57014", Why::Busy),
            ("57P03", Why::Restarting),
            ("55000", Why::Restarting),
            ("08006", Why::Silent),
        ] {
            assert_eq!(why_code(code), expected, "{code}");
        }
        let timed_out = while_doing("read the projects")(sqlx::Error::PoolTimedOut);
        assert_eq!(timed_out.why(), Why::Silent);
    }
}
