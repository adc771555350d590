//! Bytes to a port of a pod: straight to its address where that can be reached, else by a port-forward
//! through the apiserver and the kubelet.

use crate::{Cluster, causes};
use engine::orchestrator::{BoxedIo, ConnectError};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::Portforwarder};
use model::CauseCode;
use std::{
    future::Future as _,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, timeout},
};

/// How long a pod's address may take to answer.
const STRAIGHT: Duration = Duration::from_secs(2);
/// How long a port-forward may take to be there: three hops.
const FORWARD: Duration = Duration::from_secs(5);
/// After one side has said that it sends no more, and the other has been silent for this long, it is over.
const LINGER: Duration = Duration::from_secs(10);

/// The way into pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This process is a pod of the cluster: pods' addresses are its network's.
    Inside,
    /// It is outside. Pods of a node that is this machine are reached straight, others by a port-forward.
    /// (Never straight by trying: a pod's address may be somebody else's in this machine's own network.)
    Outside,
    /// By port-forwards alone.
    Forward,
}

impl Reach {
    /// Looks where this process is.
    pub async fn choose(cluster: &Cluster) -> Self {
        let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
            && tokio::fs::metadata("/var/run/secrets/kubernetes.io/serviceaccount/token").await.is_ok();
        let reach = if in_cluster { Self::Inside } else { Self::Outside };
        tracing::debug!(cluster.namespace = cluster.namespace, "pods are reached from {reach:?}");
        reach
    }

    /// Whether a pod's own address is the way to it: not before it is known.
    #[must_use]
    pub fn straight(self, pod: &Pod) -> bool {
        if !has_address(pod) {
            return false;
        }
        match self {
            Self::Inside => true,
            Self::Forward => false,
            Self::Outside => {
                let host = pod.status.as_ref().and_then(|status| status.host_ip.as_deref());
                host.and_then(|ip| ip.parse().ok()).is_some_and(is_ours)
            }
        }
    }

    /// A connection to a port of a pod. By a port-forward, that nobody listens is seen only when the first
    /// read ends. A pod whose address is not known yet is reached by one, wherever this process is.
    ///
    /// # Errors
    /// [`ConnectError::NobodyListens`] where that is known, [`ConnectError::Refused`] where the account may not forward ports, else [`ConnectError::Io`].
    pub async fn dial(self, cluster: &Cluster, pod: &Pod, port: u16) -> Result<BoxedIo, ConnectError> {
        match address(pod) {
            Some(address) if self.straight(pod) => straight(SocketAddr::from((address, port))).await,
            _ => forward(cluster, pod, port).await,
        }
    }
}

/// Whether a pod's kubelet has said which address it has.
#[must_use]
pub fn has_address(pod: &Pod) -> bool {
    address(pod).is_some()
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

async fn straight(address: SocketAddr) -> Result<BoxedIo, ConnectError> {
    match timeout(STRAIGHT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(ConnectError::NobodyListens(address.port())),
        Ok(Err(error)) => Err(ConnectError::Io(error)),
        Err(_) => Err(ConnectError::Io(io::ErrorKind::TimedOut.into())),
    }
}

async fn forward(cluster: &Cluster, pod: &Pod, port: u16) -> Result<BoxedIo, ConnectError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut forwarder = timeout(FORWARD, api.portforward(name, &[port]))
        .await
        .map_err(|_| ConnectError::Io(io::ErrorKind::TimedOut.into()))?
        .map_err(|error| match causes::of_error(&error, "reach the sandbox's pod") {
            cause if cause.code == CauseCode::PermissionMissing => ConnectError::Refused(cause),
            _ => ConnectError::Io(io::Error::other(error)),
        })?;
    let stream = forwarder.take_stream(port).ok_or_else(|| ConnectError::Io(io::ErrorKind::NotConnected.into()))?;
    Ok(Box::new(Forward { stream, forwarder, ending: None }))
}

/// Whether an address is one of this machine's: a socket can be bound to it.
fn is_ours(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// One forwarded connection. The protocol knows no half-closed one: that our side sends no more is kept to
/// ourselves until the other side has had time to answer.
struct Forward {
    stream: DuplexStream,
    forwarder: Portforwarder,
    ending: Option<Pin<Box<Sleep>>>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl AsyncRead for Forward {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(ending) = &mut self.ending else { return read };
        match read {
            Poll::Ready(_) => {
                if buffer.filled().len() > before {
                    ending.as_mut().reset(Instant::now() + LINGER);
                }
                read
            }
            Poll::Pending => ending.as_mut().poll(context).map(Ok),
        }
    }
}

impl AsyncWrite for Forward {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending.is_none() {
            self.ending = Some(Box::pin(tokio::time::sleep(LINGER)));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }
}
