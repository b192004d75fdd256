//! Bounds of the audit log, with unit and reason.

use std::time::Duration;

/// Bytes of events that wait to be written: more than a quiet disk is ever behind, and little beside a member's cache.
/// Beyond it an event is lost, and counted.
pub const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes above which requests are refused under `on_failure = "refuse"`: what is under way then finds the other half.
pub const QUEUE_BYTES_REFUSED: usize = QUEUE_BYTES_MAX / 2;
/// Bytes that an event costs in the queue beside what it carries.
pub const EVENT_BYTES: usize = 256;
/// Bytes of lines that are made before they are written.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// How long the writer waits after the first event for more: at most so many wake-ups of its thread follow from load, and a
/// line is in the file that soon.
pub const LINGER: Duration = Duration::from_millis(20);
/// How long lines may be in the file before they are synced. Those of administration are synced at once.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long the writer waits before it tries a disk again that has refused.
pub const RETRY_EVERY: Duration = Duration::from_millis(250);
/// How long a member that ends waits for a disk that refuses.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes of one file, at least: a rotation for every few lines would throw away what it is to keep.
pub const FILE_BYTES_MIN: u64 = 64 * 1024;
/// Bytes of one file unless the configuration says otherwise.
pub const FILE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// Files that are kept, the one that is written among them, at least: a rotation must leave the lines of a moment ago.
pub const FILES_MIN: u32 = 2;
/// Files that are kept, at most: each rotation renames them all.
pub const FILES_MAX: u32 = 1000;
/// Files that are kept unless the configuration says otherwise.
pub const FILES_DEFAULT: u32 = 10;
/// Bytes of a path or a name in a line. What can be executed is shorter; a request that is refused may hold anything.
pub const TEXT_BYTES_MAX: usize = quorate_core::limits::PATH_BYTES_MAX;

const _: () = assert!(QUEUE_BYTES_REFUSED > quorate_core::limits::FRAME_BYTES_MAX);
