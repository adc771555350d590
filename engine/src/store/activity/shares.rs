//! Previews that are opened to others, and closed again.

use super::{Entry, OWNER_NOT_ALLOWED, asked_for};
use crate::store::accounts::shares::Audience;
use jiff::Timestamp;
use serde_json::json;

/// A port of a preview was opened to others. A link's secret is nobody's to read.
#[must_use]
pub fn shared(port: u16, audience: Audience, expires_at: Option<Timestamp>) -> Entry {
    let with = match audience {
        Audience::Users => "everybody who is signed in",
        Audience::Link => "whoever has its link",
    };
    let until = expires_at.map_or_else(|| "Until it is made private".to_owned(), |at| format!("Until {at:.0}"));
    let expires = expires_at.map(|at| at.to_string());
    let data = json!({ "verb": "share", "port": port, "audience": audience.as_str(), "expiresAt": expires });
    asked_for(format!("Shared the preview of port {port} with {with}"), Some(until), data)
}

/// A port of a preview is its owner's alone again.
#[must_use]
pub fn made_private(port: u16) -> Entry {
    asked_for(format!("Made the preview of port {port} private"), None, json!({ "verb": "unshare", "port": port }))
}

/// It is, because the API token that shared it was revoked.
pub(in crate::store) fn made_private_with_its_token(port: u16) -> Entry {
    Entry { detail: Some("The token that shared it was revoked".to_owned()), ..made_private(port) }
}

/// It is, because its owner may not sign in any more.
pub(in crate::store) fn made_private_with_its_owner(port: u16) -> Entry {
    Entry { detail: Some(OWNER_NOT_ALLOWED.to_owned()), ..made_private(port) }
}
