//! Ports of a sandbox, and the host names of their previews.

use crate::name::ResourceName;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The agent's two and the database's: never offered, previewed or shared.
pub const RESERVED: [u16; 3] = [7681, 7682, 5432];
/// The application's port: the first preview.
pub const APPLICATION: u16 = 3000;
/// Ports that every sandbox offers by name, open or not.
pub const USUAL: [u16; 3] = [APPLICATION, 5000, 8080];

/// Why a port cannot be previewed. HTTP: 400 for what is none, 403 for a reserved one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number from 1 to 65535.
    #[error("`{0}` is not a port: it is a number from 1 to 65535.")]
    NotAPort(String),
    /// One of [`RESERVED`].
    #[error("Port {0} belongs to the sandbox itself and has no preview.")]
    Reserved(u16),
}

/// A port that may be previewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PreviewPort(u16);

impl PreviewPort {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for PreviewPort {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        let port = if plain { text.parse::<u16>().ok() } else { None };
        match port {
            None => Err(PortError::NotAPort(text.chars().take(20).collect())),
            Some(port) if RESERVED.contains(&port) => Err(PortError::Reserved(port)),
            Some(port) => Ok(Self(port)),
        }
    }
}

/// A port that something in the sandbox listens on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenPort {
    /// Its number.
    pub port: u16,
    /// The program's name, where it could be found.
    pub process: Option<String>,
}

/// The first label of a preview's host: `PORT--NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PreviewLabel {
    /// Which port.
    pub port: PreviewPort,
    /// Of which sandbox.
    pub name: ResourceName,
}

impl PreviewLabel {
    /// Reads `3000--tidewater-agentruntime-abc123`. `None` if the label has not that form at all.
    ///
    /// # Errors
    /// [`PortError`] if it has the form and the port is none or reserved.
    pub fn parse(label: &str) -> Option<Result<Self, PortError>> {
        let (port, name) = label.split_once("--")?;
        let name = name.parse::<ResourceName>().ok()?;
        Some(port.parse().map(|port| Self { port, name }))
    }
}

impl std::fmt::Display for PreviewLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}--{}", self.port.0, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_ports_are_refused() {
        for bad in ["", "0", "65536", "-1", "+80", "080", "8o", "٣٠٠٠", "99999999999"] {
            assert!(matches!(bad.parse::<PreviewPort>(), Err(PortError::NotAPort(_))), "{bad}");
        }
        for reserved in RESERVED {
            assert_eq!(reserved.to_string().parse::<PreviewPort>(), Err(PortError::Reserved(reserved)));
        }
        assert_eq!("65535".parse::<PreviewPort>().unwrap().get(), 65535);
    }

    #[test]
    fn a_label_reads_back() {
        let text = "3000--a--b-agentruntime-abc123";
        let label = PreviewLabel::parse(text).unwrap().unwrap();
        assert_eq!(label.to_string(), text);
        assert!(PreviewLabel::parse("www").is_none());
        assert!(PreviewLabel::parse("3000--nobody").is_none());
        assert!(PreviewLabel::parse("7681--a-agentruntime-abc123").unwrap().is_err());
    }
}
