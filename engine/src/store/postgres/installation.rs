//! The one row of this deployment, and whether its secrets can be opened.

use crate::{
    secrets::{KeyId, Place, Vault, VaultError},
    store::{StoreError, postgres::error::while_doing, time::Time},
};
use jiff::Timestamp;
use model::InstallationId;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// What is sealed in `installation.key_check`.
const CHECK: &[u8] = b"FullStack Agent";

/// Why the installation cannot be opened. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// Some secrets were sealed with a key that is not here.
    #[error(
        "The secrets in the control plane's database were sealed with the encryption key {0}, which is not here. Restore the key file from a backup, or add the key to FSA_ENCRYPTION_KEY (several are split by commas; the first seals)."
    )]
    UnknownKey(KeyId),
    /// The key's id is right and the key does not open what it sealed.
    #[error(
        "The control plane's database does not open with the encryption key {0}: what is sealed in it was changed. Restore the database from a backup."
    )]
    Forged(KeyId),
    /// The store's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The installation's id; a first start makes it. Every key that anything is sealed with must be in
/// the vault.
///
/// # Errors
/// A key is missing, or the database is away.
pub async fn open(pool: &PgPool, vault: &Vault, now: Timestamp) -> Result<InstallationId, InstallationError> {
    let doing = while_doing("open the installation");
    let mut transaction = pool.begin().await.map_err(&doing)?;
    let fresh = Uuid::now_v7();
    let check = vault.seal(place(&fresh.to_string()), CHECK).map_err(|_| InstallationError::UnknownKey(vault.seals_with()))?;
    sqlx::query!(
        "INSERT INTO installation (id, created_at, key_check) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT installation_pkey DO NOTHING",
        fresh,
        Time(now) as _,
        check
    )
    .execute(&mut *transaction)
    .await
    .map_err(&doing)?;
    let row = sqlx::query!("SELECT id, key_check FROM installation").fetch_one(&mut *transaction).await.map_err(&doing)?;
    match vault.open(place(&row.id.to_string()), &row.key_check) {
        Ok(_) => {}
        Err(VaultError::UnknownKey(key)) => return Err(InstallationError::UnknownKey(key)),
        Err(_) => return Err(InstallationError::Forged(KeyId::of_sealed(&row.key_check).unwrap_or(vault.seals_with()))),
    }
    if let Some(unknown) = keys_in_use(&mut transaction).await?.into_iter().find(|key| !vault.knows(*key)) {
        return Err(InstallationError::UnknownKey(unknown));
    }
    transaction.commit().await.map_err(&doing)?;
    Ok(InstallationId(row.id))
}

fn place(id: &str) -> Place<'_> {
    Place { table: "installation", column: "key_check", row: id }
}

/// The keys that anything is sealed with. Reads every sealed column once: some thousand rows.
async fn keys_in_use(connection: &mut PgConnection) -> Result<Vec<KeyId>, StoreError> {
    let ids = sqlx::query_scalar!(
        r#"SELECT DISTINCT substring(sealed FROM 1 FOR 4) AS "id!" FROM (
            SELECT key_check FROM installation
            UNION ALL SELECT value FROM project_env
            UNION ALL SELECT password FROM databases
            UNION ALL SELECT env FROM sandboxes
            UNION ALL SELECT agent_token FROM sandboxes
            UNION ALL SELECT claude FROM sandboxes WHERE claude IS NOT NULL
            UNION ALL SELECT sealed FROM claude_credentials
            UNION ALL SELECT token FROM linked_accounts WHERE token IS NOT NULL
            UNION ALL SELECT refresh_token FROM linked_accounts WHERE refresh_token IS NOT NULL
        ) AS everything (sealed)"#
    )
    .fetch_all(connection)
    .await
    .map_err(while_doing("read which keys are in use"))?;
    Ok(ids.iter().filter_map(|id| KeyId::of_sealed(id)).collect())
}
