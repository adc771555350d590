//! What the operator decides: flags, variables of the same names, `.secret/.env`. Read once, at start;
//! what is wrong stops it with what would be right.

pub mod github;
pub mod kubernetes;
pub mod size;

use self::{
    github::{CLIENT_SECRET, GitHubArgs, GitHubSettings},
    kubernetes::{KubernetesArgs, OrchestratorKind},
    size::Size,
};
use crate::{
    dist::Unpacked,
    http::security::{self, Network},
    views::{Addresses, PreviewDomain, PreviewPorts},
};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use local::{datafolder::DataFolder, keeper::egress::EgressRule};
use model::{StageLimits, resources::Sizes};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is read of `.secret/.env` for sandboxes. Beside it there is [`CLIENT_SECRET`], and nothing else of it.
pub const CREDENTIALS: [&str; 5] =
    ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL"];

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Where the data is: for every command.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Where everything is kept [default: /var/lib/fullstack-agent as root, else ~/.local/share/fullstack-agent]
    #[arg(long, env = "FSA_DATA_DIR", value_name = "FOLDER", global = true)]
    pub data_dir: Option<PathBuf>,
    /// The address that browsers use [default: http://localhost and the first port listened on]
    #[arg(long, env = "FSA_PUBLIC_URL", value_name = "URL", global = true)]
    pub public_url: Option<String>,
    /// How the log is written
    #[arg(long, env = "FSA_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
    /// What the log holds: error, warn, info, debug, or filters such as `info,server=debug`
    #[arg(long, env = "FSA_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub log: String,
}

impl DataArgs {
    /// The data folder.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(DataFolder::default_path)
    }
}

