//! One connection, carried between the stack and the world: bytes go straight from one's buffer into
//! the other's, and each side waits for the other.

use super::device::Network;
use smoltcp::{iface::SocketHandle, socket::tcp::State};
use std::{future::poll_fn, io, task::Poll, time::Duration};
use tokio::net::TcpStream;

/// How long the inside may take to acknowledge the end.
const FAREWELL: Duration = Duration::from_secs(60);

/// Carries until both directions are over, or one fails.
pub async fn carry(network: &Network, handle: SocketHandle, outside: &TcpStream) {
    if tokio::try_join!(outward(network, handle, outside), inward(network, handle, outside)).is_err() {
        network.socket(handle, |socket| socket.abort());
    }
    network.changed();
    let _ = tokio::time::timeout(FAREWELL, over(network, handle)).await;
}

/// From inside to the world.
async fn outward(network: &Network, handle: SocketHandle, outside: &TcpStream) -> io::Result<()> {
    while !wait_for_data(network, handle).await? {
        outside.writable().await?;
        let taken = network.socket(handle, |socket| {
            socket.recv(|data| match outside.try_write(data) {
                Ok(written) => (written, Ok(written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Ok(0)),
                Err(error) => (0, Err(error)),
            })
        });
        match taken {
            Ok(Ok(0)) => {}
            Ok(Ok(_)) => network.changed(),
            Ok(Err(error)) => return Err(error),
            // Over between the look and the act: the next look tells.
            Err(_) => {}
        }
    }
    rustix::net::shutdown(outside, rustix::net::Shutdown::Write)?;
    Ok(())
}

/// From the world to inside.
async fn inward(network: &Network, handle: SocketHandle, outside: &TcpStream) -> io::Result<()> {
    loop {
        wait_for_room(network, handle).await?;
        tokio::select! {
            ready = outside.readable() => ready?,
            () = closed(network, handle) => return Err(io::ErrorKind::ConnectionReset.into()),
        }
        let given = network.socket(handle, |socket| {
            socket.send(|room| match outside.try_read(room) {
                Ok(read) => (read, Ok(Some(read))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Ok(None)),
                Err(error) => (0, Err(error)),
            })
        });
        match given {
            Ok(Ok(Some(0))) => break,
            Ok(Ok(Some(_))) => network.changed(),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
    network.socket(handle, |socket| socket.close());
    network.changed();
    Ok(())
}

/// Until there is something to read. `true`: there never will be any more.
async fn wait_for_data(network: &Network, handle: SocketHandle) -> io::Result<bool> {
    poll_fn(|cx| {
        network.socket(handle, |socket| {
            if socket.can_recv() {
                return Poll::Ready(Ok(false));
            }
            match socket.state() {
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait => Poll::Ready(Ok(true)),
                State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                _ => {
                    socket.register_recv_waker(cx.waker());
                    Poll::Pending
                }
            }
        })
    })
    .await
}

async fn wait_for_room(network: &Network, handle: SocketHandle) -> io::Result<()> {
    poll_fn(|cx| {
        network.socket(handle, |socket| {
            if socket.can_send() {
                return Poll::Ready(Ok(()));
            }
            if socket.state() == State::Closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
    })
    .await
}

/// Until the inside is gone without a farewell.
async fn closed(network: &Network, handle: SocketHandle) {
    poll_fn(|cx| {
        network.socket(handle, |socket| {
            if socket.state() == State::Closed {
                return Poll::Ready(());
            }
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
    })
    .await;
}

/// Until both sides know that it is over.
async fn over(network: &Network, handle: SocketHandle) {
    poll_fn(|cx| {
        network.socket(handle, |socket| {
            if matches!(socket.state(), State::Closed | State::TimeWait) {
                return Poll::Ready(());
            }
            socket.register_recv_waker(cx.waker());
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
    })
    .await;
}
