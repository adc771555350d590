//! What every orchestrator promises, held by this one, on a real cluster.

mod support;

use engine::orchestrator::contract::suite;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    or_skip!(skip());
    let world = World::new().await;
    suite(world.orchestrator.as_ref(), &ByExec(world.orchestrator.as_ref()), || world.spec(), PATIENCE).await;
    let left = engine::orchestrator::Orchestrator::list(world.orchestrator.as_ref()).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
