//! What the command line says.

use std::{
    io,
    net::SocketAddr,
    os::fd::RawFd,
    path::{Component, Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::credentials::{SOCKET_VARIABLE, socket};

/// The variable that may carry the token. Nothing that the agent starts sees it.
pub const TOKEN_VARIABLE: &str = "FSA_AGENT_TOKEN";

/// The file of the state folder that names the folder in which shells start.
const SHELLS_IN: &str = "shells-in";

/// The agent's settings, one field a flag.
#[derive(Debug, Clone)]
pub struct Config {
    /// `--listen-fd`: a listening Unix socket that was inherited.
    pub listen_fd: Option<RawFd>,
    /// `--listen`: all routes over TCP.
    pub listen: Option<SocketAddr>,
    /// `--tty-listen`: ttyd over TCP, and nothing else.
    pub tty_listen: Option<SocketAddr>,
    /// `--home`: where shells start, unless a command leaves another folder to them, and what `/v1/files` shows.
    pub home: PathBuf,
    /// `--shell`, `/bin/bash` if not said.
    pub shell: PathBuf,
    /// `--disk-limit-bytes`: past it everything but the agent stands still.
    pub disk_limit_bytes: Option<u64>,
    /// `--state-dir`: the last output of sessions; `HOME/.fsa` if not said.
    pub state_dir: PathBuf,
    /// `--first-frame-ms`: how long a viewer may wait before its first frame.
    pub first_frame: Duration,
    /// `--stuck-viewer-ms`: how long a viewer may hold up the others.
    pub stuck_viewer: Duration,
    /// `--own-port`: listened on inside by whoever runs the sandbox, and no preview; may be said several times.
    pub own: Vec<u16>,
    /// `--disk-every-ms`: how often the home folder is measured.
    pub disk_every: Duration,
}

/// How to use it, for `--help` and mistakes.
pub const USAGE: &str = "usage: sandbox-agent --home DIR [--listen-fd N] [--listen ADDR:PORT] [--tty-listen ADDR:PORT]
    [--token-fd N | --token-file PATH] [--shell PATH] [--disk-limit-bytes N] [--state-dir DIR]
    [--own-port N]... [--first-frame-ms N] [--stuck-viewer-ms N] [--disk-every-ms N]
       sandbox-agent install DIR
The token comes from a descriptor, a file, or the variable FSA_AGENT_TOKEN. `install` copies this program to DIR/sandbox-agent, and
puts a passwd and a group file beside it that name user 1000.";

/// Where the token is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    Descriptor(RawFd),
    File(PathBuf),
    Environment,
}

impl Config {
    /// # Errors
    /// A sentence that names the argument.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<(Self, TokenSource), String> {
        let mut config = Self {
            listen_fd: None,
            listen: None,
            tty_listen: None,
            home: PathBuf::new(),
            shell: "/bin/bash".into(),
            disk_limit_bytes: None,
            state_dir: PathBuf::new(),
            first_frame: Duration::from_secs(10),
            stuck_viewer: Duration::from_secs(10),
            own: Vec::new(),
            disk_every: Duration::from_secs(10),
        };
        let mut token = TokenSource::Environment;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (argument, arguments.next()),
            };
            let value = value.ok_or_else(|| format!("{flag} wants a value"))?;
            match flag.as_str() {
                "--listen-fd" => config.listen_fd = Some(parsed(&flag, &value)?),
                "--listen" => config.listen = Some(parsed(&flag, &value)?),
                "--tty-listen" => config.tty_listen = Some(parsed(&flag, &value)?),
                "--token-fd" => token = TokenSource::Descriptor(parsed(&flag, &value)?),
                "--token-file" => token = TokenSource::File(value.into()),
                "--home" => config.home = value.into(),
                "--shell" => config.shell = value.into(),
                "--disk-limit-bytes" => config.disk_limit_bytes = Some(parsed(&flag, &value)?),
                "--state-dir" => config.state_dir = value.into(),
                "--own-port" => config.own.push(parsed(&flag, &value)?),
                "--first-frame-ms" => config.first_frame = Duration::from_millis(parsed(&flag, &value)?),
                "--stuck-viewer-ms" => config.stuck_viewer = Duration::from_millis(parsed(&flag, &value)?),
                "--disk-every-ms" => config.disk_every = Duration::from_millis(parsed(&flag, &value)?),
                _ => return Err(format!("there is no {flag}")),
            }
        }
        if !config.home.is_absolute() {
            return Err("--home wants an absolute folder".into());
        }
        if config.state_dir.as_os_str().is_empty() {
            config.state_dir = config.home.join(".fsa");
        }
        if config.listen_fd.is_none() && config.listen.is_none() && config.tty_listen.is_none() {
            return Err("nowhere to listen: say --listen-fd, --listen or --tty-listen".into());
        }
        Ok((config, token))
    }

    /// Where shells start: the folder that was noted for them while it is there, else the home folder.
    pub fn shells_in(&self) -> PathBuf {
        let noted = std::fs::read_to_string(self.state_dir.join(SHELLS_IN)).ok();
        let folder = noted.filter(|folder| is_within(folder)).map(|folder| self.home.join(folder));
        folder.filter(|folder| folder.is_dir()).unwrap_or_else(|| self.home.clone())
    }

    /// Notes where shells start from now on.
    ///
    /// # Errors
    /// The disk is full or the folder cannot be written.
    pub fn start_shells_in(&self, folder: &str) -> io::Result<()> {
        std::fs::write(self.state_dir.join(SHELLS_IN), folder)
    }

    /// Has git ask this program for credentials, by settings that are in no file. A path that git's shell would read
    /// otherwise is left out, and git then asks nobody.
    fn git(&self, command: &mut Command) {
        let Some(own) = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok()) else { return };
        if own.contains('\'') {
            return;
        }
        let helper = format!("!'{own}' git-credential");
        let settings = [("credential.helper", helper.as_str()), ("credential.useHttpPath", "true")];
        command.env("GIT_CONFIG_COUNT", settings.len().to_string()).env(SOCKET_VARIABLE, socket(&self.home));
        for (n, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
    }

    /// What every program inside gets on top of the agent's own environment, and what it does not get.
    pub fn environment(&self, command: &mut Command) {
        command.env_remove(TOKEN_VARIABLE).env("HOME", &self.home).env("TERM", "xterm-256color").env("COLORTERM", "truecolor");
        self.git(command);
        for (name, value) in [("LANG", "C.UTF-8"), ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")] {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
    }

    /// Ports that are the agent's own, or its keeper's.
    pub fn own_ports(&self) -> impl Iterator<Item = u16> {
        let listened = [self.listen, self.tty_listen].into_iter().flatten().map(|address| address.port());
        listened.chain(self.own.iter().copied())
    }
}

/// Whether a path names something within the folder that it is taken from.
pub fn is_within(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn parsed<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error| format!("{flag} {value}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Config, TokenSource), String> {
        Config::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_come_with_a_blank_or_an_equals_sign() {
        let (config, token) =
            parse("--home /home/agent --listen=0.0.0.0:7682 --own-port 3128 --own-port=9 --token-fd 5").unwrap();
        assert_eq!(config.own_ports().collect::<Vec<_>>(), [7682, 3128, 9]);
        assert_eq!(config.listen, Some("0.0.0.0:7682".parse().unwrap()));
        assert_eq!(config.state_dir, PathBuf::from("/home/agent/.fsa"));
        assert_eq!(token, TokenSource::Descriptor(5));
    }

    #[test]
    fn a_mistake_names_the_argument() {
        assert_eq!(parse("--home /h --lisen x").unwrap_err(), "there is no --lisen");
        assert!(parse("--home /h --listen x").unwrap_err().starts_with("--listen x"));
        assert!(parse("--home h --listen-fd 3").unwrap_err().contains("--home"));
        assert!(parse("--home /h").unwrap_err().contains("listen"));
    }
}
