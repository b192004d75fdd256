//! Bounds of one member's faces, with unit and reason.

use std::time::Duration;

use quorate_core::limits;

/// Writes of one session that wait for their reply, parked calls among them. Above this, new ones are refused.
pub const OUTSTANDING_WRITES_MAX: usize = 8192;
/// Reads of one session that wait for their consistency at a time. Above this the lane is not read further.
pub const OUTSTANDING_READS_MAX: usize = 1024;
/// Answers of a lane's reads that are computed and not sent: each has up to 2 MiB, and a client that does not read must not
/// have more of them made.
pub const READS_PER_LANE_TURN: usize = 16;
/// Bytes of the results of many reads in one answer: what a frame carries, less its head and what each read adds.
pub const MANY_READS_BYTES_MAX: usize =
    quorate_wire::message::LANE_FRAME_BYTES_MAX as usize - 64 * 1024;
/// Recipe calls that only read: threads that run them, whatever the machine has. One that takes its time leaves the others.
/// At most, the engine's `READERS_MAX`.
pub const READ_CALL_THREADS_MIN: usize = 2;
/// Bytes of stack of each of those: twice what the engine needs for a guest and its host functions.
pub const READ_CALL_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Calls that wait for one of those threads, above which more are refused.
pub const READ_CALLS_QUEUE_MAX: usize = 1024;
/// Calls of one lane in that queue or running: its others wait behind them, so that no client has the queue to itself.
pub const READ_CALLS_PER_LANE_TURN: usize = 16;
/// Bytes in which room for waiting calls is counted: as small a call as there is counts as one block.
pub const READ_CALL_BLOCK_BYTES: usize = 8 * 1024;
/// Blocks of one lane's calls that only read and are not answered, above which more are refused: as many as other reads, and
/// 8 MiB.
pub const READ_CALL_BLOCKS_PER_LANE_MAX: usize = 1024;
/// Blocks of such calls on all lanes of this member: 128 MiB.
pub const READ_CALL_BLOCKS_MAX: usize = 16 * 1024;
/// How long a call may wait for a thread before it is refused: its client has other members to ask.
pub const READ_CALL_PATIENCE: Duration = Duration::from_secs(5);
/// Heartbeats of one session that wait for the leader.
pub const OUTSTANDING_HEARTBEATS_MAX: usize = 16;
/// Bytes of requests of one session that wait for their reply.
pub const OUTSTANDING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of requests that wait for their reply on all lanes of this member: four thousand connections at their own limit
/// would be more than any machine has.
pub const MEMBER_OUTSTANDING_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of answers that may queue on one lane. The thread that applies can not wait for a client, and cuts off one that is
/// further behind: all replies that may be kept for a session, what each costs in the queue, and as much for what else it
/// has asked.
pub const LANE_QUEUE_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Of these, bytes that each lane has to itself: a client that reads is seldom further behind.
pub const LANE_QUEUE_BYTES_OWN: u32 = 64 * 1024;
/// Bytes of answers that may queue on all lanes of this member beyond what each has to itself: with that, 512 MiB for as
/// many connections as are let in, where the lanes' own limits alone would allow 64 GiB. A lane holds at most a sixteenth of
/// what is left of it (`quorate_net::limits::BUDGET_SHARE_DIVISOR`): one that has its share gets no more, so its reads wait,
/// and it is cut when a reply can not.
pub const MEMBER_LANE_QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Writes of all sessions of one principal that wait for their reply on this member, parked calls among them: sixteen sessions'
/// worth. Above this, new ones are refused, but for those that only free something.
pub const OUTSTANDING_WRITES_PER_PRINCIPAL_MAX: usize = 16 * OUTSTANDING_WRITES_MAX;
/// Bytes of those: a quarter of what may wait on this member.
pub const OUTSTANDING_BYTES_PER_PRINCIPAL_MAX: usize = MEMBER_OUTSTANDING_BYTES_MAX / 4;
/// Reads of all sessions of one principal that wait on this member: sixteen sessions' worth. Above this they are refused: were
/// its lanes not read further, one client that does not take its answers would hold up the heartbeats of the others.
pub const OUTSTANDING_READS_PER_PRINCIPAL_MAX: usize = 16 * OUTSTANDING_READS_MAX;
/// Blocks of recipe calls that only read, of all sessions of one principal: a quarter of this member's.
pub const READ_CALL_BLOCKS_PER_PRINCIPAL_MAX: usize = READ_CALL_BLOCKS_MAX / 4;
/// Watches of all sessions of one principal on this member: half of them.
pub const WATCHES_PER_PRINCIPAL_MAX: usize = WATCHES_MAX / 2;
/// Bodies of bulk writes that have arrived and were not asked for on the lane. They are read one by one, in the order in
/// which their streams were opened, so more than a few means that their client does not keep that order.
pub const BODIES_ARRIVED_MAX: usize = 4;
/// How long the lane waits for the body of the bulk write that is next: the largest one at 1 Mbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Frames below this many bytes may be slices of the packet in which they came, up to 64 KiB: what waits is copied.
pub const SLICED_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Watches of one attachment: a client with more of them watches a subtree.
pub const WATCHES_PER_ATTACHMENT_MAX: usize = 16 * 1024;
/// Watches on one member: some 100 MiB of memory.
pub const WATCHES_MAX: usize = 256 * 1024;
/// Bytes of events that may queue for one attachment, above which its watches are ended with their positions: the thread that
/// applies can not wait for a client. More than the largest transaction with all its data.
pub const EVENT_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an attachment's queued events at which they end altogether: what must be told beyond the limit above is a piece of
/// the past, or that watches have ended, and a client that reads neither is not told for ever.
pub const EVENT_QUEUE_BYTES_END: usize = 2 * EVENT_QUEUE_BYTES_MAX;
/// Of these, bytes that each attachment has to itself; below it a watch that catches up adds to the queue.
pub const EVENT_QUEUE_BYTES_OWN: usize = 64 * 1024;
/// Bytes of events that may queue on this member beyond what each attachment has to itself.
pub const MEMBER_EVENT_QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// An attachment may hold at most what is left of that, divided by this, as lanes of theirs
/// (`quorate_net::limits::BUDGET_SHARE_DIVISOR`).
pub const EVENT_QUEUE_SHARE_DIVISOR: usize = 16;
/// What a watch that catches up queues beyond its attachment's own part comes out of that memory, divided by this: the rest is
/// for what happens now. 400 slow clients with a piece each; where there is no room, few of them go on at a time.
pub const EVENT_QUEUE_PAST_DIVISOR: usize = 2;
/// Bytes of events that wait in the lane itself, behind the attachment's queue.
pub const EVENT_LANE_QUEUE_BYTES: u32 = 64 * 1024;
/// Pairs of an event and a watch of one transaction that are looked at together: 16 MiB. Ten thousand watches on one znode are
/// one pair each.
pub const EVENT_PAIRS_MAX: usize = 1024 * 1024;
/// How often attachments without events are told up to where there are none.
pub const EVENT_MARK_EVERY: Duration = Duration::from_secs(2);
/// Watches that read history at a time, on all lanes of this member, or have queued what there is no memory for.
pub const CATCH_UPS_MAX: usize = 64;
/// Entries that a watch reads of history in one go.
pub const CATCH_UP_ENTRIES_MAX: usize = 256;
/// Bytes of frames after which a piece of history ends.
pub const CATCH_UP_BYTES: usize = 256 * 1024;
/// Bytes of data before its events that a watch is told with one transaction, when it reads that from history.
pub const CATCH_UP_PREVIOUS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a client may take for what was queued for a watch that catches up, beside the time that the next line gives it.
pub const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of it that a client must take in a second: 1 Mbit/s, as of a scan.
pub const CATCH_UP_BYTES_PER_SECOND_MIN: u64 = 128 * 1024;
/// Components that wait to be compiled. One that finds no place is asked for again by whoever deploys it.
pub const COMPILE_QUEUE_MAX: usize = 256;
/// Bytes of the log's queue: a batch in flight each, at its usual size, and as much again.
pub const LOG_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Messages on their way to the sequencer's thread.
pub const SEQUENCER_INBOX_MAX: usize = 64 * 1024;
/// Bytes that a message costs in the queue of a link beside what it carries.
pub const LINK_MESSAGE_BYTES: usize = 256;
/// Bytes of requests that wait to be sent to the leader, above which new ones are refused: more than may wait for a reply on
/// this member, so that only copies of what waits can come to it.
pub const LINK_WAITING_BYTES_MAX: usize = 2 * MEMBER_OUTSTANDING_BYTES_MAX;
/// KiB of requests that one link has brought and the sequencer's thread has not handled. The link is not read further then,
/// which holds the member back; its requests wait there. As small a frame as there is counts as one.
pub const LINK_TAKEN_KIB_MAX: u32 = 64 * 1024;
/// Questions for a read index of one link that are under way: a member asks one at a time, and may give up a few.
pub const LINK_QUESTIONS_MAX: usize = 16;
/// Bytes of answers that wait to be sent on one link before it is read further.
pub const LINK_ANSWERS_BYTES_EASED: usize = 16 * 1024 * 1024;
/// Bytes of answers that wait to be sent on one link before it is cut. What was taken in before reading stopped can cause so
/// much only if nearly all of it is sent again and was answered with the largest replies.
pub const LINK_ANSWERS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a member tries to open one link.
pub const LINK_DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The first pause between two attempts to link to the same leader, and the longest. Each is drawn from the upper half:
/// members that lost the same leader do not come back all at once.
pub const LINK_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// See [`LINK_BACKOFF_MIN`].
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Frames of a lane that are handled in one go before others get their turn.
pub const BURST_FRAMES_MAX: usize = 256;
/// Snapshots that one lane is sent at a time: each keeps files on the disk, and a member keeps few.
pub const SNAPSHOTS_PER_LANE_MAX: usize = 1;
/// Bytes of a snapshot that are read and handed to the network in one go.
pub const SNAPSHOT_PIECE_BYTES: usize = 256 * 1024;
/// Bytes of a snapshot that a client must take in a second, on average: 1 Mbit/s. Its checkpoint keeps files on the disk, and
/// there are few for all clients.
pub const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 128 * 1024;
/// How far a client may fall behind that before its snapshot is cut off. It may go on with it where it was, for a while.
pub const SNAPSHOT_BEHIND_MAX: Duration = Duration::from_secs(30);
/// Scans that one lane is sent at a time: each keeps what was overwritten or deleted since it began.
pub const SCANS_PER_LANE_MAX: usize = 2;
/// Scans that all lanes of a member are sent at a time.
pub const SCANS_MAX: usize = 32;
/// Bytes of a scan that are read and handed to the network in one go; one znode may come on top.
pub const SCAN_PIECE_BYTES: usize = 256 * 1024;
/// Bytes of a scan that a client must take in a second, on average: 1 Mbit/s, as of a snapshot.
pub const SCAN_BYTES_PER_SECOND_MIN: u64 = 128 * 1024;
/// How far a client may fall behind that before its scan is cut off. It may begin another one behind the last znode.
pub const SCAN_BEHIND_MAX: Duration = Duration::from_secs(30);
/// How long a scan may take in all. A million znodes of 100 bytes are about 200 MB: a client on a line of 3 Mbit/s has
/// them in time. Meanwhile compactions keep all that the scan could still ask for.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(600);
/// How long the last bytes of a stream to a client may take to be acknowledged.
pub const BULK_FAREWELL: Duration = Duration::from_secs(30);
/// How long a new lane may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new leader waits for the code of what is active: from the disk's cache it takes milliseconds, and what was
/// never compiled here some seconds.
pub const LEAD_CODE_PATIENCE: Duration = Duration::from_secs(5);
/// How often a member compares the digests of its tree with the others'.
pub const DIGESTS_COMPARE_EVERY: Duration = Duration::from_secs(1);
/// How long another member may take to tell its digests.
pub const DIGESTS_PATIENCE: Duration = Duration::from_secs(1);
/// How often a member looks whether its certificate files have changed: certificates are made days before they are needed.
pub const CERTIFICATES_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Bytes of one certificate file that are compared: a chain of some certificates has a few KiB.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 256 * 1024;
/// How often a leader looks whether all members know a higher feature level than the cluster has.
pub const LEVEL_LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a leader looks whether a subtree is above a soft bound of its quota: some three look-ups for each quota.
pub const QUOTA_LOOK_EVERY: Duration = Duration::from_secs(5);
/// Quotas that are looked at in one go before others get their turn: some hundred microseconds.
pub const QUOTAS_PAGE: u32 = 64;
/// Lines about quotas that one look may write into the log; the others have their turn in the next ones.
pub const QUOTA_LINES_PER_LOOK_MAX: usize = 20;
/// How long a subtree that is written above its soft bound is not told of again.
pub const QUOTA_WARN_EVERY: Duration = Duration::from_secs(600);
/// How long a subtree must have been within its soft bounds before that is told: one that goes up and down is one that is above.
pub const QUOTA_CALM: Duration = Duration::from_secs(60);
/// How often a member tries to tell the cluster its new addresses.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// How long an attach waits for a leader.
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for its consistency before it is answered `no-leader`.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the sequencer steps without an input: session expiry and timers are that exact.
pub const TICK: Duration = Duration::from_millis(20);
/// How often it is looked how much room the disk has: what is written in between must fit the reserve many times.
pub const DISK_LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the leader is told how much room a disk has, also if that is as it was: its word counts for ten times as long.
pub const DISK_TELL_EVERY: Duration = Duration::from_secs(1);
/// Bytes of disk below which growing writes are refused, unless the operator says otherwise: two segments of the log,
/// the tree's memory flushed, and a compaction that has its files twice for a while.
pub const DISK_RESERVE_BYTES: u64 = 512 * 1024 * 1024;
/// How long what was applied stays in the raft log for watches that resume, unless the operator says otherwise: longer than a
/// machine takes to come back.
pub const HISTORY_KEEP: Duration = Duration::from_secs(600);
/// Bytes of the raft log that stay for that: a restart reads them all.
pub const HISTORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// How long a lane may take to deliver what has queued at shutdown.
pub const FAREWELL: Duration = Duration::from_secs(2);