/// What `serve` takes.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen; may be given several times. `localhost` is 127.0.0.1 and ::1
    #[arg(long, env = "FSA_LISTEN", value_name = "HOST:PORT", value_delimiter = ',', default_value = "localhost:4000")]
    pub listen: Vec<String>,
    /// The domain under which every preview has a name of its own (PORT--NAME.DOMAIN, with a wildcard in DNS); with a port unless it is the usual one [default: localhost and the public port, on one machine]
    #[arg(long, env = "FSA_PREVIEW_DOMAIN", value_name = "DOMAIN")]
    pub preview_domain: Option<String>,
    /// Where `*.localhost` or a wildcard in DNS does not work: an address and ports to listen on, one a preview
    #[arg(long, env = "FSA_PREVIEW_LISTEN", value_name = "ADDRESS:FIRST-LAST", conflicts_with = "preview_domain")]
    pub preview_listen: Option<String>,
    /// The host by which browsers reach --preview-listen, another than the app's [default: its address]
    #[arg(long, env = "FSA_PREVIEW_HOST", value_name = "HOST", requires = "preview_listen")]
    pub preview_host: Option<String>,
    /// Proxies in front of this server whose X-Forwarded-For is believed: addresses or ranges
    #[arg(long, env = "FSA_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// The folder of `.env` with credentials for Claude Code
    #[arg(long, env = "FSA_SECRET_DIR", value_name = "FOLDER", default_value = ".secret")]
    pub secret_dir: PathBuf,
    /// A way out of sandboxes beside the public internet; may be given several times
    #[arg(long, env = "FSA_EGRESS_ALLOW", value_name = "HOST:PORT", value_delimiter = ',', visible_alias = "allow")]
    pub egress_allow: Vec<String>,
    /// Run by root: the user ids that sandboxes get
    #[arg(long, env = "FSA_UID_RANGE", value_name = "FIRST-LAST", value_parser = uid_range)]
    pub uid_range: Option<UidRange>,
    /// Go on where this machine has no bubblewrap or no user namespaces: everything in a sandbox can then do what this user can
    #[arg(long, env = "FSA_INSECURE_NO_ISOLATION")]
    pub insecure_no_isolation: bool,
    /// Leave sandboxes and PostgreSQL running on Ctrl-C, as SIGTERM always does
    #[arg(long, env = "FSA_KEEP_RUNNING")]
    pub keep_running: bool,
    /// The command that prints a new sign-in link, as pages show it [default: this program by its path, with its data folder]
    #[arg(long, env = "FSA_SIGN_IN_COMMAND", value_name = "COMMAND")]
    pub sign_in_command: Option<String>,
    /// How long each of the five stages of a start may take, in seconds
    #[arg(long, env = "FSA_STAGE_DEADLINES", value_name = "S,S,S,S,S", default_value = "60,300,30,20,60", value_parser = deadlines)]
    pub stage_deadlines: [Duration; 5],
    /// How long a stop or a termination may take, in seconds
    #[arg(long, env = "FSA_LEAVE_DEADLINE", value_name = "S", default_value = "60", value_parser = seconds)]
    pub leave_deadline: Duration,
    /// What a size stands for: CPU and memory that are reserved, and the most of both; may be given once for each of small, medium and large
    #[arg(long = "size", env = "FSA_SIZES", value_name = "NAME=CPU/MEMORY-CPU/MEMORY", value_delimiter = ',')]
    pub sizes: Vec<Size>,
    /// How many projects one user may have
    #[arg(long, env = "FSA_PROJECTS_PER_USER", value_name = "N", default_value_t = 200)]
    pub projects_per_user: usize,
    /// How many requests a second a session or token may make to the API, with four seconds' worth at once; 0: no limit
    #[arg(long, env = "FSA_REQUESTS_PER_SECOND", value_name = "N", default_value_t = 500)]
    pub requests_per_second: u32,
    /// For how many days what happened to projects is kept
    #[arg(long, env = "FSA_ACTIVITY_DAYS", value_name = "DAYS", default_value_t = 90, value_parser = days)]
    pub activity_days: u32,
    /// The folder that holds node_modules/@anthropic-ai/claude-code
    #[arg(long, env = "FSA_CLAUDE_DIR", value_name = "FOLDER")]
    pub claude_dir: Option<PathBuf>,
    /// The sandbox agent's program [default: the one in this program's file, else agent/sandbox-agent beside it]
    #[arg(long, env = "FSA_AGENT", value_name = "FILE")]
    pub agent: Option<PathBuf>,
    /// The folder of the pages' assets [default: those in this program's file, else site beside it]
    #[arg(long, env = "FSA_SITE_DIR", value_name = "FOLDER")]
    pub site_dir: Option<PathBuf>,
    /// GitHub, where it is used.
    #[command(flatten)]
    pub github: GitHubArgs,
    /// The cluster, where sandboxes are made on one.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
}

/// User ids, first and last.
pub type UidRange = RangeInclusive<u32>;

fn uid_range(text: &str) -> Result<UidRange, String> {
    let wrong = || format!("`{text}` is no range of user ids: write 200000-209999.");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last): (u32, u32) = (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
    if first < 1000 || last < first {
        return Err(format!("`{text}` is no range for sandboxes: it begins at 1000 or above, and ends after it begins."));
    }
    Ok(first..=last)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.trim().parse().map_err(|_| format!("`{text}` is no number of seconds: write 60."))?;
    if (1..=86_400).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("{seconds} s is not between 1 s and a day."))
    }
}

fn days(text: &str) -> Result<u32, String> {
    let days: i64 = text.trim().parse().map_err(|_| format!("`{text}` is no number of days: write 90."))?;
    u32::try_from(days).ok().filter(|days| (1..=3650).contains(days)).ok_or_else(|| {
        format!("{days} days is not between 1 and 3650: what happened is kept for a day at least, and for ten years at most.")
    })
}

fn deadlines(text: &str) -> Result<[Duration; 5], String> {
    let all = text.split(',').map(seconds).collect::<Result<Vec<_>, _>>()?;
    all.try_into()
        .map_err(|all: Vec<_>| format!("There are five stages, and {} numbers were given: write 60,300,30,20,60.", all.len()))
}

