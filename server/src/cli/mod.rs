//! The command line. One file a command; each runs to its end on a runtime of its own.

mod doctor;
mod down;
pub mod serve;
mod sign_in_link;
mod token;
mod world;

use crate::{
    config::{DataArgs, LogFormat, ServeArgs, secret},
    dist,
};
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use engine::store::accounts::Accounts;
use local::postgres::EmbeddedPostgres;
use model::view::Scope;
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    str::FromStr as _,
};
use tracing_subscriber::EnvFilter;

/// Sandboxes with Claude Code, a terminal, a PostgreSQL and previews, on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "fullstack-agent",
    version,
    args_conflicts_with_subcommands = false,
    after_help = "Without a command it serves. Every flag is also a variable, as shown, but for those of `token` and `doctor` alone. Five \
                  variables have no flag, since every user of a machine can read its command lines: FSA_DATABASE_URL (another PostgreSQL than \
                  the embedded one), FSA_ENCRYPTION_KEY (the key of secrets at rest, else in the data folder), FSA_DATABASE_SERVER_URL (a \
                  PostgreSQL for the databases of projects on a cluster), FSA_GITHUB_CLIENT_SECRET (of the GitHub app) and FSA_METRICS_TOKEN \
                  (what lets a program on another machine read /metrics)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until Ctrl-C or SIGTERM. The default
    Serve(Box<ServeArgs>),
    /// Print a new one-time sign-in link
    SignInLink,
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(Token),
    /// End everything of the data folder: sandboxes and PostgreSQL. Volumes, databases and projects stay
    Down,
    /// Write this program with a site and an agent in it, as one file
    #[command(hide = true)]
    Pack(Pack),
    /// Look at the Kubernetes cluster: what is right, what is not, and what mends it. Exit code 1 if a check fails
    Doctor(Box<doctor::DoctorArgs>),
}

