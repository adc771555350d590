//! Whether there is room to write.

use super::error::while_doing;
use crate::store::StoreError;
use sqlx::PgPool;

/// Writes a megabyte and takes it back. A row or two would fit into what a full disk has left in pages that are
/// there already.
///
/// # Errors
/// [`StoreError::NoRoom`]; and that it is away.
pub async fn try_writing(pool: &PgPool) -> Result<(), StoreError> {
    let doing = while_doing("try whether there is room to write");
    let mut transaction = pool.begin().await.map_err(&doing)?;
    // Rows under two kilobytes are not compressed.
    sqlx::query("CREATE TEMP TABLE fsa_room AS SELECT repeat('x', 1000) AS filler FROM generate_series(1, 1000)")
        .execute(&mut *transaction)
        .await
        .map_err(&doing)?;
    transaction.rollback().await.map_err(&doing)
}