/// Everything, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, by what was asked: the text, and its addresses.
    pub listen: Vec<Listen>,
    /// The address of `--preview-listen`.
    pub preview_ip: Option<IpAddr>,
    /// Where browsers reach things.
    pub addresses: Addresses,
    /// The public URL, where the operator names one.
    public_given: Option<String>,
    /// Whether this is a build that is being worked on (`FSA_DEV`, set by `cargo xtask dev`): its pages
    /// load themselves again.
    pub dev: bool,
    /// The data folder.
    pub data_dir: PathBuf,
    /// How long stages may take.
    pub limits: StageLimits,
    /// What sizes stand for.
    pub sizes: Sizes,
    /// The operator's variables for every sandbox.
    pub operator_env: BTreeMap<String, SecretString>,
    /// Where they are read from, to show.
    pub credentials_file: PathBuf,
    /// Ways out.
    pub egress: Vec<EgressRule>,
    /// The sandbox agent's program.
    pub agent: PathBuf,
    /// The folder of the pages' assets.
    pub site_dir: PathBuf,
    /// Another PostgreSQL than the embedded one.
    pub database_url: Option<SecretString>,
    /// The keys of secrets at rest, where they are not in the data folder.
    pub encryption_key: Option<SecretString>,
    /// GitHub, where it is used.
    pub github: Option<GitHubSettings>,
    /// What lets a program elsewhere read metrics.
    pub metrics_token: Option<SecretString>,
    /// The rest, as it was given.
    pub args: ServeArgs,
}

/// One place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// As it was asked for.
    pub text: String,
    /// `localhost` is two.
    pub addresses: Vec<SocketAddr>,
}

impl Listen {
    /// Whether any port will do.
    #[must_use]
    pub fn any_port(&self) -> bool {
        self.addresses.iter().all(|address| address.port() == 0)
    }
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// What is wrong, and an example of right.
    pub fn read(data: &DataArgs, args: ServeArgs) -> Result<Self> {
        let listen = args.listen.iter().map(|text| listen(text)).collect::<Result<Vec<_>>>()?;
        let first = *listen.first().and_then(|listen| listen.addresses.first()).context("--listen names no address.")?;
        let open = listen.iter().flat_map(|listen| &listen.addresses).find(|address| !address.ip().is_loopback());
        if let (Some(open), None) = (open, &data.public_url) {
            bail!(
                "--listen {open} can be reached from other machines, and nothing says under which address browsers do. \
                 Say it: `--public-url https://fsa.example.com`."
            );
        }
        let given = data.public_url.as_deref().map(public_url).transpose()?;
        let mut addresses = addresses(given.as_deref(), args.preview_domain.as_deref(), first.port())?;
        addresses.ingress = args.kubernetes.ingress();
        let ports = args.preview_listen.as_deref();
        let ports = ports.map(|text| preview_listen(text, args.preview_host.as_deref(), &addresses.public)).transpose()?;
        let (preview_ip, preview_ports) = ports.unzip();
        if let Some(ports) = preview_ports {
            if let Some(both) = listen.iter().flat_map(|l| &l.addresses).find(|both| ports.range.contains(&both.port())) {
                bail!(
                    "--preview-listen takes port {}, on which --listen is. Write for example `--preview-listen {PREVIEW_PORTS}`.",
                    both.port()
                );
            }
            (addresses.preview, addresses.preview_ports) = (None, Some(ports));
        }
        let beside = beside();
        let credentials_file = args.secret_dir.join(".env");
        let mut credentials = credentials(&credentials_file)?;
        // For this server alone: no sandbox gets it.
        let github_secret = credentials.remove(CLIENT_SECRET).map(SecretString::from);
        let github = args.github.read(secret(CLIENT_SECRET).or(github_secret))?;
        // On a cluster there is no filter that would map a loopback address to this machine.
        let (operator_env, mut egress) = match args.kubernetes.orchestrator {
            OrchestratorKind::Local => local::operator::map_env(credentials),
            OrchestratorKind::Kubernetes => (credentials, Vec::new()),
        };
        for rule in &args.egress_allow {
            egress.push(rule.parse().map_err(|error| anyhow!("{error}"))?);
        }
        Ok(Self {
            addresses,
            public_given: given,
            dev: std::env::var_os("FSA_DEV").is_some(),
            data_dir: data.data_dir(),
            sizes: size::sizes(&args.sizes)?,
            limits: StageLimits { stages: args.stage_deadlines, leave: args.leave_deadline },
            operator_env: operator_env.into_iter().map(|(key, value)| (key, SecretString::from(value))).collect(),
            credentials_file: std::path::absolute(&credentials_file).unwrap_or(credentials_file),
            egress,
            agent: args.agent.clone().unwrap_or_else(|| beside.join("agent/sandbox-agent")),
            site_dir: args.site_dir.clone().unwrap_or_else(|| beside.join("site")),
            database_url: secret("FSA_DATABASE_URL"),
            encryption_key: secret("FSA_ENCRYPTION_KEY"),
            github,
            metrics_token: secret("FSA_METRICS_TOKEN"),
            preview_ip,
            listen,
            args,
        })
    }

