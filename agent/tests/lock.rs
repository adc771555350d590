//! A home folder has one agent at a time: a pod that ends and its successor never both write.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    os::{fd::OwnedFd, unix::net::UnixListener},
    process::{Command, Stdio},
    sync::mpsc,
};

use support::{Agent, DEADLINE};
use tokio::time::timeout;

#[tokio::test]
async fn a_successor_serves_once_the_one_before_it_has_ended() {
    let first = Agent::start();
    // It has the lock once it answers.
    assert_eq!(first.exec("echo it").await.stdout, b"it\n");
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null", env!("CARGO_BIN_EXE_sandbox-agent"), "--listen-fd", "3"]);
    command.arg("--home").arg(&first.home).args(["--tty-listen", "127.0.0.1:0"]).env("FSA_AGENT_TOKEN", "secret token");
    command.stdin(Stdio::from(OwnedFd::from(listener))).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let second = Agent { process, folder, home: first.home.clone(), token: first.token.clone(), tty: String::new() };

    let waits = |line: String| line.starts_with("another agent serves ");
    while !waits(told.recv_timeout(DEADLINE).expect("it says that it waits")) {}
    assert_eq!(first.exec("echo the first").await.stdout, b"the first\n");
    // With the folder kept: both have their home in it.
    let _kept = first.stop();
    let answer = timeout(DEADLINE, second.exec("echo the second")).await.expect("it serves once it may");
    assert_eq!(answer.stdout, b"the second\n");
}
