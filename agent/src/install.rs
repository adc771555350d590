//! Putting the agent where an image that lacks it will find it: what the init container of a pod does.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// What it is called in the folder.
pub const NAME: &str = "sandbox-agent";

/// Copies this program to `FOLDER/sandbox-agent`, mode 0755, and says where that is. The folder is made if it is
/// not there. A reader of that path sees the old file or the whole new one, and a running one keeps its own; doing
/// it twice changes nothing.
///
/// # Errors
///
/// The folder cannot be made or written to.
pub fn install(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let place = folder.join(NAME);
    let aside = folder.join(format!(".{NAME}.{}", std::process::id()));
    let put = || -> io::Result<()> {
        // Not by its path: that may be another file by now.
        let mut own = File::open("/proc/self/exe")?;
        let mut copy = File::create(&aside)?;
        io::copy(&mut own, &mut copy)?;
        // Whatever the umask is, and before it has its name.
        copy.set_permissions(Permissions::from_mode(0o755))?;
        copy.sync_all()?;
        fs::rename(&aside, &place)
    };
    put().inspect_err(|_| drop(fs::remove_file(&aside))).with_context(|| format!("write {}", place.display()))?;
    Ok(place)
}
