//! `sandbox-agent`: reads its arguments and runs [`sandbox_agent::server`], or [installs](sandbox_agent::install)
//! itself, or [asks for git](sandbox_agent::server::credentials).

use std::{path::Path, process::ExitCode};

use sandbox_agent::{
    install,
    server::{self, config::Config},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--help" | "-h") => {
            println!("{}", server::config::USAGE);
            return ExitCode::SUCCESS;
        }
        Some("--version" | "-V") => {
            println!("sandbox-agent {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("git-credential") => {
            let operation = arguments.get(1).map(String::as_str).unwrap_or_default();
            return ended(server::credentials::helper(operation).map_err(Into::into));
        }
        Some("install") => {
            let [_, folder] = arguments.as_slice() else {
                eprintln!("install wants one folder\n{}", server::config::USAGE);
                return ExitCode::from(2);
            };
            return ended(install::install(Path::new(folder)).map(|place| eprintln!("installed {}", place.display())));
        }
        _ => {}
    }
    let (config, token) = match Config::parse(arguments) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            eprintln!("{mistake}\n{}", server::config::USAGE);
            return ExitCode::from(2);
        }
    };
    ended(server::read_token(&token).and_then(|token| server::run(config, token)))
}

fn ended(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
