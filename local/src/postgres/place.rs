//! One cluster on disk: making it, its settings, starting and stopping its server.

use super::{ADMIN, CONTROL, PORT, PostgresError, START, programs};
use crate::{
    datafolder::{open_plain, private_folder, read_plain},
    tree,
    volume::write_whole_as,
};
use anyhow::{Context as _, Result, bail};
use rustix::{fs::OFlags, process::Pid};
use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, Read as _},
    os::unix::{
        fs::{FileExt as _, MetadataExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A project's role is limited to 20: so twenty busy ones fit, and idle ones cost nothing.
const MAX_CONNECTIONS: u32 = 500;
/// Of these, for the control plane alone.
///
/// Who may have them: from PostgreSQL 16 on, the control plane's role by `reserved_connections`. Before, superusers alone, and so there
/// the control plane connects as one that takes on its role ([`super::EmbeddedPostgres::control_url`]). Its pool has 16. Who has not
/// said yet who they are takes one of these as well: of such there are few, for five seconds (`keeper::database`).
const RESERVED: u32 = 32;
/// How long processes of a server that was killed may take to notice.
const LEFTOVERS: Duration = Duration::from_secs(15);

/// A folder with a cluster in it, or to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// `DATA/postgres`.
    pub folder: PathBuf,
    /// Where initdb, pg_ctl and postgres are.
    pub programs: PathBuf,
    /// Their version.
    pub major: u32,
    /// Who the server runs as, if not as we do.
    pub user: Option<(u32, u32)>,
    /// The folder of its socket.
    pub socket: PathBuf,
}

impl Place {
    /// The programs and the user for this folder's cluster.
    pub fn find(ours: &Path, socket: Option<PathBuf>) -> Result<Self, PostgresError> {
        Self::among(&programs::find(), ours, socket)
    }

    /// The same, of these programs.
    fn among(found: &[(PathBuf, u32)], ours: &Path, socket: Option<PathBuf>) -> Result<Self, PostgresError> {
        let there = read_plain(&ours.join("data/PG_VERSION")).ok().map(|text| text.trim().to_owned());
        let chosen = match &there {
            Some(version) => found.iter().find(|(_, major)| major.to_string() == *version),
            None => found.first(),
        };
        let Some((programs, major)) = chosen else {
            let have: Vec<String> = found.iter().map(|(_, major)| major.to_string()).collect();
            return Err(match there {
                Some(there) if !have.is_empty() => {
                    PostgresError::OtherVersion { there, have: have.join(" and "), folder: ours.join("data") }
                }
                _ => PostgresError::NotFound,
            });
        };
        let user = match fs::metadata(ours.join("data")) {
            _ if !rustix::process::geteuid().is_root() => None,
            Ok(about) if about.uid() != 0 => Some((about.uid(), about.gid())),
            _ => Some(unprivileged_user()?),
        };
        Ok(Self {
            folder: ours.to_owned(),
            programs: programs.clone(),
            major: *major,
            user,
            socket: socket.unwrap_or_else(|| ours.join("run")),
        })
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of PostgreSQL, as the user that the server runs as.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin")));
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&self.folder).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes a folder that the server alone may enter.
    pub fn own_folder(&self, path: &Path) -> Result<()> {
        private_folder(path, self.user).with_context(|| {
            format!("make {} a folder of PostgreSQL's alone; remove what lies there if it is not needed", path.display())
        })
    }

    /// `initdb`, aside first: so a crash leaves no half cluster.
    pub fn make_cluster(&self, password: &str) -> Result<()> {
        let aside = self.folder.join("data.new");
        if aside.exists() {
            tree::remove(&self.folder, "data.new").context("remove a half-made cluster")?;
        }
        self.own_folder(&aside)?;
        let file = self.folder.join("log/password");
        write_whole_as(&file, password.as_bytes(), self.user).context("write the password file")?;
        let locales: &[&[&str]] = if self.major >= 17 {
            &[&["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]]
        } else {
            &[&["--locale=C.UTF-8"], &["--locale=C"]]
        };
        let mut last = String::new();
        let mut made = false;
        for locale in locales {
            let mut command = self.command("initdb");
            command.arg("-D").arg(&aside).args(["-U", ADMIN, "--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums"]);
            let output = command.arg("--pwfile").arg(&file).args(*locale).output().context("run initdb")?;
            made = output.status.success();
            if made {
                break;
            }
            last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        }
        let _ = fs::remove_file(&file);
        if !made {
            bail!("initdb failed: {last}");
        }
        fs::rename(&aside, self.data()).context("put the cluster in its place")
    }

    /// Ours, at every start, so that a new version's settings count.
    pub fn write_settings(&self) -> Result<()> {
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\\', "\\\\").replace('\'', "''"));
        let mut settings = format!(
            "# Written by fullstack-agent at every start of PostgreSQL.\n\
             listen_addresses = ''\n\
             port = {PORT}\n\
             unix_socket_directories = {}\n\
             password_encryption = 'scram-sha-256'\n\
             max_connections = {MAX_CONNECTIONS}\n\
             superuser_reserved_connections = {RESERVED}\n\
             authentication_timeout = '5s'\n\
             fsync = on\n\
             synchronous_commit = on\n\
             full_page_writes = on\n\
             jit = off\n\
             wal_level = minimal\n\
             max_wal_senders = 0\n\
             max_wal_size = 512MB\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             logging_collector = on\n\
             log_directory = {}\n\
             log_filename = 'postgresql-%a.log'\n\
             log_truncate_on_rotation = on\n\
             log_rotation_age = 1d\n\
             log_rotation_size = 0\n",
            quoted(&self.socket),
            quoted(&self.folder.join("log")),
        );
        if self.major >= 16 {
            let _ = writeln!(settings, "reserved_connections = {RESERVED}");
        }
        let access = format!(
            "# Written by fullstack-agent at every start of PostgreSQL. No line: no entry.\n\
             local all {ADMIN} scram-sha-256\n\
             local {CONTROL} {CONTROL} scram-sha-256\n\
             # A project's role is called as its database is.\n\
             local sameuser all scram-sha-256\n"
        );
        let data = self.data();
        for (name, text) in [("postgresql.conf", settings), ("pg_hba.conf", access)] {
            write_whole_as(&data.join(name), text.as_bytes(), self.user).with_context(|| format!("write {name}"))?;
        }
        Ok(())
    }

    /// Lock files of a server that is gone name a pid that may be somebody else's by now, who would be
    /// taken for it. The file itself stays: by its other lines PostgreSQL tells whether processes of the
    /// old server still hold its memory, and then refuses to start.
    pub fn clear_locks(&self) -> Result<()> {
        /// Above every pid that Linux gives out.
        const NOBODY: &str = "999999999";
        let path = self.data().join("postmaster.pid");
        let found = match open_plain(&path, OFlags::RDWR) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map(|_| (file, text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(error) => return Err(error).with_context(|| format!("open PostgreSQL's lock file, {}", path.display())),
        };
        match found.as_ref().map(|(file, text)| (file, text.split_once('\n'))) {
            // In its place: on a full disk there is no room for another file, nor to make this one anew.
            Ok((file, Some((_, rest)))) => {
                let text = format!("{NOBODY}\n{rest}");
                file.write_all_at(text.as_bytes(), 0).context("clear PostgreSQL's lock file")?;
                file.set_len(text.len() as u64).context("clear PostgreSQL's lock file")?;
            }
            // The disk was full when it was written. It tells nothing, and PostgreSQL starts beside none like it.
            Ok((_, None)) => fs::remove_file(&path).context("remove PostgreSQL's empty lock file")?,
            Err(_) => {}
        }
        let _ = fs::remove_file(self.socket.join(format!(".s.PGSQL.{PORT}.lock")));
        Ok(())
    }

    /// `pg_ctl start`, which puts the server into a session of its own and waits until it answers.
    pub fn start(&self) -> Result<(), PostgresError> {
        let log = self.folder.join("log/start.log");
        let mut command = self.command("pg_ctl");
        command.arg("start").arg("-D").arg(self.data()).arg("-l").arg(&log).args([
            "-w",
            "-s",
            "-t",
            &START.as_secs().to_string(),
        ]);
        let deadline = Instant::now() + LEFTOVERS;
        let output = loop {
            let output = command.stdout(Stdio::null()).output().context("run pg_ctl")?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline || !crate::keeper::tail(&log).contains("pre-existing shared memory block") {
                break output;
            }
            let _ = fs::remove_file(&log);
            std::thread::sleep(Duration::from_millis(100));
        };
        let tail = |path: &Path| crate::keeper::tail(path);
        let newest = fs::read_dir(self.folder.join("log"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("postgresql-"))
            .max_by_key(|entry| entry.metadata().and_then(|about| about.modified()).ok());
        let text = format!(
            "{}{}{}",
            tail(&log),
            newest.map(|entry| tail(&entry.path())).unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr)
        );
        let lines: Vec<&str> = text.lines().collect();
        Err(PostgresError::NotStarted { log: self.folder.join("log"), tail: lines[lines.len().saturating_sub(8)..].join("\n") })
    }

    pub fn stop(&self) -> Result<()> {
        if postmaster(&self.data()).is_none() {
            return Ok(());
        }
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("-D").arg(self.data()).args(["-m", "fast", "-w", "-s", "-t", "60"]);
        let output = command.stdout(Stdio::null()).output().context("run pg_ctl")?;
        if !output.status.success() && postmaster(&self.data()).is_some() {
            bail!("PostgreSQL did not stop: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Who the server runs as, where we are root. It must be in the machine's list of users: initdb asks.
fn unprivileged_user() -> Result<(u32, u32)> {
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name).context("look up a user")? {
            return Ok((user.uid.as_raw(), user.gid.as_raw()));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")
}

/// The server that runs on a cluster: the pid in `postmaster.pid`, if it is still a server's. A server's
/// working folder is its cluster, by which it is told from whoever got that pid later.
pub fn postmaster(data: &Path) -> Option<Pid> {
    let text = read_plain(&data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (folder == fs::canonicalize(data).ok()?).then(|| Pid::from_raw(pid))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_lock_file_is_cleared_in_its_place_and_an_empty_one_removed() {
        let ours = tempfile::tempdir_in("/tmp").unwrap();
        fs::create_dir(ours.path().join("data")).unwrap();
        let place = Place {
            folder: ours.path().to_owned(),
            programs: ours.path().to_owned(),
            major: 17,
            user: None,
            socket: ours.path().to_owned(),
        };
        let lock = place.data().join("postmaster.pid");
        for (was, is) in [("17\n/data\nkey 5\n", "999999999\n/data\nkey 5\n"), ("99999999990\n/data\n", "999999999\n/data\n")] {
            fs::write(&lock, was).unwrap();
            let before = fs::metadata(&lock).unwrap().ino();
            place.clear_locks().unwrap();
            assert_eq!(fs::read_to_string(&lock).unwrap(), is);
            assert_eq!(fs::metadata(&lock).unwrap().ino(), before, "it is the same file");
        }
        fs::write(&lock, "").unwrap();
        place.clear_locks().unwrap();
        assert!(!lock.exists());
        place.clear_locks().unwrap();
    }

    /// The folder is that of the user that PostgreSQL runs as, and root writes there.
    #[test]
    fn what_lies_in_postgresqls_folder_leads_nowhere_else() {
        let ours = tempfile::tempdir_in("/tmp").unwrap();
        fs::create_dir(ours.path().join("data")).unwrap();
        let own = fs::metadata(ours.path()).unwrap();
        let place = Place {
            folder: ours.path().to_owned(),
            programs: ours.path().to_owned(),
            major: 17,
            user: Some((own.uid(), own.gid())),
            socket: ours.path().to_owned(),
        };
        let elsewhere = ours.path().join("elsewhere");
        let was = "17\nsomebody's\n";
        fs::write(&elsewhere, was).unwrap();
        let data = place.data();
        for name in ["postgresql.conf", "postgresql.new", "pg_hba.conf", "pg_hba.new", "postmaster.pid", "PG_VERSION"] {
            symlink(&elsewhere, data.join(name)).unwrap();
        }
        place.write_settings().unwrap();
        for name in ["postgresql.conf", "pg_hba.conf"] {
            assert!(fs::symlink_metadata(data.join(name)).unwrap().is_file(), "{name}");
            assert!(fs::read_to_string(data.join(name)).unwrap().starts_with("# Written by fullstack-agent"), "{name}");
        }
        place.clear_locks().unwrap_err();
        assert!(postmaster(&data).is_none());
        fs::remove_file(data.join("postmaster.pid")).unwrap();
        fs::hard_link(&elsewhere, data.join("postmaster.pid")).unwrap();
        place.clear_locks().unwrap_err();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), was);
        let found = Place::among(&[(ours.path().to_owned(), 17)], ours.path(), None);
        assert_eq!(found.unwrap().major, 17, "a link is no version");
    }

    #[test]
    fn where_it_is_missing_the_line_that_installs_it_is_said() {
        let machine = tempfile::tempdir_in("/tmp").unwrap();
        let (path, ours) = (machine.path().join("bin"), machine.path().join("ours"));
        fs::create_dir_all(&path).unwrap();
        let parent = machine.path().join("lib");
        let places = [(parent.to_str().unwrap(), "")];
        let message = |ours: &Path| {
            let found = programs::find_in(path.as_os_str(), &places);
            let error = Place::among(&found, ours, None).unwrap_err();
            assert!(matches!(error, PostgresError::NotFound), "{error:?}");
            error.to_string()
        };
        for part in ["initdb, pg_ctl, postgres", "`sudo apt-get install -y postgresql`", "FSA_DATABASE_URL=postgresql://"] {
            assert!(message(&ours).contains(part), "{part} in {}", message(&ours));
        }
        // Of clients alone, or with data of an older one, it is no other message.
        let version = parent.join("15/bin");
        fs::create_dir_all(&version).unwrap();
        let program = |name: &str, says: &str| {
            fs::write(version.join(name), format!("#!/bin/sh\necho '{says}'\n")).unwrap();
            // Root finds what other users can reach.
            for reached in [machine.path(), &parent, &parent.join("15"), &version, &version.join(name)] {
                fs::set_permissions(reached, fs::Permissions::from_mode(0o755)).unwrap();
            }
        };
        program("psql", "psql (PostgreSQL) 15.14");
        fs::create_dir_all(ours.join("data")).unwrap();
        fs::write(ours.join("data/PG_VERSION"), "14\n").unwrap();
        assert!(message(&ours).contains("apt-get install -y postgresql"));
        // With a server beside it, it is found.
        for name in ["initdb", "pg_ctl", "postgres"] {
            program(name, "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)");
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let found = loop {
            let found = programs::find_in(path.as_os_str(), &places);
            // What another test starts just now may hold the new file open for writing, which then does not run.
            if !found.is_empty() || Instant::now() > deadline {
                break found;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(found, [(version, 15)]);
    }
}
