//! This build's assets: files under names that have their content's hash, so that browsers keep them
//! for ever.

use super::state::Plane;
use app::{
    control::Assets,
    error::{ControlError, ErrorKind},
};
use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header};
use std::{
    collections::BTreeMap,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use super::errors::Refusal;

/// Where the assets are, and what they are called.
#[derive(Debug, Clone, Default)]
pub struct Site {
    folder: PathBuf,
    /// Published names. What is not in here is not served.
    files: Arc<Vec<String>>,
    assets: Arc<Assets>,
}

impl Site {
    /// Reads `manifest.json` of a site folder.
    ///
    /// # Errors
    /// It is not there or not of that form, in a sentence.
    pub fn read(folder: &FilePath) -> Result<Self, String> {
        let manifest = folder.join("manifest.json");
        let shown = manifest.display();
        let text = std::fs::read(&manifest).map_err(|error| {
            format!("The assets of the pages are not at {shown}: {error}. Build them with `cargo xtask build`, or name their folder: `--site-dir FOLDER`.")
        })?;
        let names: BTreeMap<String, String> = serde_json::from_slice(&text)
            .map_err(|error| format!("{shown} is not a manifest: {error}. Build it again with `cargo xtask build`."))?;
        let address = |name: &str| names.get(name).map(|published| format!("/pkg/{published}")).unwrap_or_default();
        let assets = Assets {
            frontend_js: address("frontend.js"),
            frontend_wasm: address("frontend_bg.wasm"),
            main_css: address("main.css"),
            terminal_js: address("terminal.js"),
            terminal_css: address("terminal.css"),
            log_js: address("log.js"),
            doctor_js: address("doctor.js"),
            elements_js: address("elements.js"),
            github_js: address("github.js"),
            activity_js: address("activity.js"),
            icons_svg: address("icons.svg"),
        };
        let files = Arc::new(names.into_values().collect());
        Ok(Self { folder: folder.join("pkg"), files, assets: Arc::new(assets) })
    }

    /// Their addresses.
    #[must_use]
    pub fn assets(&self) -> Arc<Assets> {
        self.assets.clone()
    }
}

/// `GET /pkg/again-{n}/{file}`: the same as without the folder. Where a module failed to load, a browser may remember that for as long as the page
/// lives; in a folder with another number, it and what it imports have names that never failed (`app/src/load.js`).
///
/// # Errors
/// `404 Not Found`: no file of this build, or no such folder.
pub async fn serve_again(
    State(plane): State<Plane>,
    Path((folder, file)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let again = folder.strip_prefix("again-").is_some_and(|n| n.parse::<u32>().is_ok());
    let file = if again { file } else { format!("{folder}/{file}") };
    serve(State(plane), Path(file), request).await
}

/// `GET /pkg/{file}`: brotli or gzip where the browser takes it.
///
/// # Errors
/// `404 Not Found`: no file of this build.
pub async fn serve(State(plane): State<Plane>, Path(file): Path<String>, request: Request) -> Result<Response, Refusal> {
    let not_found = || {
        let message = format!("There is no asset {file} in this build.");
        Refusal::from(ControlError::new(
            ErrorKind::NotFound,
            "no-such-asset",
            message,
            "Reload the page: the server was updated.",
        ))
    };
    if !plane.site.files.contains(&file) {
        return Err(not_found());
    }
    let serve = ServeFile::new(plane.site.folder.join(&file)).precompressed_br().precompressed_gzip();
    let response = serve.oneshot(request).await.map_err(|_| not_found())?;
    let mut response = response.map(Body::new).into_response();
    if response.status().is_success() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }
    if response.status() == http::StatusCode::NOT_FOUND {
        return Err(not_found());
    }
    Ok(response)
}
