//! Who besides its owner may open a preview. Authorises as the rest of [`Controller`] does.

use super::{Controller, may_change, port_error, store_error};
use crate::http::{auth::visit, patience::patient};
use app::error::{ControlError, ErrorKind};
use engine::store::{
    accounts::shares::{Audience, MadeShare, NewShare, Share, SharedSandbox},
    activity::{self, Entry},
};
use jiff::SignedDuration;
use model::{
    ProjectId, ResourceName, SandboxId,
    port::{APPLICATION, PreviewPort},
    view::Viewer,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use tracing::{info, warn};

/// How long a link lasts where nothing is said: a day, in which it is shown to somebody.
const USUAL_HOURS: u32 = 24;
/// How long one lasts at most. What is to be open for ever is no preview.
const MOST_HOURS: u32 = 30 * 24;

/// Where a public link leads. The secret is in each, and told this once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// To the preview.
    pub preview: String,
    /// To the application's own host, of the application's port on a cluster that has such hosts.
    pub application: Option<String>,
}

impl Controller {
    /// The share of a port; `None` where it is private.
    ///
    /// # Errors
    /// `400 Bad Request`, `403 Forbidden` for the port; `404 Not Found`.
    pub async fn share(&self, viewer: &Viewer, id: ProjectId, port: &str) -> Result<Option<Share>, ControlError> {
        let port: PreviewPort = port.parse().map_err(|error| port_error(&error))?;
        self.row(viewer, id).await?;
        patient(self.parts.accounts.share(viewer.user, id, port.get(), self.now())).await.map_err(store_error)
    }

    /// The ports that are shared, in order.
    ///
    /// # Errors
    /// `404 Not Found`.
    pub async fn shares(&self, viewer: &Viewer, id: ProjectId) -> Result<Vec<(u16, Share)>, ControlError> {
        self.row(viewer, id).await?;
        patient(self.parts.accounts.shares(viewer.user, id, self.now())).await.map_err(store_error)
    }

    /// Opens a port to others, in place of how it was shared before; a link's address is in the answer and nowhere else.
    /// A link lasts a day where nothing is said. What a token shares ends with it, and expires when it does or earlier.
    ///
    /// # Errors
    /// As [`Self::share`]; `401 Unauthorized` where the token is over by now; `403 Forbidden` for one of scope `read`;
    /// `409 Conflict` without addresses for previews; `422 Unprocessable Content` for how long.
    pub async fn set_share(
        &self,
        viewer: &Viewer,
        id: ProjectId,
        port: &str,
        audience: Audience,
        hours: Option<u32>,
    ) -> Result<(Share, Option<Links>), ControlError> {
        may_change(viewer)?;
        let port: PreviewPort = port.parse().map_err(|error| port_error(&error))?;
        let port = port.get();
        let row = self.row(viewer, id).await?;
        let hours = hours.or((audience == Audience::Link).then_some(USUAL_HOURS));
        if hours.is_some_and(|hours| !(1..=MOST_HOURS).contains(&hours)) {
            let message = format!("A share lasts 1 to {MOST_HOURS} hours.");
            let error = ControlError::new(ErrorKind::Invalid, "bad-expiry", message, "Give a number in that range.");
            return Err(error.at("expiresInHours"));
        }
        let origin = self.preview_origin(row.sandbox.id, &row.sandbox.name, port).await?;
        let now = self.now();
        let expires = hours.and_then(|hours| now.checked_add(SignedDuration::from_hours(i64::from(hours))).ok());
        let new = NewShare { audience, expires_at: expires, made_by: visit::maker() };
        let made = patient(self.parts.accounts.make_share(viewer.user, id, port, new, now)).await;
        let (share, secret) = match made.map_err(store_error)? {
            MadeShare::Now(share, secret) => (share, secret),
            MadeShare::Meanwhile => {
                let message = "The port was shared otherwise at the same moment.";
                return Err(ControlError::new(ErrorKind::Conflict, "shared-meanwhile", message, "Look how it is shared now."));
            }
            MadeShare::MakerGone => return Err(ControlError::signed_out()),
        };
        info!(project.id = %id, port, audience = audience.as_str(), "a preview was shared");
        self.tell_of_share(viewer, row.sandbox.id, || activity::shared(port, audience, share.expires_at)).await;
        self.parts.watch.look();
        // Behind the `#`: browsers send it to nobody.
        let links = secret.map(|secret| Links {
            preview: format!("{origin}/.fsa/share#{}", secret.expose_secret()),
            application: self.application_link(&row.sandbox.name, port, &secret),
        });
        Ok((share, links))
    }

