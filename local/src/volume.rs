//! Volumes: the home folders of projects, and the host uid that each has for as long as it lives.

use crate::{datafolder::folder, tree};
use anyhow::{Context as _, Result, bail};
use engine::orchestrator::VolumeName;
use model::{InstallationId, SandboxId};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// All volumes of a data folder.
#[derive(Debug)]
pub struct Volumes {
    folder: PathBuf,
    trash: PathBuf,
    installation: InstallationId,
    uids: Option<RangeInclusive<u32>>,
    /// Held while a uid is chosen.
    choosing: Mutex<()>,
}

/// A volume that is there.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The home folder.
    pub home: PathBuf,
    /// The host uid that its sandbox runs as; `None` where all runs as one user.
    pub uid: Option<u32>,
}

/// `volume.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Whose.
    pub installation: InstallationId,
    /// Of which sandbox.
    pub sandbox: SandboxId,
    /// The host uid that goes with it.
    pub uid: Option<u32>,
}

/// No host uid is left.
#[derive(Debug, thiserror::Error)]
#[error("all host uids of {0:?} are taken")]
pub struct NoUidLeft(RangeInclusive<u32>);

impl Volumes {
    /// `uids` are given as root; else all runs as the caller.
    pub fn new(data: &Path, installation: InstallationId, uids: RangeInclusive<u32>) -> Self {
        let uids = rustix::process::geteuid().is_root().then_some(uids);
        Self { folder: data.join("volumes"), trash: data.join("trash"), installation, uids, choosing: Mutex::new(()) }
    }

    /// Makes a volume, or finds it. The home folder belongs to its uid and nobody else may enter.
    pub fn ensure(&self, name: &VolumeName, sandbox: SandboxId) -> Result<Volume> {
        let place = self.place(name)?;
        let _choosing = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        folder(&place, 0o711).context("make the volume's folder")?;
        let home = place.join("home");
        let about = match self.about(name)? {
            Some(about) if about.installation == self.installation => about,
            Some(about) => bail!("the volume {} belongs to installation {}", name.0, about.installation),
            None => {
                let about = About { installation: self.installation, sandbox, uid: self.free_uid()? };
                let text = serde_json::to_vec(&about).context("write the volume's description")?;
                write_whole(&place.join("volume.json"), &text).context("write the volume's description")?;
                about
            }
        };
        folder(&home, 0o700).context("make the home folder")?;
        if let Some(uid) = about.uid
            && fs::metadata(&home).context("look at the home folder")?.uid() != uid
        {
            tree::give(&home, uid).context("give the home folder to its user")?;
        }
        Ok(Volume { home, uid: about.uid })
    }

    /// Whether its home folder is there, whoever removed what is not. Without its description it is there too:
    /// [`Self::ensure`] writes another, and keeps the files.
    pub fn is_there(&self, name: &VolumeName) -> Result<bool> {
        match fs::metadata(self.place(name)?.join("home")) {
            Ok(about) => Ok(about.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).context("look for the home folder"),
        }
    }

    /// The first half of a removal, at once: from now on there is no such volume. The second is
    /// [`tree::remove`] of the answered name in [`Self::trash`].
    pub fn discard(&self, name: &VolumeName) -> Result<Option<String>> {
        let aside = tree::unused_name();
        match fs::rename(self.place(name)?, self.trash.join(&aside)) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("move the volume aside"),
        }
    }

    /// Where discarded volumes are.
    pub fn trash(&self) -> &Path {
        &self.trash
    }

    /// The volumes that are there.
    pub fn list(&self) -> Result<Vec<(String, About)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).context("list the volumes")? {
            let name = entry.context("list the volumes")?.file_name().to_string_lossy().into_owned();
            if let Ok(Some(about)) = self.about(&VolumeName(name.clone())) {
                found.push((name, about));
            }
        }
        Ok(found)
    }

    fn about(&self, name: &VolumeName) -> Result<Option<About>> {
        match fs::read(self.place(name)?.join("volume.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).context("read the volume's description")?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("read the volume's description"),
        }
    }

    fn place(&self, name: &VolumeName) -> Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.0.is_empty() || name.0.len() > 128 || !name.0.chars().all(plain) {
            bail!("`{}` is not the name of a volume", name.0.escape_debug());
        }
        Ok(self.folder.join(&name.0))
    }

    /// Begins at a place that the installation's id decides, so that two data folders of one machine
    /// rarely give out the same uid.
    fn free_uid(&self) -> Result<Option<u32>> {
        let Some(range) = &self.uids else { return Ok(None) };
        let taken: BTreeSet<u32> = self.list()?.into_iter().filter_map(|(_, about)| about.uid).collect();
        let size = range.end().saturating_sub(*range.start()).saturating_add(1);
        let offset = u32::try_from(self.installation.0.as_u128() % u128::from(size)).unwrap_or(0);
        (0..size)
            .map(|n| range.start() + (offset + n) % size)
            .find(|uid| !taken.contains(uid))
            .map(Some)
            .ok_or_else(|| NoUidLeft(range.clone()).into())
    }
}

/// Writes a file so that it is there as a whole or not at all, also after a crash.
pub fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    write_whole_as(path, text, None)
}

/// The same, as another user's, where one is given: a user and a group. The folder may be theirs too, so that anything may lie
/// there by now: links are replaced, never followed, and what changes hands is the file that was made here.
pub fn write_whole_as(path: &Path, text: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, fchown};
    let aside = path.with_extension("new");
    // Of a crash, or somebody's.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A new one is none that was there, and no link.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_written_through_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let [path, aside, elsewhere] = ["file.conf", "file.new", "elsewhere"].map(|name| folder.path().join(name));
        fs::write(&elsewhere, "somebody's\n").unwrap();
        let own = fs::metadata(&elsewhere).unwrap();
        let owner = Some((own.uid(), own.gid()));
        for round in ["first", "second"] {
            symlink(&elsewhere, &aside).unwrap();
            let _ = fs::remove_file(&path);
            symlink(&elsewhere, &path).unwrap();
            write_whole_as(&path, round.as_bytes(), owner).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), round);
            assert!(fs::symlink_metadata(&path).unwrap().is_file() && fs::symlink_metadata(&aside).is_err());
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "somebody's\n");
        }
        // By another name of somebody's file, neither.
        fs::hard_link(&elsewhere, &aside).unwrap();
        write_whole(&path, b"third").unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "somebody's\n");
    }
}
