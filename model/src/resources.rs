//! How much of the machine a sandbox may use.

use serde::{Deserialize, Serialize};

/// A named size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Preset {
    /// The first system's: some 50 fit on a node of 2 CPU and 4 GB. Too small for Claude Code.
    Small,
    /// Claude Code, a dev server and a test run side by side.
    #[default]
    Medium,
    /// Large builds.
    Large,
}

impl Preset {
    /// All, smallest first: as they are declared, which [`Sizes`] goes by.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// Its name on the wire and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    /// What it stands for, unless the operator says otherwise.
    #[must_use]
    pub fn resources(self) -> Resources {
        const MIB: u64 = 1024 * 1024;
        let (request_cpu_millis, request_memory, limit_cpu_millis, limit_memory) = match self {
            Self::Small => (20, 25 * MIB, 200, 256 * MIB),
            Self::Medium => (100, 256 * MIB, 2000, 2048 * MIB),
            Self::Large => (500, 1024 * MIB, 4000, 8192 * MIB),
        };
        Resources {
            request_cpu_millis,
            request_memory_bytes: request_memory,
            limit_cpu_millis,
            limit_memory_bytes: limit_memory,
            disk_bytes: 10 * 1024 * MIB,
        }
    }
}

/// What the presets stand for in this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sizes([Resources; 3]);

impl Default for Sizes {
    fn default() -> Self {
        Self(Preset::ALL.map(Preset::resources))
    }
}

impl Sizes {
    /// What a preset stands for.
    #[must_use]
    pub fn of(&self, preset: Preset) -> Resources {
        self.0[preset as usize]
    }

    /// The same, but for one preset.
    #[must_use]
    pub fn with(mut self, preset: Preset, resources: Resources) -> Self {
        self.0[preset as usize] = resources;
        self
    }
}

impl std::str::FromStr for Preset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no size: there are small, medium and large."))
    }
}

/// Requests and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    /// Reserved CPU, in thousandths of a core.
    pub request_cpu_millis: u32,
    /// Reserved memory, in bytes.
    pub request_memory_bytes: u64,
    /// Most CPU, in thousandths of a core.
    pub limit_cpu_millis: u32,
    /// Most memory, in bytes.
    pub limit_memory_bytes: u64,
    /// Most disk, in bytes.
    pub disk_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_preset_has_its_own_amounts() {
        assert_eq!(Preset::ALL.map(|preset| Sizes::default().of(preset)), Preset::ALL.map(Preset::resources));
        let other = Resources { limit_cpu_millis: 1, ..Preset::Medium.resources() };
        let sizes = Sizes::default().with(Preset::Medium, other);
        let expected = [Preset::Small.resources(), other, Preset::Large.resources()];
        assert_eq!(Preset::ALL.map(|preset| sizes.of(preset)), expected);
        let read: Sizes = serde_json::from_str(&serde_json::to_string(&sizes).unwrap()).unwrap();
        assert_eq!(read, sizes);
    }
}
