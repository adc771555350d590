//! `down`: ends everything of a data folder: the server that runs there, sandboxes and PostgreSQL. What was asked for stays asked for: the
//! next start resumes it.

use crate::config::DataArgs;
use anyhow::{Context as _, Result, bail, ensure};
use local::{
    datafolder::{self, DataFolder},
    postgres::EmbeddedPostgres,
};
use std::{io::Write as _, time::Duration};

/// A server takes up to fifteen seconds to let open requests end.
const SERVER: Duration = Duration::from_secs(30);

/// Ends everything, in the order in which it depends on each other: a server that still ran would start the rest again.
///
/// # Errors
/// There is no such folder; or what did not end, by name.
pub async fn down(data: &DataArgs) -> Result<()> {
    let folder = data.data_dir();
    ensure!(
        folder.is_dir(),
        "There is no data folder {}, so nothing was ended. Name the server's: `fullstack-agent down --data-dir FOLDER`.",
        folder.display()
    );
    let server = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || datafolder::end_holder(&folder, SERVER))
            .await
            .context("wait for the server's end")??
    };
    // Held to the end, so that no other server begins meanwhile.
    let held = DataFolder::open(&folder)?;
    let local::Down { ended, mut left } =
        local::down(held.path()).await.with_context(|| format!("end the sandboxes of {}", folder.display()))?;
    let postgres = match EmbeddedPostgres::stop_at(held.path()).await {
        Ok(ran) => ran,
        Err(error) => {
            left.push(format!("{error:#}"));
            false
        }
    };
    let mut what = Vec::new();
    what.extend(server.map(|pid| format!("the server (process {pid})")));
    what.extend((ended > 0).then(|| if ended == 1 { "1 sandbox".to_owned() } else { format!("{ended} sandboxes") }));
    what.extend(postgres.then(|| "PostgreSQL".to_owned()));
    let said = match what.split_last() {
        None => format!("Nothing ran in {}.", folder.display()),
        Some((last, [])) => format!("Ended {last} of {}. Volumes and databases are kept.", folder.display()),
        Some((last, others)) => {
            format!("Ended {} and {last} of {}. Volumes and databases are kept.", others.join(", "), folder.display())
        }
    };
    let _ = writeln!(std::io::stderr(), "{said}");
    if !left.is_empty() {
        bail!("Not everything of {} ended. Still there: {}.", folder.display(), left.join("; "));
    }
    Ok(())
}
