//! The programs that are mounted into sandboxes, at a place that every sandbox's user can reach and
//! that no new build writes over.

use crate::{datafolder::closed_parent, settings::LocalSettings, tree::unused_name};
use anyhow::{Context as _, Result, bail};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Where they are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The agent.
    pub agent: PathBuf,
    /// The folder of Claude Code.
    pub claude: Option<PathBuf>,
}

impl Programs {
    /// Puts them into the data folder where they are not reachable as they lie.
    pub fn install(settings: &LocalSettings) -> Result<Self> {
        let place = settings.data_dir.join("programs");
        let agent = &settings.agent_binary;
        let about = fs::metadata(agent).with_context(|| format!("find the sandbox agent {}", agent.display()))?;
        if !about.is_file() {
            bail!("the sandbox agent {} is not a file", agent.display());
        }
        let copy = place.join(format!("sandbox-agent-{}", stamp(&about)));
        if !copy.exists() {
            let aside = place.join(unused_name());
            fs::copy(agent, &aside).context("copy the sandbox agent")?;
            fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).context("make the sandbox agent executable")?;
            fs::rename(&aside, &copy).context("put the sandbox agent in its place")?;
        }
        let claude = match &settings.claude_dir {
            Some(folder) => {
                claude(folder, &place).with_context(|| format!("make Claude Code in {} reachable", folder.display()))?
            }
            None => None,
        };
        Ok(Self { agent: copy, claude })
    }
}

/// The folder of Claude Code, or a copy of it; `None` if it is not in there.
fn claude(folder: &Path, place: &Path) -> Result<Option<PathBuf>> {
    let Ok(about) = fs::metadata(folder.join("node_modules/@anthropic-ai/claude-code/package.json")) else { return Ok(None) };
    let root = rustix::process::geteuid().is_root();
    if !folder.join("node_modules/.bin/claude").exists() {
        return Ok(None);
    }
    if !root || closed_parent(&folder.join("node_modules")).is_none() {
        return Ok(Some(fs::canonicalize(folder)?));
    }
    let copy = place.join(format!("claude-{}", stamp(&about)));
    if !copy.exists() {
        let aside = place.join(unused_name());
        fs::create_dir(&aside)?;
        copy_tree(&folder.join("node_modules"), &aside.join("node_modules"))?;
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o755))?;
        fs::rename(&aside, &copy)?;
    }
    Ok(Some(copy))
}

/// By hard links where it can be.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if entry.metadata()?.mode() & 0o004 == 0 || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(entry.metadata()?.mode() | 0o444))?;
        }
    }
    Ok(())
}

/// Another build has another one.
fn stamp(about: &fs::Metadata) -> String {
    format!("{:x}-{:x}{:08x}", about.len(), about.mtime(), about.mtime_nsec())
}
