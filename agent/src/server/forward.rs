//! `GET /v1/forward?port=P`: a raw stream of bytes to a port inside.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream, task::spawn_local};

use super::{
    body::{Answer, switching},
    error::Error,
    query::Query,
    router::wants_upgrade,
};
use crate::protocol::{FORWARD_UPGRADE, RESERVED_PORTS};

/// Memory of one forwarded connection, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// Connects first, and switches protocols only then.
///
/// # Errors
/// `400 Bad Request` for no port, `403 Forbidden` for a reserved one, `426 Upgrade Required`, and `502 Bad Gateway` where nobody listens.
pub async fn open(request: Request<Incoming>) -> Result<Answer, Error> {
    let port: Option<u16> = Query::of(request.uri()).parsed("port")?;
    let port = port.filter(|port| *port > 0).ok_or_else(|| Error::bad_request("bad-parameter", "port must be 1 to 65535."))?;
    if RESERVED_PORTS.contains(&port) {
        return Err(Error::new(StatusCode::FORBIDDEN, "reserved-port", format!("Port {port} is not forwarded.")));
    }
    wants_upgrade(request.headers(), FORWARD_UPGRADE)?;
    let mut inside = match TcpStream::connect(("127.0.0.1".parse::<std::net::IpAddr>().map_err(|_| no_one(port))?, port)).await {
        Ok(stream) => stream,
        Err(_) => TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).await.map_err(|_| no_one(port))?,
    };
    let _ = inside.set_nodelay(true);
    spawn_local(async move {
        if let Ok(outside) = hyper::upgrade::on(request).await {
            let mut outside = TokioIo::new(outside);
            let _ = copy_bidirectional_with_sizes(&mut outside, &mut inside, BUFFER_BYTES, BUFFER_BYTES).await;
        }
    });
    Ok(switching(FORWARD_UPGRADE))
}

fn no_one(port: u16) -> Error {
    Error::new(StatusCode::BAD_GATEWAY, "nobody-listens", format!("Nobody listens on port {port}."))
}
