//! What the agent and those who ask it say to each other. No I/O here.
//!
//! [`frame`] is the terminal's `fsa-tty.v1`, [`ttyd`] the stock ttyd protocol, [`http`] the bodies of the other routes, [`name`] the names of
//! sessions. The version is that of the whole: a newer control plane goes on speaking with agents that already run, so fields are added with
//! a default and never renamed.

pub mod frame;
pub mod http;
pub mod name;
pub mod ttyd;

/// The version of everything in this module, as `GET /healthz` tells it.
pub const PROTOCOL_VERSION: u32 = 1;

/// Subprotocol of stock ttyd.
pub const TTYD_SUBPROTOCOL: &str = "tty";

/// Our own subprotocol, with offsets: see [`frame`].
pub const FSA_SUBPROTOCOL: &str = "fsa-tty.v1";

/// The port that speaks ttyd and nothing else.
pub const TTY_PORT: u16 = 7681;

/// The port (in Kubernetes) of all other routes.
pub const AGENT_PORT: u16 = 7682;

/// Where programs inside reach the project's PostgreSQL.
pub const DATABASE_PORT: u16 = 5432;

/// Ports inside a sandbox that are never listed, forwarded or shared.
pub const RESERVED_PORTS: [u16; 3] = [TTY_PORT, AGENT_PORT, DATABASE_PORT];

/// What `Upgrade:` says on `GET /v1/forward`.
pub const FORWARD_UPGRADE: &str = "fsa-forward";

/// What `Upgrade:` says on `GET /v1/tunnel`. Behind it is HTTP/2, of which only CONNECT is used: each is answered by a stream of bytes that
/// stands for a fresh connection to the agent, and shows the token as any other does.
pub const TUNNEL_UPGRADE: &str = "fsa-tunnel";

/// How many connections one tunnel carries at a time.
pub const TUNNEL_STREAMS: u32 = 1024;

/// How many bytes of one of them may be on their way to somebody who does not read.
///
/// 1 MiB: 20 MB/s over 50 ms. It is also the most memory that each holds.
pub const TUNNEL_WINDOW: u32 = 1 << 20;

/// The same of all together: every one's whole window, so that none that nobody reads takes the room of the others.
pub const TUNNEL_WINDOWS: u32 = TUNNEL_STREAMS * TUNNEL_WINDOW;

/// How many bytes of output may be on their way to a viewer before the agent stops and waits for [`frame::ClientFrame::Consumed`].
///
/// 512 KiB: enough for 5 MB/s over 100 ms, and little enough that Ctrl-C under `yes` is felt at once over 2 MB/s. A viewer should say what it
/// consumed at least every quarter of it.
pub const OUTPUT_WINDOW: u64 = 512 * 1024;

/// Close codes of `/ws` beside those of RFC 6455 (1000 ended, 1001 agent stops, 1002 protocol error).
pub mod close {
    /// A frame that means nothing; the reason says which. The session goes on.
    pub const BAD_FRAME: u16 = 4400;
    /// The first frame carried no valid token.
    pub const UNAUTHORIZED: u16 = 4401;
    /// The session was ended by `DELETE`.
    pub const DELETED: u16 = 4404;
    /// The first frame did not come in time.
    pub const NO_FIRST_FRAME: u16 = 4408;
    /// This viewer took no output for too long and held the others up: resume later, by offset.
    pub const RESUME_LATER: u16 = 4409;
    /// More input is waiting than the program inside takes.
    pub const INPUT_FULL: u16 = 4413;
}
