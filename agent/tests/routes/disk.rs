//! What happens to a sandbox over its disk limit.

use super::{ask, script};
use crate::support::{Agent, DEADLINE, eventually};
use futures_util::StreamExt;
use http::Method;
use sandbox_agent::{
    client,
    protocol::http::{ExecExit, Health},
};
use tokio::time::timeout;

#[tokio::test]
async fn over_the_disk_limit_everything_stands_still_until_something_is_deleted() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    let mut run =
        Box::pin(client::exec(agent.io().await, &agent.token, &script("echo $$; while :; do sleep 0.01; done")).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let stat = format!("/proc/{}/stat", String::from_utf8(pid.to_vec()).unwrap().trim());
    let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    eventually("it is stopped", DEADLINE, async || stopped()).await;
    let health: Health = client::health(agent.io().await).await.unwrap();
    assert!(health.disk_full);
    assert_eq!(ask(&agent, Method::PUT, "/v1/files/more", b"x").await.0, 507);
    assert_eq!(ask(&agent, Method::DELETE, "/v1/files/big", b"").await.0, 204);
    eventually("it goes on", DEADLINE, async || !stopped()).await;
    let health: Health = client::health(agent.io().await).await.unwrap();
    assert!(!health.disk_full);

    // The other way out: a command that was run from then on is not stopped, for as long as it likes.
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    eventually("it is stopped again", DEADLINE, async || stopped()).await;
    let slow = script("sleep 2 | cat; rm big; echo removed");
    let slow = client::exec_to_end(agent.io().await, &agent.token, &slow, 1000);
    let done = timeout(DEADLINE, slow).await.expect("it was stopped as well").unwrap();
    assert_eq!((done.exit, done.stdout), (ExecExit::Code(0), b"removed\n".to_vec()));
    eventually("it goes on again", DEADLINE, async || !stopped()).await;
}

#[tokio::test]
async fn over_the_disk_limit_a_command_that_fills_further_or_was_left_behind_is_stopped() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    std::fs::write(agent.home.join("big"), vec![1; 2_000_000]).unwrap();
    let full = async || client::health(agent.io().await).await.unwrap().disk_full;
    eventually("it is over", DEADLINE, full).await;
    let stopped = |pid: &str| std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap().contains(") T ");
    let left = agent.exec("sleep 1000 & echo $!").await.stdout;
    let left = String::from_utf8(left).unwrap();
    eventually("what it left behind is stopped", DEADLINE, async || stopped(&left)).await;

    let fill = script("echo $$; fallocate -l 100M more; sleep 1000");
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &fill).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = run.next().await else { panic!("no output") };
    let pid = String::from_utf8(pid.to_vec()).unwrap();
    eventually("who fills further is stopped", DEADLINE, async || stopped(&pid)).await;
    assert_eq!(agent.exec("rm big more; echo still").await.stdout, b"still\n", "and the next one is let through");
}

#[tokio::test]
async fn deleted_files_that_are_still_open_count() {
    let agent = Agent::start_with(&["--disk-limit-bytes", "1000000", "--disk-every-ms", "100"]);
    let hold = script("exec 9>hidden; rm hidden; head -c 2000000 /dev/zero >&9; echo $$; sleep 1000");
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &hold).await.unwrap());
    assert!(matches!(run.next().await, Some(Ok(client::ExecEvent::Output(..)))));
    let full = async || client::health(agent.io().await).await.unwrap().disk_full;
    eventually("it is over", DEADLINE, full).await;
    drop(run);
    eventually("its end frees them", DEADLINE, async || !full().await).await;
}
