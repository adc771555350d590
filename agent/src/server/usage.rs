//! What the sandbox uses of CPU and memory: the sum over its processes, since no cgroup can be read in every sandbox.

use std::{collections::HashMap, time::Instant};

use rustix::param::clock_ticks_per_second;

use super::procfs;
use crate::protocol::http::Usage;

/// CPU is what was used since the last look.
#[derive(Default)]
pub struct Meter {
    last: Option<(Instant, Ticks)>,
}

/// CPU used so far, by process: its number and when it started.
type Ticks = HashMap<(i32, u64), u64>;

impl Meter {
    /// Disk is left out: that is measured elsewhere.
    pub fn look(&mut self) -> Usage {
        let processes = procfs::descendants();
        let now = Instant::now();
        let ticks: Ticks = processes.iter().map(|process| ((process.pid, process.started), process.ticks)).collect();
        let cpu_percent = self.last.as_ref().map_or(0.0, |(then, before)| {
            let used: u64 = ticks.iter().map(|(key, ticks)| ticks.saturating_sub(before.get(key).copied().unwrap_or(0))).sum();
            let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
            let percent = used as f64 * 100.0 / clock_ticks_per_second() as f64 / seconds;
            (percent * 10.0).round() / 10.0
        });
        self.last = Some((now, ticks));
        Usage {
            cpu_percent,
            memory_bytes: processes.iter().map(procfs::Process::anonymous_bytes).sum(),
            processes: u32::try_from(processes.len()).unwrap_or(u32::MAX),
            ..Usage::default()
        }
    }
}
