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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_the_apiserver_writes_them() {
        assert_eq!((cpu(20).0, cpu(2000).0, cpu(2500).0), ("20m".into(), "2".into(), "2500m".into()));
        assert_eq!(bytes(25 << 20).0, "25Mi");
        assert_eq!(bytes(2048 << 20).0, "2Gi");
        assert_eq!((bytes(1000).0, bytes(0).0), ("1000".into(), "0".into()));
    }
}
