//! Starts a keeper and gives it its configuration.

use super::{link, open, place::Places, while_others_go_on};
use crate::{
    causes,
    datafolder::folder as make_folder,
    keeper::protocol::{About, Config, Endpoint, Secret, State},
    programs::Programs,
    settings::LocalSettings,
    volume::{Volume, write_whole},
};
use anyhow::{Context as _, Result};
use engine::orchestrator::{OrchestratorError, SandboxSpec};
use secrecy::ExposeSecret as _;
use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt as _;

/// How long the first word of a keeper is waited for. It comes within 30 ms as a rule; what comes later
/// is seen by the watch.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// A log longer than this begins anew with the next keeper.
const LONGEST_LOG: u64 = 1 << 20;
/// What a keeper needs of our environment. Not one variable more: it holds credentials.
const VARIABLES: &[&str] = &["PATH", "HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "RUST_BACKTRACE"];

/// Starts the run that a spec asks for.
pub async fn start(
    settings: &LocalSettings,
    programs: &Programs,
    places: &Arc<Places>,
    spec: &SandboxSpec,
    folder: &Path,
    volume: Volume,
) -> Result<(), OrchestratorError> {
    let failed = |error: anyhow::Error| OrchestratorError::Caused(causes::start_failed(&error));
    let config = config(settings, programs, spec, folder, volume);
    // Not aside: an ask that is given up would still make the folder that the next one takes away.
    let log = while_others_go_on(|| prepare(folder, &about(&config))).map_err(failed)?;
    let stream = spawn(settings, &config, log).await.map_err(failed)?;
    open(places, spec.id, folder, &spec.volume).await;
    link::attach(places.clone(), spec.id, folder.to_owned(), stream);
    places.first_word(spec.id, Instant::now() + FIRST_WORD).await;
    // What kept it from starting is told at once.
    let refused = match places.status(spec.id) {
        Some(status) if matches!(status.state, State::Starting | State::Ended) => status.cause,
        Some(_) => None,
        None if places.present(spec.id) => None,
        None => places.seen(spec.id).cause.or_else(|| Some(causes::keeper_failed("it ended without a word: see keeper.log"))),
    };
    let Some(cause) = refused else { return Ok(()) };
    // Its keeper is about to end, and then nothing is there.
    places.gone_by(spec.id, Instant::now() + FIRST_WORD).await;
    Err(OrchestratorError::Caused(cause))
}

fn config(settings: &LocalSettings, programs: &Programs, spec: &SandboxSpec, folder: &Path, volume: Volume) -> Config {
    // A new field of the spec breaks this line, and not the sandbox.
    let SandboxSpec {
        id,
        installation,
        project,
        slug: _,
        name,
        volume: volume_name,
        desired: _,
        generation: _,
        restart_count,
        resources,
        env,
        env_revision,
        agent_token,
        database,
    } = spec;
    Config {
        installation: *installation,
        sandbox: *id,
        project: *project,
        name: name.to_string(),
        folder: folder.to_owned(),
        home: volume.home,
        uid: volume.uid,
        volume: volume_name.0.clone(),
        run: uuid::Uuid::new_v4().to_string(),
        restart_count: *restart_count,
        env_revision: *env_revision,
        resources: *resources,
        env: env.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect(),
        agent_token: Secret(agent_token.expose_secret().to_owned()),
        database: database.as_ref().map(Endpoint::from),
        agent: programs.agent.clone(),
        claude: programs.claude.clone(),
        claude_credentials: settings.claude_credentials,
        egress: settings.egress.clone(),
        network_device: settings.network_device,
        isolated: !settings.insecure_no_isolation,
        bubblewrap: settings.bubblewrap.clone(),
        keeper_command: settings.keeper_command.iter().map(Into::into).collect(),
    }
}

fn about(config: &Config) -> About {
    About { installation: config.installation, project: config.project, name: config.name.clone(), volume: config.volume.clone() }
}

/// The sandbox's folder, with whose it is, and the keeper's log.
fn prepare(folder: &Path, about: &About) -> Result<File> {
    make_folder(folder, 0o700).context("make the sandbox's folder")?;
    write_whole(&folder.join("about.json"), &serde_json::to_vec(about).context("describe the sandbox")?)
        .context("describe the sandbox")?;
    let log = File::options().append(true).create(true).mode(0o600).open(folder.join("keeper.log")).context("open keeper.log")?;
    if log.metadata().is_ok_and(|about| about.len() > LONGEST_LOG) {
        log.set_len(0).context("empty keeper.log")?;
    }
    Ok(log)
}

async fn spawn(settings: &LocalSettings, config: &Config, log: File) -> Result<tokio::net::UnixStream> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("make a pair of sockets")?;
    let (program, arguments) = settings.keeper_command.split_first().context("no keeper command")?;
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).arg(config.sandbox.to_string()).current_dir("/").env_clear().env("MALLOC_ARENA_MAX", "2");
    command.envs(VARIABLES.iter().filter_map(|key| std::env::var_os(key).map(|value| (key, value))));
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(log).process_group(0);
    // Let go of at once: the runtime reaps it if it ends before us, and it outlives us if not.
    drop(command.spawn().context("start the keeper")?);
    ours.set_nonblocking(true).context("talk to the keeper")?;
    let mut stream = tokio::net::UnixStream::from_std(ours).context("talk to the keeper")?;
    let text = serde_json::to_vec(config).context("write the configuration")?;
    let length = u32::try_from(text.len()).context("write the configuration")?;
    stream.write_all(&length.to_le_bytes()).await.context("give the keeper its configuration")?;
    stream.write_all(&text).await.context("give the keeper its configuration")?;
    Ok(stream)
}
