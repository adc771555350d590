//! The few pages that a preview's host shows by itself. Small, whole in one answer, light and dark.

use app::error::{ControlError, ErrorKind};
use axum::response::Html;
use engine::store::accounts::shares::LinkUse;
use http::StatusCode;

/// What is shown instead of the app.
#[derive(Debug, Clone)]
pub struct Face {
    /// Its status.
    pub status: StatusCode,
    /// What happened.
    pub title: String,
    /// Why, and what to do: HTML.
    pub body: String,
    /// Whether it loads the page again by itself once somebody listens.
    pub waits: bool,
}

impl Face {
    fn new(status: StatusCode, title: impl Into<String>, says: &str) -> Self {
        Self { status, title: title.into(), body: format!("<p>{}</p>", escape(says)), waits: false }
    }

    fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Nobody is signed in to this preview.
    pub fn signed_out(app: &str, name: &str, port: u16) -> Self {
        let link = escape(&format!("{app}/open/{name}/{port}"));
        // From inside the pane's frame the link leads nowhere: what an app shows there may not take the place of the page.
        let body = format!(
            "<p>A preview is private to the project's owner.</p><p><a href=\"{link}\" target=\"_top\">Open it through FullStack Agent</a>. \
             Beside the terminal, the button “Reload preview” opens it again.</p>"
        );
        Self { status: StatusCode::UNAUTHORIZED, title: "Sign in to see this preview".into(), body, waits: false }
    }

    /// A public link that opens nothing any more, or never did.
    pub fn link_over(what: LinkUse) -> Self {
        let (title, says) = match what {
            LinkUse::Expired => ("This link has expired", "It was made for a while, which is over."),
            LinkUse::Revoked => {
                ("This link was withdrawn", "The project's owner made this preview private again, or made a new link.")
            }
            LinkUse::Open { .. } | LinkUse::Unknown => ("This link opens nothing", "It may have been copied in part."),
        };
        Self::new(StatusCode::UNAUTHORIZED, title, &format!("{says} Ask whoever gave it to you for a new one."))
    }

    /// Nothing of ours has that address.
    pub fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is nothing here", "Addresses under /.fsa/ belong to FullStack Agent itself.")
    }

    /// Another page asked.
    pub fn foreign() -> Self {
        let says = "The request comes from a page that is neither FullStack Agent's nor this preview's own.";
        Self::new(StatusCode::FORBIDDEN, "A foreign page asked", says)
    }

    /// A script that would answer for this address later, when it may be another preview's.
    pub fn no_service_worker() -> Self {
        let says = "Several previews have this host one after the other, so none may keep a service worker at it.";
        Self::new(StatusCode::FORBIDDEN, "No service worker here", says)
    }

    /// A code that does not open it.
    pub fn bad_code() -> Self {
        let says =
            "The code works once, within a minute, for one port of one sandbox. Open the preview again from the project's page.";
        Self::new(StatusCode::UNAUTHORIZED, "This code does not open the preview", says)
    }

    /// The sandbox is not up.
    pub fn not_running() -> Self {
        let says = "Start it on the project's page. This page loads the preview by itself when it is up.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The sandbox is not running", says).waiting()
    }

    /// Nobody listens on the port.
    pub fn nobody_listens(port: u16) -> Self {
        let says = "Start a server on it in the terminal. This page loads the preview by itself when one listens.";
        Self::new(StatusCode::BAD_GATEWAY, format!("Nothing listens on port {port}"), says).waiting()
    }

    /// The way in is broken.
    pub fn unreachable() -> Self {
        let says = "The sandbox runs, and its agent does not answer. This page tries on by itself.";
        Self::new(StatusCode::BAD_GATEWAY, "The sandbox does not answer", says).waiting()
    }

    /// The app took the request and broke off.
    pub fn died(port: u16) -> Self {
        let says =
            "It took the request and closed the connection before it answered. What it printed in the terminal may say why.";
        Self::new(StatusCode::BAD_GATEWAY, format!("The server on port {port} broke off"), says)
    }

    /// An error of ours.
    pub fn of(error: &ControlError) -> Self {
        let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let face = Self::new(status, "The preview cannot be shown now", &error.message);
        if error.kind == ErrorKind::Unavailable { face.waiting() } else { face }
    }
}

/// Posts what stands behind the `#` of a public link, which no log of a server sees, and goes on to the preview.
pub fn entering() -> String {
    "fetch('/.fsa/share',{method:'POST',body:location.hash.slice(1)}).then(async a=>{\
     if(a.ok)location.replace('/');else document.documentElement.innerHTML=await a.text()})\
     .catch(()=>{document.getElementById('said').textContent='The server does not answer. Load this page again in a moment.'})"
        .to_owned()
}

/// Asks, a little more often than once a second, whether what the page says is still so, and else loads it again: somebody
/// listens, the sandbox is up and nobody does, or whoever looks may no longer. Those who may not get a page that asks nothing.
///
/// One question at a time, and none once it loads again: where an answer takes seconds, each further one would begin the
/// loading anew, and it would never be over.
pub fn waiting() -> String {
    "(async()=>{for(;;){await new Promise(r=>setTimeout(r,700));try{const a=await fetch('/.fsa/status',{cache:'no-store'});\
     if(a.status===401)return location.reload();if(!a.ok)continue;const s=await a.json();\
     if(s.listening||s.shown!==document.title)return location.reload()}catch{}}})()"
        .to_owned()
}

/// A whole page; `script` with its nonce.
pub fn page_of(title: &str, body: &str, script: Option<(&str, &str)>) -> Html<String> {
    let title = escape(title);
    let script = script.map(|(nonce, script)| format!("<script nonce=\"{nonce}\">{script}</script>")).unwrap_or_default();
    Html(format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><link rel=\"icon\" href=\"data:,\"><style>\
         body{{margin:0;min-height:100vh;display:grid;place-content:center;font:14px/1.5 system-ui,sans-serif;\
         background:light-dark(#fbfbfa,#141517);color:light-dark(#1b1c1f,#e8e8ea)}}\
         main{{max-width:30rem;padding:2rem;overflow-wrap:anywhere}}h1{{font-size:20px;font-weight:600;margin:0 0 .5rem}}p{{margin:0 0 .75rem}}\
         a{{color:light-dark(#1d4fd7,#8fb0ff)}}</style></head><body><main><h1>{title}</h1>{body}</main>{script}</body></html>"
    ))
}

/// Text in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
