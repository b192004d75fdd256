//! Bounds of one member's faces, with unit and reason.

use std::time::Duration;

use quorate_core::limits;

/// Writes of one session that wait for their reply, parked calls among them. Above this, new ones are refused.
pub const OUTSTANDING_WRITES_MAX: usize = 8192;
/// Reads of one session that wait for their consistency at a time. Above this the lane is not read further.
pub const OUTSTANDING_READS_MAX: usize = 1024;
/// Heartbeats of one session that wait for the leader.
pub const OUTSTANDING_HEARTBEATS_MAX: usize = 16;
/// Bytes of requests of one session that wait for their reply.
pub const OUTSTANDING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Messages on their way to the sequencer's thread.
pub const SEQUENCER_INBOX_MAX: usize = 64 * 1024;
/// Frames of a lane that are handled in one go before others get their turn.
pub const BURST_FRAMES_MAX: usize = 256;
/// How long a new lane may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an attach waits for a leader.
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for its consistency before it is answered `no-leader`.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the sequencer steps without an input: session expiry and timers are that exact.
pub const TICK: Duration = Duration::from_millis(20);
/// How long a lane may take to deliver what has queued at shutdown.
pub const FAREWELL: Duration = Duration::from_secs(2);

const _: () = assert!(OUTSTANDING_WRITES_MAX as u64 > limits::PARKED_CALLS_PER_SESSION_MAX);
const _: () = assert!(OUTSTANDING_BYTES_MAX > limits::FRAME_BYTES_MAX);
