//! Every bound of the client, with unit and reason. It does not know who asks.

use std::time::Duration;

use quorate_core::limits;

/// Requests of one client that wait for their answers, parked calls included. One more waits for room.
pub const REQUESTS_MAX: usize = 4096;
/// Bytes of request bodies that a client keeps until their answers have come. One more waits for room; a single larger body
/// waits until all of it is free.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Commands that wait for the owner task before their callers wait.
pub const COMMANDS_MAX: usize = 1024;

/// Milliseconds before the first retry of a refused write or read.
pub const RETRY_MS_FIRST: u64 = 10;
/// Milliseconds between retries at most: a leader that comes back is used within half a second.
pub const RETRY_MS_MAX: u64 = 500;
/// Bytes of a recipe call that is sent as a read: it is one frame of the lane, with its head.
pub const READ_CALL_BYTES_MAX: usize = quorate_wire::message::LANE_FRAME_BYTES_MAX as usize - 1024;
/// Refusals of one call that is sent as a read, while its member still compiles the recipe: a minute, which is the longest that a
/// member compiles.
pub const COMPILING_REFUSALS_MAX: u32 = 120;
/// Refusals of one write in sequence for a reason that only an operator can end (a full disk), before its caller hears it.
/// With the delays above this is about two seconds.
pub const REFUSALS_MAX: u32 = 8;
/// How long a call of a recipe that the leader still compiles is made again and again: from the cache of a disk it is ready in
/// milliseconds, and after a first compilation in seconds.
pub const COMPILING_PATIENCE: Duration = Duration::from_secs(20);
/// Milliseconds before the second attempt to connect.
pub const RECONNECT_MS_FIRST: u64 = 20;
/// Milliseconds between attempts to connect at most.
pub const RECONNECT_MS_MAX: u64 = 1_000;

/// A heartbeat is sent each session timeout divided by this: two of them may be lost.
pub const HEARTBEAT_DIVISOR: u64 = 3;
/// After an unconfirmed heartbeat the next one comes after the timeout divided by this: a new leader is found in time.
pub const HEARTBEAT_RETRY_DIVISOR: u64 = 12;

/// Milliseconds after a request was sent at which an answer that has not come is followed by a heartbeat, if none is due before;
/// the next ones come after twice as long each. A member that dies between taking a request in and answering it is noticed by
/// that, and a call that waits for long costs no more than an idle session.
pub const PROBE_MS: u64 = 500;
/// Milliseconds without an acknowledgement, of something that was sent, after which a member is suspected: QUIC acknowledges
/// within 25 ms, whatever the member is doing, so its process is dead, stopped or cut off. Up to a quarter is added at random,
/// and two round trips.
pub const SILENCE_MS: u64 = 400;
/// Each suspicion doubles that, up to this: how often a client may move is bounded whatever its members do.
pub const SILENCE_MS_MAX: u64 = 2_000;
/// Milliseconds without a suspicion after which the next one comes as soon as the first.
pub const SILENCE_CALM_MS: u64 = 30_000;
/// Milliseconds by which a look may be late. A later one says that this process was asleep, and proves nothing.
pub const SILENCE_LATE_MS: u64 = 100;
/// Milliseconds between two looks at a member that is suspect.
pub const SILENCE_LOOK_MS: u64 = 100;
/// Between the starts of two attempts to connect, to one member after the other, while none has failed or come about.
pub const DIAL_STAGGER: Duration = Duration::from_millis(250);
/// As [`DIAL_STAGGER`], when a client connects for the first time: the members that it was told first are those that it is meant
/// to use.
pub const FIRST_DIAL_STAGGER: Duration = Duration::from_secs(1);
/// Milliseconds for which an address that failed or fell silent is tried behind all others.
pub const FAILED_MS: u64 = 10_000;

/// Goodbyes for a protocol error without a write's reply in between, after which the session is given up: something that this
/// client has to send is not understood, and would be sent again for ever.
pub const FAREWELLS_MAX: u32 = 3;

/// Locks of one client whose loss is waited for by a parked call each: there is room for other requests beside them, and for calls
/// that give locks back.
pub const LOCK_WATCHES_MAX: usize = REQUESTS_MAX / 4;
/// How long after a refusal that may pass the service is asked again whether a lock is held.
pub const LOCK_WATCH_RETRY: Duration = Duration::from_secs(2);

/// How long a lane may take from `Hello` to `Welcome`: a new session is a transaction.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that does not attach a session within its timeout divided by this is passed over for the next one, if there is
/// another: one that is cut off from the leader must not cost the time in which the session could be saved elsewhere.
pub const ATTACH_DIVISOR: u64 = 6;
/// Milliseconds that a member has at least: an election takes as long.
pub const ATTACH_MS_MIN: u64 = 1_000;
/// How long a whole `connect` tries all addresses, unless the caller says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closing connection may take to tell its peer.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of a request's body: a transaction's, so that what is refused for size is refused before it is numbered.
pub const BODY_BYTES_MAX: usize = limits::TRANSACTION_BYTES_MAX;

// One write more than these can be unanswered never finds the server's store of replies full by number: before write n + 4096
// is sent, reply n has come, and its acknowledgement goes with it.
const _: () = assert!(REQUESTS_MAX as u64 <= limits::KEPT_REPLIES_MAX);
const _: () = assert!(BODY_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!((LOCK_WATCHES_MAX as u64) < limits::PARKED_CALLS_PER_SESSION_MAX);

/// How long a member's machine may take to acknowledge the last byte of a body. Heartbeats tell sooner if it is gone.
pub const BULK_TIMEOUT: Duration = Duration::from_secs(60);

// A heartbeat is a probe, too: an idle client whose member is silent has time to move before its session is in danger.
const _: () = assert!(SILENCE_MS < SILENCE_MS_MAX && SILENCE_MS_MAX < SILENCE_CALM_MS);

/// Bytes that a watch keeps for its reader, unless it was opened with another number. A reader that lets more come is cut off: a
/// single change may be larger, when nothing else waits.
pub const WATCH_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one transaction's events for one watch: what a client's transaction can write, and the data before it of a few
/// large znodes. A watch of which more comes at once is ended, since half of a transaction is told to nobody.
pub const WATCH_TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(WATCH_TRANSACTION_BYTES_MAX > 4 * limits::TRANSACTION_BYTES_MAX);

/// Znodes of a cache, unless it was opened with another number.
pub const CACHE_ZNODES_MAX: usize = 100_000;
/// Bytes of a cache, what it keeps beside paths and data included, unless it was opened with another number.
pub const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Changes that a cache takes in at once, before its readers get their turn.
pub const CACHE_NOTICES_PER_TURN: usize = 256;
/// Milliseconds before a cache is built a second time.
pub const CACHE_RETRY_MS_FIRST: u64 = 20;
/// Milliseconds between attempts to build a cache at most.
pub const CACHE_RETRY_MS_MAX: u64 = 2_000;
