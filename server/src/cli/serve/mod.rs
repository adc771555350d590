//! `serve`: puts everything together, serves, and takes it apart again.
//!
//! ```text
//!   data folder, PostgreSQL, migrations, keys ─▶ store, accounts ─┐
//!   this machine, or a cluster ─▶ World: Orchestrator, Database ──┴─▶ Reconciler ─▶ Controller, Live ─▶ HTTP
//! ```
//!
//! SIGTERM leaves sandboxes and PostgreSQL running, for an upgrade. Ctrl-C ends them, and the next start
//! resumes them, since what was asked for stays. A part that panics ends the server as SIGTERM does, with an exit code that
//! has it started again.

mod listeners;
mod plane;
mod run;
mod signals;
mod start;

use crate::{
    config::{Config, DataArgs, ServeArgs},
    dist,
    http::assets::Site,
    room,
};
use anyhow::{Context as _, Result, anyhow};
use listeners::{listen, listen_for_previews};
use local::{datafolder::DataFolder, postgres::EmbeddedPostgres};
use run::run;
use signals::{Ended, signals};
use start::start;
use std::{path::Path, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How long the start of PostgreSQL may go on after a signal: the first one, with initdb, on a slow
/// machine. A second signal ends it at once.
const HALF_WAY: Duration = Duration::from_secs(30);

/// Serves until a signal.
///
/// # Errors
/// Whatever keeps it from starting, in a sentence that says what to do.
pub async fn serve(data: &DataArgs, args: ServeArgs) -> Result<()> {
    let config = Config::read(data, args)?;
    let (folder, embedded) = (config.data_dir.clone(), config.database_url.is_none());
    serve_as(config).await.map_err(|error| room::explained(error, &folder, embedded))
}

async fn serve_as(mut config: Config) -> Result<()> {
    // One file with everything has the site in itself, for want of another; it needs the data folder to put it.
    let carried = (config.args.site_dir.is_none() || config.args.agent.is_none()) && dist::carries()?;
    let read = |folder: &Path| Site::read(folder).map_err(|why| anyhow!(why));
    let beside = if carried { None } else { Some(read(&config.site_dir)?) };
    // Before anything is made: a port that is taken is the likeliest mistake.
    let listeners = listen(&config.listen, async |address| TcpListener::bind(address).await).await?;
    if let Some(first) = listeners.first() {
        config.bound(first.local_addr().context("read the port that is listened on")?.port())?;
    }
    let previews = listen_for_previews(&config).await?;
    let signals = signals()?;
    room::for_a_start(&config.data_dir, config.database_url.is_none())?;
    let folder = DataFolder::open(&config.data_dir)?;
    let site = match beside {
        Some(site) => site,
        None => {
            config.carried(dist::unpacked(&config.data_dir)?);
            read(&config.site_dir)?
        }
    };
    let stop = CancellationToken::new();
    let mut waiting = Box::pin(signals.wait());
    let mut starting = Box::pin(start(&config, site, &folder, &stop));
    let started = tokio::select! {
        started = &mut starting => started?,
        ended = &mut waiting => {
            info!("ending before everything has started");
            stop.cancel();
            // PostgreSQL's start cannot be left half way; the rest is left at once.
            let _ = tokio::time::timeout(HALF_WAY, &mut starting).await;
            drop(starting);
            return leave_half_started(&config, &folder, ended).await;
        }
    };
    drop(starting);
    run(&config, &folder, (listeners, previews), started, stop, waiting).await
}

/// After Ctrl-C, nothing stays up, as at any other time; what the last server left running included.
async fn leave_half_started(config: &Config, folder: &DataFolder, ended: Ended) -> Result<()> {
    if ended != Ended::Interrupted || config.args.keep_running {
        return Ok(());
    }
    local::down(folder.path()).await.context("end the sandboxes")?;
    if config.database_url.is_none() {
        EmbeddedPostgres::stop_at(folder.path()).await?;
    }
    Ok(())
}
