//! Amounts as the apiserver writes them back, so that what was asked for and what is there compare equal.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// CPU: thousandths of a core, or whole cores.
#[must_use]
pub fn cpu(millis: u32) -> Quantity {
    Quantity(if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") })
}

/// Bytes, in the largest unit that divides them.
#[must_use]
pub fn bytes(bytes: u64) -> Quantity {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    Quantity(unit.map_or_else(|| bytes.to_string(), |(size, unit)| format!("{}{unit}", bytes / size)))
}

/// An amount in thousandths, whoever wrote it: `2`, `1930m`, `3990000Ki`, `0.5`, `1e3`. `None` where it is none, or too
/// large to count.
#[must_use]
pub fn thousandths(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{part}").parse().ok()?;
    let (times, by) = match unit {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        _ => match ["k", "M", "G", "T", "P", "E"]
            .iter()
            .zip(1..)
            .find(|(name, _)| unit.trim_end_matches('i').eq_ignore_ascii_case(name))
        {
            Some((_, power)) if unit.ends_with('i') => (1024_u128.pow(power), 1),
            Some((_, power)) => (1000_u128.pow(power), 1),
            None => (10_u128.checked_pow(unit.strip_prefix(['e', 'E'])?.parse().ok()?)?, 1),
        },
    };
    let scale = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?.checked_mul(by)?;
    u64::try_from(digits.checked_mul(1000)?.checked_mul(times)? / scale).ok()
}

/// Bytes for a person, cut to a tenth: `3.8Gi`, `256Mi`.
#[must_use]
pub fn shown_bytes(bytes: u64) -> String {
    let (size, unit) = if bytes >= 1 << 30 { (1 << 30, "Gi") } else { (1 << 20, "Mi") };
    let (whole, tenth) = (bytes / size, bytes % size * 10 / size);
    if tenth == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenth}{unit}") }
}

/// CPU for a person, in cores, cut to a tenth: `2`, `1.9`; below one core as it is written, `250m`.
#[must_use]
pub fn shown_cpu(millis: u64) -> String {
    match (millis / 1000, millis % 1000 / 100) {
        (0, _) => format!("{millis}m"),
        (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_whoever_wrote_them() {
        let read = |text: &str| thousandths(&Quantity(text.to_owned()));
        for (text, amount) in [
            ("2", 2000),
            ("1930m", 1930),
            ("0.5", 500),
            ("1.5Ki", 1_536_000),
            ("3990000Ki", 3_990_000 * 1024 * 1000),
            ("2Gi", (2 << 30) * 1000),
            ("4G", 4_000_000_000_000),
            ("100k", 100_000_000),
            ("1e3", 1_000_000),
            ("1500000n", 1),
            ("0", 0),
        ] {
            assert_eq!(read(text), Some(amount), "{text}");
        }
        for text in ["", "much", "1x", "1e99", "99999999999999Ei", "-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_shortly_and_never_as_more_than_they_are() {
        let bytes = [3_990_000 << 10, 3 << 30, 256 << 20, (256 << 20) + (52 << 10), 0];
        assert_eq!(bytes.map(shown_bytes), ["3.8Gi", "3Gi", "256Mi", "256Mi", "0Mi"]);
        assert_eq!([2000, 1930, 1050, 250].map(shown_cpu), ["2", "1.9", "1", "250m"]);
    }

    #[test]
    fn amounts_are_written_as_the_apiserver_writes_them() {
        assert_eq!((cpu(20).0, cpu(2000).0, cpu(2500).0), ("20m".into(), "2".into(), "2500m".into()));
        assert_eq!(bytes(25 << 20).0, "25Mi");
        assert_eq!(bytes(2048 << 20).0, "2Gi");
        assert_eq!((bytes(1000).0, bytes(0).0), ("1000".into(), "0".into()));
    }
}
