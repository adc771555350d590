//! What no safe wrapper exists for: making and configuring the network device of a sandbox, and waiting
//! for a descriptor. The one module of this crate with unsafe code; each ioctl passes a value of the
//! very type that `netdevice(7)` and `Documentation/networking/tuntap` name for its request, which
//! outlives it.
#![expect(unsafe_code, reason = "ioctl has no type; every call here was read against the kernel's headers")]

use nix::libc;
use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};
use tokio::io::unix::AsyncFd;

/// `_IO(0xb7, 0x1)` of `linux/nsfs.h`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// Turns an open `/dev/net/tun` into a TUN device of that name, whose packets begin with their IP
/// header, in the network namespace that it was opened in.
pub fn tun(device: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &mut request) })
}

/// Gives a device its address, its packet size and a default route, and brings it up. `socket` is any
/// IPv4 socket of the namespace that the device is in.
pub fn configure(
    socket: BorrowedFd<'_>,
    name: &str,
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Ipv4Addr,
    mtu: u16,
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    let mut ask = request(name);
    ask.ifr_ifru.ifru_addr = sockaddr(address);
    // SAFETY: SIOCSIFADDR reads one ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFADDR as libc::Ioctl, &ask) })?;
    let mut ask = request(name);
    ask.ifr_ifru.ifru_netmask = sockaddr(mask);
    // SAFETY: SIOCSIFNETMASK reads one ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFNETMASK as libc::Ioctl, &ask) })?;
    let mut ask = request(name);
    ask.ifr_ifru.ifru_mtu = i32::from(mtu);
    // SAFETY: SIOCSIFMTU reads one ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFMTU as libc::Ioctl, &ask) })?;
    let mut ask = request(name);
    ask.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS as libc::Ioctl, &ask) })?;
    // SAFETY: an rtentry of zeroes is a valid one that names nothing.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = sockaddr(gateway);
    route.rt_flags = (libc::RTF_UP | libc::RTF_GATEWAY) as libc::c_ushort;
    // SAFETY: SIOCADDRT reads one rtentry, whose device pointer is null.
    check(unsafe { libc::ioctl(fd, libc::SIOCADDRT as libc::Ioctl, &route) })
}

/// The user namespace that owns a namespace.
pub fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_USERNS takes no argument and answers a new descriptor.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    check(fd)?;
    // SAFETY: the call succeeded, so `fd` is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits for a descriptor on the event loop.
pub fn readiness(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays open and the same for as long as it lives, and AsyncFd gives it out only
    // by shared reference.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq of zeroes is a valid one with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}