const _: () = assert!(OUTSTANDING_WRITES_MAX as u64 > limits::PARKED_CALLS_PER_SESSION_MAX);
const _: () = assert!(
    OUTSTANDING_WRITES_PER_PRINCIPAL_MAX as u64 > limits::PARKED_CALLS_PER_PRINCIPAL_MAX,
    "a principal whose calls all wait on one member can still write there"
);
const _: () = assert!(OUTSTANDING_BYTES_PER_PRINCIPAL_MAX > OUTSTANDING_BYTES_MAX);
const _: () = assert!(READ_CALL_BLOCKS_PER_PRINCIPAL_MAX > READ_CALL_BLOCKS_PER_LANE_MAX);
const _: () = assert!(WATCHES_PER_PRINCIPAL_MAX > WATCHES_PER_ATTACHMENT_MAX);
const _: () = assert!(QUOTA_CALM.as_secs() > 2 * QUOTA_LOOK_EVERY.as_secs());
const _: () = assert!(READ_CALL_THREADS_MIN <= quorate_engine::READERS_MAX);
const _: () = assert!(
    READ_CALL_BLOCKS_PER_LANE_MAX * READ_CALL_BLOCK_BYTES
        >= quorate_wire::message::LANE_FRAME_BYTES_MAX as usize
);
// Scans and snapshots of a lane together leave one of a connection's streams to its events.
const _: () = assert!(SCANS_PER_LANE_MAX < quorate_net::limits::BULKS_OPEN_MAX as usize);
const _: () = assert!(READ_CALLS_PER_LANE_TURN < READ_CALLS_QUEUE_MAX);
const _: () = assert!(OUTSTANDING_BYTES_MAX > limits::FRAME_BYTES_MAX);
const _: () = assert!(
    LANE_QUEUE_BYTES_MAX as u64 > limits::KEPT_REPLIES_BYTES_MAX + 256 * limits::KEPT_REPLIES_MAX
);
const _: () =
    assert!(LOG_QUEUE_BYTES_MAX >= 2 * limits::BATCHES_IN_FLIGHT_MAX * limits::BATCH_BYTES_MAX);
const _: () =
    assert!(LINK_TAKEN_KIB_MAX as usize * 1024 > quorate_wire::link::LINK_FRAME_BYTES_MAX as usize);
const _: () = assert!(LINK_ANSWERS_BYTES_MAX > 2 * LINK_ANSWERS_BYTES_EASED);
const _: () = assert!(LANE_QUEUE_BYTES_OWN <= LANE_QUEUE_BYTES_MAX);
const _: () = assert!(EVENT_QUEUE_BYTES_OWN < EVENT_QUEUE_BYTES_MAX);
const _: () = assert!(EVENT_QUEUE_BYTES_MAX > 2 * limits::TRANSACTION_BYTES_MAX);
const _: () = assert!(
    MEMBER_EVENT_QUEUE_BYTES_MAX >= EVENT_QUEUE_SHARE_DIVISOR * limits::TRANSACTION_BYTES_MAX
);
const _: () = assert!(MEMBER_LANE_QUEUE_BYTES_MAX >= 4 * LANE_QUEUE_BYTES_MAX as usize);
const _: () = assert!(
    quorate_net::limits::CONNECTIONS_MAX as usize * LANE_QUEUE_BYTES_OWN as usize
        <= MEMBER_LANE_QUEUE_BYTES_MAX
);
