//! `sandbox-agent`: reads its arguments and runs [`sandbox_agent::server`].

use std::process::ExitCode;

use sandbox_agent::server::{self, config::Config};

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
        _ => {}
    }
    let (config, token) = match Config::parse(arguments) {
        Ok(parsed) => parsed,
        Err(mistake) => {
            eprintln!("{mistake}\n{}", server::config::USAGE);
            return ExitCode::from(2);
        }
    };
    match server::read_token(&token).and_then(|token| server::run(config, token)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
