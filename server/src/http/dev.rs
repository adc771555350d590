//! For `cargo xtask dev`: pages load themselves again once another build serves them.

use super::{security::Nonce, state::Plane};
use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::{StreamExt as _, stream};
use http::header;
use http_body_util::BodyExt as _;
use std::convert::Infallible;

const ADDRESS: &str = "/dev/build";

/// Where a page hears which build serves: nothing, unless this is such a server.
pub fn routes(plane: &Plane) -> Router<Plane> {
    if plane.dev { Router::new().route(ADDRESS, get(build)) } else { Router::new() }
}

/// Says the build, and nothing more until the server ends.
async fn build(State(plane): State<Plane>) -> Response {
    let said = format!("retry: 300\ndata: {}\n\n", plane.boot());
    let stop = plane.stop.clone();
    let lines = stream::once(async { Ok::<_, Infallible>(said) }).chain(stream::pending());
    let body = Body::from_stream(lines.take_until(stop.cancelled_owned()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A page that reloads once another build serves it; any other page as it is.
pub async fn reloading(plane: &Plane, Nonce(nonce): &Nonce, page: Response) -> Response {
    if !plane.dev {
        return page;
    }
    let (mut parts, body) = page.into_parts();
    let html = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let script = format!(
        "<script nonce=\"{nonce}\">new EventSource('{ADDRESS}').onmessage=e=>{{if(e.data!=='{}')location.reload()}}</script></body>",
        plane.boot()
    );
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(String::from_utf8_lossy(&html).replacen("</body>", &script, 1)))
}
