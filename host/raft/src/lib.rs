//! Raft behind our own words: entries are proposed under a leadership, committed ones are applied to the tree, and who
//! leads is told. The only crate that knows openraft, none of whose types leaves it; it does not know how entries come
//! about, nor what a reply is.
//!
//! Reading order: [`position`] (places in the log), [`contact`] (how a member is reached), `types` (what openraft is told about us), `codec` (bytes of log
//! records), `namespace` and `standing` (raft's records in the one tree), `recent` and `log_store` (the raft log), [`digests`], [`before`] (what entries replace), [`history`] (entries that were taken, read back), [`level`] (what this build may apply), `apply` and `state_machine` (the
//! tree), [`snapshot`] (checkpoints that are sent, streams that arrive), `acknowledged` and `messages` (what members say to each other),
//! `retention` (what of the log stays for members that are sent a tree),
//! [`network`] (the way to others) and [`serve`] (the way from them), `transfer` (whole trees), [`proposal`], [`leadership`],
//! `config`, `age`, `housekeeping`, [`node`] (what everybody else holds), [`cluster`] (its changes of members) and `unfinished` (those that nobody goes on with),
//! [`restore`] (a new cluster of a snapshot).
//!
//! The life of an entry: [`Node::propose`] puts it into openraft's queue, openraft gives it an index and appends it to the
//! log, the log calls back when it is durable, openraft commits it and reads it back, the apply thread applies it to the
//! tree, tells the [`ApplyListener`] and answers the proposal.
#![forbid(unsafe_code)]

pub mod contact;
pub mod position;

mod codec;
mod namespace;
mod standing;
mod types;

mod log_store;
mod recent;

pub mod snapshot;

pub mod before;
pub mod digests;
pub mod history;
pub mod level;

mod apply;
mod state_machine;

mod acknowledged;
mod messages;
pub mod network;
mod retention;
pub mod serve;
mod transfer;

pub mod leadership;
pub mod proposal;

mod age;
mod config;
mod housekeeping;
pub mod node;
pub mod restore;

pub mod cluster;
mod unfinished;

#[cfg(test)]
mod conformance;

pub use apply::{Applied, ApplyListener, Kind};
pub use before::{Before, WantBefore};
pub use cluster::{ChangeRefusal, Members, Progress};
pub use config::{Config, HoldLimits};
pub use contact::{Contact, Incarnation};
pub use history::{History, HistoryError};
pub use leadership::{Leader, Leadership};
pub use level::LevelTooHigh;
pub use log_store::OnFirstVote;
pub use network::{Lane, LaneKind, Network};
pub use node::{BarrierError, InitializeRefusal, Metrics, Node, Role, StartError, Store};
pub use position::Position;
pub use proposal::{Proposal, ProposeResult, Refusal};
