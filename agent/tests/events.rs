//! What a real agent tells of itself at `GET /v1/events`: usage, sessions, activity.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use futures_util::StreamExt;
use sandbox_agent::{
    client,
    protocol::http::{AgentEvent, ExecRequest, SessionInfo},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Agent, DEADLINE};
use tokio::time::timeout;

/// How long the machine may be busy with much else. What is waited for takes some seconds where it is not.
const PATIENCE: Duration = Duration::from_secs(60);

/// Follows the events until one is found.
async fn until<T>(agent: &Agent, what: &str, mut found: impl FnMut(AgentEvent) -> Option<T>) -> T {
    let mut events = Box::pin(client::events(agent.io().await, &agent.token).await.unwrap());
    let find = async {
        loop {
            let event = events.next().await.expect("the events go on").unwrap();
            if let Some(found) = found(event) {
                return found;
            }
        }
    };
    timeout(PATIENCE, find).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The same of the first shell.
async fn until_main(agent: &Agent, what: &str, holds: impl Fn(&SessionInfo) -> bool) {
    let main = |session: &SessionInfo| session.name == "main" && holds(session);
    until(agent, what, |event| match event {
        AgentEvent::Sessions { sessions } if sessions.iter().any(main) => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn what_a_program_holds_and_computes_is_told() {
    let agent = Agent::start();
    // Written to, so that it is held; then it computes until it is ended with its caller.
    let program = "held = bytearray(b'x') * (64 << 20)\nprint('held', flush=True)\nwhile True: pass";
    let ask = ExecRequest { command: vec!["python3".into(), "-c".into(), program.into()], ..ExecRequest::default() };
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &ask).await.unwrap());
    let said = timeout(DEADLINE, run.next()).await.unwrap();
    assert!(matches!(said, Some(Ok(client::ExecEvent::Output(..)))), "it holds nothing");
    let usage = until(&agent, "as much as it uses", |event| match event {
        AgentEvent::Usage(usage) if usage.memory_bytes > 60_000_000 && usage.cpu_percent > 30.0 => Some(usage),
        _ => None,
    })
    .await;
    assert!(usage.processes >= 2, "a shell and it: {usage:?}");
    drop(run);
    until(&agent, "nothing of it", |event| match event {
        AgentEvent::Usage(usage) if usage.memory_bytes < 60_000_000 => Some(()),
        _ => None,
    })
    .await;
}

#[tokio::test]
async fn titles_viewers_and_activity_are_told() {
    let agent = Agent::start();
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    until_main(&agent, "nobody looks", |main| main.attached == 0).await;
    let mut first = agent.viewer("session=main", "a", (80, 24)).await;
    until_main(&agent, "one looks", |main| main.attached == 1).await;
    let second = agent.viewer("session=main", "b", (80, 24)).await;
    until_main(&agent, "two look", |main| main.attached == 2).await;
    drop(second);
    until_main(&agent, "one has left", |main| main.attached == 1).await;

    let begun = now();
    first.type_text("printf '\\033]2;building boats\\007'\n").await;
    until_main(&agent, "the title", |main| main.title == "building boats").await;
    let at = until(&agent, "that something was typed", |event| match event {
        AgentEvent::Activity { at } if at >= begun => Some(at),
        _ => None,
    })
    .await;
    assert!(at <= now(), "{at} is yet to come");
}
