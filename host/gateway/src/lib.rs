//! Sessions and routing on one member: which connection serves which session, what is unanswered, who executes. One
//! module per face; today `quic`.
//!
//! It decides nothing about the tree: writes go to the sequencer, reads to the applied tree, and replies come back when
//! their entry has been applied here.
//!
//! Reading order: [`link`] (between a member and its leader), [`audit`] (who did what), [`watches`] (what clients are told of without
//! asking again), [`principals`] (what the clients of each have under way), [`registry`] (attachments, what they wait for and who executes
//! it), [`quorum`] and [`raft`] (who asks whether this member leads, and whom), [`leader`] (the thread around the sequencer), [`links`] (the
//! leader's ends of links), [`follow`] (a member's own link), [`disk`] (how full it is), [`reads`], [`read_index`] (how fresh
//! they are), [`read_calls`] (recipe calls among them), [`compile`], `backlog` (what waits behind bulk bodies),
//! `paced` (streams to clients that have to keep up), [`snapshots`] (the tree as one, beside a lane), [`scans`] (subtrees), [`authentication`] (who clients are), [`quic`] (the face), [`mesh`] (connections to other
//! members), [`halted`] (why it must not start again), [`divergence`] (is its tree the same as theirs), [`administration`]
//! (commands to the cluster), `founding` (new clusters), [`level`] (when its
//! feature level rises), `soft_bounds` (warnings of quotas), `told` (who hears what raft tells), [`renewal`] (has
//! its certificate changed), [`member`] (all of it, started
//! and stopped), [`restore`] (a data directory made of a snapshot).
#![forbid(unsafe_code)]

pub mod administration;
pub mod audit;
pub mod authentication;
mod backlog;
pub mod compile;
pub mod disk;
pub mod divergence;
pub mod follow;
mod founding;
pub mod halted;
pub mod leader;
pub mod level;
pub mod limits;
pub mod link;
pub mod links;
pub mod member;
pub mod mesh;
mod paced;
pub mod principals;
pub mod process;
pub mod quic;
pub mod quorum;
pub mod raft;
pub mod read_calls;
pub mod read_index;
pub mod reads;
pub mod registry;
pub mod renewal;
pub mod restore;
#[cfg(test)]
mod rig;
pub mod scans;
pub mod snapshots;
mod soft_bounds;
mod told;
pub mod watches;
