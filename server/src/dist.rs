//! One file with everything: the program, and behind it the site and the agent.
//!
//! ```text
//!   fullstack-agent  ELF … │ entry │ entry │ … │ SHA-256 of the entries │ their length │ MAGIC
//!                            entry: path length (u32), path, content length (u64), content
//! ```
//!
//! Linux runs an ELF file whatever stands behind it. What is in it is written into the data folder once, under
//! its hash, since it is served and mounted as files. Numbers are little-endian.

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

const MAGIC: &[u8; 16] = b"fsa-dist-1\0\0\0\0\0\n";
/// Hash, length, magic.
const TRAILER_BYTES: u64 = 32 + 8 + 16;
/// The longest path in it; what claims more is no entry.
const MOST_PATH_BYTES: u32 = 4096;

/// Where what was in the file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The site folder.
    pub site: PathBuf,
    /// The sandbox agent.
    pub agent: PathBuf,
}

/// What stands behind the trailer's numbers.
struct Trailer {
    hash: [u8; 32],
    begin: u64,
    length: u64,
}

/// Writes this very program, with the site and the agent behind it, to `to`.
///
/// # Errors
/// A file that cannot be read or written, by name.
pub fn pack_own(site: &Path, agent: &Path, to: &Path) -> Result<()> {
    pack(Path::new(OWN), site, agent, to)
}

/// Writes `program` with the site and the agent behind it to `to`, in place of what is there.
///
/// # Errors
/// A file that cannot be read or written, by name.
pub fn pack(program: &Path, site: &Path, agent: &Path, to: &Path) -> Result<()> {
    let mut entries = Vec::new();
    add(&mut entries, "agent/sandbox-agent", agent)?;
    for path in files(site)? {
        let below = path.strip_prefix(site).context("name a file of the site")?;
        let name = below.to_str().with_context(|| format!("{} is not UTF-8", below.display()))?;
        add(&mut entries, &format!("site/{name}"), &path)?;
    }
    let mut whole = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    if let Some(inside) = trailer(&mut File::open(program)?)? {
        // Packed again: what was in it goes.
        whole.truncate(usize::try_from(inside.begin)?);
    }
    let fresh = to.with_extension("new");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&fresh);
    let mut file = BufWriter::new(file.with_context(|| format!("write {}", fresh.display()))?);
    file.write_all(&whole)?;
    file.write_all(&entries)?;
    file.write_all(&Sha256::digest(&entries))?;
    file.write_all(&(entries.len() as u64).to_le_bytes())?;
    file.write_all(MAGIC)?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, to).with_context(|| format!("put {} in place", to.display()))
}

