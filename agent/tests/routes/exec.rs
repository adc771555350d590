//! Commands that are run to their end, and what they leave to shells.

use super::script;
use crate::support::{self, Agent, DEADLINE, eventually};
use futures_util::StreamExt;
use sandbox_agent::{
    client::{self, ClientError},
    protocol::http::{ExecExit, ExecRequest},
};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn exec_tells_the_true_end() {
    let agent = Agent::start();
    let done = agent.exec("echo out; echo err >&2; printf '\\xff\\xfe'; exit 37").await;
    assert_eq!((done.exit, done.stdout, done.stderr), (ExecExit::Code(37), b"out\n\xff\xfe".to_vec(), b"err\n".to_vec()));
    assert_eq!(agent.exec("kill -SEGV $$").await.exit, ExecExit::Signal(11));
    assert_eq!(agent.exec("env | grep -c FSA_AGENT_TOKEN").await.stdout, b"0\n");

    let timed = ExecRequest { timeout_ms: Some(200), ..script("echo before; sleep 100") };
    let done = client::exec_to_end(agent.io().await, &agent.token, &timed, 100).await.unwrap();
    assert_eq!((done.exit, done.stdout), (ExecExit::TimedOut(true), b"before\n".to_vec()));

    std::fs::create_dir(agent.home.join("sub")).unwrap();
    let full = ExecRequest {
        cwd: Some("sub".into()),
        env: [("GREETING".into(), "hi".into())].into(),
        stdin: Some("typed".into()),
        ..script("pwd; echo $GREETING; cat")
    };
    let done = client::exec_to_end(agent.io().await, &agent.token, &full, 1000).await.unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), format!("{}/sub\nhi\ntyped", agent.home.display()));

    let missing = ExecRequest { command: vec!["no-such-program".into()], ..ExecRequest::default() };
    let refused = client::exec_to_end(agent.io().await, &agent.token, &missing, 0).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { status, body } if *status == 400 && body.code == "cannot-start"),
        "{refused}"
    );
}

#[tokio::test]
async fn exec_gives_all_output_and_waits_for_no_background() {
    let agent = Agent::start();
    let done = agent.exec("sleep 100 & head -c 3000000 /dev/zero; sha256sum </dev/null >&2").await;
    assert_eq!((done.stdout.len(), done.exit), (3_000_000, ExecExit::Code(0)));
    assert_eq!(done.stderr.len(), 68);

    // Nor for one that writes on and on.
    let writes = "while :; do echo x; sleep 0.1; done & echo ok";
    let done = timeout(Duration::from_secs(20), agent.exec(writes)).await.expect("it ends although something still writes");
    assert_eq!(done.exit, ExecExit::Code(0));
    assert!(String::from_utf8(done.stdout).unwrap().lines().any(|line| line == "ok"));
}

/// Runs a script that leaves a folder to shells.
async fn leave(agent: &Agent, text: &str, folder: &str) -> Result<client::Finished, ClientError> {
    let ask = ExecRequest { shells_in: Some(folder.into()), ..script(text) };
    client::exec_to_end(agent.io().await, &agent.token, &ask, 100).await
}

/// Where the shell of a session is.
async fn shell_in(agent: &Agent, name: &str) -> Option<String> {
    let sessions = client::sessions(agent.io().await, &agent.token).await.unwrap();
    sessions.into_iter().find(|session| session.name == name && session.exited.is_none())?.cwd
}

