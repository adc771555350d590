//! Ports inside that somebody listens on: told of, forwarded, and which are not.

use super::{ask, script};
use crate::support::{Agent, DEADLINE};
use futures_util::StreamExt;
use http::Method;
use sandbox_agent::{
    client::{self, ForwardError},
    protocol::http::AgentEvent,
};
use std::{net::Ipv6Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};

#[tokio::test]
async fn ports_appear_and_go() {
    let agent = Agent::start();
    let mut events = Box::pin(client::events(agent.io().await, &agent.token).await.unwrap());
    let mut next = async || timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap();
    let mut kinds = Vec::new();
    while kinds.len() < 5 {
        kinds.push(std::mem::discriminant(&next().await));
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 5, "first of all how everything stands");

    let serve = "import socket,sys;s=socket.socket();s.bind(('127.0.0.1',0));s.listen();print(s.getsockname()[1],flush=True);sys.stdin.read()";
    let command = script(&format!("sleep 100 | python3 -c \"{serve}\""));
    let mut run = Box::pin(client::exec(agent.io().await, &agent.token, &command).await.unwrap());
    let Some(Ok(client::ExecEvent::Output(_, port))) = run.next().await else { panic!("no port") };
    let port: u16 = String::from_utf8(port.to_vec()).unwrap().trim().parse().unwrap();
    let opened = Instant::now();
    loop {
        if let AgentEvent::Ports { ports } = next().await
            && let Some(found) = ports.iter().find(|found| found.port == port)
        {
            assert_eq!((found.addresses.as_slice(), found.process.as_deref()), (&["127.0.0.1".to_owned()][..], Some("python3")));
            break;
        }
    }
    assert!(opened.elapsed() < Duration::from_secs(1), "{:?}", opened.elapsed());
    drop(run);
    loop {
        if let AgentEvent::Ports { ports } = next().await
            && ports.iter().all(|found| found.port != port)
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_forwarded_port_is_a_plain_stream() {
    let agent = Agent::start();
    for address in [(std::net::Ipv4Addr::LOCALHOST.into(), 0), (std::net::IpAddr::from(Ipv6Addr::LOCALHOST), 0)] {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let talk = async {
            let mut stream = client::forward(agent.io().await, &agent.token, port).await.unwrap();
            stream.write_all(b"\0hello\xff").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).await.unwrap();
            assert_eq!(back, b"\0hello\xff");
        };
        timeout(DEADLINE, async { tokio::join!(echo, talk) }).await.unwrap();
        drop(listener);
        let nobody = client::forward(agent.io().await, &agent.token, port).await.err().unwrap();
        assert!(matches!(nobody, ForwardError::NobodyListens(none) if none == port), "{nobody}");
    }
    for port in [0, 5432, 7681, 7682] {
        let refused = client::forward(agent.io().await, &agent.token, port).await.err().unwrap();
        assert!(matches!(refused, ForwardError::NotAllowed(_)), "{refused}");
    }
    assert_eq!(ask(&agent, Method::GET, "/v1/forward?port=80000", b"").await.0, 400);
}

#[tokio::test]
async fn ports_of_whoever_runs_the_sandbox_are_not_offered() {
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (theirs, ours) = (one.local_addr().unwrap().port(), other.local_addr().unwrap().port());
    let agent = Agent::start_with(&["--own-port", &ours.to_string()]);
    let mut events = Box::pin(client::events(agent.io().await, &agent.token).await.unwrap());
    loop {
        if let AgentEvent::Ports { ports } = timeout(DEADLINE, events.next()).await.unwrap().unwrap().unwrap() {
            let listed = |port| ports.iter().any(|found| found.port == port);
            assert!(listed(theirs) && !listed(ours), "{ports:?}");
            break;
        }
    }
}
