//! Many connections to a real agent in one.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use sandbox_agent::{
    client::{self, Tunnel, tunnel},
    protocol::http::{ExecExit, ExecRequest},
};
use support::{Agent, DEADLINE, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex, split},
    net::TcpListener,
    time::timeout,
};

/// More than any window, and than what the kernel keeps of a connection.
const MUCH: usize = 16 << 20;

async fn open(agent: &Agent) -> Tunnel {
    tunnel(agent.io().await, &agent.token).await.unwrap()
}

/// A port inside, by the tunnel.
async fn forward(agent: &Agent, tunnel: &Tunnel, port: u16) -> client::Forwarded {
    client::forward(tunnel.open().await.unwrap(), &agent.token, port).await.unwrap()
}

#[tokio::test]
async fn one_connection_carries_a_hundred_at_once() {
    let agent = Agent::start();
    let tunnel = open(&agent).await;
    let one = async |number: usize| {
        let ask = ExecRequest { command: vec!["echo".into(), number.to_string()], ..ExecRequest::default() };
        let io = tunnel.open().await.unwrap();
        let done = client::exec_to_end(io, &agent.token, &ask, 100).await.unwrap();
        assert_eq!((done.exit, done.stdout), (ExecExit::Code(0), format!("{number}\n").into_bytes()));
    };
    timeout(DEADLINE, join_all((0..100).map(one))).await.expect("all of them end");

    // And many more that are there and say nothing.
    let silent = timeout(DEADLINE, join_all((0..500).map(|_| tunnel.open()))).await.unwrap();
    assert!(silent.iter().all(Result::is_ok));
    client::health(tunnel.open().await.unwrap()).await.unwrap();
    drop(silent);
    assert!(!tunnel.is_broken());
    client::health(tunnel.open().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn it_takes_the_token_and_what_it_carries_takes_it_too() {
    let agent = Agent::start();
    let wrong = "wrong".to_owned().into();
    let refused = tunnel(agent.io().await, &wrong).await.err().unwrap();
    assert_eq!(refused.status(), Some(StatusCode::UNAUTHORIZED), "{refused}");
    let plain = Request::get("/v1/tunnel").body(Full::<Bytes>::default()).unwrap();
    let answer = client::request(agent.io().await, &agent.token, plain).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);

    let tunnel = open(&agent).await;
    let refused = client::sessions(tunnel.open().await.unwrap(), &wrong).await.err().unwrap();
    assert_eq!(refused.status(), Some(StatusCode::UNAUTHORIZED), "{refused}");
    assert!(!client::sessions(tunnel.open().await.unwrap(), &agent.token).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_one_side_has_ended_goes_on_the_other_way() {
    let agent = Agent::start();
    let tunnel = open(&agent).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Answers when all was said.
    let inside = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
        drop(stream);
        // Has said all, and hears what comes.
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"that was all").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let outside = async {
        let mut stream = forward(&agent, &tunnel, port).await;
        stream.write_all(b"\0hello\xff").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"\0hello\xff");

        let mut stream = forward(&agent, &tunnel, port).await;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"that was all");
        stream.write_all(&vec![7; MUCH]).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let (heard, ()) = timeout(DEADLINE, async { tokio::join!(inside, outside) }).await.unwrap();
    assert!(heard.len() == MUCH && heard.iter().all(|byte| *byte == 7), "{} bytes", heard.len());
}

#[tokio::test]
async fn nobody_waits_for_one_that_is_slow() {
    let agent = Agent::start();
    let tunnel = open(&agent).await;
    // Nobody takes what is said to this one,
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let to_deaf = deaf.local_addr().unwrap().port();
    let mut filled = forward(&agent, &tunnel, to_deaf).await;
    let (_deaf, _) = deaf.accept().await.unwrap();
    let chunk = vec![0; 64 << 10];
    let mut said = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), filled.write(&chunk)).await {
        said += written.unwrap();
        assert!(said < 4 * MUCH, "it is never full");
    }
    // and nobody here takes what is said by that one.
    let loud = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let to_loud = loud.local_addr().unwrap().port();
    let mut unread = forward(&agent, &tunnel, to_loud).await;
    let (mut speaker, _) = loud.accept().await.unwrap();
    let spoken = tokio::spawn(async move {
        speaker.write_all(&vec![1; MUCH]).await.unwrap();
        speaker
    });

    // Others go on, in both directions at once.
    let echo = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let to_echo = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = echo.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let (mut read, mut write) = split(forward(&agent, &tunnel, to_echo).await);
    let says = async {
        write.write_all(&vec![2; MUCH]).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let hears = async {
        let mut back = Vec::new();
        read.read_to_end(&mut back).await.unwrap();
        back
    };
    let ((), back) = timeout(DEADLINE, async { tokio::join!(says, hears) }).await.expect("it is not held up");
    assert!(back.len() == MUCH && back.iter().all(|byte| *byte == 2), "{} bytes", back.len());
    timeout(DEADLINE, async { client::health(tunnel.open().await.unwrap()).await.unwrap() }).await.unwrap();

    // The slow one gets all of it, once it reads.
    let mut all = vec![0; MUCH];
    timeout(DEADLINE, unread.read_exact(&mut all)).await.unwrap().unwrap();
    assert!(all.iter().all(|byte| *byte == 1));
    drop(timeout(DEADLINE, spoken).await.unwrap().unwrap());
}

#[tokio::test]
async fn what_is_given_up_ends_inside_too() {
    let agent = Agent::start();
    let tunnel = open(&agent).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let given_up = forward(&agent, &tunnel, port).await;
    let (mut inside, _) = listener.accept().await.unwrap();
    drop(given_up);
    assert_eq!(timeout(DEADLINE, inside.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    client::health(tunnel.open().await.unwrap()).await.unwrap();

    // With the tunnel ends what it carries, and with the agent the tunnel.
    let _carried = forward(&agent, &tunnel, port).await;
    let _folder = agent.stop();
    eventually("the tunnel is broken", DEADLINE, async || tunnel.is_broken()).await;
    let broken = timeout(DEADLINE, tunnel.open()).await.unwrap().err().unwrap();
    assert!(broken.status().is_none(), "{broken}");
}

#[tokio::test]
async fn what_was_given_up_unsent_does_not_keep_the_connection() {
    let agent = Agent::start();
    let (ours, mut theirs) = duplex(1 << 16);
    let mut io = agent.io().await;
    let connection = tokio::spawn(async move { copy_bidirectional(&mut theirs, &mut io).await });
    let tunnel = tunnel(ours, &agent.token).await.unwrap();
    let deaf = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut given_up = forward(&agent, &tunnel, deaf.local_addr().unwrap().port()).await;
    let (_deaf, _) = deaf.accept().await.unwrap();
    let chunk = vec![0; 64 << 10];
    let mut said = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), given_up.write(&chunk)).await {
        said += written.unwrap();
        assert!(said < 4 * MUCH, "it is never full");
    }
    drop(given_up);
    drop(tunnel);
    let _ = timeout(DEADLINE, connection).await.expect("it ends").unwrap();
}
