//! What a failure of PostgreSQL means to callers.

use crate::{secrets::VaultError, store::StoreError};

/// An error of sqlx as one of the store: `.map_err(while_doing("read the projects"))`.
pub(crate) fn while_doing(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let away = is_away(&error);
        let error = anyhow::Error::new(error).context(doing);
        if away { StoreError::Away(error) } else { StoreError::Broken(error) }
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
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_away_code(&code)),
        _ => false,
    }
}

/// By [SQLSTATE](https://www.postgresql.org/docs/current/errcodes-appendix.html): 08 connection, 53
/// resources (too many connections, disk, memory), 57P admin shutdown, crash, starting up, 25006
/// read-only, 40001 and 40P01 undone in favour of another, 55000 taking no connections now, 55P03 and
/// 57014 waited too long.
pub(crate) fn is_away_code(code: &str) -> bool {
    code.starts_with("08")
        || code.starts_with("53")
        || code.starts_with("57P")
        || matches!(code, "25006" | "40001" | "40P01" | "55000" | "55P03" | "57014")
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
            StoreError::Broken(error) => StoreError::Broken(error.context(doing)),
            StoreError::Full(have) => StoreError::Full(have),
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
        for code in ["57P01", "57P02", "57P03", "53300", "53100", "08006", "40P01", "25006"] {
            assert!(is_away_code(code), "{code}");
        }
        for code in ["23505", "42601", "42P01", "28P01", "22P02"] {
            assert!(!is_away_code(code), "{code}");
        }
        assert!(is_away(&sqlx::Error::PoolTimedOut));
        assert!(!is_away(&sqlx::Error::RowNotFound));
    }
}
