//! Bodies of the routes that are not the terminal's. JSON, camelCase; times are milliseconds since 1970.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Answer of `GET /healthz`, the one route that takes no token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub status: String,
    pub version: String,
    pub protocol: u32,
    pub shell_started: bool,
    pub started_at: u64,
    /// Over the disk limit: everything but the agent stands still until something is deleted.
    #[serde(default)]
    pub disk_full: bool,
}

/// Every error of every route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A sentence for a person.
    pub error: String,
    /// For programs, kebab-case.
    pub code: String,
    /// Of a file that is not the one that was meant (`changed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
}

/// Two versions of a file, by their ETags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// What the request said; `*` for "any", and for "none" of an `If-None-Match`.
    pub expected: String,
    /// What is there. None: no such file.
    pub current: Option<String>,
}

/// One terminal session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    pub id: String,
    pub name: String,
    pub title: String,
    pub cwd: Option<String>,
    pub columns: u16,
    pub rows: u16,
    /// All bytes ever written.
    pub bytes: u64,
    /// Viewers now.
    pub attached: usize,
    pub last_output_at: u64,
    pub started_at: u64,
    /// Exit code of the shell; absent while it runs.
    pub exited: Option<i32>,
    /// Something other than the shell is in the foreground.
    #[serde(default)]
    pub busy: bool,
}

/// Body of `POST /v1/exec`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    pub command: Vec<String>,
    /// Absolute, or from the home folder, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Then its process group gets SIGTERM, and two seconds later SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// A folder within the home folder: once the command has ended with 0, shells start there, also those of later agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shells_in: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExecExit {
    Code(i32),
    Signal(i32),
    TimedOut(bool),
}

/// One line of the answer of `POST /v1/exec`. The last one is an [`ExecLine::Exit`]; an answer without it was cut off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExecLine {
    Exit {
        exit: ExecExit,
    },
    Text {
        stream: OutputStream,
        data: String,
    },
    /// Bytes that are not UTF-8. A character that is cut by two reads is put together first.
    Binary {
        stream: OutputStream,
        base64: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What is not UTF-8 in it is shown as U+FFFD; then `raw` names it.
    pub name: String,
    /// The name as it stands in an address, percent-encoded; only where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    pub kind: EntryKind,
    pub size: u64,
    pub modified_at: u64,
    /// Permission bits.
    pub mode: u32,
}

/// Answer of `GET /v1/files/…` for a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub path: String,
    /// The home folder, as programs inside name it.
    #[serde(default)]
    pub home: String,
    pub entries: Vec<Entry>,
}

/// A port somebody inside listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    pub port: u16,
    pub addresses: Vec<String>,
    #[serde(default)]
    pub process: Option<String>,
    #[serde(default)]
    pub pid: Option<i32>,
}

/// One line of `GET /v1/events`. The first ones, one of each kind, say how things stand; later ones what changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum AgentEvent {
    Ports {
        ports: Vec<Port>,
    },
    Usage(Usage),
    Sessions {
        sessions: Vec<SessionInfo>,
    },
    /// The last time somebody typed, or something was written or asked for.
    Activity {
        at: u64,
    },
    Disk {
        over: bool,
    },
    /// git asks for credentials, and waits for `POST /v1/credentials`.
    Credentials {
        ask: u64,
        protocol: String,
        host: String,
        /// Of the repository, without a slash before it.
        #[serde(default)]
        path: Option<String>,
    },
    /// Nothing new; the line shows that the agent is there.
    Keepalive,
    /// A kind this version does not know.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// 100 is one whole CPU.
    pub cpu_percent: f64,
    pub memory_bytes: u64,
    /// Absent until it was measured.
    pub disk_bytes: Option<u64>,
    pub disk_limit_bytes: Option<u64>,
    pub processes: u32,
    /// When the kernel last killed a process for want of memory, in milliseconds since 1970; absent where that never
    /// happened or cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed_at: Option<u64>,
}

/// Body of `POST /v1/credentials`: the answer to one ask; none, where there is no name and password in it. Has no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialAnswer {
    pub ask: u64,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
}

/// Body of `POST /v1/shutdown`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownRequest {
    #[serde(default)]
    pub grace_ms: Option<u64>,
}
