//! Putting the agent where an image that lacks it will find it: what the init container of a pod does.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// What it is called in the folder.
pub const NAME: &str = "sandbox-agent";
/// To be mounted over the image's own: there, uid 1000 may have no name, or another.
const PASSWD: &str = "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:1000:1000:agent:/home/agent:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n";

/// Copies this program to `FOLDER/sandbox-agent`, mode 0755, and says where that is; beside it, `passwd` and
/// `group` name the user `agent`, 1000. The folder is made if it is not there. A reader of these paths sees the old
/// file or the whole new one, and a running program keeps its own; doing it twice changes nothing.
///
/// # Errors
///
/// The folder cannot be made or written to.
pub fn install(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    put(folder, "passwd", PASSWD.as_bytes(), 0o644)?;
    put(folder, "group", GROUP.as_bytes(), 0o644)?;
    // Not by its path: that may be another file by now.
    let own = File::open("/proc/self/exe").context("open this program")?;
    put(folder, NAME, own, 0o755)
}

fn put(folder: &Path, name: &str, mut content: impl Read, mode: u32) -> anyhow::Result<PathBuf> {
    let place = folder.join(name);
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    let mut put = || -> io::Result<()> {
        let mut copy = File::create(&aside)?;
        io::copy(&mut content, &mut copy)?;
        // Whatever the umask is, and before it has its name.
        copy.set_permissions(Permissions::from_mode(mode))?;
        copy.sync_all()?;
        fs::rename(&aside, &place)
    };
    put().inspect_err(|_| drop(fs::remove_file(&aside))).with_context(|| format!("write {}", place.display()))?;
    Ok(place)
}
