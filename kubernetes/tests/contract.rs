//! What every orchestrator promises, held by this one, on a real cluster: reached as the machine reaches it, and from
//! outside.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use engine::orchestrator::{Orchestrator as _, contract::suite};
use kubernetes::reach::Reach;
use model::InstallationId;
use support::*;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    or_skip!(skip());
    keeps_the_contract(&World::new().await).await;
}

/// As [`it_keeps_the_contract`], through the apiserver alone.
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_from_outside() {
    or_skip!(skip());
    if !support::left_out::long() {
        return;
    }
    let (installation, config) = (InstallationId(Uuid::new_v4()), config().await);
    keeps_the_contract(&World::reached_by(installation, config, Some(Reach::Forward), |_| {}).await).await;
}

async fn keeps_the_contract(world: &World) {
    suite(world.orchestrator.as_ref(), &ByExec(world.orchestrator.as_ref()), || world.spec(), PATIENCE).await;
    let left = world.orchestrator.list().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
