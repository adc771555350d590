//! Whether the sandbox reaches its database: on a cluster that takes a moment longer than the database takes to be ready, until
//! each node lets connections to its Service through.

use std::{
    net::IpAddr,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{
    children::{Children, Exit},
    config::Config,
};

/// Longer is not waited: then it is the database that is late, and whoever makes it says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// By the image's own resolver, which this static program has none of.
const TRY: &str = "exec 3<>\"/dev/tcp/$PGHOST/$PGPORT\"";

/// Returns once the database takes connections, at once where there is none or where it has an address of this machine's own; no
/// later than [`PATIENCE`] all the same.
pub async fn reached(config: &Config, children: &Children) {
    let by_name = std::env::var("PGHOST").is_ok_and(|host| !host.is_empty() && host.parse::<IpAddr>().is_err());
    if !by_name || std::env::var_os("PGPORT").is_none() {
        return;
    }
    let tries = async {
        while !takes_one(config, children).await {
            sleep(PAUSE).await
        }
    };
    if timeout(PATIENCE, tries).await.is_err() {
        eprintln!("the database does not take connections yet");
    }
}

/// Without bash in the image nothing is known, and nothing is waited for.
async fn takes_one(config: &Config, children: &Children) -> bool {
    let mut command = Command::new("bash");
    config.environment(&mut command);
    command.args(["-c", TRY]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match children.spawn(&mut command, |_| ()) {
        Ok((mut child, ())) => child.exit().await == Exit::Code(0),
        Err(_) => true,
    }
}
