//! How one member takes part in raft: times, and how much of the log stays. It does not know what is done with it.

use std::time::Duration;

use openraft::SnapshotPolicy;
use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;

use crate::node::StartError;

/// Messages that wait for openraft before proposals are refused as [`Busy`](crate::Refusal::Busy): far above what one sequencer has
/// in flight.
const MESSAGES_MAX: u64 = 4096;
/// Entries that stay in the log however old they are: some seconds of a busy cluster, for members that lag.
const LOG_KEEP_ENTRIES: u64 = 16 * 1024;
/// Entries that stay in the log however young they are: 8 MiB of memory for where they lie, and a millisecond for a look at
/// each.
const LOG_KEEP_ENTRIES_MAX: u64 = 512 * 1024;
/// How long entries stay in the log: a client that was away for as long finds all that it missed.
const HISTORY_KEEP: Duration = Duration::from_secs(600);
/// Bytes of entries that stay in the log, however young: a restart reads them all, and sending a member the tree anew is
/// cheaper than more of them.
const LOG_KEEP_BYTES: u64 = 512 << 20;
/// Bytes of log that may stay for members that are being sent the tree: some twenty minutes of writes at 10 MB a second, in
/// which a tree of a hundred gigabytes has arrived.
const LOG_HOLD_BYTES_MAX: u64 = 16 << 30;
/// Entries of the same: 64 MiB of memory for where they lie.
const LOG_HOLD_ENTRIES_MAX: u64 = 4 << 20;
/// Free bytes below which nothing stays for them: twice what a disk has free when growing writes are refused.
const LOG_HOLD_FREE_BYTES_MIN: u64 = 1 << 30;

/// How a member takes part.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member's number; never that of another, nor of one that was.
    pub member: u64,
    /// The namespace whose group this is.
    pub namespace: NamespaceId,
    /// The highest feature level that this build knows: nothing above it is applied.
    pub level: Level,
    /// Milliseconds between heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Milliseconds without a leader after which a member stands for election: a random time in this range.
    pub election_ms: (u64, u64),
    /// Entries that stay in the log behind the last flush of the tree, however old: for members that lag.
    pub log_keep_entries: u64,
    /// Entries that stay there at most, however young.
    pub log_keep_entries_max: u64,
    /// How long entries stay there: for watches that resume.
    pub history_keep: Duration,
    /// Bytes that the log may have on the disk, flushed entries beyond which are purged even if they should stay otherwise. Files are freed whole: one segment and the spare ones come on top.
    pub log_keep_bytes: u64,
    /// Entries applied after which the tree is flushed.
    pub flush_after_entries: u64,
    /// What may stay in the log beyond all that, for members that are being sent a tree.
    pub hold: HoldLimits,
}

/// How much of the log may stay for members that are being sent the whole tree, or catch up behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldLimits {
    /// Bytes on the disk.
    pub bytes_max: u64,
    /// Entries: each costs memory, and time at a restart.
    pub entries_max: u64,
    /// Bytes of disk that must be free: a leader must not run out of room for the sake of a member that lags.
    pub free_bytes_min: u64,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self {
            bytes_max: LOG_HOLD_BYTES_MAX,
            entries_max: LOG_HOLD_ENTRIES_MAX,
            free_bytes_min: LOG_HOLD_FREE_BYTES_MIN,
        }
    }
}

impl Config {
    /// The usual sizes, for this member of the default namespace.
    #[must_use]
    pub fn new(member: u64) -> Self {
        Self {
            member,
            namespace: NamespaceId::DEFAULT,
            level: Level::NEWEST,
            heartbeat_ms: 100,
            election_ms: (300, 500),
            log_keep_entries: LOG_KEEP_ENTRIES,
            log_keep_entries_max: LOG_KEEP_ENTRIES_MAX,
            history_keep: HISTORY_KEEP,
            log_keep_bytes: LOG_KEEP_BYTES,
            flush_after_entries: 8 * 1024,
            hold: HoldLimits::default(),
        }
    }

    pub(crate) fn openraft(&self) -> Result<openraft::Config, StartError> {
        let config = openraft::Config {
            cluster_name: format!("namespace {}", self.namespace.0),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms.0,
            election_timeout_max: self.election_ms.1,
            enable_pre_vote: Some(true),
            // It would resume a term on a tree that was rolled back to its last flush (DESIGN D1).
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            // The housekeeper alone purges: it knows for whom the log must stay.
            max_in_snapshot_log_to_keep: u64::MAX,
            // A lagging member gets entries for as long as they are there.
            replication_lag_threshold: u64::MAX,
            api_channel_size: Some(MESSAGES_MAX),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| StartError::Config(error.to_string()))
    }
}
