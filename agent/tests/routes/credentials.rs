//! git's question for credentials, and who answers it.

use crate::support::{Agent, DEADLINE, eventually};
use futures_util::StreamExt;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use sandbox_agent::{
    client,
    protocol::http::{AgentEvent, CredentialAnswer, ExecExit},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

#[tokio::test]
async fn git_is_given_what_the_control_plane_answers_and_nothing_else() {
    let agent = Agent::start();
    let fill =
        "printf 'protocol=https\\nhost=git.example\\npath=acme/boats.git\\n\\n' | GIT_TERMINAL_PROMPT=0 git credential fill";
    let nobody = agent.exec(fill).await;
    assert_ne!(nobody.exit, ExecExit::Code(0), "nobody follows the events, so nobody is asked");

    let mut events = std::pin::pin!(client::events(agent.io().await, &agent.token).await.unwrap());
    // How things stand comes first: from then on somebody listens.
    timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
    for password in [Some("a secret"), None] {
        let answer = async {
            loop {
                let event = timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
                if let AgentEvent::Credentials { ask, protocol, host, path } = event {
                    assert_eq!(
                        (protocol.as_str(), host.as_str(), path.as_deref()),
                        ("https", "git.example", Some("acme/boats.git"))
                    );
                    let username = password.map(|_| "x".to_owned());
                    let answer = CredentialAnswer { ask, username, password: password.map(str::to_owned) };
                    client::answer_credentials(agent.io().await, &agent.token, &answer).await.unwrap();
                    return client::answer_credentials(agent.io().await, &agent.token, &answer).await.unwrap();
                }
            }
        };
        let (done, ()) = tokio::join!(agent.exec(fill), answer);
        let text = String::from_utf8(done.stdout).unwrap();
        assert_eq!(text.contains("username=x\npassword=a secret\n"), password.is_some(), "{text}");
    }
    let found = agent.exec("git config --list --show-origin; env; grep -r 'a secret' \"$HOME\"").await;
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(text.contains("git-credential") && !text.contains("a secret"), "{text}");
}

#[tokio::test]
async fn git_is_heard_again_once_the_agent_has_descriptors_again() {
    let agent = Agent::start();
    let socket = agent.home.join(".fsa/git.sock");
    eventually("the socket", DEADLINE, async || UnixStream::connect(&socket).await.is_ok()).await;
    let pid = Pid::from_raw(i32::try_from(agent.process.id()).unwrap());
    let limit = getrlimit(Resource::Nofile);
    // Fewer than are open already: not one more is to be had.
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap();
    let mut git = UnixStream::connect(&socket).await.unwrap();
    git.write_all(b"protocol=https\nhost=git.example\n").await.unwrap();
    git.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let early = timeout(Duration::from_millis(500), git.read_to_end(&mut answer)).await;
    assert!(early.is_err(), "it is turned away: {early:?}");
    prlimit(pid, Resource::Nofile, limit).unwrap();
    // Nobody follows the events, so there is no answer, and that is said by the end.
    assert_eq!(timeout(DEADLINE, git.read_to_end(&mut answer)).await.expect("it is never heard").unwrap(), 0);
    assert!(UnixStream::connect(&socket).await.is_ok(), "nobody listens any more");
}
