//! Every limit of the transport, with unit and reason, and the arithmetic between them. It does not
//! know who sets them.
//!
//! The one that shapes the others: quinn blocks a whole connection when the bytes that wait unread
//! in its streams fill the connection's window. So the windows of all streams that a peer may open,
//! full at once, fit into it.

use std::time::Duration;

/// Bytes that one stream may hold unread. One round trip of 8 ms at 1 Gbit/s.
pub const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes that all streams of a connection may hold unread: what one connection costs its receiver
/// at most.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Bytes that a connection keeps for retransmission: what one connection costs its sender at most,
/// beside lane queues.
pub const SEND_WINDOW_BYTES: u64 = 8 * 1024 * 1024;

/// Bidirectional streams (lanes) that a peer may have open. A client uses one; members use a few by
/// priority.
pub const LANES_OPEN_MAX: u32 = 4;

/// Unidirectional streams (bulk data, events) that a peer may have open. The next one waits at its
/// opener until one of them has been read to its end or stopped.
pub const BULKS_OPEN_MAX: u32 = 3;

// Bulk streams that nobody reads leave more than half of the connection's window to the lanes ...
const _: () = assert!(BULKS_OPEN_MAX * STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES / 2);
// ... and all lanes and bulk streams together, none of them read, still do not fill it: no stream
// ever blocks another.
const _: () =
    assert!((LANES_OPEN_MAX + BULKS_OPEN_MAX) * STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
// A sender can fill all windows of its peer and still has room to send on.
const _: () = assert!(SEND_WINDOW_BYTES >= CONNECTION_WINDOW_BYTES as u64);

/// Between members, as [`CONNECTION_WINDOW_BYTES`]: a handful of connections that carry the whole
/// log, and not thousands.
pub const MEMBER_CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;

/// Between members, as [`STREAM_WINDOW_BYTES`], at the end that dialled. The other end has agreed on
/// its windows before TLS tells it that a member is there, and keeps a client's: one lane carries 1
/// MiB a round trip towards it, 26 MB/s over 40 ms. On loopback neither is a bound: frames of 4 MiB
/// reach about 1 GB/s either way on two cores (`examples/member_bench.rs`).
pub const MEMBER_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Between members, as [`SEND_WINDOW_BYTES`].
pub const MEMBER_SEND_WINDOW_BYTES: u64 = MEMBER_CONNECTION_WINDOW_BYTES as u64;

/// Lanes that a member may have open at another, each for a kind of traffic and with a priority: entries and a link for long,
/// and for a moment each heartbeats, votes, status, digests and commands, of which some may wait for a member that is slow.
pub const MEMBER_LANES_OPEN_MAX: u32 = 12;

// Also between members no stream ever blocks another: the lanes of both ends and the bulk streams
// of one, none of them read, do not fill the connection.
const _: () = assert!(
    (2 * MEMBER_LANES_OPEN_MAX + BULKS_OPEN_MAX) * MEMBER_STREAM_WINDOW_BYTES
        < MEMBER_CONNECTION_WINDOW_BYTES
);
const _: () = assert!(STREAM_WINDOW_BYTES <= MEMBER_STREAM_WINDOW_BYTES);
const _: () = assert!(MEMBER_SEND_WINDOW_BYTES >= MEMBER_CONNECTION_WINDOW_BYTES as u64);

/// Bytes before the payload of a frame: its length, u32 little-endian.
pub const FRAME_HEADER_BYTES: usize = 4;

/// Default for the largest payload of a frame: a znode's megabyte and what a request says around
/// it.
pub const FRAME_BYTES_MAX: u32 = 1024 * 1024 + 64 * 1024;

/// Frames of at least so many bytes go to quinn as they are; smaller ones are copied together into
/// one chunk, because quinn searches its unsent chunks from the front for each packet.
pub const COALESCE_BELOW_BYTES: usize = 8 * 1024;

/// Bytes at which a chunk of small frames is closed and a new one begun: quinn frees a chunk only
/// when all of it has been acknowledged.
pub const COALESCED_CHUNK_BYTES: usize = 32 * 1024;

/// Default for the bytes that may wait in a lane's queue, each frame counted with
/// [`FRAME_QUEUE_COST_BYTES`] on top. One frame that is larger waits until the queue is empty, and
/// is then taken.
pub const LANE_QUEUE_BYTES_MAX: u32 = 256 * 1024;

/// What a queued frame counts beside its payload. It bounds the number of queued frames: 256 KiB /
/// 64 = 4096.
pub const FRAME_QUEUE_COST_BYTES: u32 = 64;

const _: () = assert!(FRAME_QUEUE_COST_BYTES as usize >= FRAME_HEADER_BYTES);

/// A lane may hold at most what is left of its [`crate::QueueBudget`], divided by this. One alone has a
/// seventeenth of the budget. Each one that nobody reads leaves 16/17 of what it found, so of 256 MiB
/// thirty leave 2 MiB for another lane, and a hundred 36 KiB.
pub const BUDGET_SHARE_DIVISOR: usize = 16;

/// Received pieces (one to a packet, about 1.4 KiB) that a lane takes out of quinn at once, under
/// one lock.
pub const READ_PIECES_MAX: usize = 32;

/// A frame that spans several pieces is assembled in a buffer that starts at no more than this and
/// doubles as bytes arrive.
pub const ASSEMBLY_BYTES_FIRST: usize = 4 * 1024;

/// Priority of a lane's stream over bulk streams (0): a reply never waits behind queued bulk data.
pub const LANE_PRIORITY: i32 = 1;

/// Bytes of a close reason that are sent; the rest is cut off at a character.
pub const CLOSE_REASON_BYTES_MAX: usize = 256;

/// Default for how long a connection may be silent before both sides take it for lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The client sends a sign of life every `idle timeout / KEEP_ALIVE_DIVISOR`: two of them may be
/// lost.
pub const KEEP_ALIVE_DIVISOR: u32 = 3;

/// How long a connection between members may be silent. Long against a lost packet, short against
/// what a cluster's clients notice.
pub const MEMBER_IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a member tries to reach another, all addresses of its name together. QUIC doubles its
/// pauses between attempts: the next dial, with a name resolved anew, comes sooner than this one's
/// last packets would.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Addresses of one name that a dial tries.
pub const DIAL_ADDRESSES_MAX: usize = 8;

/// Default for how long a handshake may take at the server, and for how long a client tries to
/// connect.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Round trip assumed before one has been measured. quinn's 333 ms make the first loss in a LAN
/// cost a second.
pub const INITIAL_RTT: Duration = Duration::from_millis(20);

/// Default for the connections that a server holds, handshakes included.
pub const CONNECTIONS_MAX: u32 = 4096;

/// Default for handshakes under way at a server. Each costs a signature (about 50 us) and some 10
/// KiB.
pub const HANDSHAKES_MAX: u32 = 256;

/// From `handshakes_max / HANDSHAKE_RETRY_DIVISOR` on, an unproven address must first show that it
/// receives what is sent to it (QUIC Retry, stateless): a flood with forged senders gets no
/// further, and the rest stays for honest clients.
pub const HANDSHAKE_RETRY_DIVISOR: u32 = 4;

/// First packets that wait for the accepting task, and the bytes that they may buffer all together.
pub const INCOMING_MAX: usize = 1024;
/// See [`INCOMING_MAX`]. 0-RTT is off, so a first flight beyond a few packets is none of ours.
pub const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;
/// See [`INCOMING_MAX`].
pub const INCOMING_BUFFER_BYTES_TOTAL: u64 = 8 * 1024 * 1024;

/// Established connections that wait for `Server::accept`. While it is full, handshakes stay under
/// way and count as such.
pub const ACCEPT_QUEUE_MAX: usize = 128;

/// Buffers that are asked of the kernel for the UDP socket. Best effort: the kernel caps them at
/// net.core.{r,w}mem_max.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A PEM file larger than this is not read.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Characters of an authority's name: the bound of a common name (RFC 5280, ub-common-name).
pub const AUTHORITY_NAME_CHARS_MAX: usize = 64;

/// How long a certificate authority made here is valid.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a server certificate made here is valid.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server certificate made here is made anew at a start that finds less than this left.
pub const CERTIFICATE_RENEW_AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Certificates are valid from this long before they are made, for clients whose clock is behind.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(3600);

/// How long a client's certificate made here is valid, unless another time is asked for.
pub const CLIENT_CERTIFICATE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest time that is signed for at once, in a client's certificate or a token, and the longest that a token is
/// believed for: what can not be revoked must end.
pub const CREDENTIAL_VALIDITY_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// Names that are taken from a client's certificate; those behind them do not count. Each becomes an identity of a session,
/// of which a session has few.
pub const CERTIFICATE_NAMES_MAX: usize = 8;

/// Bytes of a name that is taken from a client's certificate, of the subject of a token, and of a user's name. The longest
/// common name of 64 characters fits as long as it has no more than 3 bytes each, and so does most of what a URI names; with what
/// stands around it in an identity, it is still a principal.
pub const NAME_BYTES_MAX: usize = 200;

/// Bytes of a password. ZooKeeper has no bound.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Bytes of a token. The longest that is made here has about 700.
pub const TOKEN_BYTES_MAX: usize = 2048;

/// By how much a token may be from the future, for members whose clock is behind that of its maker. Its end has no leeway.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(60);
