//! What the operator decides about sandboxes on this machine.

use crate::keeper::egress::EgressRule;
use model::InstallationId;
use std::{ffi::OsString, ops::RangeInclusive, path::PathBuf};

/// The usual name of bubblewrap's program.
pub const BUBBLEWRAP: &str = "bwrap";

/// Everything that [`crate::LocalOrchestrator`] needs to be told.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The data folder (see [`crate::datafolder`]), which exists and is ours.
    pub data_dir: PathBuf,
    /// On everything that is made; what carries another is never touched.
    pub installation: InstallationId,
    /// Run by root: each volume, and with it its sandbox, gets a host uid of its own out of these.
    pub uid_range: RangeInclusive<u32>,
    /// The `sandbox-agent` program. Copied into the data folder, so that a new build disturbs nothing.
    pub agent_binary: PathBuf,
    /// The folder that holds `node_modules/@anthropic-ai/claude-code`; mounted read-only.
    pub claude_dir: Option<PathBuf>,
    /// Ways out beside the public internet: `--egress-allow`, and what [`crate::operator::map_env`] adds.
    pub egress: Vec<EgressRule>,
    /// Whether the operator gave credentials for Claude Code, for the hint in a new sandbox.
    pub claude_credentials: bool,
    /// Give sandboxes a network device where one can be had. Without, they get an HTTP proxy.
    pub network_device: bool,
    /// `--insecure-no-isolation`: go on without namespaces where the machine refuses them. Where it gives them, sandboxes are
    /// isolated all the same.
    pub insecure_no_isolation: bool,
    /// The program that makes namespaces: a name on the `PATH`, or a path.
    pub bubblewrap: PathBuf,
    /// What starts a keeper: a program and its first arguments, after which [`crate::keeper::run`]
    /// gets the rest. `fullstack-agent keeper`.
    pub keeper_command: Vec<OsString>,
}

impl LocalSettings {
    /// The usual settings: this very program with the argument `keeper`, no way out but the internet.
    #[must_use]
    pub fn new(data_dir: PathBuf, installation: InstallationId, agent_binary: PathBuf) -> Self {
        let own = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        Self {
            data_dir,
            installation,
            uid_range: DEFAULT_UID_RANGE,
            agent_binary,
            claude_dir: None,
            egress: Vec::new(),
            claude_credentials: false,
            network_device: true,
            insecure_no_isolation: false,
            bubblewrap: BUBBLEWRAP.into(),
            keeper_command: vec![own.into_os_string(), "keeper".into()],
        }
    }
}

/// Above what distributions give to people (from 1000), services (to 65534) and, by default, to
/// `/etc/subuid` (100000–165535 for the first user).
pub const DEFAULT_UID_RANGE: RangeInclusive<u32> = 200_000..=209_999;
