//! The leader's execution: requests in order, each against a view ahead of commit, batched into entries; parked calls,
//! their wakes and timers; the life of sessions.
//!
//! A synchronous step function (inputs, time -> outputs). It knows no thread, no clock, no raft and no disk: the wrapper
//! around it brings inputs and carries out outputs, in the service as in the simulator.
//!
//! Reading order: [`port`] (what goes in and out), [`liveness`] (when sessions expire), [`parked`] (who waits for what),
//! [`room`] (when the disk is full), [`sequencer`] (the step).
#![forbid(unsafe_code)]

pub mod liveness;
pub mod parked;
pub mod port;
pub mod room;
pub mod sequencer;

pub use port::{Input, Leadership, Now, Output, Submission, Token};
pub use room::Reserve;
pub use sequencer::Sequencer;