fn add(entries: &mut Vec<u8>, name: &str, path: &Path) -> Result<()> {
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    entries.extend(u32::try_from(name.len())?.to_le_bytes());
    entries.extend(name.as_bytes());
    entries.extend((content.len() as u64).to_le_bytes());
    entries.extend(content);
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// The file that runs, also where its name has another content by now.
const OWN: &str = "/proc/self/exe";

/// Whether this very program carries a site and an agent.
///
/// # Errors
/// Its file cannot be read, or is damaged.
pub fn carries() -> Result<bool> {
    let mut file = File::open(OWN).context("open the program's own file")?;
    Ok(trailer(&mut file)?.is_some())
}

/// What this very program carries, in `data_dir`: written where it is not there yet. `None` where it carries nothing.
/// What an older version left is removed.
///
/// # Errors
/// The file is damaged, or the folder cannot be written.
pub fn unpacked(data_dir: &Path) -> Result<Option<Unpacked>> {
    unpack(Path::new(OWN), &data_dir.join("dist"))
}

fn unpack(program: &Path, into: &Path) -> Result<Option<Unpacked>> {
    let mut file = File::open(program).with_context(|| format!("open {}", program.display()))?;
    let Some(Trailer { hash, begin, length }) = trailer(&mut file)? else { return Ok(None) };
    let name = hex::encode(&hash[..8]);
    let place = into.join(&name);
    if !place.is_dir() {
        file.seek(SeekFrom::Start(begin))?;
        let mut entries = Vec::new();
        file.take(length).read_to_end(&mut entries)?;
        ensure!(
            Sha256::digest(&entries)[..] == hash[..],
            "{} is damaged: what it carries is not what was packed. Copy it again.",
            program.display()
        );
        let fresh = into.join(format!(".{name}-{}", std::process::id()));
        let written = write_all(&entries, &fresh).with_context(|| format!("unpack into {}", into.display()));
        // Another process of this version may have been first.
        let placed = written.and_then(|()| match fs::rename(&fresh, &place) {
            Err(error) if !place.is_dir() => Err(error).with_context(|| format!("put {} in place", place.display())),
            _ => Ok(()),
        });
        let _ = fs::remove_dir_all(&fresh);
        placed?;
    }
    for old in fs::read_dir(into)?.flatten().filter(|entry| entry.file_name() != name.as_str()) {
        let _ = fs::remove_dir_all(old.path());
    }
    Ok(Some(Unpacked { site: place.join("site"), agent: place.join("agent/sandbox-agent") }))
}

fn trailer(file: &mut File) -> Result<Option<Trailer>> {
    let size = file.metadata()?.len();
    let Some(at) = size.checked_sub(TRAILER_BYTES) else { return Ok(None) };
    file.seek(SeekFrom::Start(at))?;
    let (mut hash, mut length, mut magic) = ([0; 32], [0; 8], [0; 16]);
    for part in [&mut hash[..], &mut length[..], &mut magic[..]] {
        file.read_exact(part)?;
    }
    if magic != *MAGIC {
        return Ok(None);
    }
    let length = u64::from_le_bytes(length);
    let Some(begin) = at.checked_sub(length) else { bail!("the program's file is damaged: copy it again") };
    Ok(Some(Trailer { hash, begin, length }))
}

/// Nobody but whoever runs the server writes here; sandboxes' users read the agent.
fn write_all(mut entries: &[u8], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    while !entries.is_empty() {
        let length = u32::from_le_bytes(*take(&mut entries)?);
        ensure!(length <= MOST_PATH_BYTES, "a path is too long");
        let name = std::str::from_utf8(bytes(&mut entries, u64::from(length))?)?;
        let length = u64::from_le_bytes(*take(&mut entries)?);
        let content = bytes(&mut entries, length)?;
        let below = Path::new(name);
        ensure!(below.components().all(|part| matches!(part, Component::Normal(_))), "{name} leads out of the folder");
        let path = to.join(below);
        fs::create_dir_all(path.parent().unwrap_or(to))?;
        let mode = if name.starts_with("agent/") { 0o755 } else { 0o644 };
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn take<'a, const N: usize>(entries: &mut &'a [u8]) -> Result<&'a [u8; N]> {
    let (first, rest) = entries.split_first_chunk().context("an entry breaks off")?;
    *entries = rest;
    Ok(first)
}

fn bytes<'a>(entries: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let (first, rest) = entries.split_at_checked(usize::try_from(length)?).context("an entry breaks off")?;
    *entries = rest;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("site/pkg")).unwrap();
        fs::write(at("site/manifest.json"), "{}").unwrap();
        fs::write(at("site/pkg/a.css"), "a{}").unwrap();
        fs::write(at("agent"), "agent").unwrap();
        fs::write(at("program"), "ELF").unwrap();
        let packed = at("packed");
        pack(&at("program"), &at("site"), &at("agent"), &packed).unwrap();
        (folder, packed)
    }

    #[test]
    fn what_goes_in_comes_out_once() {
        let (folder, packed) = parts();
        assert_eq!(fs::read(&packed).unwrap()[..3], *b"ELF");
        let into = folder.path().join("data/dist");
        let first = unpack(&packed, &into).unwrap().unwrap();
        assert_eq!(fs::read(first.site.join("pkg/a.css")).unwrap(), b"a{}");
        assert_eq!(fs::metadata(&first.agent).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(first.site.join("mark"), "").unwrap();
        assert_eq!(unpack(&packed, &into).unwrap().unwrap(), first);
        assert!(first.site.join("mark").exists(), "it is not written again");
        // Another version takes its place.
        fs::write(folder.path().join("agent"), "newer").unwrap();
        pack(&packed, &folder.path().join("site"), &folder.path().join("agent"), &packed).unwrap();
        let second = unpack(&packed, &into).unwrap().unwrap();
        assert!(second != first && !first.site.exists() && fs::read_dir(&into).unwrap().count() == 1);
        assert_eq!(fs::read(second.agent).unwrap(), b"newer");
    }

    #[test]
    fn a_damaged_file_says_so_and_another_carries_nothing() {
        let (folder, packed) = parts();
        let into = folder.path().join("dist");
        assert_eq!(unpack(&folder.path().join("program"), &into).unwrap(), None);
        let mut bytes = fs::read(&packed).unwrap();
        bytes[10] ^= 1;
        fs::write(&packed, &bytes).unwrap();
        let error = unpack(&packed, &into).unwrap_err().to_string();
        assert!(error.contains("Copy it again") && !into.exists(), "{error}");
        bytes.drain(..20);
        fs::write(&packed, &bytes).unwrap();
        assert!(unpack(&packed, &into).is_err());
    }

    #[test]
    fn nothing_is_written_outside() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "/x", "a/../../x"] {
            let mut entries = u32::try_from(name.len()).unwrap().to_le_bytes().to_vec();
            entries.extend(name.as_bytes());
            entries.extend(1u64.to_le_bytes());
            entries.push(b'x');
            assert!(write_all(&entries, &folder.path().join("to")).is_err(), "{name}");
        }
        assert!(!folder.path().join("x").exists());
        assert!(write_all(&[5, 0, 0, 0, b'a'], &folder.path().join("cut")).is_err());
    }
}
