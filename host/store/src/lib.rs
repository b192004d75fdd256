//! The disk of one member: data directory, raft log and tree. It works on bytes and knows neither
//! raft's types nor the meaning of a key, a value or a log entry.
//!
//! Reading order: [`error`] (why an opening is refused), [`layout`] (whose the directory is), [`log`]
//! (the raft log: synced before it counts), [`tree`] (RocksDB without a write-ahead log: replayed from
//! the raft log after a crash).

pub mod error;
mod format;
pub mod layout;
pub mod log;
mod modes;
pub mod tree;

pub use error::OpenError;
pub use layout::{DataDirectory, free_bytes};
pub use log::{Log, LogOptions, LogState};
pub use tree::{
    Checkpoint, CheckpointRecords, Replacement, Tree, TreeOptions, TreeReader, TreeSnapshot,
};
