//! The terminal's WebSocket, between a viewer and the sandbox's agent.

use crate::support::{
    TestApp,
    client::{hear, say},
    resident_bytes, until,
};
use futures::StreamExt as _;
use http::Method;
use model::view::Scope;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn frames_pass_both_ways_with_what_was_asked_for() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Frames").await;
    let path = format!("/api/sandbox/{project}/terminal?session=main&offset=12&id=abc");
    for protocols in ["fsa-tty.v1, tty", "tty"] {
        let mut terminal = owner.socket(&path, protocols).await.unwrap();
        say(&mut terminal, "{\"columns\":80}").await;
        assert_eq!(hear(&mut terminal).await.unwrap(), "{\"columns\":80}");
        for (key, value) in [("session", "main"), ("offset", "12"), ("id", "abc")] {
            say(&mut terminal, &format!("query {key}")).await;
            assert_eq!(hear(&mut terminal).await.unwrap(), value);
        }
        say(&mut terminal, "close 4404").await;
        assert_eq!(hear(&mut terminal).await, Err(4404), "the agent's code passes");
    }
}

#[tokio::test]
async fn a_program_is_told_by_status_and_a_browser_by_the_close_code() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let page = app.anonymous().with("origin", &format!("http://localhost:{}", app.port));
    let (project, _) = app.running(&owner, "Refused").await;
    let path = format!("/api/sandbox/{project}/terminal");
    let status = async |client: crate::support::Client, path: &str, protocols: &str| {
        client.socket(path, protocols).await.err().map(|status| status.as_u16())
    };
    assert_eq!(status(app.anonymous(), &path, "tty").await, Some(401));
    assert_eq!(status(app.token(Scope::Read).await, &path, "tty").await, Some(403));
    assert_eq!(status(app.token(Scope::Write).await, "/api/sandbox/none/terminal", "tty").await, Some(404));
    assert_eq!(status(app.token(Scope::Write).await, &format!("{path}?session=../up"), "tty").await, Some(400));
    assert_eq!(status(owner.clone(), &path, "").await, Some(400), "no subprotocol of ours");
    assert_eq!(owner.get(&path).await.code(), "websocket-wanted");

    let code = async |client: &crate::support::Client, path: &str| hear(&mut client.socket(path, "tty").await.unwrap()).await;
    assert_eq!(code(&page, &path).await, Err(4401));
    assert_eq!(code(&app.somebody_else().await, &path).await, Err(4404));
    assert_eq!(code(&owner, "/api/sandbox/none/terminal").await, Err(4404));

    owner.post(&format!("/api/sandbox/{project}/stop"), &json!({})).await;
    app.reaches(&owner, project, "Stopped").await;
    assert_eq!(code(&owner, &path).await, Err(4503));
    assert_eq!(code(&app.token(Scope::Write).await, &path).await, Err(4503), "a program too: it is no matter of who asks");
}

#[tokio::test]
async fn a_first_frame_that_never_comes_closes_it() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Silent").await;
    let mut terminal = owner.socket(&format!("/api/sandbox/{project}/terminal"), "tty").await.unwrap();
    assert_eq!(hear(&mut terminal).await, Err(4408));
}

#[tokio::test]
async fn an_agent_that_accepts_and_never_answers_is_given_up_and_followed_again() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.hang_agents(true);
    let (project, _) = app.running(&owner, "Hanging").await;
    let path = format!("/api/sandbox/{project}/terminal");
    let mut terminal = owner.socket(&path, "tty").await.unwrap();
    say(&mut terminal, "{}").await;
    assert_eq!(hear(&mut terminal).await, Err(4503));

    // What its events tell is heard once it answers.
    app.world.hang_agents(false);
    app.world.listen(3000, axum::Router::new());
    let start = Instant::now();
    while owner.get(&format!("/api/sandbox/{project}")).await.json()["ports"][0]["port"] != 3000 {
        assert!(start.elapsed() < Duration::from_secs(20), "its events are not asked for again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    app.world.hang_agents(true);
    let mut terminal = owner.socket(&path, "tty").await.unwrap();
    app.stop();
    assert_eq!(hear(&mut terminal).await, Err(1012), "nobody waits for the agent to say so");
}

#[tokio::test]
async fn what_an_agent_never_answers_is_refused_and_waited_for_by_nobody() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    app.world.hang_agents(true);
    let (project, _) = app.running(&owner, "Hanging").await;
    let of = format!("/api/sandbox/{project}");
    let (terminals, terminal, exec) = (format!("{of}/terminals"), format!("{of}/terminal/main"), format!("{of}/exec"));
    let (ask, lines) = (json!({ "command": ["true"] }), owner.with("accept", "application/x-ndjson"));
    let start = Instant::now();
    let (listed, ended, ran, followed) = tokio::join!(
        owner.get(&terminals),
        owner.ask(Method::DELETE, &terminal, None),
        owner.post(&exec, &ask),
        lines.post(&exec, &ask)
    );
    for answer in [listed, ended, ran, followed] {
        assert_eq!((answer.status.as_u16(), answer.code()), (503, "agent-silent".to_owned()), "{}", answer.text());
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

    let execs = || app.world.asked.lock().unwrap().iter().filter(|(path, _)| path == "/v1/exec").count();
    let before = execs();
    let (follower, path) = (lines.clone(), exec.clone());
    let following = tokio::spawn(async move { follower.post(&path, &json!({ "command": ["true"] })).await });
    until("it is asked", async || execs() > before).await;
    let start = Instant::now();
    app.stop();
    assert_eq!(following.await.unwrap().code(), "restarting");
    assert!(start.elapsed() < Duration::from_secs(5), "nobody waits for the agent to say so");
}

#[tokio::test]
async fn what_a_viewer_does_not_read_is_not_held_in_memory() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Flood").await;
    let mut terminal = owner.socket(&format!("/api/sandbox/{project}/terminal"), "fsa-tty.v1").await.unwrap();
    say(&mut terminal, "{}").await;
    hear(&mut terminal).await.unwrap();
    let before = resident_bytes();
    const BYTES: usize = 256 << 20;
    say(&mut terminal, &format!("flood {BYTES}")).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let held = resident_bytes().saturating_sub(before);
    assert!(held < 40 << 20, "{} MiB for a viewer that does not read", held >> 20);
    let start = Instant::now();
    let mut left = BYTES;
    while left > 0 {
        let frame = terminal.next().await.unwrap().unwrap();
        left -= frame.len();
    }
    println!("{:.0} MB/s with both ends in one thread", BYTES as f64 / 1e6 / start.elapsed().as_secs_f64());
}

