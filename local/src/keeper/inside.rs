//! What is made up for the inside: its variables, its few files in `/etc`, and the first files of a
//! fresh home folder.

use super::{
    bubblewrap::{CLAUDE, HOME, OURS},
    egress::address,
    protocol::{Config, WayOut},
};
use anyhow::{Context as _, Result};
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

/// `~/.local/bin` first, so that what a user installs wins.
const PATH: &str = "/home/agent/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/fsa/bin";
/// Where distributions keep the certificates that the machine trusts, in one file.
const BUNDLES: &[&str] = &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Over this, a `~/.claude.json` is left alone.
const LARGEST_SETTINGS: u64 = 16 << 20;

/// The whole environment of the agent, and so of everything inside; later wins.
#[must_use]
pub fn environment(config: &Config, home: &str, way_out: WayOut) -> Vec<(String, String)> {
    let mut env = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        env.insert(key.to_owned(), value.to_owned());
    };
    put("LANG", "C.UTF-8");
    put("EDITOR", "nano");
    put("NPM_CONFIG_UPDATE_NOTIFIER", "false");
    put("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    put("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    put("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1");
    put("DISABLE_AUTOUPDATER", "1");
    if let Some(bundle) = BUNDLES.iter().find(|path| Path::new(path).exists()) {
        // Node and Python bring lists of their own; the machine may trust more (a company's proxy).
        for key in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"] {
            put(key, bundle);
        }
    }
    if way_out == WayOut::Proxy {
        let proxy = format!("http://127.0.0.1:{}", address::PROXY_PORT);
        for key in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            put(key, &proxy);
        }
        put("NO_PROXY", "localhost,127.0.0.1,::1");
        put("no_proxy", "localhost,127.0.0.1,::1");
        put("NODE_USE_ENV_PROXY", "1");
    }
    env.extend(config.env.clone());
    let fixed = [("HOME", home), ("USER", "agent"), ("LOGNAME", "agent"), ("SHELL", "/bin/bash"), ("TERM", "xterm-256color")];
    env.extend(fixed.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // Skips the question whether the folder is trusted: it is the user's own.
    env.insert("CLAUDE_CODE_SANDBOXED".into(), "1".into());
    if config.isolated {
        env.insert("PATH".into(), PATH.into());
    }
    env.into_iter().collect()
}

/// The files of `/etc` that are made up, and our `claude`: mode, path, text.
#[must_use]
pub fn files(config: &Config) -> Vec<(&'static str, String, String)> {
    let name = &config.name;
    let etc = [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:{HOME}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        ("group", "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n".to_owned()),
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n")),
        ("resolv.conf", format!("nameserver {}\noptions timeout:15 attempts:2\n", address::GATEWAY)),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n".to_owned(),
        ),
        ("shells", "/bin/sh\n/bin/bash\n".to_owned()),
        ("gitconfig", "[init]\n\tdefaultBranch = main\n".to_owned()),
    ];
    let mut files: Vec<_> = etc.into_iter().map(|(name, text)| ("0644", format!("/etc/{name}"), text)).collect();
    files.push(("0755", format!("{OURS}/bin/claude"), claude_command(config)));
    files
}

/// `claude`, last on the PATH: the one that is mounted, or words on how to get one. One that the user
/// installs wins.
fn claude_command(config: &Config) -> String {
    if config.claude.is_some() {
        let hint = if config.claude_credentials {
            String::new()
        } else {
            "if [ -z \"$ANTHROPIC_API_KEY$ANTHROPIC_AUTH_TOKEN$CLAUDE_CODE_OAUTH_TOKEN\" ] && [ ! -e ~/.claude/.credentials.json ]; then\n  \
             printf '%s\\n' 'Claude Code has no credentials here. Set yours in the settings of your account, or ANTHROPIC_API_KEY in the variables' \
             'of this project, and restart this sandbox; or ask the operator to put it in .secret/.env; or sign in below.' >&2\nfi\n"
                .to_owned()
        };
        return format!("#!/bin/sh\n{hint}exec {CLAUDE}/node_modules/.bin/claude \"$@\"\n");
    }
    "#!/bin/sh\nprintf '%s\\n' 'Claude Code is not installed on this machine. Install it here:' \
     '  npm install -g @anthropic-ai/claude-code' >&2\nexit 127\n"
        .to_owned()
}

