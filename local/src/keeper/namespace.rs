//! What the keeper makes inside the sandbox's network namespace, from outside: the network device, and
//! the listening sockets of the database forward and the proxy. The inside gets no right to make any.
//!
//! As root a thread of the keeper enters the namespace. Anyone else must first enter the user namespace
//! that owns it, which the kernel allows to processes of one thread only: a helper process does it,
//! `keeper --namespaces`, and hands the descriptors back.

use super::{egress::address, protocol::WayOut};
use crate::sys;
use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, sockopt,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

/// The name of the network device inside.
const DEVICE: &str = "net0";
/// Where programs inside look for PostgreSQL.
const DATABASE_PORT: u16 = 5432;

/// What is wanted in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// How the inside reaches the internet.
    pub way_out: WayOut,
    /// Whether 127.0.0.1:5432 is listened on.
    pub database: bool,
}

/// What was made.
#[derive(Debug, Default)]
pub struct Made {
    /// The network device.
    pub device: Option<OwnedFd>,
    /// The proxy's listening sockets.
    pub proxy: Vec<OwnedFd>,
    /// The database's listening sockets.
    pub database: Vec<OwnedFd>,
}

/// Makes what is wanted in the network namespace of a process.
pub fn make(pid: i32, wanted: Wanted, keeper_command: &[PathBuf]) -> Result<Made> {
    if rustix::process::geteuid().is_root() {
        let entered = std::thread::scope(|scope| scope.spawn(|| enter_and_make(pid, wanted)).join());
        return match entered {
            Ok(made) => made,
            Err(_) => bail!("the thread in the sandbox's network namespace panicked"),
        };
    }
    by_helper(pid, wanted, keeper_command)
}

/// The helper's whole life: `keeper --namespaces PID WANTED`, its answer over standard input.
pub fn help(pid: &str, wanted: &str) -> Result<()> {
    let made = enter_and_make(pid.parse().context("the pid")?, serde_json::from_str(wanted).context("what is wanted")?)?;
    let counts = [u8::from(made.device.is_some()), made.proxy.len() as u8, made.database.len() as u8];
    let fds: Vec<_> = made.device.iter().chain(&made.proxy).chain(&made.database).map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        bail!("too many descriptors");
    }
    rustix::net::sendmsg(rustix::stdio::stdin(), &[IoSlice::new(&counts)], &mut control, SendFlags::empty())
        .context("hand them back")?;
    Ok(())
}

fn by_helper(pid: i32, wanted: Wanted, keeper_command: &[PathBuf]) -> Result<Made> {
    let (ours, theirs) = UnixStream::pair().context("make a pair of sockets")?;
    let Some((program, arguments)) = keeper_command.split_first() else { bail!("no keeper command") };
    let helper = Command::new(program)
        .args(arguments)
        .args(["--namespaces", &pid.to_string(), &serde_json::to_string(&wanted)?])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the namespace helper")?;
    let mut counts = [0; 3];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(&ours, &mut [IoSliceMut::new(&mut counts)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let output = helper.wait_with_output().context("wait for the namespace helper")?;
    if !output.status.success() || received.context("hear from the namespace helper")?.bytes != counts.len() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let mut fds = fds.by_ref().flatten();
    let mut take = |count: u8| fds.by_ref().take(count.into()).collect::<Vec<OwnedFd>>();
    Ok(Made { device: take(counts[0]).pop(), proxy: take(counts[1]), database: take(counts[2]) })
}

fn enter_and_make(pid: i32, wanted: Wanted) -> Result<Made> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).context("open the network namespace")?;
    if !rustix::process::geteuid().is_root() {
        let owner = sys::owner(namespace.as_fd()).context("find the user namespace that owns the network namespace")?;
        setns(owner, CloneFlags::CLONE_NEWUSER).context("enter the user namespace")?;
    }
    setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
    let mut made = Made::default();
    if wanted.database {
        made.database = listen(DATABASE_PORT)?;
    }
    match wanted.way_out {
        WayOut::Device => made.device = Some(device()?),
        WayOut::Proxy => made.proxy = listen(address::PROXY_PORT)?,
        WayOut::Machine | WayOut::None => {}
    }
    Ok(made)
}

fn device() -> Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/net/tun").context("open /dev/net/tun")?;
    sys::tun(device.as_fd(), DEVICE).context("make the network device")?;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).context("make a socket")?;
    sys::configure(socket.as_fd(), DEVICE, address::INSIDE, address::MASK, address::GATEWAY, address::MTU)
        .context("configure the network device")?;
    rustix::io::ioctl_fionbio(&device, true).context("make the network device non-blocking")?;
    Ok(device.into())
}

/// Listens on a port of the loopback inside; on IPv6's where there is one.
fn listen(port: u16) -> Result<Vec<OwnedFd>> {
    let on = |family, to: SocketAddr| -> Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).context("make a socket")?;
        // bubblewrap gives the loopback its address at the same time: perhaps only after this.
        sockopt::set_ip_freebind(&socket, true).context("allow an address that is to come")?;
        rustix::net::bind(&socket, &to).with_context(|| format!("bind to {to}"))?;
        rustix::net::listen(&socket, 128).with_context(|| format!("listen on {to}"))?;
        Ok(socket)
    };
    let mut sockets = vec![on(AddressFamily::INET, (Ipv4Addr::LOCALHOST, port).into())?];
    sockets.extend(on(AddressFamily::INET6, (Ipv6Addr::LOCALHOST, port).into()).ok());
    Ok(sockets)
}