#[tokio::test]
async fn the_server_says_goodbye() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Ending").await;
    let mut terminal = owner.socket(&format!("/api/sandbox/{project}/terminal"), "tty").await.unwrap();
    say(&mut terminal, "{}").await;
    hear(&mut terminal).await.unwrap();
    app.stop();
    assert_eq!(hear(&mut terminal).await, Err(1012));
}

#[tokio::test]
async fn who_can_resume_is_asked_to_where_there_is_a_shorter_way_by_now() {
    let Some(app) = TestApp::start().await else { return };
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Detour").await;
    let path = format!("/api/sandbox/{project}/terminal");
    let followed = || app.world.asked.lock().unwrap().iter().filter(|(path, _)| path.starts_with("/v1/events")).count();
    until("its agent is followed", async || followed() > 0).await;
    let before = followed();
    let open = async |protocol: &str| {
        let mut terminal = owner.socket(&path, protocol).await.unwrap();
        say(&mut terminal, "{}").await;
        assert_eq!(hear(&mut terminal).await.unwrap(), "{}");
        terminal
    };
    let (mut ours, mut ttyds) = (open("fsa-tty.v1").await, open("tty").await);
    app.world.shorter.send_replace(true);
    assert_eq!(hear(&mut ours).await, Err(4409));
    until("its agent is followed anew", async || followed() > before).await;
    let mut again = open("fsa-tty.v1").await;
    // Longer than who was led by the longer way was left.
    tokio::time::sleep(Duration::from_millis(700)).await;
    for terminal in [&mut again, &mut ttyds] {
        say(terminal, "and on").await;
        assert_eq!(hear(terminal).await.unwrap(), "and on");
    }
}

#[tokio::test]
async fn an_image_of_stock_ttyd_has_a_terminal_and_nothing_else() {
    let Some(app) = TestApp::start().await else { return };
    app.world.run_ttyd();
    let owner = app.signed_in().await;
    let (project, _) = app.running(&owner, "Plain").await;
    let path = format!("/api/sandbox/{project}/terminal");
    // As the page asks: it learns by the choice that there is nothing to resume.
    let mut terminal = owner.socket(&format!("{path}?session=main&offset=0"), "fsa-tty.v1, tty").await.unwrap();
    let heard = async |terminal: &mut crate::support::client::Socket, wanted: &str| {
        let mut all = String::new();
        while !all.contains(wanted) {
            let frame = hear(terminal).await.unwrap();
            match frame.split_at(1) {
                ("0", output) => all.push_str(output),
                ("1" | "2", _) => {}
                other => panic!("{other:?} is no frame of ttyd"),
            }
        }
    };
    say(&mut terminal, "{\"AuthToken\":\"\",\"columns\":91,\"rows\":17}").await;
    say(&mut terminal, "0echo it is $size\n").await;
    heard(&mut terminal, "it is 91x17").await;
    say(&mut terminal, "1{\"columns\":40,\"rows\":9}").await;
    say(&mut terminal, "0echo now $size; here=1\n").await;
    heard(&mut terminal, "now 40x9").await;
    // Another viewer has a shell of its own, with stock clients' protocol.
    let mut other = owner.socket(&path, "tty").await.unwrap();
    say(&mut other, "{\"AuthToken\":\"\",\"columns\":80,\"rows\":24}").await;
    say(&mut other, "0echo here is ${here:-nothing}\n").await;
    heard(&mut other, "here is nothing").await;
    say(&mut terminal, "0exit\n").await;
    assert_eq!(hear(&mut terminal).await, Err(1000), "its end is the shell's end");

    // What it does not have is said, and asked of nobody.
    let only_ours = owner.socket(&path, "fsa-tty.v1").await.err().map(|status| status.as_u16());
    assert_eq!(only_ours, Some(400));
    let sessions = owner.get(&format!("{path}s")).await;
    assert_eq!((sessions.status.as_u16(), sessions.json()), (200, json!([])));
    let refused = owner.post(&format!("/api/sandbox/{project}/exec"), &json!({ "command": ["true"] })).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "no-agent"));
    let view = owner.get(&format!("/api/sandbox/{project}")).await.json();
    assert_eq!(view["phase"], "Running", "{view}");
}