    /// Takes what the program's own file carries, where nothing else was given.
    pub fn carried(&mut self, carried: Option<Unpacked>) {
        let Some(Unpacked { site, agent }) = carried else { return };
        if self.args.site_dir.is_none() {
            self.site_dir = site;
        }
        if self.args.agent.is_none() {
            self.agent = agent;
        }
    }

    /// Browsers come by the port that was got where any was asked for (`--listen localhost:0`).
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn bound(&mut self, port: u16) -> Result<()> {
        let (ingress, ports) = (self.addresses.ingress.take(), self.addresses.preview_ports.take());
        self.addresses = addresses(self.public_given.as_deref(), self.args.preview_domain.as_deref(), port)?;
        if ports.is_some() {
            (self.addresses.preview, self.addresses.preview_ports) = (None, ports);
        }
        self.addresses.ingress = ingress;
        for address in self.listen.iter_mut().take(1).flat_map(|place| &mut place.addresses) {
            address.set_port(port);
        }
        Ok(())
    }
}

fn addresses(given: Option<&str>, preview_given: Option<&str>, port: u16) -> Result<Addresses> {
    let public = given.map_or_else(|| format!("http://localhost:{port}"), str::to_owned);
    let preview = preview_domain(preview_given, &public)?;
    Ok(Addresses { public, preview, preview_ports: None, ingress: None })
}

/// A variable that has no flag: what is on a command line, every user of the machine can read.
#[must_use]
pub fn secret(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty()).map(SecretString::from)
}

/// The folder of this program.
fn beside() -> PathBuf {
    let own = std::env::current_exe().ok();
    own.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn listen(text: &str) -> Result<Listen> {
    let text = text.trim();
    let wrong = || {
        anyhow!("--listen {text}: that is no HOST:PORT. Write for example `--listen localhost:4000` or `--listen 0.0.0.0:4000`.")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let addresses = if host.eq_ignore_ascii_case("localhost") {
        vec![SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))]
    } else {
        let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        vec![SocketAddr::new(ip.parse().map_err(|_| wrong())?, port)]
    };
    Ok(Listen { text: text.to_owned(), addresses })
}

