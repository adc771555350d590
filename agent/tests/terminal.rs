//! Terminal sessions of a real agent.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sandbox_agent::{
    client,
    protocol::{
        FSA_SUBPROTOCOL,
        close::{BAD_FRAME, NO_FIRST_FRAME, RESUME_LATER},
        frame::{ClientFrame, ServerFrame, Size, Status},
    },
};
use sha2::{Digest, Sha256};
use support::{Agent, DEADLINE, eventually};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

const SIZE: (u16, u16) = (80, 24);

#[tokio::test]
async fn the_first_shell_starts_without_a_viewer() {
    let agent = Agent::start();
    let health = client::health(agent.io().await).await.unwrap();
    assert!(health.shell_started && health.status == "ok" && health.protocol == 1);
    let sessions = client::sessions(agent.io().await, &agent.token).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].name.as_str(), sessions[0].exited), ("main", None));
}

#[tokio::test]
async fn a_stock_ttyd_client_is_served_to_the_letter() {
    let agent = Agent::start();
    let mut request = format!("ws://{}/ws", agent.tty).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "tty".parse().unwrap());
    let stream = TcpStream::connect(&agent.tty).await.unwrap();
    let (mut socket, answer) = client_async(request, stream).await.unwrap();
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "tty");
    socket.send(Message::Text(r#"{"AuthToken":"c2VjcmV0IHRva2Vu","columns":91,"rows":31}"#.into())).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(b"0stty size; echo $((6*7))x\r"))).await.unwrap();

    let (mut kinds, mut output) = (Vec::new(), Vec::new());
    let take = async {
        while !(String::from_utf8_lossy(&output).contains("42x") && output.ends_with(b"$ ")) {
            let frame = socket.next().await.unwrap().unwrap().into_data();
            kinds.push(frame[0]);
            if frame[0] == b'0' {
                output.extend_from_slice(&frame[1..]);
            }
        }
    };
    timeout(DEADLINE, take).await.unwrap();
    assert_eq!(&kinds[..2], b"12", "title and preferences come first");
    assert!(String::from_utf8_lossy(&output).contains("31 91"), "{}", String::from_utf8_lossy(&output));

    // Pause holds the output back, resume lets it go; resize is heard.
    socket.send(Message::Binary(Bytes::from_static(b"2"))).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(br#"1{"columns":50,"rows":20}"#))).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(b"0stty size; touch done; exit 3\r"))).await.unwrap();
    eventually("the command ran", DEADLINE, async || agent.home.join("done").exists()).await;
    let early = timeout(Duration::from_millis(200), socket.next()).await;
    assert!(early.is_err(), "output came while paused: {early:?}");
    socket.send(Message::Binary(Bytes::from_static(b"3"))).await.unwrap();
    let mut rest = Vec::new();
    let close = loop {
        match timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Close(frame) => break frame.unwrap(),
            frame => rest.extend_from_slice(&frame.into_data()),
        }
    };
    assert!(String::from_utf8_lossy(&rest).contains("20 50"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(u16::from(close.code), 1000);
}

#[tokio::test]
async fn the_ttyd_port_wants_the_token_and_has_no_other_routes() {
    let agent = Agent::start();
    for (first, expected) in [(r#"{"columns":80,"rows":24}"#, 1008), (r#"{"AuthToken":"nope","columns":80,"rows":24}"#, 1008)] {
        let mut request = format!("ws://{}/ws", agent.tty).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", "tty".parse().unwrap());
        let (mut socket, _) = client_async(request, TcpStream::connect(&agent.tty).await.unwrap()).await.unwrap();
        socket.send(Message::Text(first.into())).await.unwrap();
        let close = loop {
            if let Message::Close(frame) = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap() {
                break frame.unwrap();
            }
        };
        assert_eq!(u16::from(close.code), expected);
    }
    let request = |path: &str| http::Request::get(path).body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let tcp = || TcpStream::connect(&agent.tty);
    for path in ["/v1/sessions", "/v1/files/", "/healthz"] {
        let answer = client::request(tcp().await.unwrap(), &agent.token, request(path)).await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    assert_eq!(client::request(tcp().await.unwrap(), &"wrong".to_owned().into(), request("/token")).await.unwrap().status(), 401);
    let token: serde_json::Value =
        client::call(tcp().await.unwrap(), &agent.token, http::Method::GET, "/token", None::<&()>).await.unwrap();
    assert_eq!(token["token"], "", "it is told to nobody: a browser comes here by an Ingress, which alone has it");
}

#[tokio::test]
async fn a_viewer_that_resumes_gets_each_byte_once() {
    let agent = Agent::start();
    let mut typist = agent.viewer("session=s", "a", SIZE).await;
    let id = typist.hello.session.clone();
    typist.type_text("for i in $(seq 20000); do echo line $i; done; echo the''end\r").await;
    drop(typist);
    let (mut pieces, mut at, mut times) = (Vec::new(), 0, 0);
    // Reconnects again and again in the middle of it.
    while !String::from_utf8_lossy(&pieces).contains("theend\r\n") {
        let mut part = agent.viewer(&format!("session=s&id={id}&offset={at}"), "b", SIZE).await;
        assert_eq!((part.hello.start, part.hello.skipped, part.hello.new_session), (at, 0, false));
        let enough = part.at + 20_000;
        part.until("a piece", |part| part.at >= enough || part.text().contains("theend\r\n")).await;
        pieces.extend_from_slice(&part.output);
        at = part.at;
        times += 1;
    }
    assert!(times > 3, "{times} connections");
    assert_eq!(pieces.len() as u64, at);
    let mut whole = agent.viewer(&format!("session=s&id={id}&offset=0"), "c", SIZE).await;
    whole.until("all", |viewer| viewer.at >= at).await;
    assert_eq!(Sha256::digest(&pieces), Sha256::digest(&whole.output[..pieces.len()]));
}

/// Whoever asks for bytes that were never written has an offset of something else: it gets what there is, from its beginning.
#[tokio::test]
async fn an_offset_past_the_end_is_none() {
    let agent = Agent::start();
    let mut first = agent.viewer("session=s", "a", SIZE).await;
    first.type_text("echo be''fore\r").await;
    first.until_text("before").await;
    let id = first.hello.session.clone();
    for (tab, offset) in [("b", first.at + 1_000_000), ("c", u64::MAX)] {
        let mut late = agent.viewer(&format!("session=s&id={id}&offset={offset}"), tab, SIZE).await;
        assert_eq!((late.hello.start, late.hello.skipped, late.hello.new_session), (0, 0, false), "{offset}");
        late.until_text("before").await;
        late.type_text(&format!("echo go''on-{tab}\r")).await;
        late.until_text(&format!("goon-{tab}")).await;
    }
    first.until_text("goon-c").await;
}

#[tokio::test]
async fn what_is_skipped_is_said_and_the_screen_is_right() {
    let agent = Agent::start();
    let size = Size { columns: 60, rows: 20 };
    let mut viewer = agent.viewer("session=s", "a", (60, 20)).await;
    let id = viewer.hello.session.clone();
    viewer
        .type_text("printf '\\e[41mred'; seq -f 'line %.0f of very many lines in all of this' 300000; printf '\\e[3;5Hhere\\e[?2004h'; echo the''end\r")
        .await;
    viewer.until("the end", |viewer| viewer.text().contains("theend\r\n")).await;
    viewer.until("a prompt", |viewer| viewer.output.ends_with(b"$ ")).await;
    assert!(viewer.at > 10 << 20, "{} bytes", viewer.at);

    let mut late = agent.viewer(&format!("session=s&id={id}&offset=100"), "b", (60, 20)).await;
    assert!(late.hello.skipped > 8 << 20, "{:?}", late.hello);
    assert_eq!(late.hello.start, late.hello.skipped + 100);
    assert!(late.hello.replay_until - late.hello.start > 1 << 20, "at least 1 MiB is replayed");
    late.until("a repaint", |viewer| viewer.events.iter().any(|event| matches!(event, ServerFrame::Repaint { .. }))).await;
    assert_eq!(late.screen(size), viewer.screen(size));
    late.type_text("echo go''on\r").await;
    late.until_text("goon").await;
    viewer.until_text("goon").await;
    assert_eq!(late.screen(size), viewer.screen(size));
}

#[tokio::test]
async fn a_viewer_in_the_middle_of_a_full_screen_program_gets_its_screen() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "a", SIZE).await;
    viewer.type_text("echo be''fore; printf '\\e[?1049h\\e[?1000h\\e[2J\\e[5;10Hfull scr''een'; sleep 100\r").await;
    viewer.until_text("full screen").await;
    // Stock clients get the picture and nothing of the bytes.
    let path = "/ws?session=s";
    let mut socket = client::websocket(agent.io().await, &agent.token, path, "tty").await.unwrap();
    socket.send(Message::Text(r#"{"columns":80,"rows":24}"#.into())).await.unwrap();
    let mut parser = vt100::Parser::default();
    let take = async {
        while !parser.screen().contents().contains("full screen") {
            let frame = socket.next().await.unwrap().unwrap().into_data();
            if frame[0] == b'0' {
                parser.process(&frame[1..]);
            }
        }
    };
    timeout(DEADLINE, take).await.unwrap();
    assert!(parser.screen().alternate_screen());
    assert_ne!(parser.screen().mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    parser.process(b"\x1b[?1049l");
    assert!(parser.screen().contents().contains("before"), "{}", parser.screen().contents());
}

#[tokio::test]
async fn two_viewers_see_the_same_and_the_last_to_type_sets_the_size() {
    let agent = Agent::start();
    let mut first = agent.viewer("session=s", "a", (100, 30)).await;
    assert!(first.hello.primary);
    first.until_text("$ ").await;
    let mut second = agent.viewer("session=s", "b", (70, 20)).await;
    assert_eq!((second.hello.primary, second.hello.columns), (false, 100));
    second.type_text("stty size\r").await;
    let told = |columns, rows| ServerFrame::Status(Status { columns: Some(columns), rows: Some(rows), primary: None });
    first.until("the new size", |viewer| viewer.events.contains(&told(70, 20))).await;
    first.until_text("20 70").await;
    second.until_text("20 70").await;
    let primary = |yes| ServerFrame::Status(Status { primary: Some(yes), ..Status::default() });
    second.until("primary", |viewer| viewer.events.contains(&primary(true))).await;
    first.until("not primary", |viewer| viewer.events.contains(&primary(false))).await;
    let same = first.at.min(second.at);
    assert_eq!(first.output[..usize::try_from(same).unwrap()], second.output[..usize::try_from(same).unwrap()]);
    drop(second);
    first.until("primary again", |viewer| viewer.events.contains(&primary(true))).await;
    first.until("its own size again", |viewer| viewer.events.contains(&told(100, 30))).await;
}

#[tokio::test]
async fn input_sent_again_after_a_reconnect_is_typed_once() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    viewer.type_text("echo x >>typed\r").await;
    viewer.until("an ack", |viewer| viewer.events.contains(&ServerFrame::InputAck(15))).await;
    let id = viewer.hello.session.clone();
    drop(viewer);
    let mut again = agent.viewer(&format!("session=s&id={id}&offset=0"), "tab", SIZE).await;
    assert_eq!(again.hello.input_ack, 15);
    again.type_text("echo x >>typed\r").await;
    again.type_text("touch done\r").await;
    eventually("the rest was typed", DEADLINE, async || agent.home.join("done").exists()).await;
    assert_eq!(std::fs::read_to_string(agent.home.join("typed")).unwrap(), "x\n");
}

#[tokio::test]
async fn another_sessions_bytes_are_never_shown() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    let id = viewer.hello.session.clone();
    viewer.type_text("echo old''one; exit 7\r").await;
    let close = viewer.until_closed().await.unwrap();
    assert_eq!(u16::from(close.code), 1000);
    assert!(
        viewer.events.iter().any(|event| matches!(event, ServerFrame::Ended(ended) if ended.code == 7)),
        "{:?}",
        viewer.events
    );

    // Named by its id, the ended session can still be read.
    let mut ended = agent.viewer(&format!("session=s&id={id}&offset=0"), "tab", SIZE).await;
    assert_eq!((ended.hello.exited, ended.hello.new_session), (Some(7), false));
    ended.until_closed().await;
    assert!(ended.text().contains("oldone"));

    let mut new = agent.viewer(&format!("session=s&id={id}&offset=5&restart=1"), "tab", SIZE).await;
    assert!(new.hello.new_session && new.hello.session != id);
    assert_eq!((new.hello.start, new.hello.input_ack, new.hello.exited), (0, 0, None));
    new.type_text("echo new''one\r").await;
    new.until_text("newone").await;
    assert!(!new.text().contains("oldone"));
}

#[tokio::test]
async fn an_ended_session_can_be_read_after_a_restart() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    let id = viewer.hello.session.clone();
    viewer.type_text("echo re''member; exit 5\r").await;
    viewer.until_closed().await;
    eventually("it is on disk", DEADLINE, async || agent.home.join(".fsa/sessions/s.json").exists()).await;
    let agent = Agent::start_in(agent.stop(), &[]);
    let mut again = agent.viewer(&format!("session=s&id={id}&offset=0"), "tab", SIZE).await;
    assert_eq!(again.hello.exited, Some(5));
    again.until_closed().await;
    assert!(again.text().contains("remember"));
    let log = client::request(
        agent.io().await,
        &agent.token,
        http::Request::get("/v1/sessions/main/log?previous=1").body(http_body_util::Empty::<Bytes>::new()).unwrap(),
    );
    assert_eq!(log.await.unwrap().status(), 200, "the main session of before is kept as well");
}

#[tokio::test]
async fn a_viewer_that_says_nothing_or_nonsense_is_sent_away() {
    let agent = Agent::start_with(&["--first-frame-ms", "200"]);
    let open = async || client::websocket(agent.io().await, &agent.token, "/ws?session=s", FSA_SUBPROTOCOL).await.unwrap();
    let closed = async |mut socket: tokio_tungstenite::WebSocketStream<tokio::net::UnixStream>| loop {
        if let Message::Close(frame) = timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    let close = closed(open().await).await;
    assert_eq!(u16::from(close.code), NO_FIRST_FRAME);
    assert!(!close.reason.is_empty());
    for garbage in [&b"9"[..], b"", b"{", b"0", b"4\x01", b"{\"columns\":\"x\"}", b"\xff\xff"] {
        let mut socket = open().await;
        socket.send(Message::Binary(Bytes::from_static(garbage))).await.unwrap();
        assert_eq!(u16::from(closed(socket).await.code), BAD_FRAME, "{garbage:?}");
    }
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    viewer.type_text("echo un''harmed\r").await;
    viewer.until_text("unharmed").await;
    viewer.socket.send(Message::Binary(Bytes::from_static(b"1{}"))).await.unwrap();
    assert_eq!(u16::from(viewer.until_closed().await.unwrap().code), BAD_FRAME);
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    viewer.until_text("unharmed").await;
    viewer.send(ClientFrame::Input { seq: 999, data: Bytes::from_static(b"x") }).await;
    assert_eq!(u16::from(viewer.until_closed().await.unwrap().code), BAD_FRAME, "a gap in the input");
}

#[tokio::test]
async fn control_c_acts_at_once_under_yes() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "tab", SIZE).await;
    viewer.until_text("$ ").await;
    viewer.type_text("yes\r").await;
    viewer.until("much of yes", |viewer| viewer.at > 4 << 20).await;
    let asked = Instant::now();
    viewer.type_text("\x03").await;
    viewer.until("a prompt", |viewer| viewer.output.ends_with(b"$ ")).await;
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stuck_viewer_holds_up_the_others_for_a_while_only() {
    let agent = Agent::start_with(&["--stuck-viewer-ms", "400"]);
    let mut stuck = agent.viewer("session=s", "a", SIZE).await;
    stuck.acks = false;
    let mut viewer = agent.viewer("session=s", "b", SIZE).await;
    let others = async {
        viewer.type_text("head -c 3000000 /dev/zero | tr '\\0' '\\n'; echo the''end\r").await;
        viewer.until_text("theend").await;
    };
    // It reads what comes, so that there is room for the reason, and says nothing of it.
    let (close, ()) = tokio::join!(stuck.until_closed(), others);
    assert_eq!(u16::from(close.unwrap().code), RESUME_LATER);
    let id = stuck.hello.session.clone();
    let mut later = agent.viewer(&format!("session=s&id={id}&offset={}", viewer.at), "a", SIZE).await;
    assert_eq!(later.hello.skipped, 0);
    later.type_text("echo a''live\r").await;
    later.until_text("alive").await;
}

#[tokio::test]
async fn with_no_viewer_a_program_runs_on() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "a", SIZE).await;
    viewer.type_text("(seq 1000000; touch done)\r").await;
    drop(viewer);
    eventually("the program ended", DEADLINE, async || agent.home.join("done").exists()).await;
}

#[tokio::test]
async fn a_shell_has_a_terminal_jobs_and_no_token() {
    let agent = Agent::start();
    let mut viewer = agent.viewer("session=s", "a", SIZE).await;
    viewer.type_text("env | grep -c SECRET -i; tty; echo $TERM $COLORTERM $LANG; pwd; sleep 50 &\r").await;
    viewer.until_text("[1] ").await;
    viewer.type_text("jobs; kill %1; fg; [ $UID = 0 ] || cat /proc/$PPID/environ; echo fi''n\r").await;
    viewer.until_text("fin").await;
    let text = viewer.text();
    assert!(
        text.contains("/dev/pts/") && text.contains("xterm-256color truecolor") && text.contains(agent.home.to_str().unwrap()),
        "{text}"
    );
    assert!(text.contains("Running"), "{text}");
    assert!(!text.contains("secret token"), "{text}");
    let id = viewer.hello.session.clone();
    let name: sandbox_agent::protocol::name::SessionName = "s".parse().unwrap();
    client::delete_session(agent.io().await, &agent.token, &name).await.unwrap();
    client::delete_session(agent.io().await, &agent.token, &name).await.unwrap();
    assert_eq!(u16::from(viewer.until_closed().await.unwrap().code), 4404);
    assert!(client::sessions(agent.io().await, &agent.token).await.unwrap().iter().all(|session| session.id != id));
}

#[tokio::test]
async fn sessions_are_limited_and_named() {
    let agent = Agent::start();
    for name in ["a%2Fb", "..", &"x".repeat(65)] {
        let refused = client::websocket(agent.io().await, &agent.token, &format!("/ws?session={name}"), FSA_SUBPROTOCOL).await;
        assert_eq!(refused.unwrap_err().status().unwrap(), 400, "{name}");
    }
    let mut held = Vec::new();
    for at in 1..32 {
        held.push(agent.viewer(&format!("session=s{at}"), "a", SIZE).await);
    }
    let mut socket = client::websocket(agent.io().await, &agent.token, "/ws?session=more", FSA_SUBPROTOCOL).await.unwrap();
    let first = sandbox_agent::protocol::frame::First { columns: 80, rows: 24, client: "a".into(), auth_token: None };
    socket.send(Message::Binary(ClientFrame::First(first).encode())).await.unwrap();
    match timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1013),
        other => panic!("{other:?}"),
    }
}
