//! Sizes as pages write them.

use model::resources::{Preset, Resources};

/// "512 bytes", "812 MB", "3.1 GB": of 1024, as limits are given.
#[must_use]
pub fn bytes(count: u64) -> String {
    const KIB: u64 = 1024;
    const UNITS: [(u64, &str); 4] = [(KIB * KIB * KIB * KIB, "TB"), (KIB * KIB * KIB, "GB"), (KIB * KIB, "MB"), (KIB, "kB")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| count >= *unit) else {
        return if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") };
    };
    let tenths = (u128::from(count) * 10 + u128::from(unit) / 2) / u128::from(unit);
    if tenths >= 100 || tenths.is_multiple_of(10) {
        format!("{} {name}", (tenths + 5) / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// "0.2 CPU", "2 CPU", "0.025 CPU".
#[must_use]
pub fn cpu(millis: u32) -> String {
    let cores = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{} CPU", cores.trim_end_matches('0').trim_end_matches('.'))
}

/// "2 CPU · 2 GB · 10 GB disk".
#[must_use]
pub fn resources(of: &Resources) -> String {
    format!("{} · {} · {} disk", cpu(of.limit_cpu_millis), bytes(of.limit_memory_bytes), bytes(of.disk_bytes))
}

/// "Small".
#[must_use]
pub fn preset(preset: Preset) -> &'static str {
    match preset {
        Preset::Small => "Small",
        Preset::Medium => "Medium",
        Preset::Large => "Large",
    }
}

/// What a size is good for, with what it stands for here.
#[must_use]
pub fn purpose(preset: Preset, of: &Resources) -> &'static str {
    match preset {
        // The operator's own may well be large enough.
        Preset::Small if of.limit_memory_bytes >= 1 << 30 => "A shell and a small server.",
        Preset::Small => "A shell and a small server. Too small for Claude Code.",
        Preset::Medium => "Claude Code, a dev server and tests side by side.",
        Preset::Large => "Large builds.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_have_units() {
        let mib = 1024 * 1024;
        let texts: Vec<_> = [0, 1, 1023, 1024, 812 * mib, 2048 * mib, 3_328_599_654, 10 * 1024 * mib].map(bytes).into();
        assert_eq!(texts, ["0 bytes", "1 byte", "1023 bytes", "1 kB", "812 MB", "2 GB", "3.1 GB", "10 GB"]);
        let cores = [200, 2000, 1500, 250, 25, 10_000].map(cpu);
        assert_eq!(cores, ["0.2 CPU", "2 CPU", "1.5 CPU", "0.25 CPU", "0.025 CPU", "10 CPU"]);
        assert_eq!(resources(&Preset::Medium.resources()), "2 CPU · 2 GB · 10 GB disk");
    }
}