/// An origin: scheme, host, port, and nothing behind it.
///
/// # Errors
/// What is wrong, and an example of right.
pub fn public_url(text: &str) -> Result<String> {
    let wrong = |why: &str| anyhow!("--public-url {text}: {why}. Write for example `--public-url https://fsa.example.com`.");
    let url: http::Uri = text.trim().parse().map_err(|_| wrong("that is no address"))?;
    let scheme = url
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))
        .ok_or_else(|| wrong("it begins with http:// or https://"))?;
    let authority = url.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        bail!(wrong("a name or password has no place in it"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        bail!(wrong("it ends behind the host and port; a path is not supported"));
    }
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = authority.host().to_ascii_lowercase();
    Ok(match authority.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

fn preview_domain(given: Option<&str>, public: &str) -> Result<Option<PreviewDomain>> {
    let (scheme, authority) = public.split_once("://").context("the public URL has a scheme")?;
    let split = |text: &str| match text.rsplit_once(':') {
        Some((domain, port)) => port.parse().ok().map(|port| (domain.to_ascii_lowercase(), Some(port))),
        None => Some((text.to_ascii_lowercase(), None)),
    };
    let wrong = |text: &str, why: &str| {
        anyhow!("--preview-domain {text}: {why}. Write for example `--preview-domain preview.example.com`.")
    };
    let Some(text) = given else {
        // Every name below `localhost` is this machine to a browser; of other hosts nothing is known.
        let own = split(authority).filter(|(domain, _)| domain == "localhost");
        return Ok(own.map(|(domain, port)| PreviewDomain { scheme: scheme.to_owned(), domain, port }));
    };
    let (domain, port) = split(text.trim().trim_start_matches("*.")).ok_or_else(|| wrong(text, "its port is none"))?;
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !domain.split('.').all(label) {
        bail!(wrong(text, "that is no domain"));
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host != "localhost" && host.ends_with(&format!(".{domain}")) {
        bail!(wrong(text, "the app's own host lies below it, and previews would share its cookies"));
    }
    Ok(Some(PreviewDomain { scheme: scheme.to_owned(), domain, port }))
}

/// An example of right.
const PREVIEW_PORTS: &str = "127.0.0.1:4100-4199";
/// How many ports there may be: each is listened on.
const MOST_PREVIEW_PORTS: usize = 1000;

fn preview_listen(text: &str, host: Option<&str>, public: &str) -> Result<(IpAddr, PreviewPorts)> {
    let wrong = |why: &str| anyhow!("--preview-listen {text}: {why}. Write for example `--preview-listen {PREVIEW_PORTS}`.");
    let (ip, ports) = text.trim().rsplit_once(':').ok_or_else(|| wrong("that is no ADDRESS:FIRST-LAST"))?;
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let ip: IpAddr = ip.parse().map_err(|_| wrong("it begins with the address to listen on"))?;
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = port(first).zip(port(last)).ok_or_else(|| wrong("it ends with two ports"))?;
    let range = first..=last;
    if range.is_empty() {
        bail!(wrong("its last port comes before its first"));
    }
    if range.len() > MOST_PREVIEW_PORTS {
        bail!(wrong(&format!("that are {} ports, and {MOST_PREVIEW_PORTS} are the most", range.len())));
    }
    let named = |why: &str| anyhow!("--preview-listen {text}: {why}. Name one beside it: `--preview-host previews.example.com`.");
    let host = match host {
        Some(host) => host.trim().to_ascii_lowercase(),
        None if ip.is_unspecified() => bail!(named("every address of the machine is listened on, and browsers need one host")),
        // Policies of pages know no such addresses.
        None if ip.is_ipv6() => bail!(named("browsers take no IPv6 address for a frame's host")),
        None => ip.to_string(),
    };
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !host.split('.').all(label) {
        bail!("--preview-host {host}: that is no host. Write for example `--preview-host previews.example.com`, without a port.");
    }
    let (scheme, authority) = public.split_once("://").context("the public URL has a scheme")?;
    let app = security::name_of(authority);
    if app == host {
        bail!(
            "Previews at {host} would share the app's own cookies, since cookies know no ports. Choose another host by \
             --preview-listen or --preview-host, or another name for the app by --public-url."
        );
    }
    if app.ends_with(&format!(".{host}")) {
        bail!("The app's own host lies below {host}, and previews would share its cookies. Choose another by --preview-host.");
    }
    Ok((ip, PreviewPorts { scheme: scheme.to_owned(), host, range }))
}

/// The credentials in a file of `KEY=VALUE` lines; none, if there is no file.
///
/// # Errors
/// It cannot be read, or a line is none; the line's number is said and never its text.
fn credentials(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    parse_env(&text).map_err(|line| {
        anyhow!(
            "Line {line} of {} is no `KEY=VALUE`. Write for example `ANTHROPIC_API_KEY=sk-ant-…`, or begin it with `#`.",
            path.display()
        )
    })
}

fn parse_env(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or(number + 1)?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(number + 1);
        }
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).ok_or(number + 1)?.0,
            _ => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        if (CREDENTIALS.contains(&key) || key == CLIENT_SECRET) && !value.is_empty() {
            found.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_both_loopbacks() {
        let addresses: Vec<_> = listen("localhost:4000").unwrap().addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:4000", "[::1]:4000"]);
        assert_eq!(listen("[::]:80").unwrap().addresses[0].to_string(), "[::]:80");
        for bad in ["nonsense", "4000", "localhost:", "localhost:70000", "example.com:80"] {
            assert!(listen(bad).unwrap_err().to_string().contains("--listen localhost:4000"), "{bad}");
        }
    }

    #[test]
    fn activity_is_kept_for_a_day_at_least() {
        #[derive(Debug, clap::Parser)]
        struct Alone {
            #[command(flatten)]
            args: ServeArgs,
        }
        let given = |days: &str| <Alone as clap::Parser>::try_parse_from(["serve".to_owned(), format!("--activity-days={days}")]);
        for (text, kept) in [("1", 1), ("90", 90), ("3650", 3650)] {
            assert_eq!(given(text).unwrap().args.activity_days, kept);
        }
        for (bad, why) in [
            ("0", "0 days is not between 1 and 3650"),
            ("-1", "-1 days is not between 1 and 3650"),
            ("3651", "3651 days is not between 1 and 3650"),
            ("a week", "`a week` is no number of days: write 90."),
            ("1.5", "`1.5` is no number of days: write 90."),
        ] {
            let refused = given(bad).unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains("--activity-days"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin() {
        assert_eq!(public_url("http://LOCALHOST:4000/").unwrap(), "http://localhost:4000");
        assert_eq!(public_url("https://fsa.example:443").unwrap(), "https://fsa.example");
        for bad in ["not a url", "localhost:4000", "ftp://x", "https://x/path", "https://u:p@x", "https://"] {
            assert!(public_url(bad).unwrap_err().to_string().contains("--public-url https://fsa.example.com"), "{bad}");
        }
    }

    #[test]
    fn previews_have_a_domain_of_their_own() {
        let domain = |given, public| preview_domain(given, public).map(|domain| domain.map(|domain| domain.origin("x")));
        assert_eq!(domain(None, "http://localhost:4000").unwrap().unwrap(), "http://x.localhost:4000");
        assert_eq!(domain(None, "https://fsa.example").unwrap(), None);
        assert_eq!(domain(Some("*.p.example:8443"), "https://fsa.example").unwrap().unwrap(), "https://x.p.example:8443");
        assert!(domain(Some("example"), "https://fsa.example").is_err());
        assert!(domain(Some("a b"), "https://fsa.example").is_err());
    }

    #[test]
    fn previews_on_ports_have_a_host_of_their_own() {
        let read = |text, host, public| {
            preview_listen(text, host, public)
                .map(|(ip, ports)| format!("{ip} {} {}", ports.origin(*ports.range.end()), ports.range.len()))
        };
        let local = "http://localhost:4000";
        assert_eq!(read("127.0.0.1:4100-4199", None, local).unwrap(), "127.0.0.1 http://127.0.0.1:4199 100");
        assert_eq!(read("127.0.0.1:4100", None, local).unwrap(), "127.0.0.1 http://127.0.0.1:4100 1");
        let named = read("[::]:4100-4101", Some("Previews.example"), "https://fsa.example").unwrap();
        assert_eq!(named, ":: https://previews.example:4101 2");
        for (text, host, public) in [
            ("4100-4199", None, local),
            ("localhost:4100-4199", None, local),
            ("127.0.0.1:4199-4100", None, local),
            ("127.0.0.1:0-5", None, local),
            ("127.0.0.1:4100-65536", None, local),
            ("127.0.0.1:1000-9000", None, local),
            ("0.0.0.0:4100-4199", None, local),
            ("[::1]:4100-4199", None, local),
            ("127.0.0.1:4100-4199", Some("http://x"), local),
            ("127.0.0.1:4100-4199", Some("x:4100"), local),
            ("127.0.0.1:4100-4199", Some("localhost"), local),
            ("127.0.0.1:4100-4199", None, "http://127.0.0.1:4000"),
            ("127.0.0.1:4100-4199", Some("example.com"), "https://fsa.example.com"),
        ] {
            let error = read(text, host, public).unwrap_err().to_string();
            assert!(error.contains("--preview-listen") || error.contains("--preview-host"), "{text} {host:?}: {error}");
        }
    }

    #[test]
    fn a_secret_file_is_read_for_what_is_known_and_quoted_by_number_alone() {
        let text = "# keys\nexport ANTHROPIC_API_KEY='sk-1 #2'\nANTHROPIC_BASE_URL=http://127.0.0.1:1 # local\nOTHER=x\nANTHROPIC_MODEL=\n";
        let found = parse_env(text).unwrap();
        assert_eq!(found.get("ANTHROPIC_API_KEY").unwrap(), "sk-1 #2");
        assert_eq!(found.get("ANTHROPIC_BASE_URL").unwrap(), "http://127.0.0.1:1");
        assert_eq!(found.len(), 2);
        assert_eq!(parse_env("A=1\nsecret words"), Err(2));
        assert_eq!(parse_env("A='open"), Err(1));
    }

    #[test]
    fn the_configuration_can_be_printed_without_its_secrets() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            data: DataArgs,
            #[command(flatten)]
            serve: ServeArgs,
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join(".env"),
            "ANTHROPIC_API_KEY=sk-ant-hidden\nANTHROPIC_MODEL=hidden-too\nFSA_GITHUB_CLIENT_SECRET=hidden-as-well\n",
        )
        .unwrap();
        let secret_dir = folder.path().to_str().unwrap();
        let line = Line::parse_from(["x", "--secret-dir", secret_dir, "--listen", "localhost:4000", "--github-client-id", "Iv1"]);
        let mut config = Config::read(&line.data, line.serve).unwrap();
        config.encryption_key = Some(SecretString::from("hidden-key"));
        config.database_url = Some(SecretString::from("postgresql://x:hidden@y/z"));
        assert!(config.operator_env.contains_key("ANTHROPIC_API_KEY"));
        assert_eq!(config.operator_env.len(), 2, "the client secret is no sandbox's");
        assert!(config.github.is_some());
        let printed = format!("{config:?}{config:#?}");
        assert!(!printed.contains("hidden"), "{printed}");
    }

    #[test]
    fn a_port_that_was_got_is_in_the_addresses() {
        let any = listen("localhost:0").unwrap();
        assert!(any.any_port() && !listen("localhost:4000").unwrap().any_port());
        let addresses = addresses(None, None, 4321).unwrap();
        assert_eq!(addresses.public, "http://localhost:4321");
        assert_eq!(addresses.preview.unwrap().origin("x"), "http://x.localhost:4321");
        assert_eq!(super::addresses(Some("https://fsa.example"), None, 4321).unwrap().public, "https://fsa.example");
    }
}
