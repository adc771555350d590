//! Serving until it is ended, and what ends with it.

use super::{signals::Ended, start::Started};
use crate::{
    cli::{say, sign_in_link::note_address},
    config::{Config, kubernetes::OrchestratorKind},
    github,
    http::{
        self,
        connections::{self, Doors},
        preview::PreviewListener,
    },
    refusals,
    sweep::Sweep,
};
use anyhow::{Result, anyhow};
use axum::{Extension, Router};
use engine::{
    clock::{Clock as _, SystemClock},
    store::repositories::Repositories,
};
use futures::FutureExt as _;
use local::datafolder::DataFolder;
use secrecy::ExposeSecret as _;
use std::time::Duration;
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// How long open requests may take to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the first answer waits for a look at every sandbox.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// What is said where a part of it has panicked.
const BROKEN: &str = "A part of the server ended over a mistake of ours; the log says which. Sandboxes and databases go on: start it again, and report it if it stays.";

pub(super) async fn run(
    config: &Config,
    folder: &DataFolder,
    (listeners, previews): (Vec<TcpListener>, Vec<(u16, TcpListener)>),
    started: Started,
    stop: CancellationToken,
    ended: impl Future<Output = Ended>,
) -> Result<()> {
    let Started { embedded, pool, accounts, local, ready, reconciler, plane } = started;
    let mut tasks = JoinSet::new();
    if let Some(postgres) = embedded.clone() {
        tasks.spawn(postgres.keep_running(stop.clone()));
    }
    // What ended while nobody looked is known before the first answer; a cluster that is slow is not waited for.
    let ready = ready.shared();
    let first_look = async {
        ready.clone().await;
        reconciler.look().await;
    };
    if tokio::time::timeout(FIRST_LOOK, first_look).await.is_err() {
        info!("serving before every sandbox was looked at");
    }
    // What our own tables tell is over before the first answer; GitHub is not waited for.
    let shut_out = tokio::spawn({
        let (github, accounts) = (plane.github.clone(), accounts.clone());
        async move {
            match github {
                Some(github) => {
                    github::shut_out_others(&accounts, github.host()).await;
                    github.shut_out(&accounts).await;
                }
                None => github::tell_of_kept_out(&accounts).await,
            }
        }
    });
    let _ = tokio::time::timeout(FIRST_LOOK, shut_out).await;
    let router = http::router(&plane);
    // Streams and terminals end at once; reconciling ends after them.
    let reconciling = CancellationToken::new();
    let mut loops = JoinSet::new();
    loops.spawn({
        let reconciling = reconciling.clone();
        async move {
            if reconciling.run_until_cancelled(ready).await.is_some() {
                reconciler.run(reconciling).await;
            }
        }
    });
    tasks.spawn(plane.live.clone().run());
    tasks.spawn(plane.cloner.clone().run());
    tasks.spawn(plane.watch.clone().run(stop.clone()));
    tasks.spawn(plane.room.clone().run(stop.clone()));
    let sweep = Sweep {
        accounts: accounts.clone(),
        repositories: Repositories::new(pool.clone()),
        store: plane.store.clone(),
        activity_days: config.args.activity_days,
    };
    tasks.spawn(sweep.run(stop.clone()));
    tasks.spawn(refusals::tell(plane.store.clone(), plane.orchestrator.clone(), stop.clone()));

    let most = match config.args.kubernetes.orchestrator {
        OrchestratorKind::Local => connections::MOST,
        OrchestratorKind::Kubernetes => connections::MOST_ON_A_CLUSTER,
    };
    let doors = Doors::new(plane.origins.clone(), most);
    let mut serving = JoinSet::new();
    let apps = listeners.into_iter().map(|listener| (router.clone(), listener));
    let previews = previews.into_iter().map(|(port, listener)| {
        let marked = Router::new().fallback_service(router.clone()).layer(Extension(PreviewListener(port)));
        (marked, listener)
    });
    for (router, listener) in apps.chain(previews).collect::<Vec<_>>() {
        serving.spawn(connections::serve(listener, router, doors.clone(), stop.clone()));
    }

    let owner = accounts.ensure_owner(SystemClock.now()).await?;
    let code = accounts.make_sign_in_code(owner.id, SystemClock.now()).await?;
    note_address(folder.path(), &config.addresses.public)?;
    info!(address = %config.addresses.public, version = env!("CARGO_PKG_VERSION"), "serving");
    say(&format!("Sign in: {}/sign-in#{}", config.addresses.public, code.expose_secret()));

    let ended = tokio::select! {
        ended = ended => Ok(ended),
        panicked = first_panic(&mut loops) => Err(panicked),
        panicked = first_panic(&mut tasks) => Err(panicked),
        panicked = first_panic(&mut serving) => Err(panicked),
    };
    if let Err(panicked) = &ended {
        error!("a part of the server ended abruptly, and the rest ends with it: {panicked}");
    }
    info!("ending");
    stop.cancel();
    if tokio::time::timeout(FAREWELL, async { while serving.join_next().await.is_some() {} }).await.is_err() {
        info!("some requests did not end in time and are cut off");
    }
    reconciling.cancel();
    let _ = tokio::time::timeout(FAREWELL, async { while loops.join_next().await.is_some() {} }).await;
    let _ = tokio::time::timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
    // For whoever starts it again: a server without one of its parts would look well and do nothing.
    let ended = ended.map_err(|_| anyhow!(BROKEN))?;
    if ended == Ended::Interrupted && !config.args.keep_running {
        if let Some(local) = local {
            local.shut_down().await;
        }
        if let Some(postgres) = embedded {
            pool.close().await;
            if let Err(error) = postgres.stop().await {
                error!("PostgreSQL did not end: {error:#}");
            }
        }
    }
    Ok(())
}

/// Until one of them panics. One that ends by itself may.
async fn first_panic(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => return error,
            Some(_) => {}
            None => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_is_told_and_one_that_ends_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tasks.spawn(std::future::pending());
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, first_panic(&mut tasks)).await.is_err(), "it may end");
        tasks.spawn(async { panic!("a defect") });
        let told = first_panic(&mut tasks).await.to_string();
        assert!(told.contains("a defect"), "{told}");
        assert!(tokio::time::timeout(short, first_panic(&mut JoinSet::new())).await.is_err(), "there is none");
    }
}