/// What a fresh home folder starts with. Only written where nothing of the name is there.
const FIRST_FILES: &[(&str, &str)] = &[
    (
        ".profile",
        "# Read by login shells.\nif [ -n \"$BASH_VERSION\" ] && [ -f \"$HOME/.bashrc\" ]; then . \"$HOME/.bashrc\"; fi\n",
    ),
    (
        ".bashrc",
        "# Read by every interactive shell. Yours to change.\n\
         case $- in *i*) ;; *) return ;; esac\n\
         HISTSIZE=10000 HISTFILESIZE=20000 HISTCONTROL=ignoreboth\n\
         shopt -s histappend checkwinsize\n\
         PS1='\\[\\e[32m\\]\\w\\[\\e[0m\\] \\$ '\n\
         alias ls='ls --color=auto' ll='ls -l' la='ls -lA' grep='grep --color=auto'\n",
    ),
    (".npmrc", "# npm install -g goes here, since /usr cannot be written to.\nprefix=${HOME}/.local\n"),
];

/// Puts the first files into a home folder, and into `~/.claude.json` what lets Claude Code start
/// without a question.
///
/// The folder is the user's, who may have put links anywhere in it: nothing here follows one.
pub fn prepare_home(config: &Config) -> Result<()> {
    let home = rustix::fs::open(&config.home, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context("open the home folder")?;
    let home = Home { folder: home, uid: config.uid };
    for (name, text) in FIRST_FILES {
        home.write_new(name, text.as_bytes()).with_context(|| format!("write ~/{name}"))?;
    }
    claude_settings(&home, config).context("write ~/.claude.json")
}

fn claude_settings(home: &Home, config: &Config) -> Result<()> {
    const NAME: &str = ".claude.json";
    let before = match home.read(NAME)? {
        Found::Nothing => None,
        Found::Text(text) => Some(text),
        Found::SomethingElse => return Ok(()),
    };
    // What is no object is a user's own mistake, and theirs to find.
    let mut settings = match before.as_deref().map(serde_json::from_slice::<serde_json::Value>) {
        None => serde_json::json!({}),
        Some(Ok(settings)) if settings.is_object() => settings,
        Some(_) => return Ok(()),
    };
    let unchanged = settings.clone();
    settings["hasCompletedOnboarding"] = true.into();
    if let Some(key) = config.env.get("ANTHROPIC_API_KEY") {
        let tail: String = key.chars().skip(key.chars().count().saturating_sub(20)).collect();
        approve(&mut settings, tail);
    }
    if before.is_none() || settings != unchanged {
        home.replace(NAME, &serde_json::to_vec_pretty(&settings)?)?;
    }
    Ok(())
}

/// Adds a key's tail to those that Claude Code does not ask about.
fn approve(settings: &mut serde_json::Value, tail: String) {
    let responses = &mut settings["customApiKeyResponses"];
    if responses.is_null() {
        *responses = serde_json::json!({});
    }
    let Some(responses) = responses.as_object_mut() else { return };
    match responses.entry("approved").or_insert_with(|| serde_json::json!([])).as_array_mut() {
        Some(list) if !list.iter().any(|known| *known == tail) => list.push(tail.into()),
        _ => {}
    }
}

struct Home {
    folder: OwnedFd,
    uid: Option<u32>,
}

enum Found {
    Nothing,
    Text(Vec<u8>),
    SomethingElse,
}

impl Home {
    fn open(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
        rustix::fs::openat2(&self.folder, name, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    fn read(&self, name: &str) -> Result<Found> {
        let file = match self.open(name, OFlags::RDONLY) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(Found::Nothing),
            Err(_) => return Ok(Found::SomethingElse),
        };
        let about = file.metadata()?;
        if !about.is_file() || about.len() > LARGEST_SETTINGS {
            return Ok(Found::SomethingElse);
        }
        let mut text = Vec::new();
        file.take(LARGEST_SETTINGS).read_to_end(&mut text)?;
        Ok(Found::Text(text))
    }

    fn write_new(&self, name: &str, text: &[u8]) -> Result<()> {
        match self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => self.fill(file, text),
            Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn replace(&self, name: &str, text: &[u8]) -> Result<()> {
        let aside = format!("{name}.{:08x}", rand::random::<u32>());
        self.fill(self.open(&aside, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?, text)?;
        rustix::fs::renameat(&self.folder, &aside, &self.folder, name)?;
        Ok(())
    }

    fn fill(&self, file: OwnedFd, text: &[u8]) -> Result<()> {
        if let Some(uid) = self.uid {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))?;
        }
        File::from(file).write_all(text)?;
        Ok(())
    }
}

/// A file in memory that a child inherits, read from its beginning.
pub fn memory_file(name: &str, content: &[u8]) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).context("make a file in memory")?;
    let mut file = File::from(fd);
    file.write_all(content).context("fill a file in memory")?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).context("rewind a file in memory")?;
    Ok(file.into())
}

/// Lets the next child inherit a descriptor.
pub fn inheritable(fd: BorrowedFd<'_>) -> Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).context("let a child inherit a descriptor")
}
