//! `down`: ends sandboxes and PostgreSQL of a data folder. What was asked for stays asked for: the next
//! start resumes it.

use crate::config::DataArgs;
use anyhow::{Context as _, Result};
use local::postgres::EmbeddedPostgres;
use std::io::Write as _;

/// Ends everything, in the order in which it depends on each other.
pub async fn down(data: &DataArgs) -> Result<()> {
    let folder = data.data_dir();
    let ended = local::down(&folder).await.with_context(|| format!("end the sandboxes of {}", folder.display()))?;
    if let Ok(postgres) = EmbeddedPostgres::attach(&folder) {
        postgres.stop().await?;
    }
    let _ = writeln!(
        std::io::stderr(),
        "Ended {ended} sandboxes and PostgreSQL of {}. Volumes and databases are kept.",
        folder.display()
    );
    Ok(())
}