#[tokio::test]
async fn shells_start_in_the_folder_that_a_command_leaves_to_them() {
    let agent = Agent::start();
    let home = agent.home.canonicalize().unwrap();
    let at = |folder: &str| Some(home.join(folder).display().to_string());
    let begun = home.display().to_string();
    eventually("the first shell", DEADLINE, async || shell_in(&agent, "main").await.as_ref() == Some(&begun)).await;
    assert_eq!(leave(&agent, "mkdir boats; exit 3", "boats").await.unwrap().exit, ExecExit::Code(3));
    assert_eq!(shell_in(&agent, "main").await.as_ref(), Some(&begun), "that did not go well");
    assert_eq!(leave(&agent, "true", "boats").await.unwrap().exit, ExecExit::Code(0));
    eventually("the first shell elsewhere", DEADLINE, async || shell_in(&agent, "main").await == at("boats")).await;
    assert_eq!(agent.exec("pwd -P").await.stdout, format!("{begun}\n").into_bytes(), "commands go on in the home folder");
    for outside in ["", "..", "boats/../..", "/tmp"] {
        let refused = leave(&agent, "true", outside).await.unwrap_err();
        assert!(matches!(&refused, ClientError::Refused { body, .. } if body.code == "bad-folder"), "{outside}: {refused}");
    }

    // What somebody has seen stays as it is.
    let _viewer = agent.viewer("session=main", "tab", (80, 24)).await;
    assert_eq!(leave(&agent, "mkdir kayaks", "kayaks").await.unwrap().exit, ExecExit::Code(0));
    let _other = agent.viewer("session=other", "tab", (80, 24)).await;
    assert_eq!((shell_in(&agent, "main").await, shell_in(&agent, "other").await), (at("boats"), at("kayaks")));

    let agent = Agent::start_in(agent.stop(), &[]);
    eventually("the first shell again", DEADLINE, async || shell_in(&agent, "main").await == at("kayaks")).await;
    assert_eq!(agent.exec("rmdir kayaks").await.exit, ExecExit::Code(0));
    let _third = agent.viewer("session=third", "tab", (80, 24)).await;
    assert_eq!(shell_in(&agent, "third").await.as_ref(), Some(&begun), "it is gone");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_its_command() {
    let agent = Agent::start();
    let mut events = Box::pin(client::exec(agent.io().await, &agent.token, &script("echo $$; sleep 100 | cat")).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, pid))) = events.next().await else { panic!("no output") };
    let process = format!("/proc/{}", String::from_utf8(pid.to_vec()).unwrap().trim());
    assert!(support::exists(process.as_ref()));
    drop(events);
    eventually("the command is gone", DEADLINE, async || !support::exists(process.as_ref())).await;
}

/// What a script says first, and then runs on: at its time limit, or where nobody follows it any more.
async fn begun(agent: &Agent, text: &str, limited: bool) -> String {
    let ask = ExecRequest { timeout_ms: limited.then_some(1000), ..script(text) };
    let mut events = Box::pin(client::exec(agent.io().await, &agent.token, &ask).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, said))) = events.next().await else { panic!("no output") };
    if limited {
        let exit = timeout(DEADLINE, events.next()).await.expect("there is no answer at the limit");
        assert!(matches!(exit, Some(Ok(client::ExecEvent::Exit(ExecExit::TimedOut(true))))), "{exit:?}");
    }
    String::from_utf8(said.to_vec()).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_command_that_is_over_takes_its_locks_away_first() {
    let agent = Agent::start();
    // More than a pipe holds is said on the way.
    let locked = "trap 'head -c 200000 /dev/zero; rm lock; exit 1' TERM; touch lock; echo locked; while :; do sleep 0.01; done";
    for limited in [true, false] {
        assert_eq!(begun(&agent, locked, limited).await, "locked");
        eventually("its lock is gone", DEADLINE, async || !agent.home.join("lock").exists()).await;
    }
}

#[tokio::test]
async fn a_command_that_is_over_and_does_not_end_is_killed() {
    let agent = Agent::start();
    let deaf = "trap '' TERM; echo $$; while :; do sleep 0.1; done";
    // Its shell ends, and leaves one of its group behind.
    let left = "(trap '' TERM; echo $BASHPID; exec sleep 1000) & wait";
    for text in [deaf, left] {
        for limited in [true, false] {
            let process = format!("/proc/{}", begun(&agent, text, limited).await.parse::<u32>().unwrap());
            eventually("it is killed", Duration::from_secs(10), async || !support::exists(process.as_ref())).await;
        }
    }
}
