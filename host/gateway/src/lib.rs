//! Sessions and routing on one member: which connection serves which session, what is unanswered, who executes. One
//! module per face; today `quic`.
//!
//! It decides nothing about the tree: writes go to the sequencer, reads to the applied tree, and replies come back when
//! their entry has been applied here.
//!
//! Reading order: [`registry`] (attachments and what they wait for), [`leader`] (the thread around the sequencer),
//! [`disk`] (how full it is), [`reads`], [`compile`], `backlog` (what waits behind bulk bodies),
//! [`snapshots`] (the tree as a stream, beside a lane), [`quic`] (the face),
//! [`member`] (all of it, started and stopped), [`restore`] (a data directory made of a snapshot).
#![forbid(unsafe_code)]

mod backlog;
pub mod compile;
pub mod disk;
pub mod leader;
pub mod limits;
pub mod member;
pub mod process;
pub mod quic;
pub mod reads;
pub mod registry;
pub mod restore;
#[cfg(test)]
mod rig;
pub mod snapshots;
