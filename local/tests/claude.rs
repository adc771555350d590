//! Claude Code in a sandbox, against a stand-in for the Messages API on the machine's own loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, path::PathBuf};
use support::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn claude() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/fullstack-agent/claude"));
    [std::env::var_os("FSA_CLAUDE_DIR").map(PathBuf::from), Some("/var/cache/fullstack-agent/claude".into()), home]
        .into_iter()
        .flatten()
        .find(|folder| folder.join("node_modules/.bin/claude").exists())
}

/// Answers every request as the Messages API would: "hello from the stand-in".
async fn stand_in(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&request);
        let Some(end) = text.find("\r\n\r\n") else { continue };
        let length = text[..end]
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap()))
            .unwrap_or(0);
        if request.len() >= end + 4 + length {
            break;
        }
    }
    let event = |data: serde_json::Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let body = [
        serde_json::json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
            "model": "claude-sonnet-4-5", "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        serde_json::json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        serde_json::json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello from the stand-in"}}),
        serde_json::json!({"type": "content_block_stop", "index": 0}),
        serde_json::json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 5}}),
        serde_json::json!({"type": "message_stop"}),
    ]
    .map(event)
    .concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_with_the_operators_key_through_a_loopback_address() {
    or_skip!(skip());
    let claude = claude();
    or_skip!(claude.is_none().then(|| "Claude Code is not installed on this machine".to_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(stand_in(stream));
        }
    });
    let operator = BTreeMap::from([
        ("ANTHROPIC_BASE_URL".to_owned(), url),
        ("ANTHROPIC_API_KEY".to_owned(), "sk-ant-a-key-of-more-than-twenty-characters".to_owned()),
    ]);
    let (env, egress) = local::operator::map_env(operator);
    for device in [true, false] {
        let world = World::with(|settings| {
            settings.claude_dir = claude.clone();
            settings.claude_credentials = true;
            settings.egress = egress.clone();
            settings.network_device = device;
        })
        .await;
        let mut spec = spec();
        spec.env = env.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        world.up(&spec).await;
        let said = world.sh(&spec, "claude -p 'say hi' < /dev/null").await;
        assert_eq!(said.out.trim(), "hello from the stand-in", "{said:?}\n{}", world.log(&spec));
        world.remove(&spec).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_sandbox_says_how_to_get_it() {
    or_skip!(skip());
    let world = World::new().await;
    let spec = spec();
    world.up(&spec).await;
    let said = world.sh(&spec, "claude").await;
    assert!(said.err.contains("npm install -g @anthropic-ai/claude-code"), "{said:?}");
    world.remove(&spec).await;
}

/// With a stand-in for the program: what is tested is what our command says before it.
#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_starts_and_says_how_to_get_them() {
    use std::os::unix::fs::PermissionsExt as _;
    or_skip!(skip());
    let folder = tempfile::Builder::new().prefix("fsa-claude-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let package = folder.path().join("node_modules/@anthropic-ai/claude-code");
    let bin = folder.path().join("node_modules/.bin");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(package.join("package.json"), "{}").unwrap();
    std::fs::write(bin.join("claude"), "#!/bin/sh\necho started \"$@\"\n").unwrap();
    std::fs::set_permissions(bin.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let world = World::with(|settings| settings.claude_dir = Some(folder.path().to_owned())).await;
    let mut spec = spec();
    world.up(&spec).await;
    let said = world.sh(&spec, "claude -p hi").await;
    assert!(said.err.contains("ANTHROPIC_API_KEY") && said.err.contains(".secret/.env"), "{said:?}");
    assert_eq!(said.ok(), "started -p hi\n");
    spec.env.insert("ANTHROPIC_API_KEY".into(), "sk-ant-a-key-of-more-than-twenty-characters".into());
    spec.restart_count += 1;
    world.up(&spec).await;
    assert_eq!(world.sh(&spec, "claude").await.err, "", "with a key there is nothing to say");
    world.remove(&spec).await;
}