/// `pack`
#[derive(Debug, Args)]
pub struct Pack {
    /// The folder of the pages' assets
    #[arg(long, value_name = "FOLDER")]
    site: PathBuf,
    /// The sandbox agent's program
    #[arg(long, value_name = "FILE")]
    sandbox_agent: PathBuf,
    /// Where to
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

/// `token …`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token, and print it alone. It is shown this once
    Create(CreateToken),
    /// List tokens: id, scope, name, expiry, last use
    List,
    /// Revoke a token; what it opened ends within a second
    Revoke {
        /// As `token list` shows it
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// `token create`
#[derive(Debug, Args)]
pub struct CreateToken {
    /// What it is for, such as the program that will use it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// read: look. write: look and change, with terminals and commands
    #[arg(long, value_name = "SCOPE", value_parser = Scope::from_str)]
    scope: Scope,
    /// In how many days it expires [default: never]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
}

/// Does what the command line says.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    // Two providers in one process panic at run time: this one, and first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Err(error) = log(&cli.data) {
        return failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime") {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let Cli { command, data, serve } = cli;
    let done = runtime.block_on(async {
        match command {
            None => serve::serve(&data, serve).await,
            Some(Command::Serve(args)) => serve::serve(&data, *args).await,
            Some(Command::SignInLink) => sign_in_link::print(&data).await,
            Some(Command::Token(Token::Create(new))) => token::create(&data, &new).await,
            Some(Command::Token(Token::List)) => token::list(&data).await,
            Some(Command::Token(Token::Revoke { id })) => token::revoke(&data, &id).await,
            Some(Command::Doctor(args)) => doctor::doctor(&data, &args).await,
            Some(Command::Pack(Pack { site, sandbox_agent, to })) => dist::pack_own(&site, &sandbox_agent, &to),
            Some(Command::Down) => down::down(&data).await,
        }
    });
    // Blocking threads that still wait for something do not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// `keeper`: hidden, called by the orchestrator alone.
#[must_use]
pub fn keeper(words: Vec<String>) -> ExitCode {
    match local::keeper::run(local::keeper::KeeperArgs { words }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fullstack-agent: {error:#}");
    ExitCode::FAILURE
}

const QUIET: [&str; 5] = [
    "tower_sessions=error",
    "tower_sessions_core=error",
    "axum_login=error",
    "sqlx::postgres::notice=warn",
    // Each request that fails while a cluster is away, which is said once.
    "kube_client::client=off",
];

/// To standard error: standard output is for what was asked for.
fn log(data: &DataArgs) -> Result<()> {
    let filter = EnvFilter::try_new(&data.log).with_context(|| {
        format!("--log {} is no filter. Write for example `--log info` or `--log info,server=debug`", data.log)
    })?;
    // What others say of every request is in our own words already; a cookie that is over is no suspicious activity.
    let filter = QUIET.iter().filter_map(|quiet| quiet.parse().ok()).fold(filter, EnvFilter::add_directive);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match data.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// One line of what was asked for. A reader that left is no error.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Accounts of a data folder, beside a server that runs there or not. The tables of one that runs are
/// left as they are.
async fn accounts(data: &DataArgs) -> Result<Accounts> {
    Ok(Accounts::new(accounts_pool(data).await?))
}

/// The control plane's database, as [`accounts`].
async fn accounts_pool(data: &DataArgs) -> Result<sqlx::PgPool> {
    let url = match secret("FSA_DATABASE_URL") {
        Some(url) => url,
        None => {
            let postgres = EmbeddedPostgres::attach(&data.data_dir())?;
            anyhow::ensure!(
                postgres.is_running(),
                "PostgreSQL of the data folder {} does not run. Start the server: `fullstack-agent serve`.",
                data.data_dir().display()
            );
            postgres.control_url()
        }
    };
    let options = connect_options(url.expose_secret())?;
    let pool = engine::store::postgres::pool::pool(options, 2);
    engine::store::postgres::migrate::migrate_unless_served(&pool).await?;
    Ok(pool)
}

/// Reads an address of PostgreSQL; what is wrong with it is said without it.
fn connect_options(url: &str) -> Result<PgConnectOptions> {
    PgConnectOptions::from_str(url)
        .map_err(|_| anyhow::anyhow!("FSA_DATABASE_URL is no address of a PostgreSQL. Write for example postgresql://user:password@host:5432/fullstack_agent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use std::collections::BTreeSet;

    /// What comes after `--` in a text, up to the first character that no flag has.
    fn flags(text: &str) -> impl Iterator<Item = &str> {
        text.split("--").skip(1).filter_map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
            Some(&rest[..end]).filter(|flag| flag.starts_with(|c: char| c.is_ascii_lowercase()))
        })
    }

    #[test]
    fn every_flag_that_a_message_advises_is_one() {
        let command = Cli::command();
        let mut known: BTreeSet<String> =
            command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect();
        // Docker's, and bubblewrap's or PostgreSQL's own in the code around the messages.
        known.extend(["security-opt"].map(str::to_owned));
        // kubectl's and timedatectl's, and the doctor's own.
        known.extend(
            [
                "show-labels",
                "show-managed-fields",
                "cluster",
                "user",
                "minify",
                "flatten",
                "verb",
                "resource",
                "remove-orphans",
                "json",
                "with-data",
            ]
            .map(str::to_owned),
        );
        let messages = [
            ("causes.rs", include_str!("../../../local/src/causes.rs")),
            ("datafolder.rs", include_str!("../../../local/src/datafolder.rs")),
            ("config.rs", include_str!("../config.rs")),
            ("filter.rs", include_str!("../../../local/src/keeper/egress/filter.rs")),
            ("connection.rs", include_str!("../../../kubernetes/src/connection.rs")),
            ("container.rs", include_str!("../../../kubernetes/src/causes/container.rs")),
            ("error.rs", include_str!("../../../kubernetes/src/causes/error.rs")),
            ("image.rs", include_str!("../../../kubernetes/src/causes/image.rs")),
            ("volume.rs", include_str!("../../../kubernetes/src/causes/volume.rs")),
            ("ingress class", include_str!("../../../kubernetes/src/causes/mod.rs")),
            ("doctor", include_str!("../../../kubernetes/src/doctor/mod.rs")),
            ("orphans.rs", include_str!("../../../kubernetes/src/doctor/orphans.rs")),
        ];
        for (file, text) in messages {
            assert!(flags(text).count() > 0, "{file} advises no flag: is this test still about it?");
            for flag in flags(text) {
                assert!(known.contains(flag), "{file} advises --{flag}, which there is not");
            }
        }
    }

    #[test]
    fn every_command_and_flag_is_in_the_documentation() {
        let page = include_str!("../../../docs/configuration.md");
        let known: BTreeSet<&str> = flags(page).collect();
        let cli = Cli::command();
        let mut commands = vec![(String::new(), &cli)];
        let mut seen = BTreeSet::new();
        while let Some((name, command)) = commands.pop() {
            assert!(page.contains(&format!("`{name}")), "docs/configuration.md says nothing of the command {name}");
            let below = command.get_subcommands().filter(|below| !below.is_hide_set());
            commands.extend(below.map(|below| (format!("{name} {}", below.get_name()).trim_start().to_owned(), below)));
            for argument in command.get_arguments() {
                let Some(flag) = argument.get_long().filter(|flag| !matches!(*flag, "help" | "version")) else { continue };
                seen.insert(flag);
                assert!(known.contains(flag), "docs/configuration.md says nothing of --{flag}");
                assert!(argument.get_help().is_some(), "--help says nothing of --{flag}");
                let Some(variable) = argument.get_env() else {
                    assert!(["doctor", "token create"].contains(&name.as_str()), "--{flag} of {name} has no variable");
                    continue;
                };
                let variable = variable.to_string_lossy();
                let of_its_name = format!("FSA_{}", flag.replace('-', "_").to_uppercase());
                // Where it may be given again, a variable has them all.
                assert!(
                    variable.strip_suffix('S').unwrap_or(&variable) == of_its_name || variable == of_its_name,
                    "{variable} of --{flag}"
                );
                assert!(page.contains(&format!("`{variable}`")), "docs/configuration.md says nothing of {variable}");
            }
        }
        assert!(["listen", "scope", "no-probes"].iter().all(|flag| seen.contains(flag)), "they are looked for wrongly: {seen:?}");
    }

    #[test]
    fn every_variable_without_a_flag_is_in_the_help_and_in_the_documentation() {
        let page = include_str!("../../../docs/configuration.md");
        let help = Cli::command().get_after_help().unwrap().to_string();
        let texts = [
            include_str!("../config.rs"),
            include_str!("../config/github.rs"),
            include_str!("../config/kubernetes.rs"),
            include_str!("mod.rs"),
        ];
        // Read as `secret("FSA_…")`, or by a constant.
        let read = texts.iter().flat_map(|text| {
            let begins = ["secret(\"", ": &str = \""].map(|begin| text.split(begin).skip(1));
            begins.into_iter().flatten().filter_map(|rest| rest.split('"').next()).filter(|name| name.starts_with("FSA_"))
        });
        let read: BTreeSet<&str> = read.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')).collect();
        assert_eq!(read.len(), 5, "the help says how many: {read:?}");
        for variable in read {
            assert!(help.contains(variable), "--help says nothing of {variable}");
            assert!(page.contains(&format!("`{variable}`")), "docs/configuration.md says nothing of {variable}");
        }
    }
}