    fn application_link(&self, name: &ResourceName, port: u16, secret: &SecretString) -> Option<String> {
        let addresses = &self.parts.addresses;
        let domain = addresses.ingress.as_ref().filter(|_| port == APPLICATION)?;
        let host = format!("{}://{name}.{}/", domain.scheme, domain.domain);
        let host = utf8_percent_encode(&host, NON_ALPHANUMERIC);
        Some(format!("{}/ingress/share?rd={host}#{}", addresses.public, secret.expose_secret()))
    }

    /// Makes a port private. May be repeated. Who came by the share is out within a second; on the application's own host with the next
    /// request.
    ///
    /// # Errors
    /// As [`Self::share`]; `403 Forbidden` for a token of scope `read`.
    pub async fn end_share(&self, viewer: &Viewer, id: ProjectId, port: &str) -> Result<(), ControlError> {
        may_change(viewer)?;
        let port: PreviewPort = port.parse().map_err(|error| port_error(&error))?;
        let row = self.row(viewer, id).await?;
        let ended = patient(self.parts.accounts.end_share(viewer.user, id, port.get(), self.now())).await;
        if ended.map_err(store_error)? {
            info!(project.id = %id, port = port.get(), "a preview is private again");
            self.tell_of_share(viewer, row.sandbox.id, || activity::made_private(port.get())).await;
        }
        self.parts.watch.look();
        Ok(())
    }

    /// What is shared is shared, whether it can be noted or not.
    async fn tell_of_share(&self, viewer: &Viewer, sandbox: SandboxId, entry: impl FnOnce() -> Entry) {
        let entry = activity::by(visit::actor(viewer), async { entry() }).await;
        if let Err(error) = self.parts.store.tell(sandbox, entry, self.now()).await {
            warn!(sandbox.id = %sandbox, "failed to tell of a share: {error:#}");
        }
    }

    /// The sandbox of somebody else's project, where that port is open to everybody who is signed in.
    pub(super) async fn shared_with_users(&self, id: ProjectId, port: u16) -> Result<(SandboxId, ResourceName), ControlError> {
        let shared = patient(self.parts.accounts.shared_with_users(Some(id), None, port, self.now())).await;
        let SharedSandbox { sandbox, name, .. } = shared.map_err(store_error)?.ok_or_else(ControlError::not_found)?;
        Ok((sandbox, name))
    }

    /// Where the preview of a port is. Where previews are ports of one host, it gets one for as long as the sandbox is there.
    pub(super) async fn preview_origin(
        &self,
        sandbox: SandboxId,
        name: &ResourceName,
        port: u16,
    ) -> Result<String, ControlError> {
        let addresses = &self.parts.addresses;
        if let Some(ports) = &addresses.preview_ports {
            let chosen = self.parts.accounts.preview_address(sandbox, port, &ports.range, self.now());
            let address = patient(chosen).await.map_err(store_error)?.ok_or_else(|| {
                let message = format!("All {} addresses for previews are in use.", ports.range.len());
                let next_step = "Delete a project, or start the server with more of them: `--preview-listen`.";
                ControlError::new(ErrorKind::Conflict, "no-preview-address", message, next_step)
            })?;
            return Ok(ports.origin(address));
        }
        let domain = addresses.preview.as_ref().ok_or_else(|| {
            let message = "This installation has no addresses for previews.";
            let next_step = "Start it with `--preview-domain`, or with `--preview-listen` where there is no wildcard in DNS.";
            ControlError::new(ErrorKind::Conflict, "no-preview-domain", message, next_step)
        })?;
        Ok(domain.origin(&format!("{port}--{name}")))
    }
}
